//! A claim on its way to the store.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::job::Nonce;
use retraced_jobs::store::{ClaimRequest, Claims, HEADER_BYTES};
use tokio::time::Instant;

use super::credits::ClaimBudget;
use super::shared::Inflight;

/// A claim. It uses credits until it is answered or dropped. If it is dropped after [`request`](Self::request) and before it was answered, its outcome
/// is unknown: the reclaimer releases the jobs it may have been granted (see [`Inflight::take_unresolved_claims`]).
pub(crate) struct OpenClaim {
    inflight: Arc<Inflight>,
    /// The nonce of the request, from when the request is made until the store has answered.
    sent: Option<Nonce>,
    budget: ClaimBudget,
}

/// The result of a claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimOutcome {
    pub(crate) jobs: usize,
    /// The next claim can wait for a hint or a poll: the queue had no more jobs, or the claim failed.
    pub(crate) queue_empty: bool,
    /// The fetcher must poll at once: the store cut the claim short ([`Claims::more`]), or the queue had no more jobs but a hint arrived while the claim was under way.
    pub(crate) poll_again: bool,
}

impl ClaimOutcome {
    /// The result of a claim that was refused, or given up when the tree ended.
    pub(crate) const NOTHING: ClaimOutcome = ClaimOutcome { jobs: 0, queue_empty: true, poll_again: false };
}

impl Inflight {
    /// Opens a claim that uses all credits there are; `None` if there are none or nothing may be claimed now.
    pub(crate) fn open_claim(self: &Arc<Self>) -> Option<OpenClaim> {
        let budget = self.table().open_claim()?;
        Some(OpenClaim { inflight: self.clone(), sent: None, budget })
    }
}

impl OpenClaim {
    /// Makes the request to send. From now on the outcome of the claim is unknown until it is answered.
    pub(crate) fn request(&mut self, lease: Duration, nonce: Nonce) -> ClaimRequest {
        self.sent = Some(nonce);
        let ClaimBudget { limit, bytes_max, .. } = self.budget;
        ClaimRequest { limit, bytes_max, lease, nonce }
    }

    /// The store has answered: the jobs enter the table, and idle executors are woken if one of them may start.
    pub(crate) fn granted(mut self, claims: Claims, now: Instant, expires: Instant) -> ClaimOutcome {
        self.sent = None;
        let jobs = claims.jobs.len();
        let bytes: usize = claims.jobs.iter().map(|job| HEADER_BYTES + job.envelope.len()).sum();
        // With half of its bytes unused, a claim that found too few jobs probably emptied the queue. If not, because the next job was too large
        // for the rest, a poll finds that job.
        let found_too_few =
            !claims.more && (jobs == 0 || (jobs < self.budget.limit && bytes < self.budget.bytes_max / 2));
        let more = claims.more;
        let limit = std::mem::take(&mut self.budget.limit);
        // A hint that came meanwhile may be about a job that came too late for this claim, and the poll for that hint may have found no free credits.
        let hints = self.inflight.grant(claims.jobs, limit, now, expires);
        let hinted = found_too_few && hints != self.budget.hints;
        ClaimOutcome { jobs, queue_empty: found_too_few && !hinted, poll_again: more || hinted }
    }

    /// The store has refused the claim. Returns whether the queue was hinted at while it was under way: the poll for that hint may have found no free credits.
    pub(crate) fn refused(self) -> bool {
        let (inflight, before) = (self.inflight.clone(), self.budget.hints);
        drop(self);
        // Read after the credits are free, so that no hint is missed.
        inflight.hints() != before
    }
}

impl Drop for OpenClaim {
    fn drop(&mut self) {
        self.inflight.claim_over(self.budget.limit, self.sent);
    }
}
