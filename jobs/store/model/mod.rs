//! The arguments and results of the store's verbs: a file for each of its traits, and what several of them share.

mod admin;
mod call;
mod cursor;
mod leases;
mod ledger;
mod store;
mod transitions;

pub use admin::{
    CountCheck, JobPage, LiveJobs, Moved, QueueDeletion, QueueStats, Seen, Target, TrimPolicy, Trimmed, TrimmedJobs,
};
pub use call::CallId;
pub use cursor::Cursor;
pub use leases::{Renewal, Renewed};
pub use ledger::{LedgerPage, WorkerRow};
pub use store::{Hint, StoreFacts};
pub use transitions::{
    ClaimRequest, ClaimedJob, Claims, Enqueued, Promoted, QueueEmpty, Reclaim, Reclaimed, ReclaimedJob, Reconciled,
    Settled, Settlement, Verdict,
};
