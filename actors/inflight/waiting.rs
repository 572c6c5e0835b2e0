//! The jobs of one queue that wait for an executor. Returned jobs (see [`quarantine`](super::quarantine)) are kept apart from the others;
//! if the queue keeps its order (its concurrency is 1), only crash suspects are.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::grant::GrantId;
use super::quarantine::{ClaimPosition, CrashRisk, Gate, ReturnedJobs};
use crate::limits::CLAIM_BYTES_MAX;

/// Granted jobs without an executor.
pub(super) struct Waiting {
    /// Jobs that start in the order of the queue: those that were never returned, and if the queue keeps its order all except crash suspects.
    queue: VecDeque<GrantId>,
    keeps_order: bool,
    returned: ReturnedJobs,
    /// Size of the envelopes of all these jobs.
    bytes: usize,
}

impl Waiting {
    /// If the queue keeps its order, jobs that were released and claimed again wait behind those that are still here.
    pub(super) fn new(keeps_order: bool) -> Self {
        Self { queue: VecDeque::new(), keeps_order, returned: ReturnedJobs::default(), bytes: 0 }
    }

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
        if risk == CrashRisk::None || (self.keeps_order && risk == CrashRisk::Returned) {
            self.queue.push_back(grant);
            return now;
        }
        self.returned.add(grant, risk, now, position)
    }

    /// Removes the next job that may start, returned jobs first. The caller frees its bytes with [`free`](Self::free).
    pub(super) fn take(&mut self, now: Instant, gate: Gate) -> Option<GrantId> {
        self.returned.take(now, gate).or_else(|| self.queue.pop_front())
    }

    /// The next job of those that start in the order of the queue.
    pub(super) fn front(&self) -> Option<&GrantId> {
        self.queue.front()
    }

    /// Removes the first jobs of those that start in the order of the queue, as long as `is_taken` holds. The caller frees their bytes.
    pub(super) fn take_while(&mut self, is_taken: impl Fn(&GrantId) -> bool) -> Vec<GrantId> {
        let taken = self.queue.iter().take_while(|grant| is_taken(grant)).count();
        self.queue.drain(..taken).collect()
    }

    /// Removes the last jobs of those that start in the order of the queue, up to `most`, and returns them in that order. The caller frees their bytes.
    pub(super) fn take_last(&mut self, most: usize) -> Vec<GrantId> {
        let left = self.queue.len().saturating_sub(most);
        self.queue.split_off(left).into()
    }

    /// Removes the jobs kept apart that have waited for [`UNSTARTED_MAX`](crate::limits::UNSTARTED_MAX) since the instant from which they may start.
    /// Returns each with whether the gate blocks it now. The caller frees their bytes.
    pub(super) fn take_unstarted_returned(&mut self, now: Instant, gate: Gate) -> Vec<(GrantId, bool)> {
        self.returned.take_unstarted(now, gate)
    }

    /// Removes all jobs: first those kept apart, then the others, both in the order of their grants.
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
