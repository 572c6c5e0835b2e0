//! The jobs whose outcome clients wait for, and which of them completed and are not kept.

use std::collections::HashMap;

use crate::job::JobId;
use crate::limits::OUTCOME_WAITS_SWEPT_FROM;

/// The registered waits of one queue.
#[derive(Default)]
pub(super) struct Waits {
    /// The instant until which at least one client waits for an outcome.
    until_ms: u64,
    jobs: HashMap<JobId, Wait>,
    /// The number of waits at which those that are over are removed, but at least [`OUTCOME_WAITS_SWEPT_FROM`]. Each sweep sets it to twice the number of the waits
    /// that remained, so that sweeps become rare where many remain.
    sweep_at: usize,
}

struct Wait {
    until_ms: u64,
    /// Whether the job completed and is not kept.
    completed: bool,
}

impl Waits {
    /// Whether at least one client waits for an outcome.
    pub(super) fn any(&self, now: u64) -> bool {
        self.until_ms > now
    }

    /// Registers a wait for a job that has not ended, unless at least half of `wait_ms` is left of an earlier registration.
    pub(super) fn register(&mut self, id: &JobId, wait_ms: u64, now: u64) {
        let (half_way_ms, until_ms) = (now.saturating_add(wait_ms / 2), now.saturating_add(wait_ms));
        if self.until_ms < half_way_ms {
            self.until_ms = until_ms;
        }
        let is_registered = self.jobs.get(id).is_some_and(|wait| !wait.completed && wait.until_ms >= half_way_ms);
        if !is_registered {
            self.sweep(now);
            self.jobs.insert(id.clone(), Wait { until_ms, completed: false });
        }
    }

    /// Notes, if a client waits for this job, that it completed and is not kept.
    pub(super) fn complete(&mut self, id: &JobId) {
        if let Some(wait) = self.jobs.get_mut(id) {
            wait.completed = true;
        }
    }

    /// Whether this job completed without being kept, and the wait for it is not over.
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
    fn waits_that_are_over_are_removed_when_later_ones_are_registered() {
        let mut waits = Waits::default();
        let id = |n: u64| JobId::parse(&format!("job-{n}")).unwrap();
        for n in 0..10_000 {
            waits.register(&id(n), 1_000, n * 100);
        }
        assert!(waits.jobs.len() <= 2 * OUTCOME_WAITS_SWEPT_FROM, "{} waits", waits.jobs.len());
    }

    #[test]
    fn no_wait_outlives_its_end() {
        let mut waits = Waits::default();
        let id = JobId::parse("a").unwrap();
        waits.register(&id, 1_000, 0);
        assert!(!waits.has_completed(&id, 0), "nothing has completed");
        waits.complete(&id);
        assert!(waits.any(999) && waits.has_completed(&id, 999));
        assert!(!waits.any(1_000) && !waits.has_completed(&id, 1_000));
    }
}
