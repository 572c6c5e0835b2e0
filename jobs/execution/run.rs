//! The step that runs the handler: under its timeout, with its panics caught.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::panic::{Caught, Watched, catch};
use crate::context::{Context, LeaseWatch, Stop};
use crate::failure::Failure;
use crate::handler::{Handler, RawJob};

/// How a handler ended.
#[derive(Debug)]
pub(super) enum Ran {
    Returned(Result<(), Failure>),
    Panicked(Caught),
    TimedOut,
}

pub(super) async fn run(handler: &Handler, raw: RawJob, ctx: Context, lease: &LeaseWatch, limit: Duration) -> Ran {
    lease.begin(limit);
    match handler {
        Handler::Async(call) => {
            let future = match catch(|| call(raw, ctx)) {
                Ok(future) => future,
                Err(caught) => return Ran::Panicked(caught),
            };
            let mut watched = Watched::new(future, lease);
            match timeout(limit, &mut watched).await {
                Ok(Ok(result)) => Ran::Returned(result),
                Ok(Err(caught)) => Ran::Panicked(caught),
                Err(_) => {
                    lease.stop(Stop::TimedOut);
                    watched.discard().map_or_else(Ran::Panicked, |()| Ran::TimedOut)
                }
            }
        }
        Handler::Blocking(call) => {
            let call = Arc::clone(call);
            let mut running = tokio::task::spawn_blocking(move || catch(|| call(raw, ctx)));
            let (joined, in_time) = match timeout(limit, &mut running).await {
                Ok(joined) => (joined, true),
                Err(_) => {
                    // A thread cannot be dropped: it is asked to stop, and its end awaited, or else the watchdog settles without it.
                    lease.stop(Stop::TimedOut);
                    (running.await, false)
                }
            };
            match joined {
                Ok(Ok(result)) if in_time || result.is_ok() => Ran::Returned(result),
                Ok(Ok(_)) => Ran::TimedOut,
                Ok(Err(caught)) => Ran::Panicked(caught),
                Err(gone) => Ran::Returned(Err(Failure::new(crate::failure::Code::Interrupted, gone))),
            }
        }
    }
}
