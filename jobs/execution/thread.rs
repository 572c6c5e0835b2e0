//! Runs a blocking handler on a thread of its own. Its layers run on the executor's thread.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep, timeout_at};
use tracing::Span;

use super::ended::{AttemptGuard, HandlerEnd, PendingCall};
use super::layer::Enabled;
use super::panic::{CaughtPanic, Watched, catch, watched};
use super::spawn::try_spawn_blocking;

use crate::context::{AttemptControl, Context, Stop};
use crate::failure::{Code, Failure, Resource};
use crate::handler::{BlockingCall, HandlerFuture, Output, RawJob};
use crate::trace::Released;

/// A blocking handler, and the job and control of the attempt it is called for.
pub(super) struct Blocking<'a> {
    pub(super) call: &'a BlockingCall,
    pub(super) raw: RawJob,
    pub(super) control: &'a AttemptControl,
}

/// Calls a blocking handler on a thread of its own. At its timeout the handler is asked to stop, and its end is awaited.
pub(super) async fn on_thread(handler: Blocking<'_>, ctx: Context, limit: Duration) -> HandlerEnd {
    handler.run(Span::current(), ctx, pin!(sleep(limit)), std::future::pending()).await
}

/// [`on_thread`] within layers. When the handler does not return (a panic, a timeout, no thread), the layers see a failure in its place; the attempt then ends
/// as the handler did, whatever the layers make of that failure.
///
/// The thread belongs to the attempt, not to the layers: however the layers end, the attempt does not end before its thread.
pub(super) async fn on_thread_within(
    handler: Blocking<'_>,
    layers: Enabled,
    ctx: Context,
    limit: Duration,
) -> HandlerEnd {
    let control = handler.control;
    let mut guard = AttemptGuard::new(control);
    let mut deadline = pin!(sleep(limit));
    let (call_sender, call) = oneshot::channel();
    let end = match watched(control, || layers.call(ctx, move |ctx| call_through(call_sender, ctx))) {
        Err(caught) => HandlerEnd::Panicked(caught),
        Ok(future) => {
            let mut layers = Watched::new(future, control);
            match before_the_call(&mut layers, call, deadline.as_mut(), control).await {
                Err(end) => end,
                Ok(call) => around_the_call(&mut layers, handler, call, deadline).await,
            }
        }
    };
    guard.ended = true;
    end
}

type Returned = Result<Output, Failure>;

/// A request to call the handler, made where the innermost layer awaits it.
struct Call {
    /// The span that was entered there.
    span: Span,
    ctx: Context,
    reply: oneshot::Sender<Returned>,
}

/// What the layers await in place of the handler.
fn call_through(call_sender: oneshot::Sender<Call>, ctx: Context) -> HandlerFuture {
    Box::pin(async move {
        let not_run = || Failure::temporary(Code::Interrupted, "the handler was not run: its attempt is over");
        let (reply, returned) = oneshot::channel();
        call_sender.send(Call { span: Span::current(), ctx, reply }).map_err(|_| not_run())?;
        returned.await.unwrap_or_else(|_| Err(not_run()))
    })
}

/// Polls the layers until they call the handler; `Err` when they end or time out before that.
async fn before_the_call(
    layers: &mut Watched<'_>,
    call: oneshot::Receiver<Call>,
    deadline: Pin<&mut Sleep>,
    control: &AttemptControl,
) -> Result<Call, HandlerEnd> {
    tokio::select! {
        biased;
        ended = &mut *layers => Err(ended.into()),
        Ok(call) = call => Ok(call),
        () = deadline => {
            control.stop(Stop::TimedOut);
            Err(HandlerEnd::TimedOut(layers.discard().err()))
        }
    }
}

/// Polls the layers and awaits the thread, until both have ended.
async fn around_the_call(
    layers: &mut Watched<'_>,
    handler: Blocking<'_>,
    Call { span, ctx, mut reply }: Call,
    mut deadline: Pin<&mut Sleep>,
) -> HandlerEnd {
    let control = handler.control;
    let mut layers_end = None;
    let handler_end = {
        let mut thread = pin!(handler.run(span, ctx, deadline.as_mut(), reply.closed()));
        loop {
            tokio::select! {
                biased;
                end = &mut thread => break end,
                end = &mut *layers, if layers_end.is_none() => layers_end = Some(end),
            }
        }
    };
    let late = deadline.is_elapsed();
    let deciding_end = reported(handler_end, reply);
    let layers_end = match layers_end {
        Some(end) => end,
        // The deadline passed while the thread ran, and the thread was awaited all the same. The layers are awaited too: if they hang, the watchdog settles the attempt.
        None if late => (&mut *layers).await,
        None => match timeout_at(deadline.deadline(), &mut *layers).await {
            Ok(end) => end,
            Err(_) => {
                control.stop(Stop::TimedOut);
                return HandlerEnd::TimedOut(layers.discard().err());
            }
        },
    };
    deciding_end.unwrap_or_else(|| layers_end.into())
}

