//! The jobs of one queue that were granted and have not started: in the order of the queue, or in quarantine.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::grant::Grant;
use super::quarantine::{CrashRisk, Gate, Quarantine};
use crate::limits::CLAIM_BYTES_MAX;

/// Granted jobs without an executor.
#[derive(Default)]
pub(super) struct Waiting {
    queue: VecDeque<Grant>,
    quarantine: Quarantine,
    /// Envelopes of all of them.
    bytes: usize,
}

impl Waiting {
    /// Adds the n-th job of a claim, of this many bytes. Returns the instant from which it may start.
    pub(super) fn add(
        &mut self,
        grant: Grant,
        risk: CrashRisk,
        bytes: usize,
        now: Instant,
        place: (u16, u16),
    ) -> Instant {
        self.bytes += bytes;
        if risk == CrashRisk::None {
            self.queue.push_back(grant);
            return now;
        }
        let (offset, n) = place;
        self.quarantine.add(grant, risk, now, offset, n)
    }

    /// Removes the next job that may start; its bytes are freed with [`free`](Self::free).
    pub(super) fn take(&mut self, now: Instant, gate: Gate) -> Option<Grant> {
        self.quarantine.take(now, gate).or_else(|| self.queue.pop_front())
    }

    /// The job that waits longest of those that are not in quarantine.
    pub(super) fn front(&self) -> Option<Grant> {
        self.queue.front().copied()
    }

    pub(super) fn pop_front(&mut self) {
        self.queue.pop_front();
    }

    /// Removes quarantined jobs that could have started a while ago, each with whether the gate blocks it.
    pub(super) fn take_unstarted(&mut self, now: Instant, gate: Gate) -> Vec<(Grant, bool)> {
        self.quarantine.take_unstarted(now, gate)
    }

    /// Removes all jobs: those in quarantine first, each kind in the order of its grants.
    pub(super) fn take_all(&mut self) -> Vec<Grant> {
        self.bytes = 0;
        let mut all = self.quarantine.take_all();
        all.extend(std::mem::take(&mut self.queue));
        all
    }

    /// A job of this many bytes waits no more.
    pub(super) fn free(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// How many bytes more may wait; `None` when there is no capacity.
    pub(super) fn bytes_left(&self) -> Option<usize> {
        CLAIM_BYTES_MAX.checked_sub(self.bytes).filter(|left| *left > 0)
    }

    /// How many jobs need an executor now. Suspects that wait for their start time keep no executor from other work, as long as they are
    /// no more than `concurrency`.
    pub(super) fn demand(&self, concurrency: usize) -> usize {
        let (returned, suspects) = self.quarantine.waiting();
        self.queue.len() + returned + suspects.saturating_sub(concurrency)
    }

    pub(super) fn any_ready(&self, now: Instant, gate: Gate) -> bool {
        !self.queue.is_empty() || self.quarantine.any_ready(now, gate)
    }

    pub(super) fn any_quarantined(&self) -> bool {
        !self.quarantine.is_empty()
    }
}
