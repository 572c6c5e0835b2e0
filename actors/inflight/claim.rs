//! A claim on its way to the store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use retraced_jobs::job::{InstanceId, Nonce};
use retraced_jobs::store::{ClaimRequest, Claims, StoreError};
use tokio::time::Instant;

use super::credits::{ClaimBudget, UnresolvedClaim};
use super::shared::Inflight;

/// A claim. It uses credits until it is answered or dropped. If it is dropped after it was [sent](Self::sent_by) and before it was answered, its outcome
/// is unknown: the reclaimer releases the jobs it may have been granted (see [`Inflight::unresolved_claims`]).
pub(crate) struct OpenClaim {
    inflight: Arc<Inflight>,
    /// The nonce of the request, from when the request is made until the store has answered.
    nonce: Option<Nonce>,
    /// The process instance that the claim was last sent by.
    sent_by: Mutex<Option<InstanceId>>,
    budget: ClaimBudget,
    answered: bool,
}

/// The result of a claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimResult {
    pub(crate) jobs: usize,
    /// The next claim can wait for a hint or a poll: the queue had no more jobs, or the claim failed.
    pub(crate) queue_empty: bool,
    /// The fetcher must poll at once: the store cut the claim short ([`Claims::more`]), or the queue had no more jobs but a hint arrived while the claim was under way.
    pub(crate) poll_again: bool,
}

impl ClaimResult {
    /// The result of a claim that was refused, or given up when the tree ended.
    pub(crate) const NOTHING: ClaimResult = ClaimResult { jobs: 0, queue_empty: true, poll_again: false };
}

impl Inflight {
    /// Opens a claim that uses all credits there are; `None` if there are none or nothing may be claimed now.
    pub(crate) fn open_claim(self: &Arc<Self>, now: Instant) -> Option<OpenClaim> {
        let budget = self.table().open_claim(now)?;
        Some(OpenClaim { inflight: self.clone(), nonce: None, sent_by: Mutex::default(), budget, answered: false })
    }
}

impl OpenClaim {
    /// Makes the request to send.
    pub(crate) fn request(&mut self, lease: Duration, nonce: Nonce) -> ClaimRequest {
        self.nonce = Some(nonce);
        let ClaimBudget { limit, bytes_max, numbered, .. } = self.budget;
        ClaimRequest { limit, bytes_max, lease, nonce, numbered }
    }

    /// The request is sent by this process instance. From now on the outcome of the claim is unknown until it is answered. If another instance sent it before, all those
    /// sendings were refused (see `StoreCalls::under`), so it can only be granted to this one.
    pub(crate) fn sent_by(&self, instance: InstanceId) {
        *self.sent_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(instance);
    }

    /// The store has answered: the jobs enter the table, and idle executors are woken if one of them may start.
    pub(crate) fn granted(mut self, claims: Claims, now: Instant, expires: Instant) -> ClaimResult {
        self.answered = true;
        let jobs = claims.jobs.len();
        let too_few = found_too_few(&claims, self.budget.limit);
        let more = claims.more;
        // A hint that came meanwhile may be about a job that came too late for this claim, and the poll for that hint may have found no free credits.
        let hints = self.inflight.answered(claims, self.budget.limit, now, expires);
        let hinted = too_few && hints != self.budget.hints;
        ClaimResult { jobs, queue_empty: too_few && !hinted, poll_again: more || hinted }
    }

    /// The claim has ended with this error. Returns whether the queue was hinted at while it was under way: the poll for that hint may have found no free credits.
    #[must_use]
    pub(crate) fn failed(mut self, error: &StoreError) -> bool {
        if error.is_call_id_conflict() {
            // If it was granted at all, then to the other process too, which runs the jobs: both went on from one memory while the claim was under way.
            self.nonce = None;
        }
        let (inflight, before) = (self.inflight.clone(), self.budget.hints);
        drop(self);
        // Read after the credits are free, so that no hint is missed.
        inflight.hints() != before
    }
}

impl Drop for OpenClaim {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let sent_by = *self.sent_by.get_mut().unwrap_or_else(PoisonError::into_inner);
        let unresolved = self.nonce.zip(sent_by).map(|(nonce, instance)| UnresolvedClaim { instance, nonce });
        self.inflight.claim_over(self.budget.limit, unresolved);
    }
}

/// Whether the claim got fewer jobs than its limit because the queue had no more: not so if the store cut it short, or if the next job did not fit.
fn found_too_few(claims: &Claims, limit: usize) -> bool {
    claims.jobs.len() < limit && !claims.more && !claims.full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_queue_is_taken_for_empty_if_its_claim_was_cut_short_or_full() {
        for (more, full, too_few) in
            [(false, false, true), (true, false, false), (false, true, false), (true, true, false)]
        {
            let mut claims = Claims::default();
            (claims.more, claims.full) = (more, full);
            assert_eq!(found_too_few(&claims, 1), too_few, "more: {more}, full: {full}");
            assert!(!found_too_few(&claims, 0), "as many as were asked for");
        }
    }
}