/// Reports the handler's end to the layers. Returns that end if it decides how the attempt ends: when the handler panicked, or when it did not return and the
/// layers still awaited it. Otherwise the layers decide.
fn reported(end: HandlerEnd, reply: oneshot::Sender<Returned>) -> Option<HandlerEnd> {
    match end {
        HandlerEnd::Returned(result) => {
            let _ = reply.send(result);
            None
        }
        other => {
            let awaited = reply.send(Err(failure_for_layers(&other))).is_ok();
            (awaited || matches!(other, HandlerEnd::Panicked(_))).then_some(other)
        }
    }
}

/// What layers see in place of a result when a blocking handler did not return.
fn failure_for_layers(end: &HandlerEnd) -> Failure {
    match end {
        HandlerEnd::Panicked(caught) => Failure::temporary(Code::Panic, caught.message.clone()),
        HandlerEnd::TimedOut(_) => Failure::temporary(Code::Timeout, "the handler ran longer than its timeout"),
        HandlerEnd::NotRun(_) | HandlerEnd::Returned(_) => {
            Failure::temporary(Code::Interrupted, "the handler was not run")
        }
    }
}

/// Starts a call on a thread for blocking work; `None` if the system has no thread left: tokio may still run the call later, unless it is prevented. The thread's
/// result is `None` if the call was prevented.
fn start(
    call: BlockingCall,
    pending_call: Arc<PendingCall>,
    span: Span,
) -> Option<JoinHandle<Option<Result<Returned, CaughtPanic>>>> {
    try_spawn_blocking(move || {
        pending_call.take().map(|(raw, ctx)| {
            // The handler may have been asked to stop while the call waited for its thread or its layers.
            if ctx.why_stopped().is_some() {
                let why = "the handler was not started: it had already been asked to stop";
                return Ok(Err(Failure::temporary(Code::Interrupted, why)));
            }
            let _entered = span.enter();
            catch(|| call(raw, ctx))
        })
    })
}

impl Blocking<'_> {
    /// Runs the handler on a thread and awaits its end. At the deadline, or when its layers no longer await it (`given_up`), the handler is asked to stop.
    async fn run(
        self,
        span: Span,
        ctx: Context,
        deadline: Pin<&mut Sleep>,
        given_up: impl Future<Output = ()>,
    ) -> HandlerEnd {
        let Self { call, raw, control } = self;
        let mut guard = AttemptGuard::new(control);
        let call = Arc::clone(call);
        let pending_call = Arc::new(PendingCall::new((raw, ctx)));
        guard.pending_call = Some(pending_call.clone());
        let Some(mut thread) = start(call, pending_call, span) else {
            // Tokio queued the call before it looked for a thread, and would run it on the next one.
            guard.prevent_call();
            guard.ended = true;
            let why = "the system has no thread for a blocking handler";
            return HandlerEnd::Returned(Err(Failure::out_of(Resource::Threads, why)));
        };
        let in_time = tokio::select! {
            biased;
            joined = &mut thread => Some(joined),
            () = given_up => None,
            () = deadline => None,
        };
        let late = in_time.is_none();
        let joined = match in_time {
            Some(joined) => joined,
            None => {
                control.stop(Stop::TimedOut);
                if guard.prevent_call() {
                    guard.ended = true;
                    return HandlerEnd::NotRun(Released::Unstarted);
                }
                // A thread cannot be dropped, so its end is awaited. If the thread hangs, the watchdog settles the attempt without it.
                thread.await
            }
        };
        guard.ended = true;
        match joined {
            Ok(Some(Ok(Err(_)))) if late => HandlerEnd::TimedOut(None),
            Ok(Some(Ok(result))) => HandlerEnd::Returned(result),
            Ok(Some(Err(caught))) => HandlerEnd::Panicked(caught),
            // The tokio runtime shuts down, and did not run the thread's work.
            Ok(None) | Err(_) => HandlerEnd::NotRun(Released::Interrupted),
        }
    }
}
