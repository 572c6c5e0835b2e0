//! The step that runs the handler: within its layers, under its timeout, with its panics caught.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::layer::{Enabled, Layers};
use super::panic::{Caught, Watched, watched};
use super::thread::{Blocking, Waiting, on_thread, on_thread_within};
use crate::context::{Context, LeaseWatch, Stop};
use crate::failure::Failure;
use crate::handler::{Handler, HandlerFuture, Output, RawJob};
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

impl From<Result<Result<Output, Failure>, Caught>> for Ran {
    fn from(ended: Result<Result<Output, Failure>, Caught>) -> Self {
        match ended {
            Ok(result) => Ran::Returned(result),
            Err(caught) => Ran::Panicked(caught),
        }
    }
}

pub(super) async fn run(
    handler: &Handler,
    layers: &Layers,
    raw: RawJob,
    ctx: Context,
    lease: &LeaseWatch,
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
        (Handler::Blocking(call), None) => on_thread(Blocking { call, raw, lease }, ctx, limit).await,
        (Handler::Blocking(call), Some(layers)) => {
            on_thread_within(Blocking { call, raw, lease }, layers, ctx, limit).await
        }
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
                Ok(ended) => ended.into(),
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

/// Stops what outlives an attempt that is dropped before its end: tasks the handler spawned, and a blocking handler's thread.
pub(super) struct End<'a> {
    lease: &'a LeaseWatch,
    pub(super) waiting: Option<Arc<Waiting>>,
    pub(super) reached: bool,
}

impl<'a> End<'a> {
    pub(super) fn new(lease: &'a LeaseWatch) -> Self {
        Self { lease, waiting: None, reached: false }
    }

    /// Keeps a blocking handler from being called. Returns whether that was in time.
    pub(super) fn call_off(&self) -> bool {
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
