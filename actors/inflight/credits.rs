//! The credits of a queue: how many jobs it may claim now. They follow from its free executors, its open claims and the speed of its handlers.

use std::time::Duration;

use retraced_jobs::job::{InstanceId, Nonce};
use retraced_jobs::store::BATCH_MAX;
use retraced_jobs::units::micros;

use crate::limits::{
    EXECUTOR_BURST_MAX, PREFETCH_HANDLER_MAX, PREFETCH_HORIZON, PREFETCH_JOBS_MAX, UNRESOLVED_CLAIMS_MAX,
};

/// The credits of one queue.
pub(super) struct Credits {
    concurrency: usize,
    /// Jobs requested by claims whose replies are not taken in yet.
    requested: usize,
    /// How many hints that the queue may have jobs were received so far.
    hints: u64,
    /// Claims that were sent and whose replies will never be read.
    unresolved_claims: Vec<UnresolvedClaim>,
    pace: Pace,
}

/// What a new claim may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClaimBudget {
    /// How many jobs; these are the credits it uses.
    pub(super) limit: usize,
    /// How many bytes of envelopes.
    pub(super) bytes_max: usize,
    /// How many hints had been received when the claim was opened.
    pub(super) hints: u64,
    /// Whether the store numbers the claim (see [`reply_order`](super::reply_order)).
    pub(super) numbered: bool,
}

/// A claim of unknown outcome: jobs may have been granted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnresolvedClaim {
    /// The process instance that sent it, which its grants name. The process may have taken another one since.
    pub(crate) instance: InstanceId,
    pub(crate) nonce: Nonce,
}

impl Credits {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { concurrency, requested: 0, hints: 0, unresolved_claims: Vec::new(), pace: Pace::default() }
    }

    /// Reserves the credits there are, at most [`BATCH_MAX`] and at most `most`. They are the free executors plus the prefetch, less the jobs that wait and those already
    /// requested. Returns how many it reserved; `None` if there are none.
    pub(super) fn reserve(&mut self, free_executors: usize, waiting: usize, most: usize) -> Option<usize> {
        let goal = free_executors + self.pace.prefetch(self.concurrency);
        let limit = goal.saturating_sub(waiting + self.requested).min(BATCH_MAX).min(most);
        if limit == 0 {
            return None;
        }
        self.requested += limit;
        Some(limit)
    }

    /// Frees the credits that a claim had reserved; it is over.
    pub(super) fn give_back(&mut self, limit: usize) {
        self.requested = self.requested.saturating_sub(limit);
    }

    /// Whether a claim is open, or a reply is held back.
    pub(super) fn claim_open(&self) -> bool {
        self.requested > 0
    }

    /// The queue may have jobs. A claim that was opened before this hint no longer proves that the queue is empty.
    pub(super) fn hint(&mut self) {
        self.hints += 1;
    }

    pub(super) fn hints(&self) -> u64 {
        self.hints
    }

    /// Remembers a claim of unknown outcome, so that its jobs can be released. Past [`UNRESOLVED_CLAIMS_MAX`] the claim is forgotten.
    pub(super) fn remember_unresolved(&mut self, claim: UnresolvedClaim) {
        if self.unresolved_claims.len() < UNRESOLVED_CLAIMS_MAX {
            self.unresolved_claims.push(claim);
        }
    }

    pub(super) fn unresolved(&self) -> &[UnresolvedClaim] {
        &self.unresolved_claims
    }

    /// Nothing is left to be done for these claims.
    pub(super) fn resolved(&mut self, claims: &[UnresolvedClaim]) {
        self.unresolved_claims.retain(|claim| !claims.contains(claim));
    }

    /// Whether handlers usually end within [`EXECUTOR_BURST_MAX`]. Unknown counts as no.
    pub(super) fn handlers_are_fast(&self) -> bool {
        self.pace.mean_us.is_some_and(|mean| mean <= micros(EXECUTOR_BURST_MAX))
    }

    /// A handler ran this long.
    pub(super) fn observe_run(&mut self, ran: Duration) {
        self.pace.observe(ran);
    }

    /// A job has waited this long for an executor, or an executor pauses for this long.
    pub(super) fn observe_wait(&mut self, waited: Duration) {
        self.pace.observe_wait(waited);
    }
}

