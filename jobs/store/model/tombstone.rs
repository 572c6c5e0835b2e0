//! What is left of a job that was removed.

use crate::events::TrimReason;
use crate::job::{JobId, JobState};
use crate::trace::OperatorName;

/// What is left of a job that retention removed while it was dead or poisoned, or that an operator discarded. The latest
/// [`TOMBSTONES_MAX`](crate::store::TOMBSTONES_MAX) of a queue are kept.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{Admin, ReplaySlots, Transitions};
/// use retraced_jobs::store::{Removal, Tombstone};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1).take().await;
/// # let id = JobId::parse("welcome-42").unwrap();
/// # let job = NewJob { id: id.clone(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// store.discard(replay_slot.next_call(), &queue, &"ada".into(), &[(&id).into()]).await.unwrap();
/// let left: Tombstone = store.tombstone(&queue, &id).await.unwrap().unwrap();
/// assert_eq!((left.state, left.ended_ms), (JobState::Pending, None));
/// assert_eq!(left.removal, Removal::Discarded { by: "ada".into() });
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tombstone {
    /// The job.
    pub id: JobId,
    /// Its last state.
    pub state: JobState,
    /// When it had ended, in ms since the Unix epoch; `None` if it had not.
    pub ended_ms: Option<u64>,
    /// When it was removed, in ms since the Unix epoch.
    pub removed_ms: u64,
    /// Who removed it, and why.
    pub removal: Removal,
}

/// Who removed a job, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// Retention removed it.
    Trimmed {
        /// The bound that was exceeded.
        reason: TrimReason,
    },
    /// An operator discarded it.
    Discarded {
        /// The name of the operator.
        by: OperatorName,
    },
}

impl Tombstone {
    /// What is left of a job, for those who write a store.
    #[must_use]
    pub fn new(id: JobId, state: JobState, ended_ms: Option<u64>, removed_ms: u64, removal: Removal) -> Self {
        Self { id, state, ended_ms, removed_ms, removal }
    }
}
