//! The outcomes of one queue's jobs, from when each is known until the store has confirmed it.
//!
//! Their number and size limit the claims, in addition to the credits. So what is unsettled stays bounded if the store refuses settlements and still grants claims.

use std::collections::{BTreeSet, VecDeque};

use foldhash::{HashMap, HashSet};
use retraced_jobs::store::{BATCH_MAX, Settlement, Verdict};

use super::grant::GrantId;
use super::phase::{Held, Phase};
use crate::limits::{SETTLE_BYTES_MAX, SETTLED_PAYLOADS_MAX, UNSETTLED_BYTES_MAX, UNSETTLED_JOBS_MAX};

/// The outcomes that the store has not confirmed.
pub(super) struct Outcomes {
    concurrency: usize,
    keeps_order: bool,
    /// Those that wait for a settlement call, except [`returning`](Self::returning).
    waiting: VecDeque<GrantId>,
    /// How many outcomes are not confirmed, including those on their way to the store.
    unsettled: usize,
    /// Size of their records, in bytes.
    bytes: usize,
    /// Jobs that wait for a call that returns them to the front of a queue that keeps its order. Grants are numbered in the order of the queue.
    returning: BTreeSet<GrantId>,
    /// Jobs that the call under way returns to the front; there is one such call at a time.
    returning_now: HashSet<GrantId>,
}

impl Outcomes {
    /// If the queue keeps its order (its concurrency is 1), jobs that are released to its front go back in that order, however many they are and whenever they are added.
    pub(super) fn new(concurrency: usize, keeps_order: bool) -> Self {
        Self {
            concurrency,
            keeps_order,
            waiting: VecDeque::new(),
            unsettled: 0,
            bytes: 0,
            returning: BTreeSet::new(),
            returning_now: HashSet::default(),
        }
    }

    /// The outcome of a job is known. Returns whether the job goes back to the front of a queue that keeps its order: then the jobs that wait for an executor must follow it,
    /// because none of them may start before it.
    pub(super) fn add(&mut self, grant: GrantId, held: &mut Held, settlement: Settlement) -> bool {
        self.unsettled += 1;
        self.bytes += settlement.record.len();
        // Nobody needs the payload any more.
        let payload = std::mem::take(&mut held.job.envelope).len();
        let returns = self.keeps_order && settlement.verdict == Verdict::ReleaseNow;
        held.phase = Phase::Finished { settlement, payload };
        if returns {
            self.returning.insert(grant);
        } else {
            self.waiting.push_back(grant);
        }
        returns
    }

    /// Whether jobs are on their way back to the front of a queue that keeps its order.
    pub(super) fn any_returning(&self) -> bool {
        !self.returning.is_empty() || !self.returning_now.is_empty()
    }

    /// Whether an outcome can be sent. `claim_open`: a claim is open.
    pub(super) fn any_to_settle(&self, claim_open: bool) -> bool {
        !self.waiting.is_empty() || self.returnable(claim_open) > 0
    }

    /// How many jobs may go back to the front of a queue that keeps its order. None while others are on their way back, and while a claim is open: the jobs that it brings
    /// belong behind these, so they must go back before them.
    fn returnable(&self, claim_open: bool) -> usize {
        if claim_open || !self.returning_now.is_empty() { 0 } else { self.returning.len() }
    }

    /// How many jobs may be claimed before too many outcomes are unsettled. None while jobs are on their way back to the front of a queue that keeps its order: a claim could
    /// overtake them.
    pub(super) fn claimable(&self) -> usize {
        if self.any_returning() { 0 } else { self.left() }
    }

    /// How many outcomes keep the queue from claiming, because the store has not confirmed them; 0 if they do not. Those on their way back to the front do, however few.
    pub(super) fn held_back_by(&self) -> usize {
        if self.left() == 0 { self.unsettled } else { self.returning.len() + self.returning_now.len() }
    }

    fn left(&self) -> usize {
        if self.bytes >= UNSETTLED_BYTES_MAX {
            return 0;
        }
        (UNSETTLED_JOBS_MAX + self.concurrency).saturating_sub(self.unsettled)
    }

    /// Takes a batch of the outcomes that can be sent, bounded by number and bytes; nothing if fewer than `least` can. Of the jobs on their way back to the front it
    /// takes the last ones: those before them follow in later calls, and so end up in front of them.
    pub(super) fn take(
        &mut self,
        held: &mut HashMap<GrantId, Held>,
        least: usize,
        claim_open: bool,
    ) -> (Vec<GrantId>, Vec<Settlement>) {
        let returnable = self.returnable(claim_open);
        let ready = self.waiting.len() + returnable;
        if ready < least {
            return (Vec::new(), Vec::new());
        }
        let mut batch = Batch::with_capacity(ready.min(BATCH_MAX));
        if returnable > 0 {
            while let Some(last) = self.returning.last().copied().filter(|last| batch.add(held, *last)) {
                self.returning.remove(&last);
            }
            batch.grants.reverse();
            batch.settlements.reverse();
            self.returning_now.extend(&batch.grants);
        }
        while self.waiting.front().is_some_and(|next| batch.add(held, *next)) {
            self.waiting.pop_front();
        }
        (batch.grants, batch.settlements)
    }

    /// The store has confirmed these outcomes: the jobs leave the table.
    pub(super) fn confirmed(&mut self, held: &mut HashMap<GrantId, Held>, grants: &[GrantId]) {
        for grant in grants {
            if let Some(Held { phase: Phase::Settling { record, .. }, .. }) = held.remove(grant) {
                self.unsettled = self.unsettled.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(record);
            }
            if !self.returning_now.is_empty() {
                self.returning_now.remove(grant);
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
        for (grant, settlement) in grants.into_iter().zip(settlements) {
            let returned = self.returning_now.remove(&grant);
            if let Some(held) = held.get_mut(&grant)
                && let Phase::Settling { payload, .. } = held.phase
            {
                held.phase = Phase::Finished { settlement, payload };
                if returned {
                    self.returning.insert(grant);
                } else {
                    // Behind the others, so that a batch that is refused again and again does not keep them waiting.
                    self.waiting.push_back(grant);
                }
            }
        }
    }
}

/// The outcomes of one settlement call.
struct Batch {
    grants: Vec<GrantId>,
    settlements: Vec<Settlement>,
    /// Size of their records.
    records: usize,
    /// Size of the payloads that the store may delete.
    payloads: usize,
}

impl Batch {
    fn with_capacity(outcomes: usize) -> Self {
        let (grants, settlements) = (Vec::with_capacity(outcomes), Vec::with_capacity(outcomes));
        Self { grants, settlements, records: 0, payloads: 0 }
    }

    /// Adds the outcome of this job, if it has one that is not sent yet. Returns `false` if the batch has no room for it.
    fn add(&mut self, held: &mut HashMap<GrantId, Held>, grant: GrantId) -> bool {
        if self.grants.len() == BATCH_MAX {
            return false;
        }
        let Some(held) = held.get_mut(&grant) else { return true };
        let Phase::Finished { settlement, payload } = &held.phase else { return true };
        let (record, payload) = (settlement.record.len(), *payload);
        let has_room = self.records + record <= SETTLE_BYTES_MAX && self.payloads + payload <= SETTLED_PAYLOADS_MAX;
        if !has_room && !self.grants.is_empty() {
            return false;
        }
        let settling = Phase::Settling { record, payload };
        if let Phase::Finished { settlement, .. } = std::mem::replace(&mut held.phase, settling) {
            self.records += record;
            self.payloads += payload;
            self.grants.push(grant);
            self.settlements.push(settlement);
        }
        true
    }
}
