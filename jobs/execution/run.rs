//! The step that runs the handler: under its timeout, with its panics caught.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_blocking};
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
    let mut end = End { lease, thread: None, reached: false };
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
            let mut thread = spawn_blocking(move || catch(|| call(raw, ctx)));
            end.thread = Some(thread.abort_handle());
            let (joined, late) = match timeout(limit, &mut thread).await {
                Ok(joined) => (joined, false),
                Err(_) => {
                    // A thread cannot be dropped: it is asked to stop, and its end awaited, or else the watchdog settles without it. Unless there is none yet:
                    // then there never will be.
                    lease.stop(Stop::TimedOut);
                    thread.abort();
                    (thread.await, true)
                }
            };
            match joined {
                Ok(Ok(Err(_))) if late => Ran::TimedOut(None),
                Ok(Ok(result)) => Ran::Returned(result),
                Ok(Err(caught)) => Ran::Panicked(caught),
                Err(_cancelled) => Ran::NotRun(if late { Released::Unstarted } else { Released::Interrupted }),
            }
        }
    };
    end.reached = true;
    ran
}

/// Tells what outlives an attempt that is dropped before its end: tasks the handler spawned, and a blocking handler's thread.
struct End<'a> {
    lease: &'a LeaseWatch,
    thread: Option<AbortHandle>,
    reached: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.reached {
            self.lease.stop(Stop::Shutdown);
            if let Some(thread) = &self.thread {
                thread.abort();
            }
        }
    }
}
