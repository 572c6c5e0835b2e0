//! The results of [`Store`](crate::store::Store)'s own verbs.

use crate::job::{JobId, JobState, QueueName};
use crate::store::{BlockedStore, StoreError};

/// A reason to ask the store now instead of at the next scheduled time. A hint is no fact: it may be late, repeated, lost, or, in a store that others can write to, forged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Something may be claimed.
    Pending(QueueName),
    /// A job was added to the delayed ones and is due before all others.
    Due(QueueName),
    /// The cancellation of a processing job may have been requested; the next [renewal](crate::store::Leases::renew) of its lease says whether it was.
    Cancel(QueueName, JobId),
    /// A job has ended or was discarded. Sent for every such job of a queue while any client [waits for an outcome](crate::store::Admin::watch_outcome) there, and
    /// otherwise not.
    Ended {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        id: JobId,
        /// The final state of the job: `Completed` also if it is not kept. `None` when an operator discarded it.
        state: Option<JobState>,
    },
}

/// What a store reports about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreFacts {
    /// Its name, and its version if it has one: `redis 7.0.15`, `valkey 8.0.1` or `memory`.
    pub name: String,
    /// Warnings to the operator, for example that the server persists nothing; a runtime logs them when it starts.
    pub warnings: Vec<String>,
    /// Why this store must not be used, such as an eviction policy that loses jobs; a runtime does not start on it. `None` if it may be used.
    pub unusable: Option<String>,
    /// Set if the store answers, but now takes no new jobs or no writes at all, or a right is missing that a worker needs.
    pub blocked: Option<BlockedStore>,
    /// The store's clock, in ms since the Unix epoch: what the age of a heartbeat is measured by. `None` if the store does not say.
    pub now_ms: Option<u64>,
}

impl StoreFacts {
    /// These facts, if the store may be used.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the reason.
    pub fn usable(self) -> Result<Self, StoreError> {
        match self.unusable {
            None => Ok(self),
            Some(reason) => Err(StoreError::Refused { operation: "probe", reason }),
        }
    }
}
