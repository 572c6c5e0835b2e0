//! [`OperatorError`].

use std::fmt;
use std::time::Duration;

use retraced_actors::CallError;
use retraced_jobs::job::{InstanceId, QueueName};
use retraced_jobs::store::StoreError;

/// Why an operator's call failed.
///
/// ```
/// use retraced::{OperatorError, store::StoreError};
/// let refused = StoreError::Refused { operation: "redrive", reason: "the password is wrong".into() };
/// let error = OperatorError::Store(refused);
/// assert_eq!(error.to_string(), "the store refused redrive: the password is wrong");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum OperatorError {
    /// The store refused the call, is blocked, or could not be reached. In the last two cases [`StoreError::is_retryable`] is true, and a call that changes something may
    /// have been applied. It may also have been applied if another process, probably a copy of this one, uses the same process instance
    /// ([`StoreError::is_call_id_conflict`]).
    Store(StoreError),
    /// The store was silent. A call that changes something may have been applied.
    TimedOut {
        /// How long the caller waited.
        timeout: Duration,
    },
    /// Too many other calls that change something were under way the whole time. Nothing was sent: try again later.
    TooManyCalls {
        /// How long the caller waited.
        timeout: Duration,
    },
    /// No producer and no worker has used this queue, and nothing is kept for it; only from [`Operator::require_queue`](crate::Operator::require_queue).
    UnknownQueue {
        /// The name.
        queue: QueueName,
        /// The known queue whose name is most similar, if one is similar.
        nearest: Option<QueueName>,
    },
    /// The queue cannot be deleted while workers process it.
    QueueHasWorkers {
        /// The queue.
        queue: QueueName,
        /// The process instances of these workers.
        workers: Vec<InstanceId>,
    },
    /// The queue has [unfinished jobs](retraced_jobs::store::UnfinishedJobs) and was not to be deleted with them.
    QueueHasJobs {
        /// The queue.
        queue: QueueName,
        /// Its pending jobs.
        pending: u64,
        /// The jobs that workers hold.
        processing: u64,
        /// Its delayed jobs.
        delayed: u64,
        /// Its dead jobs.
        dead: u64,
        /// Its poisoned jobs.
        poisoned: u64,
    },
    /// The deletion of a queue was sent and not answered: look at the queue before you delete it again, or jobs that came in since are deleted too.
    DeletionUnknown {
        /// The queue.
        queue: QueueName,
        /// What the store reported; `None` if it was silent.
        cause: Option<StoreError>,
    },
    /// The runtime that this operator belongs to has ended. Make an operator that is independent of it with [`Operator::new`](crate::Operator::new).
    RuntimeEnded,
}

impl OperatorError {
    /// Why a call that was given this much time returned no reply.
    pub(super) fn of(error: CallError, timeout: Duration) -> Self {
        match error {
            CallError::Refused(error) | CallError::Blocked(error) | CallError::OutcomeUnknown(Some(error)) => {
                OperatorError::Store(error)
            }
            CallError::RuntimeEnded { .. } => OperatorError::RuntimeEnded,
            CallError::NoReplaySlot => OperatorError::TooManyCalls { timeout },
            _ => OperatorError::TimedOut { timeout },
        }
    }

    /// Whether the same call may succeed later. One that changes something may have been applied already.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            // This process has taken a new process instance by now, so its next call cannot conflict with those of its copy.
            OperatorError::Store(error) => error.is_retryable() || error.is_call_id_conflict(),
            OperatorError::TimedOut { .. } | OperatorError::TooManyCalls { .. } => true,
            OperatorError::QueueHasWorkers { .. } => true,
            OperatorError::RuntimeEnded
            | OperatorError::UnknownQueue { .. }
            | OperatorError::QueueHasJobs { .. }
            | OperatorError::DeletionUnknown { .. } => false,
        }
    }
}

const NO_QUEUE: &str = "nobody has used it in this store, or it was deleted; `Operator::queues` lists them";
const LOOK_FIRST: &str = "look at it before you delete it again: jobs that came in since would be deleted too";

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OperatorError::Store(error) => error.fmt(f),
            OperatorError::TimedOut { timeout } => write!(f, "the store did not answer within {timeout:?}"),
            OperatorError::TooManyCalls { timeout } => {
                write!(
                    f,
                    "too many calls to the store were under way for {timeout:?}; nothing was sent, try again later"
                )
            }
            OperatorError::UnknownQueue { queue, nearest: Some(nearest) } => {
                write!(f, "there is no queue {queue}; the most similar name is {nearest}")
            }
            OperatorError::UnknownQueue { queue, nearest: None } => {
                write!(f, "there is no queue {queue}: {NO_QUEUE}")
            }
            OperatorError::QueueHasWorkers { queue, workers } => {
                let names = workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "queue {queue} is processed by live workers, which would make it again: stop {names}")
            }
            OperatorError::QueueHasJobs { queue, pending, processing, delayed, dead, poisoned } => {
                write!(
                    f,
                    "queue {queue} has jobs that are not done: {pending} pending, {processing} processing, {delayed} delayed, {dead} dead, {poisoned} poisoned; pass `UnfinishedJobs::Delete` to delete them with it"
                )
            }
            OperatorError::DeletionUnknown { queue, cause } => {
                let cause = cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default();
                write!(f, "queue {queue} may have been deleted, because no answer came{cause}; {LOOK_FIRST}")
            }
            OperatorError::RuntimeEnded => f.write_str(
                "the runtime this operator belongs to has ended; make an independent operator with Operator::new",
            ),
        }
    }
}

impl std::error::Error for OperatorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OperatorError::Store(error) | OperatorError::DeletionUnknown { cause: Some(error), .. } => error.source(),
            _ => None,
        }
    }
}