/// The measured run time of handlers: an exponentially weighted mean that rises faster than it falls.
#[derive(Default)]
struct Pace {
    mean_us: Option<u64>,
}

impl Pace {
    /// Adapts quickly to slow handlers and slowly to fast ones. With slow handlers a prefetched job waits here although another worker could run it.
    fn observe(&mut self, ran: Duration) {
        let us = micros(ran);
        self.mean_us = Some(match self.mean_us {
            None => us,
            Some(mean) if us > mean => mean + (us - mean) / 2,
            Some(mean) => mean - (mean - us) / 16,
        });
    }

    /// A job has waited this long for an executor, or an executor pauses for this long: less is to be prefetched. The time counts as a run time. If it is longer than
    /// [`PREFETCH_HANDLER_MAX`], that stops the prefetch until handlers are measured as fast again.
    fn observe_wait(&mut self, waited: Duration) {
        let us = micros(waited);
        self.mean_us = Some(self.mean_us.map_or(us, |mean| mean.max(us)));
    }

    fn prefetch(&self, concurrency: usize) -> usize {
        let most = 2 * concurrency + PREFETCH_JOBS_MAX;
        match self.mean_us {
            None => 0,
            Some(mean) if u128::from(mean) > PREFETCH_HANDLER_MAX.as_micros() => 0,
            Some(mean) => {
                let ahead = PREFETCH_HORIZON.as_micros() * concurrency as u128 / u128::from(mean.max(1));
                usize::try_from(ahead).unwrap_or(most).clamp(1, most)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nothing_is_prefetched_before_a_handler_was_measured() {
        let mut credits = Credits::new(4);
        assert_eq!(credits.reserve(4, 0, BATCH_MAX).unwrap(), 4);
        assert_eq!(credits.reserve(4, 0, BATCH_MAX), None, "all credits are in use");
        credits.give_back(4);
        assert_eq!(credits.reserve(4, 1, BATCH_MAX).unwrap(), 3, "a waiting job takes an executor");
    }

    #[test]
    fn jobs_are_prefetched_for_fast_handlers_and_not_for_slow_ones() {
        let mut credits = Credits::new(4);
        credits.observe_run(Duration::from_millis(1));
        assert_eq!(credits.reserve(0, 0, BATCH_MAX).unwrap(), 100, "25 ms of four executors at 1 ms per job");
        credits.give_back(100);
        credits.observe_wait(Duration::from_secs(1));
        assert_eq!(credits.reserve(0, 0, BATCH_MAX), None);
    }

    #[test]
    fn the_pace_adapts_faster_to_slow_handlers_than_to_fast_ones() {
        let mut pace = Pace::default();
        pace.observe(Duration::from_micros(100));
        pace.observe(Duration::from_micros(1_700));
        assert_eq!(pace.mean_us, Some(900));
        pace.observe(Duration::from_micros(100));
        assert_eq!(pace.mean_us, Some(850));
    }

    #[test]
    fn one_claim_asks_for_no_more_than_a_batch() {
        let mut credits = Credits::new(5_000);
        assert_eq!(credits.reserve(5_000, 0, BATCH_MAX).unwrap(), BATCH_MAX);
        assert_eq!(credits.reserve(5_000, 0, BATCH_MAX).unwrap(), BATCH_MAX, "a second claim asks for the next batch");
    }

    #[test]
    fn unresolved_claims_are_remembered_up_to_their_bound_until_they_are_resolved() {
        let mut credits = Credits::new(1);
        for n in 0..UNRESOLVED_CLAIMS_MAX + 5 {
            let nonce = u64::try_from(n).unwrap().to_be_bytes();
            credits.remember_unresolved(UnresolvedClaim { instance: InstanceId::from(Uuid::nil()), nonce });
        }
        let (first, others) = credits.unresolved().split_at(2);
        let (first, others) = (first.to_vec(), others.to_vec());
        assert_eq!(others.len(), UNRESOLVED_CLAIMS_MAX - 2);
        credits.resolved(&first);
        assert_eq!(credits.unresolved(), others);
    }
}
