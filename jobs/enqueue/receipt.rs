//! The store's answer to an enqueue.

use crate::job::{JobId, JobState, QueueName};
use crate::store::Enqueued;

/// The store's confirmation that it has the job. A job that this call created will be run until it has ended, unless an operator discards it.
///
/// ```
/// use retraced_jobs::enqueue::Receipt;
/// use retraced_jobs::job::{JobId, JobState, QueueName};
/// use retraced_jobs::store::Enqueued;
/// fn describe(receipt: &Receipt) -> String {
///     let Receipt { id, state, .. } = receipt;
///     if receipt.created { format!("{id} is {state}") } else { format!("{id} was there already, and is {state}") }
/// }
/// let (queue, id) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
/// let again = Receipt::new(queue, id, Enqueued::Exists { state: JobState::Completed });
/// assert_eq!(describe(&again), "welcome-42 was there already, and is completed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The job's queue.
    pub queue: QueueName,
    /// The job.
    pub id: JobId,
    /// Whether this call created the job. If `false`, a job of this id was kept already, and nothing was changed. If an earlier call for the same job had an [unknown
    /// outcome](super::EnqueueError::OutcomeUnknown), `false` may mean that the earlier call created the job.
    pub created: bool,
    /// The job's state when the store answered.
    pub state: JobState,
}

impl Receipt {
    /// The store's answer for one job.
    #[must_use]
    pub fn new(queue: QueueName, id: JobId, enqueued: Enqueued) -> Self {
        match enqueued {
            Enqueued::Created { state } => Self { queue, id, created: true, state },
            Enqueued::Exists { state } => Self { queue, id, created: false, state },
        }
    }
}
