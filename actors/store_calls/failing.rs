//! Calls that get no answer again and again although the store answers others: because a proxy cuts them, for example. That is no outage of the store, but nobody else
//! would report it, because such calls are sent again until they are answered.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{FAILING_CALL_REPORTED_AFTER, FAILING_SENDINGS_MIN, REFUSED_REPORT_INTERVAL};

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
    /// A call of this verb fails. Returns whether that is to be reported.
    pub(super) fn fails(&mut self, verb: &'static str, call: LongStreak) -> bool {
        let failing = self.0.entry(verb).or_default();
        failing.calls += usize::from(call.is_new);
        let due = failing.reported_since.is_none()
            && failing.reported_at.is_none_or(|at| at.elapsed() >= REFUSED_REPORT_INTERVAL);
        if due {
            (failing.reported_since, failing.reported_at) = (Some(call.since), Some(Instant::now()));
        }
        due
    }

    /// A call of this verb fails no longer. Returns how long calls of this verb failed if that was reported and this was the last of them.
    pub(super) fn recovers(&mut self, verb: &'static str) -> Option<Duration> {
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
    sendings: u32,
    is_long: bool,
}

/// A streak of [`FAILING_SENDINGS_MIN`] sendings or more that has lasted for [`FAILING_CALL_REPORTED_AFTER`].
pub(super) struct LongStreak {
    since: Instant,
    /// Whether the streak became long by the sending that failed last.
    is_new: bool,
}

impl Streak {
    /// A sending that began then had no answer. In an outage that is reported it does not count: then no call is answered, and this one fails for no reason of its own.
    pub(super) fn failed(&mut self, began: Instant, outage_reported: bool) -> Option<LongStreak> {
        if outage_reported {
            (self.since, self.sendings) = (None, 0);
            return None;
        }
        let since = *self.since.get_or_insert(began);
        self.sendings = self.sendings.saturating_add(1);
        (self.sendings >= FAILING_SENDINGS_MIN && since.elapsed() >= FAILING_CALL_REPORTED_AFTER)
            .then(|| LongStreak { since, is_new: !std::mem::replace(&mut self.is_long, true) })
    }

    /// The streak ends. Returns whether it was a long one.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(self).is_long
    }
}
