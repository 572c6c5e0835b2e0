//! The outcomes of one queue's jobs, from when each is known until the store has confirmed it.
//!
//! Their number and size are a cap on claims beside the credits. So what is unsettled stays bounded if the store refuses settlements and still grants claims.

use std::collections::VecDeque;

use bytes::Bytes;
use foldhash::{HashMap, HashSet};
use retraced_jobs::store::{BATCH_MAX, Settlement};

use super::grant::GrantId;
use super::phase::{Held, Phase};
use crate::limits::{SETTLE_BYTES_MAX, UNSETTLED_BYTES_MAX, UNSETTLED_JOBS_MAX};

/// The outcomes that the store has not confirmed.
pub(super) struct Outcomes {
    concurrency: usize,
    /// Those that wait for a settlement call.
    waiting: VecDeque<GrantId>,
    /// How many there are, with those on their way to the store.
    unsettled: usize,
    /// Size of their records.
    bytes: usize,
    /// Jobs on their way back to the front of the queue, which keeps their order.
    returning: HashSet<GrantId>,
    /// No job could be claimed, because of what is unsettled or returning.
    claims_held_back: bool,
}

impl Outcomes {
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            waiting: VecDeque::new(),
            unsettled: 0,
            bytes: 0,
            returning: HashSet::default(),
            claims_held_back: false,
        }
    }

    /// The outcome of a job is known.
    pub(super) fn add(&mut self, grant: GrantId, held: &mut Held, settlement: Settlement) {
        self.unsettled += 1;
        self.bytes += settlement.record.len();
        // Nobody needs the payload any more.
        held.job.envelope = Bytes::new();
        held.phase = Phase::Finished(settlement);
        self.waiting.push_back(grant);
    }

    /// The outcomes that were added last are releases that must keep their order: the next call carries them together.
    pub(super) fn return_in_order(&mut self, released: &[GrantId]) {
        self.waiting.rotate_right(released.len().min(self.waiting.len()));
        self.returning.extend(released);
    }

    /// Whether jobs are on their way back to the front of the queue, which keeps their order.
    pub(super) fn any_returning(&self) -> bool {
        !self.returning.is_empty()
    }

    /// Whether an outcome waits for a settlement call.
    pub(super) fn any_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many jobs may be claimed, for what is unsettled. None while jobs are on their way back to the front of a queue that keeps its order: a claim could overtake
    /// them.
    pub(super) fn claimable(&mut self) -> usize {
        let claimable = if self.any_returning() { 0 } else { self.left() };
        self.claims_held_back = claimable == 0;
        claimable
    }

    /// Whether claims that were held back may go on. Returns it once.
    pub(super) fn claims_resume(&mut self) -> bool {
        self.claims_held_back && self.claimable() > 0
    }

    /// How many outcomes keep the queue from claiming, because the store has not confirmed them; 0 if they do not. Those that are on their way back do, however few.
    pub(super) fn held_back_by(&self) -> usize {
        if self.left() == 0 { self.unsettled } else { self.returning.len() }
    }

    fn left(&self) -> usize {
        if self.bytes >= UNSETTLED_BYTES_MAX {
            return 0;
        }
        (UNSETTLED_JOBS_MAX + self.concurrency).saturating_sub(self.unsettled)
    }

    /// Takes a batch of the outcomes that wait, bounded by number and bytes; nothing if fewer than `least` wait.
    pub(super) fn take(&mut self, held: &mut HashMap<GrantId, Held>, least: usize) -> (Vec<GrantId>, Vec<Settlement>) {
        if self.waiting.len() < least {
            return (Vec::new(), Vec::new());
        }
        let count = self.waiting.len().min(BATCH_MAX);
        let (mut grants, mut settlements) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut bytes = 0;
        while let Some(&grant) = self.waiting.front().filter(|_| grants.len() < BATCH_MAX) {
            if let Some(held) = held.get_mut(&grant)
                && let Phase::Finished(settlement) = &held.phase
            {
                let record = settlement.record.len();
                bytes += record;
                if bytes > SETTLE_BYTES_MAX && !grants.is_empty() {
                    break;
                }
                if let Phase::Finished(settlement) = std::mem::replace(&mut held.phase, Phase::Settling { record }) {
                    grants.push(grant);
                    settlements.push(settlement);
                }
            }
            self.waiting.pop_front();
        }
        (grants, settlements)
    }

    /// The store has confirmed these outcomes: the jobs leave the table.
    pub(super) fn confirmed(&mut self, held: &mut HashMap<GrantId, Held>, grants: &[GrantId]) {
        for grant in grants {
            if let Some(Held { phase: Phase::Settling { record }, .. }) = held.remove(grant) {
                self.unsettled = self.unsettled.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(record);
            }
            if self.any_returning() {
                self.returning.remove(grant);
            }
        }
    }

    /// The store did not confirm these outcomes: they wait for the next settlement call.
    pub(super) fn unconfirmed(
        &mut self,
        held: &mut HashMap<GrantId, Held>,
        grants: Vec<GrantId>,
        settlements: Vec<Settlement>,
    ) {
        let mut returning = Vec::new();
        for (grant, settlement) in grants.into_iter().zip(settlements) {
            if let Some(held) = held.get_mut(&grant)
                && matches!(held.phase, Phase::Settling { .. })
            {
                held.phase = Phase::Finished(settlement);
                match self.returning.contains(&grant) {
                    true => returning.push(grant),
                    // Behind the others, so that a batch that is refused again and again does not keep them waiting.
                    false => self.waiting.push_back(grant),
                }
            }
        }
        returning.into_iter().rev().for_each(|grant| self.waiting.push_front(grant));
    }
}
