//! How a handler ended, and the guard for an attempt that is dropped before its end.

use std::sync::{Arc, Mutex, PoisonError};

use super::panic::CaughtPanic;
use crate::context::{AttemptControl, Context, Stop};
use crate::failure::Failure;
use crate::handler::{Output, RawJob};
use crate::trace::Released;

/// How a handler ended.
#[derive(Debug)]
pub(super) enum HandlerEnd {
    Returned(Result<Output, Failure>),
    Panicked(CaughtPanic),
    /// The timeout passed. An async handler was then dropped; the panic is that of its destructors, if they panicked.
    TimedOut(Option<CaughtPanic>),
    /// A blocking handler got no thread within its timeout, or before its layers gave up waiting for it, or before its tokio runtime ended.
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

/// Asks whatever outlives a dropped attempt to stop: tasks that the handler spawned, and a blocking handler's thread. The guard does so when it is dropped before
/// [`ended`](Self::ended) is set.
pub(super) struct AttemptGuard<'a> {
    control: &'a AttemptControl,
    pub(super) pending_call: Option<Arc<PendingCall>>,
    pub(super) ended: bool,
}

impl<'a> AttemptGuard<'a> {
    pub(super) fn new(control: &'a AttemptControl) -> Self {
        Self { control, pending_call: None, ended: false }
    }

    /// Prevents a blocking handler from being called. Returns `false` if it has been called already.
    pub(super) fn prevent_call(&self) -> bool {
        self.pending_call.as_ref().is_some_and(|pending_call| pending_call.take().is_some())
    }
}

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.control.stop(Stop::Shutdown);
            self.prevent_call();
        }
    }
}

/// The arguments of a blocking handler's call that waits for a thread. They are taken once: by the thread, or by [`AttemptGuard::prevent_call`].
pub(super) struct PendingCall(Mutex<Option<(RawJob, Context)>>);

impl PendingCall {
    pub(super) fn new(work: (RawJob, Context)) -> Self {
        Self(Mutex::new(Some(work)))
    }

    pub(super) fn take(&self) -> Option<(RawJob, Context)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
