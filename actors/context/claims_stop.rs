//! That a queue claims no more because the store does not settle, so that it is reported once.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::limits::REFUSED_REPORT_INTERVAL;

/// Whether it is reported that a queue has stopped to claim.
#[derive(Default)]
pub(crate) struct ClaimsStop(Mutex<State>);

#[derive(Default)]
struct State {
    reported: bool,
    last: Option<Instant>,
}

impl ClaimsStop {
    /// The queue claims no more. Returns whether that is to be reported: once per stop, and not more often than [`REFUSED_REPORT_INTERVAL`], because a store may refuse
    /// some settlements and take others.
    pub(crate) fn is_new(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !state.reported && state.last.is_none_or(|at| at.elapsed() >= REFUSED_REPORT_INTERVAL);
        if new {
            *state = State { reported: true, last: Some(Instant::now()) };
        }
        new
    }

    /// The queue claims again. Returns whether the stop was reported.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.reported)
    }
}
