//! The step that runs the handler: under its timeout, with its panics caught.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::panic::{Caught, Watched, catch, watched};
use crate::context::{Context, LeaseWatch, Stop};
use crate::failure::Failure;
use crate::handler::{Handler, RawJob};
use crate::trace::Released;

/// How a handler ended.
#[derive(Debug)]
pub(super) enum Ran {
    Returned(Result<(), Failure>),
    Panicked(Caught),
    /// It was dropped, and may have panicked at that.
    TimedOut(Option<Caught>),
    /// Its thread never came.
    NotRun(Released),
}

pub(super) async fn run(handler: &Handler, raw: RawJob, ctx: Context, lease: &LeaseWatch, limit: Duration) -> Ran {
    lease.begin(limit);
    let mut end = End { lease, waiting: None, reached: false };
    let ran = match handler {
        Handler::Async(call) => match watched(lease, || call(raw, ctx)) {
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
        },
        Handler::Blocking(call) => {
            let call = Arc::clone(call);
            let waiting = Arc::new(Waiting::new((raw, ctx)));
            end.waiting = Some(waiting.clone());
            let mut thread = spawn_blocking(move || waiting.take().map(|(raw, ctx)| catch(|| call(raw, ctx))));
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
            match joined {
                Ok(Some(Ok(Err(_)))) if late => Ran::TimedOut(None),
                Ok(Some(Ok(result))) => Ran::Returned(result),
                Ok(Some(Err(caught))) => Ran::Panicked(caught),
                // Its runtime ends.
                Ok(None) | Err(_) => Ran::NotRun(Released::Interrupted),
            }
        }
    };
    end.reached = true;
    ran
}

/// What a blocking handler is to be called with: taken once, by its thread or by whoever calls it off before that comes.
struct Waiting(Mutex<Option<(RawJob, Context)>>);

impl Waiting {
    fn new(work: (RawJob, Context)) -> Self {
        Self(Mutex::new(Some(work)))
    }

    fn take(&self) -> Option<(RawJob, Context)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Tells what outlives an attempt that is dropped before its end: tasks the handler spawned, and a blocking handler's thread.
struct End<'a> {
    lease: &'a LeaseWatch,
    waiting: Option<Arc<Waiting>>,
    reached: bool,
}

impl End<'_> {
    /// Keeps a blocking handler from being called. Gives whether that was in time.
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
