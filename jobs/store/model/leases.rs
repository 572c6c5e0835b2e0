//! The arguments and results of [`Leases`](crate::store::Leases).

use crate::job::Lease;
use crate::trace::Progress;

/// What the handler of a running attempt reported, and the lease of this attempt.
/// Exhaustive: a store must keep every field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The lease.
    pub lease: Lease,
    /// How far the handler has come.
    pub progress: Progress,
}

/// The results of renewals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Renewed {
    /// The store's clock, in ms since the Unix epoch.
    pub now_ms: u64,
    /// One result per lease of the call, in order.
    pub results: Vec<Renewal>,
}

/// The result of one renewal.
/// Exhaustive, so that a worker cannot overlook one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was extended.
    Kept {
        /// Whether the job's cancellation was requested.
        cancel_asked: bool,
    },
    /// The job has no lease with this token (any more).
    Stale,
}
