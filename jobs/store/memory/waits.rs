//! The jobs that clients wait for, and which of them completed and are not kept.

use std::collections::HashMap;

use crate::job::JobId;
use crate::limits::OUTCOME_WAITS_SWEPT_FROM;

/// The announced waits of one queue.
#[derive(Default)]
pub(super) struct Waits {
    /// The instant until which a client waits for the outcome of any job.
    until_ms: u64,
    jobs: HashMap<JobId, Wait>,
    /// The number of waits at which those that are over are dropped. It is set to twice the number that remained, so that each new wait costs little.
    sweep_at: usize,
}

struct Wait {
    until_ms: u64,
    completed: bool,
}

impl Waits {
    /// Whether a client waits for the outcome of any job.
    pub(super) fn any(&self, now: u64) -> bool {
        self.until_ms > now
    }

    /// Announces a wait for a job that has not ended. An earlier announcement is left as it is if at least half of `wait_ms` is left of it.
    pub(super) fn announce(&mut self, id: &JobId, wait_ms: u64, now: u64) {
        let (half_way_ms, until_ms) = (now.saturating_add(wait_ms / 2), now.saturating_add(wait_ms));
        if self.until_ms < half_way_ms {
            self.until_ms = until_ms;
        }
        let is_announced = self.jobs.get(id).is_some_and(|wait| !wait.completed && wait.until_ms >= half_way_ms);
        if !is_announced {
            self.sweep(now);
            self.jobs.insert(id.clone(), Wait { until_ms, completed: false });
        }
    }

    /// Notes that a job completed and is not kept.
    pub(super) fn complete(&mut self, id: &JobId) {
        if let Some(wait) = self.jobs.get_mut(id) {
            wait.completed = true;
        }
    }

    /// Whether a job that is not kept completed while a client waits for it.
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
