//! Which jobs clients wait for, and that some of them completed although they are not kept.

use std::collections::HashMap;

use crate::job::JobId;
use crate::limits::OUTCOME_WAITS_SWEPT_FROM;

/// The announced waits of one queue.
#[derive(Default)]
pub(super) struct Waits {
    /// Until when a client waits for the outcome of any job.
    until_ms: u64,
    jobs: HashMap<JobId, Wait>,
    /// With so many waits, those that are over are dropped: twice as many as remained the last time, so that each new wait costs little.
    sweep_at: usize,
}

struct Wait {
    until_ms: u64,
    completed: bool,
}

impl Waits {
    /// Whether the end of any job is awaited.
    pub(super) fn any(&self, now: u64) -> bool {
        self.until_ms > now
    }

    /// Announces a wait for a job that has not ended. One of which more than half is left stands as it is.
    pub(super) fn announce(&mut self, id: &JobId, wait_ms: u64, now: u64) {
        let (enough_ms, until_ms) = (now.saturating_add(wait_ms / 2), now.saturating_add(wait_ms));
        if self.until_ms < enough_ms {
            self.until_ms = until_ms;
        }
        let stands = self.jobs.get(id).is_some_and(|wait| !wait.completed && wait.until_ms >= enough_ms);
        if !stands {
            self.sweep(now);
            self.jobs.insert(id.clone(), Wait { until_ms, completed: false });
        }
    }

    /// A job completed and is not kept.
    pub(super) fn complete(&mut self, id: &JobId) {
        if let Some(wait) = self.jobs.get_mut(id) {
            wait.completed = true;
        }
    }

    /// Whether a job that is not kept completed while it was waited for.
    pub(super) fn has_completed(&self, id: &JobId, now: u64) -> bool {
        self.jobs.get(id).is_some_and(|wait| wait.completed && wait.until_ms > now)
    }

    fn sweep(&mut self, now: u64) {
        if self.jobs.len() >= self.sweep_at.max(OUTCOME_WAITS_SWEPT_FROM) {
            self.jobs.retain(|_, wait| wait.until_ms > now);
            self.sweep_at = 2 * self.jobs.len();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn waits_that_are_over_are_dropped_by_later_ones() {
        let mut waits = Waits::default();
        let id = |n: u64| JobId::parse(&format!("job-{n}")).unwrap();
        for n in 0..10_000 {
            waits.announce(&id(n), 1_000, n * 100);
        }
        assert!(waits.jobs.len() <= 2 * OUTCOME_WAITS_SWEPT_FROM, "{} waits", waits.jobs.len());
    }
}
