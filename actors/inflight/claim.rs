//! A claim on its way to the store.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::job::Nonce;
use retraced_jobs::store::{ClaimRequest, Claims, HEADER_BYTES};
use tokio::time::Instant;

use super::shared::Inflight;

/// A claim, counted against the credits until it is answered or dropped. If it was sent and is dropped without an answer, its outcome is
/// unknown, and the jobs it may have been granted are [released](Inflight::take_lost_claims).
pub(crate) struct OpenClaim {
    inflight: Arc<Inflight>,
    sent: Option<Nonce>,
    /// The hints received before it was opened.
    hints: u64,
    limit: usize,
    bytes_max: usize,
}

/// What a claim brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimOutcome {
    pub(crate) jobs: usize,
    /// The queue had no more jobs.
    pub(crate) queue_empty: bool,
    /// The queue had no more jobs, but a hint arrived meanwhile.
    pub(crate) hinted: bool,
}

impl ClaimOutcome {
    /// Of a claim that brought nothing.
    pub(crate) const NOTHING: ClaimOutcome = ClaimOutcome { jobs: 0, queue_empty: true, hinted: false };
}

impl Inflight {
    /// Opens a claim for all credits there are.
    pub(crate) fn open_claim(self: &Arc<Self>) -> Option<OpenClaim> {
        let (limit, bytes_max, hints) = self.table().open_claim()?;
        Some(OpenClaim { inflight: self.clone(), sent: None, hints, limit, bytes_max })
    }
}

impl OpenClaim {
    /// The request to send, from now on of unknown outcome.
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
        // A hint that came meanwhile may have been too late for this claim, and its poll may have found all credits reserved.
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
