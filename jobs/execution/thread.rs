//! A blocking handler: on a thread of its own, within layers that run on the executor's.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Sleep, sleep, timeout_at};
use tracing::Span;

use super::end::{End, Ran, Waiting};
use super::layer::Enabled;
use super::panic::{Watched, catch, watched};
use crate::context::{Context, LeaseWatch, Stop};
use crate::failure::{Code, Failure};
use crate::handler::{BlockingCall, HandlerFuture, Output, RawJob};
use crate::trace::Released;

/// A blocking handler of one attempt, and what it is called with beside the context.
pub(super) struct Blocking<'a> {
    pub(super) call: &'a BlockingCall,
    pub(super) raw: RawJob,
    pub(super) lease: &'a LeaseWatch,
}

/// Calls a blocking handler on a thread of its own; at its timeout it is asked to stop, and its end awaited.
pub(super) async fn on_thread(handler: Blocking<'_>, ctx: Context, limit: Duration) -> Ran {
    handler.run(ctx, Span::current(), pin!(sleep(limit)), std::future::pending()).await
}

/// The same within layers. They see every end of the handler that is no return as a failure; what the attempt comes to is decided by the end itself.
///
/// The thread belongs to the attempt, not to the layers: however they end, the attempt does not end before its thread.
pub(super) async fn on_thread_within(handler: Blocking<'_>, layers: Enabled, ctx: Context, limit: Duration) -> Ran {
    let lease = handler.lease;
    let mut end = End::new(lease);
    let mut deadline = pin!(sleep(limit));
    let (caller, called) = oneshot::channel();
    let ran = match watched(lease, || layers.call(ctx, move |ctx| call_through(caller, ctx))) {
        Err(caught) => Ran::Panicked(caught),
        Ok(future) => {
            let mut layers = Watched::new(future, lease);
            match before_the_call(&mut layers, called, deadline.as_mut(), lease).await {
                Err(ran) => ran,
                Ok(call) => around_the_call(&mut layers, handler, call, deadline).await,
            }
        }
    };
    end.reached = true;
    ran
}

type Returned = Result<Output, Failure>;

/// The innermost layer's call of the handler.
struct Call {
    ctx: Context,
    /// That of the layers, which the thread enters.
    span: Span,
    reply: oneshot::Sender<Returned>,
}

/// What the layers await in place of the handler.
fn call_through(caller: oneshot::Sender<Call>, ctx: Context) -> HandlerFuture {
    Box::pin(async move {
        let not_run = || Failure::temporary(Code::Interrupted, "the handler was not run: its attempt is over");
        let (reply, returned) = oneshot::channel();
        caller.send(Call { ctx, span: Span::current(), reply }).map_err(|_| not_run())?;
        returned.await.unwrap_or_else(|_| Err(not_run()))
    })
}

/// Polls the layers until they call the handler; `Err` is an end without it.
async fn before_the_call(
    layers: &mut Watched<'_>,
    called: oneshot::Receiver<Call>,
    deadline: Pin<&mut Sleep>,
    lease: &LeaseWatch,
) -> Result<Call, Ran> {
    tokio::select! {
        biased;
        ended = &mut *layers => Err(ended.into()),
        Ok(call) = called => Ok(call),
        () = deadline => {
            lease.stop(Stop::TimedOut);
            Err(Ran::TimedOut(layers.discard().err()))
        }
    }
}

/// Polls the layers and awaits the thread, until both have ended.
async fn around_the_call(
    layers: &mut Watched<'_>,
    handler: Blocking<'_>,
    Call { ctx, span, mut reply }: Call,
    mut deadline: Pin<&mut Sleep>,
) -> Ran {
    let lease = handler.lease;
    let mut ended = None;
    let ran = {
        let mut thread = pin!(handler.run(ctx, span, deadline.as_mut(), reply.closed()));
        loop {
            tokio::select! {
                biased;
                ran = &mut thread => break ran,
                layered = &mut *layers, if ended.is_none() => ended = Some(layered),
            }
        }
    };
    let late = deadline.is_elapsed();
    let not_returned = reported(ran, reply);
    let ended = match ended {
        Some(ended) => ended,
        // What came late was to be awaited all the same: its layers are left to the watchdog, as its thread was.
        None if late => (&mut *layers).await,
        None => match timeout_at(deadline.deadline(), &mut *layers).await {
            Ok(ended) => ended,
            Err(_) => {
                lease.stop(Stop::TimedOut);
                return Ran::TimedOut(layers.discard().err());
            }
        },
    };
    not_returned.unwrap_or_else(|| ended.into())
}

/// Reports the thread's end to the layers. Returns it if it decides what the attempt comes to: layers that gave up on the handler decide themselves, but for
/// a panic.
fn reported(ran: Ran, reply: oneshot::Sender<Returned>) -> Option<Ran> {
    match ran {
        Ran::Returned(result) => {
            let _ = reply.send(result);
            None
        }
        other => {
            let awaited = reply.send(Err(shown(&other))).is_ok();
            (awaited || matches!(other, Ran::Panicked(_))).then_some(other)
        }
    }
}

/// What a layer sees of a blocking handler that did not return.
fn shown(ran: &Ran) -> Failure {
    match ran {
        Ran::Panicked(caught) => Failure::temporary(Code::Panic, caught.message.clone()),
        Ran::TimedOut(_) => Failure::temporary(Code::Timeout, "the handler ran longer than its timeout"),
        Ran::NotRun(_) | Ran::Returned(_) => Failure::temporary(Code::Interrupted, "the handler was not run"),
    }
}

impl Blocking<'_> {
    /// Runs it until it returns. At the deadline, or when nobody awaits it any more, it is asked to stop.
    async fn run(self, ctx: Context, span: Span, deadline: Pin<&mut Sleep>, given_up: impl Future<Output = ()>) -> Ran {
        let Self { call, raw, lease } = self;
        let mut end = End::new(lease);
        let call = Arc::clone(call);
        let waiting = Arc::new(Waiting::new((raw, ctx)));
        end.waiting = Some(waiting.clone());
        let mut thread = spawn_blocking(move || {
            waiting.take().map(|(raw, ctx)| {
                // It may have waited long for its thread, or for its layers.
                if ctx.why_stopped().is_some() {
                    let why = "the handler was not begun: its attempt was asked to stop before";
                    return Ok(Err(Failure::temporary(Code::Interrupted, why)));
                }
                let _entered = span.enter();
                catch(|| call(raw, ctx))
            })
        });
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
                lease.stop(Stop::TimedOut);
                if end.call_off() {
                    end.reached = true;
                    return Ran::NotRun(Released::Unstarted);
                }
                // A thread cannot be dropped: it is asked to stop, and its end awaited, or else the watchdog settles without it.
                thread.await
            }
        };
        end.reached = true;
        match joined {
            Ok(Some(Ok(Err(_)))) if late => Ran::TimedOut(None),
            Ok(Some(Ok(result))) => Ran::Returned(result),
            Ok(Some(Err(caught))) => Ran::Panicked(caught),
            // Its runtime ends.
            Ok(None) | Err(_) => Ran::NotRun(Released::Interrupted),
        }
    }
}
