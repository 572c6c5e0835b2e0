//! The arguments and results of the store's verbs: a file for each of its traits, what several of them share, and what is left of a removed job.

mod admin;
mod call;
mod cursor;
mod leases;
mod ledger;
mod store;
mod tombstone;
mod transitions;

pub use admin::{
    CountCheck, JobPage, Moved, QueueDeletion, QueueStats, Seen, Target, TrimPolicy, Trimmed, TrimmedJobs,
    UnfinishedJobs,
};
pub use call::CallId;
pub use cursor::Cursor;
pub use leases::{Renewal, Renewed, Report};
pub use ledger::{LedgerPage, WorkerRow};
pub use store::{Hint, StoreFacts};
pub use tombstone::{Removal, Tombstone};
pub use transitions::{
    ClaimRequest, ClaimedJob, Claims, Enqueued, Promoted, QueueEmpty, Reclaim, Reclaimed, ReclaimedJob, Reconciled,
    Settled, Settlement, Verdict,
};
