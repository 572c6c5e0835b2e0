//! Calls that get no answer again and again although the store answers others: because a proxy cuts them, for example. That is no outage of the store, but nobody else
//! would report it, because they are sent again until they are answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use retraced_jobs::store::StoreError;
use tokio::time::Instant;

use super::Health;
use crate::limits::{FAILING_CALL_REPORTED_AFTER, REFUSED_REPORT_INTERVAL};

/// The verbs whose calls fail, and what was reported about them. Each is reported once until its calls are answered again, and not more often than once per
/// [`REFUSED_REPORT_INTERVAL`].
#[derive(Default)]
pub(super) struct FailingVerbs(HashMap<&'static str, FailingVerb>);

#[derive(Default)]
struct FailingVerb {
    /// How many failing calls there are.
    calls: usize,
    /// Since when they fail, if that is reported.
    reported_since: Option<Instant>,
    reported_at: Option<Instant>,
}

impl FailingVerbs {
    /// One more call of this verb fails.
    fn begins(&mut self, verb: &'static str) {
        self.0.entry(verb).or_default().calls += 1;
    }

    /// A call of this verb has failed since then. Returns whether that is to be reported.
    fn is_due(&mut self, verb: &'static str, since: Instant) -> bool {
        let failing = self.0.entry(verb).or_default();
        let due = failing.reported_since.is_none()
            && failing.reported_at.is_none_or(|at| at.elapsed() >= REFUSED_REPORT_INTERVAL);
        if due {
            (failing.reported_since, failing.reported_at) = (Some(since), Some(Instant::now()));
        }
        due
    }

    /// A call of this verb fails no longer. Returns how long calls of this verb failed if that was reported and this was the last of them.
    fn ends(&mut self, verb: &'static str) -> Option<Duration> {
        let failing = self.0.get_mut(verb)?;
        failing.calls = failing.calls.saturating_sub(1);
        if failing.calls > 0 {
            return None;
        }
        failing.reported_since.take().map(|since| since.elapsed())
    }
}

/// The sendings in a row that had no answer: of one call, or of the calls of one verb.
#[derive(Default)]
pub(super) struct Streak {
    since: Option<Instant>,
    /// It has lasted for [`FAILING_CALL_REPORTED_AFTER`].
    counted: bool,
}

impl Streak {
    pub(super) fn observe<T>(
        &mut self,
        health: &Health,
        verb: &'static str,
        sent: Instant,
        result: &Result<T, StoreError>,
    ) {
        match result {
            Err(error @ StoreError::Unavailable { .. }) => self.failed(health, verb, sent, || error.to_string()),
            _ => self.ends(health, verb),
        }
    }

    fn failed(&mut self, health: &Health, verb: &'static str, sent: Instant, reason: impl FnOnce() -> String) {
        if health.outage_is_reported() {
            // Then no call is answered, and this one fails for no reason of its own.
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(sent);
        if since.elapsed() < FAILING_CALL_REPORTED_AFTER {
            return;
        }
        let mut verbs = health.failing_verbs();
        if !std::mem::replace(&mut self.counted, true) {
            verbs.begins(verb);
        }
        if verbs.is_due(verb, since) {
            health.report_failing(verb, reason());
        }
    }

    fn ends(&mut self, health: &Health, verb: &'static str) {
        self.since = None;
        if std::mem::take(&mut self.counted) {
            let mut verbs = health.failing_verbs();
            if let Some(failed) = verbs.ends(verb) {
                health.report_recovered(verb, failed);
            }
        }
    }
}

/// Watches a call that is sent again until it is answered, or what takes the place of one. When it is dropped, the call fails no longer.
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
        self.streak().observe(&self.health, self.verb, sent, result);
    }

    /// It failed, for this reason.
    pub(crate) fn failed(&self, began: Instant, reason: impl FnOnce() -> String) {
        self.streak().failed(&self.health, self.verb, began, reason);
    }

    /// It works.
    pub(crate) fn works(&self) {
        self.streak().ends(&self.health, self.verb);
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
