//! How a handler ended, and the guard that stops what an attempt leaves behind when it is dropped before its end.

use std::sync::{Arc, Mutex, PoisonError};

use super::panic::CaughtPanic;
use crate::context::{Context, LeaseWatch, Stop};
use crate::failure::Failure;
use crate::handler::{Output, RawJob};
use crate::trace::Released;

/// How a handler ended.
#[derive(Debug)]
pub(super) enum HandlerEnd {
    Returned(Result<Output, Failure>),
    Panicked(CaughtPanic),
    /// The timeout passed. An async handler was then dropped, and a destructor may have panicked.
    TimedOut(Option<CaughtPanic>),
    /// A blocking handler that got no thread in time, or whose runtime ended first.
    NotRun(Released),
}

impl From<Result<Result<Output, Failure>, CaughtPanic>> for HandlerEnd {
    fn from(ended: Result<Result<Output, Failure>, CaughtPanic>) -> Self {
        match ended {
            Ok(result) => HandlerEnd::Returned(result),
            Err(caught) => HandlerEnd::Panicked(caught),
        }
    }
}

/// If this guard is dropped before [`ended`](Self::ended) is set, it asks what outlives the attempt to stop: tasks the handler spawned, and a blocking handler's
/// thread.
pub(super) struct AttemptGuard<'a> {
    lease: &'a LeaseWatch,
    pub(super) pending_call: Option<Arc<PendingCall>>,
    pub(super) ended: bool,
}

impl<'a> AttemptGuard<'a> {
    pub(super) fn new(lease: &'a LeaseWatch) -> Self {
        Self { lease, pending_call: None, ended: false }
    }

    /// Keeps a blocking handler from being called. Returns whether that was in time.
    pub(super) fn prevent_call(&self) -> bool {
        self.pending_call.as_ref().is_some_and(|pending_call| pending_call.take().is_some())
    }
}

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.lease.stop(Stop::Shutdown);
            self.prevent_call();
        }
    }
}

/// The arguments of a call that waits for its thread. They are taken once: by the thread, or by whoever prevents the call.
pub(super) struct PendingCall(Mutex<Option<(RawJob, Context)>>);

impl PendingCall {
    pub(super) fn new(work: (RawJob, Context)) -> Self {
        Self(Mutex::new(Some(work)))
    }

    pub(super) fn take(&self) -> Option<(RawJob, Context)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
