//! Watches one call that is sent again until it is answered, so that it is reported if it fails although others are answered.

use std::sync::{Mutex, MutexGuard, PoisonError};

use retraced_jobs::store::StoreError;
use tokio::time::Instant;

use super::Health;
use super::failing::Streak;

/// Watches a call, or what takes the place of one, such as a subscription. When the watch is dropped, the call no longer counts as failing.
pub(crate) struct CallWatch {
    health: Health,
    verb: &'static str,
    streak: Mutex<Streak>,
}

impl CallWatch {
    pub(super) fn new(health: Health, verb: &'static str) -> Self {
        Self { health, verb, streak: Mutex::default() }
    }

    /// One sending had this result.
    pub(super) fn observe<T>(&self, sent: Instant, result: &Result<T, StoreError>) {
        self.health.watch(&mut self.streak(), self.verb, sent, result);
    }

    /// What began at `began`, a sending or a subscription, has failed for this reason.
    pub(crate) fn failed(&self, began: Instant, reason: impl FnOnce() -> String) {
        self.health.call_failed(&mut self.streak(), self.verb, began, reason);
    }

    /// The call works: it no longer counts as failing.
    pub(crate) fn works(&self) {
        self.health.call_works(&mut self.streak(), self.verb);
    }

    fn streak(&self) -> MutexGuard<'_, Streak> {
        self.streak.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for CallWatch {
    fn drop(&mut self) {
        self.works();
    }
}
