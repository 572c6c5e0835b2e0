//! The step that runs the handler: within its layers, under its timeout, with its panics caught.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::Span;

use super::layer::{Enabled, Layers};
use super::panic::{Caught, Watched, catch, watched};
use crate::context::{Context, LeaseWatch, Stop};
use crate::failure::{Code, Failure};
use crate::handler::{BlockingCall, Handler, HandlerFuture, Output, RawJob};
use crate::trace::Released;

/// How a handler ended.
#[derive(Debug)]
pub(super) enum Ran {
    Returned(Result<Output, Failure>),
    Panicked(Caught),
    /// It was dropped, and may have panicked at that.
    TimedOut(Option<Caught>),
    /// Its thread never came.
    NotRun(Released),
}

pub(super) async fn run(
    handler: &Handler,
    layers: &Layers,
    raw: RawJob,
    ctx: Context,
    lease: &Arc<LeaseWatch>,
    limit: Duration,
) -> Ran {
    lease.begin(limit);
    let layers = match enabled(layers, &ctx, lease) {
        Ok(layers) => layers,
        Err(caught) => return Ran::Panicked(caught),
    };
    match (handler, layers) {
        (Handler::Async(call), None) => poll(|| call(raw, ctx), lease, limit).await,
        (Handler::Async(call), Some(layers)) => {
            let call = Arc::clone(call);
            poll(|| layers.call(ctx, move |ctx| call(raw, ctx)), lease, limit).await
        }
        (Handler::Blocking(call), None) => on_thread(call, raw, ctx, lease, limit).await,
        (Handler::Blocking(call), Some(layers)) => on_thread_within(layers, call, raw, ctx, lease, limit).await,
    }
}

/// The layers of this attempt. Without any, nothing is paid for the catch.
fn enabled(layers: &Layers, ctx: &Context, lease: &LeaseWatch) -> Result<Option<Enabled>, Caught> {
    if layers.is_empty() {
        return Ok(None);
    }
    watched(lease, || layers.enabled(ctx))
}

/// Polls a handler here; at its timeout it is asked to stop and dropped.
async fn poll(begin: impl FnOnce() -> HandlerFuture, lease: &LeaseWatch, limit: Duration) -> Ran {
    let mut end = End::new(lease);
    let ran = match watched(lease, begin) {
        Err(caught) => Ran::Panicked(caught),
        Ok(future) => {
            let mut handler = Watched::new(future, lease);
            match timeout(limit, &mut handler).await {
                Ok(Ok(result)) => Ran::Returned(result),
                Ok(Err(caught)) => Ran::Panicked(caught),
                Err(_) => {
                    lease.stop(Stop::TimedOut);
                    Ran::TimedOut(handler.discard().err())
                }
            }
        }
    };
    end.reached = true;
    ran
}

/// Calls a blocking handler on a thread of its own; at its timeout it is asked to stop, and its end awaited.
async fn on_thread(call: &BlockingCall, raw: RawJob, ctx: Context, lease: &LeaseWatch, limit: Duration) -> Ran {
    let mut end = End::new(lease);
    let (call, span) = (Arc::clone(call), Span::current());
    let waiting = Arc::new(Waiting::new((raw, ctx)));
    end.waiting = Some(waiting.clone());
    let mut thread = spawn_blocking(move || {
        waiting.take().map(|(raw, ctx)| {
            let _entered = span.enter();
            catch(|| call(raw, ctx))
        })
    });
    let (joined, late) = match timeout(limit, &mut thread).await {
        Ok(joined) => (joined, false),
        Err(_) => {
            lease.stop(Stop::TimedOut);
            if end.call_off() {
                end.reached = true;
                return Ran::NotRun(Released::Unstarted);
            }
            // A thread cannot be dropped: it is asked to stop, and its end awaited, or else the watchdog settles without it.
            (thread.await, true)
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

/// The same within layers. They see every end of the handler that is no return as a failure; what the attempt comes to is decided by the end itself.
async fn on_thread_within(
    layers: Enabled,
    call: &BlockingCall,
    raw: RawJob,
    ctx: Context,
    lease: &Arc<LeaseWatch>,
    limit: Duration,
) -> Ran {
    let mut end = End::new(lease);
    let not_returned = Arc::new(Mutex::new(None));
    let handler = {
        let (call, lease, not_returned) = (Arc::clone(call), Arc::clone(lease), Arc::clone(&not_returned));
        move |ctx: Context| -> HandlerFuture {
            Box::pin(async move {
                match on_thread(&call, raw, ctx, &lease, limit).await {
                    Ran::Returned(result) => result,
                    other => {
                        let failure = shown(&other);
                        *not_returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(other);
                        Err(failure)
                    }
                }
            })
        }
    };
    let ran = match watched(lease, || layers.call(ctx, handler)) {
        Err(caught) => Ran::Panicked(caught),
        // Without a time limit: the thread has one, and a layer that hangs is left to the watchdog, as a thread is.
        Ok(future) => match Watched::new(future, lease).await {
            Err(caught) => Ran::Panicked(caught),
            Ok(result) => {
                let not_returned = not_returned.lock().unwrap_or_else(PoisonError::into_inner).take();
                not_returned.unwrap_or(Ran::Returned(result))
            }
        },
    };
    end.reached = true;
    ran
}

/// What a layer sees of a blocking handler that did not return.
fn shown(ran: &Ran) -> Failure {
    match ran {
        Ran::Panicked(caught) => Failure::temporary(Code::Panic, caught.message.clone()),
        Ran::TimedOut(_) => Failure::temporary(Code::Timeout, "the handler ran longer than its timeout"),
        Ran::NotRun(_) | Ran::Returned(_) => Failure::temporary(Code::Interrupted, "the handler was not run"),
    }
}

/// What a blocking handler is to be called with: taken once, by its thread, or when it is called off before the thread starts.
struct Waiting(Mutex<Option<(RawJob, Context)>>);

impl Waiting {
    fn new(work: (RawJob, Context)) -> Self {
        Self(Mutex::new(Some(work)))
    }

    fn take(&self) -> Option<(RawJob, Context)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Stops what outlives an attempt that is dropped before its end: tasks the handler spawned, and a blocking handler's thread.
struct End<'a> {
    lease: &'a LeaseWatch,
    waiting: Option<Arc<Waiting>>,
    reached: bool,
}

impl<'a> End<'a> {
    fn new(lease: &'a LeaseWatch) -> Self {
        Self { lease, waiting: None, reached: false }
    }

    /// Keeps a blocking handler from being called. Returns whether that was in time.
    fn call_off(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.take().is_some())
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.reached {
            self.lease.stop(Stop::Shutdown);
            self.call_off();
        }
    }
}
