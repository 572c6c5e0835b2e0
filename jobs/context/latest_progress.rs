//! The latest progress of an attempt.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::trace::Progress;

/// The latest progress that a handler reported, and which one the store has. A report only replaces a value, so a handler may report as often as it likes.
#[derive(Debug, Default)]
pub(super) struct LatestProgress(Mutex<Reports>);

#[derive(Debug, Default)]
struct Reports {
    latest: Option<Progress>,
    stored: Option<Progress>,
}

impl LatestProgress {
    pub(super) fn replace(&self, progress: Progress) {
        self.reports().latest = Some(progress);
    }

    pub(super) fn get(&self) -> Option<Progress> {
        self.reports().latest.clone()
    }

    /// The latest progress, unless the store has an equal one.
    pub(super) fn unstored(&self) -> Option<Progress> {
        let reports = self.reports();
        reports.latest.clone().filter(|latest| reports.stored.as_ref() != Some(latest))
    }

    pub(super) fn stored(&self, progress: Progress) {
        self.reports().stored = Some(progress);
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
