//! The jobs of one queue that wait for an executor. Returned jobs (see [`quarantine`](super::quarantine)) are kept apart from the others.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::grant::GrantId;
use super::quarantine::{ClaimPosition, CrashRisk, Gate, ReturnedJobs};
use crate::limits::CLAIM_BYTES_MAX;

/// Granted jobs without an executor.
#[derive(Default)]
pub(super) struct Waiting {
    /// Jobs that were never returned, in the order of the queue.
    queue: VecDeque<GrantId>,
    returned: ReturnedJobs,
    /// Size of the envelopes of all these jobs.
    bytes: usize,
}

impl Waiting {
    /// Adds a job whose envelope has this many bytes. Returns the instant from which it may start (see [`ReturnedJobs::add`]).
    pub(super) fn add(
        &mut self,
        grant: GrantId,
        risk: CrashRisk,
        bytes: usize,
        now: Instant,
        position: ClaimPosition,
    ) -> Instant {
        self.bytes += bytes;
        if risk == CrashRisk::None {
            self.queue.push_back(grant);
            return now;
        }
        self.returned.add(grant, risk, now, position)
    }

    /// Removes the next job that may start, returned jobs first. The caller frees its bytes with [`free`](Self::free).
    pub(super) fn take(&mut self, now: Instant, gate: Gate) -> Option<GrantId> {
        self.returned.take(now, gate).or_else(|| self.queue.pop_front())
    }

    /// The job that has waited longest of those that were never returned.
    pub(super) fn front(&self) -> Option<GrantId> {
        self.queue.front().copied()
    }

    pub(super) fn pop_front(&mut self) {
        self.queue.pop_front();
    }

    /// Removes the returned jobs that have waited for [`UNSTARTED_MAX`](crate::limits::UNSTARTED_MAX) since the instant from which they may start.
    /// Returns each with whether the gate blocks it now. The caller frees their bytes.
    pub(super) fn take_unstarted_returned(&mut self, now: Instant, gate: Gate) -> Vec<(GrantId, bool)> {
        self.returned.take_unstarted(now, gate)
    }

    /// Removes all jobs: first the returned ones, then the others, both in the order of their grants.
    pub(super) fn take_all(&mut self) -> Vec<GrantId> {
        self.bytes = 0;
        let mut all = self.returned.take_all();
        all.extend(std::mem::take(&mut self.queue));
        all
    }

    /// A job of this many bytes waits no longer.
    pub(super) fn free(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How many bytes of jobs may be claimed; `None` if [`CLAIM_BYTES_MAX`] bytes wait already.
    pub(super) fn bytes_left(&self) -> Option<usize> {
        CLAIM_BYTES_MAX.checked_sub(self.bytes).filter(|left| *left > 0)
    }

    /// How many jobs need an executor soon. Crash suspects may wait for their start time or the gate while other jobs could run, so they count only in excess of
    /// `concurrency`.
    pub(super) fn demand(&self, concurrency: usize) -> usize {
        let (others, suspects) = self.returned.waiting();
        self.queue.len() + others + suspects.saturating_sub(concurrency)
    }

    pub(super) fn any_ready(&self, now: Instant, gate: Gate) -> bool {
        !self.queue.is_empty() || self.returned.any_ready(now, gate)
    }

    pub(super) fn any_returned(&self) -> bool {
        !self.returned.is_empty()
    }
}
