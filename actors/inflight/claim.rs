//! A claim on its way to the store.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::job::Nonce;
use retraced_jobs::store::{ClaimRequest, Claims, HEADER_BYTES};
use tokio::time::Instant;

use super::shared::Inflight;

/// A claim. It uses credits until it is answered or dropped. If it is dropped after it was sent and before it was answered, its outcome is
/// unknown: the reclaimer releases the jobs it may have been granted (see [`Inflight::take_unresolved_claims`]).
pub(crate) struct OpenClaim {
    inflight: Arc<Inflight>,
    /// The nonce of the request, from the time it may be sent until it is answered.
    sent: Option<Nonce>,
    /// How many hints had been received when it was opened.
    hints: u64,
    /// How many jobs it asks for: its credits.
    limit: usize,
    bytes_max: usize,
}

/// The result of a claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimOutcome {
    pub(crate) jobs: usize,
    /// The queue had no more jobs.
    pub(crate) queue_empty: bool,
    /// The queue had no more jobs, but a hint arrived meanwhile.
    pub(crate) hinted: bool,
}

impl ClaimOutcome {
    /// The result of a claim that found no job.
    pub(crate) const NOTHING: ClaimOutcome = ClaimOutcome { jobs: 0, queue_empty: true, hinted: false };
}

impl Inflight {
    /// Opens a claim that uses all credits there are.
    pub(crate) fn open_claim(self: &Arc<Self>) -> Option<OpenClaim> {
        let (limit, bytes_max, hints) = self.table().open_claim()?;
        Some(OpenClaim { inflight: self.clone(), sent: None, hints, limit, bytes_max })
    }
}

impl OpenClaim {
    /// The request to send. From now on the outcome of the claim is unknown until it is answered.
    pub(crate) fn request(&mut self, lease: Duration, nonce: Nonce) -> ClaimRequest {
        self.sent = Some(nonce);
        ClaimRequest { limit: self.limit, bytes_max: self.bytes_max, lease, nonce }
    }

    /// The store has answered: the jobs enter the table, and an idle executor is woken.
    pub(crate) fn granted(mut self, claims: Claims, now: Instant, expires: Instant) -> ClaimOutcome {
        self.sent = None;
        let jobs = claims.jobs.len();
        let bytes: usize = claims.jobs.iter().map(|job| HEADER_BYTES + job.envelope.len()).sum();
        // A claim that left half of its bytes unused did not end for lack of bytes.
        let found_too_few = jobs == 0 || (jobs < self.limit && bytes < self.bytes_max / 2);
        let limit = std::mem::take(&mut self.limit);
        // The job behind a hint that came meanwhile may have been too late for this claim, and the poll for it may have found no free credits.
        let hints = self.inflight.grant(claims.jobs, limit, now, expires);
        let hinted = found_too_few && hints != self.hints;
        ClaimOutcome { jobs, queue_empty: found_too_few && !hinted, hinted }
    }
}

impl Drop for OpenClaim {
    fn drop(&mut self) {
        self.inflight.claim_over(self.limit, self.sent);
    }
}
