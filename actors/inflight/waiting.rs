//! The jobs of one queue that were granted and have not started: new ones in the order of the queue, and those that were returned before.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::grant::GrantId;
use super::quarantine::{CrashRisk, Gate, ReturnedJobs};
use crate::limits::CLAIM_BYTES_MAX;

/// Granted jobs without an executor.
#[derive(Default)]
pub(super) struct Waiting {
    queue: VecDeque<GrantId>,
    returned: ReturnedJobs,
    /// Size of the envelopes of all these jobs.
    bytes: usize,
}

impl Waiting {
    /// Adds the n-th job of a claim, of this many bytes; `offset`, random and the same for all jobs of
    /// the claim, and `n` spread the starts of crash suspects. Returns the instant from
    /// which the job may start.
    pub(super) fn add(
        &mut self,
        grant: GrantId,
        risk: CrashRisk,
        bytes: usize,
        now: Instant,
        (offset, n): (u16, u16),
    ) -> Instant {
        self.bytes += bytes;
        if risk == CrashRisk::None {
            self.queue.push_back(grant);
            return now;
        }
        self.returned.add(grant, risk, now, offset, n)
    }

    /// Removes the next job that may start. The caller frees its bytes with [`free`](Self::free).
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

    /// Removes the returned jobs that could have started for [`UNSTARTED_MAX`](crate::limits::UNSTARTED_MAX) and have not. Returns each with
    /// whether the gate, which says which returned jobs may start now, blocks it.
    pub(super) fn take_unstarted(&mut self, now: Instant, gate: Gate) -> Vec<(GrantId, bool)> {
        self.returned.take_unstarted(now, gate)
    }

    /// Removes all jobs: first those that were returned, then the others, each in the order of their grants.
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

    /// How many more bytes of jobs may be claimed; `None` if there is no capacity.
    pub(super) fn bytes_left(&self) -> Option<usize> {
        CLAIM_BYTES_MAX.checked_sub(self.bytes).filter(|left| *left > 0)
    }

    /// How many jobs need an executor now. Of the crash suspects only those in excess of `concurrency` count.
    pub(super) fn demand(&self, concurrency: usize) -> usize {
        let (ready, suspects) = self.returned.waiting();
        self.queue.len() + ready + suspects.saturating_sub(concurrency)
    }

    pub(super) fn any_ready(&self, now: Instant, gate: Gate) -> bool {
        !self.queue.is_empty() || self.returned.any_ready(now, gate)
    }

    pub(super) fn any_returned(&self) -> bool {
        !self.returned.is_empty()
    }
}
