//! How a handler ends, and what is stopped when its attempt is dropped before that.

use std::sync::{Arc, Mutex, PoisonError};

use super::panic::Caught;
use crate::context::{Context, LeaseWatch, Stop};
use crate::failure::Failure;
use crate::handler::{Output, RawJob};
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

/// What a blocking handler is to be called with: taken once, by its thread, or when it is called off before the thread starts.
pub(super) struct Waiting(Mutex<Option<(RawJob, Context)>>);

impl Waiting {
    pub(super) fn new(work: (RawJob, Context)) -> Self {
        Self(Mutex::new(Some(work)))
    }

    pub(super) fn take(&self) -> Option<(RawJob, Context)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
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
