//! Why a job was not enqueued.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::CodecError;
use crate::failure::{Code, Failure};
use crate::job::{InvalidName, JobId, QueueName};
use crate::retry::InvalidRetry;
use crate::store::StoreError;

/// Why there is no receipt. Unless [`is_outcome_unknown`](Self::is_outcome_unknown) says otherwise, nothing was stored.
///
/// ```
/// use retraced_jobs::enqueue::EnqueueError;
/// use retraced_jobs::job::JobId;
/// let timeout = std::time::Duration::from_millis(800);
/// let error = EnqueueError::OutcomeUnknown { id: JobId::parse("welcome-42").unwrap(), timeout };
/// // It is left open whether the job is stored. With its id it is safe to enqueue the job again.
/// assert!(error.is_outcome_unknown() && error.is_retryable());
/// assert!(error.to_string().contains("welcome-42"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The job's id is empty, too long or has a character that is not allowed. The caller's mistake: change the id.
    InvalidId(InvalidName),
    /// The name of the queue is not allowed: the one that was asked for, or the default queue of the job's kind. The caller's mistake: change the name, or the kind's
    /// `Job::defaults`.
    InvalidQueue(InvalidName),
    /// The runtime has no queue of this name. The caller's mistake: name a queue of the runtime, or enqueue through its client, which reaches any queue.
    NoSuchQueue {
        /// The queue asked for.
        queue: QueueName,
        /// The queues the runtime has.
        known: Vec<QueueName>,
    },
    /// `enqueue` was called without a queue, and the job's kind has no default queue, or the job was sealed before. The caller's mistake: enqueue through a
    /// [`QueueHandle`](super::QueueHandle), or give the kind a default queue.
    NoQueue {
        /// The queues of the runtime; empty for a client, which can enqueue to any queue.
        known: Vec<QueueName>,
    },
    /// A number of the job's own retry policy is out of bounds. The caller's mistake: the text names the number and its bounds.
    InvalidRetry(InvalidRetry),
    /// The job cannot be serialized, its kind is not allowed, or its payload nests too deep or is too large. The caller's mistake: the text says what to change.
    Payload(CodecError),
    /// The buffer for this queue stayed full until the timeout: this process produces faster than the store accepts. Try again later, or produce more slowly.
    QueueFull {
        /// The queue.
        queue: QueueName,
    },
    /// The store could not be reached until the timeout, and nothing was stored. Try again later. A runtime's supervision event `StoreUnreachable` says why.
    StoreUnavailable,
    /// The store refused the job: a missing right, a wrong password, a memory limit that is reached. Nothing was stored, unless the cause is
    /// [`StoreError::Corrupt`]: then this is not known. If the error is not [retryable](Self::is_retryable), trying again helps only after somebody has changed what the text says.
    Refused {
        /// What the store answered.
        source: Arc<StoreError>,
    },
    /// Too many other calls were under way until the timeout, and the job was never sent. Try again later, or produce more slowly.
    TooManyCalls {
        /// The queue.
        queue: QueueName,
    },
    /// The tokio runtime that this client's calls run on has ended, and the job was never sent. Make a new client on a tokio runtime that runs.
    ClientEnded {
        /// The queue.
        queue: QueueName,
    },
    /// This runtime is shutting down or has ended, and accepts no more jobs. Enqueue from another process, or through a client.
    ShuttingDown {
        /// The queue.
        queue: QueueName,
    },
    /// The handler runs without a runtime, as with a `Runner` in a test, so there is no store to enqueue to. Give the runner producers
    /// (`Runner::with_producers`).
    NoProducer,
    /// No answer came in time, or only a refusal after a sending without an answer: the job may be stored or not. Enqueue it again under the same id, and it is stored at most once. If the receipt then says
    /// `created: false`, the first call may have created the job.
    OutcomeUnknown {
        /// The job.
        id: JobId,
        /// How long the caller waited for the answer.
        timeout: Duration,
    },
}

impl EnqueueError {
    /// Whether enqueueing the same job, under the same id, may succeed later in this process.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            EnqueueError::QueueFull { .. }
            | EnqueueError::TooManyCalls { .. }
            | EnqueueError::StoreUnavailable
            | EnqueueError::OutcomeUnknown { .. } => true,
            EnqueueError::Refused { source } => source.is_retryable(),
            EnqueueError::InvalidId(_)
            | EnqueueError::InvalidQueue(_)
            | EnqueueError::NoSuchQueue { .. }
            | EnqueueError::NoQueue { .. }
            | EnqueueError::InvalidRetry(_)
            | EnqueueError::Payload(_)
            | EnqueueError::NoProducer
            | EnqueueError::ClientEnded { .. }
            | EnqueueError::ShuttingDown { .. } => false,
        }
    }

    /// The failure of a handler that could not enqueue a follow-up job. It is temporary, unless the follow-up job itself is invalid: that is a permanent failure.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        match self {
            EnqueueError::InvalidId(_)
            | EnqueueError::InvalidQueue(_)
            | EnqueueError::NoSuchQueue { .. }
            | EnqueueError::NoQueue { .. }
            | EnqueueError::InvalidRetry(_)
            | EnqueueError::Payload(_) => Failure::permanent(Code::JobCreationFailed, self.clone()),
            _ => Failure::temporary(Code::JobCreationFailed, self.clone()),
        }
    }

    /// Whether the job may be stored all the same. Enqueue it again under the same id to find out.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            EnqueueError::OutcomeUnknown { .. } => true,
            EnqueueError::Refused { source } => matches!(**source, StoreError::Corrupt { .. }),
            _ => false,
        }
    }
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnqueueError::InvalidId(error) | EnqueueError::InvalidQueue(error) => error.fmt(f),
            EnqueueError::NoSuchQueue { queue, known } => {
                write!(f, "this runtime has no queue \"{queue}\"; it has {}", listed(known))
            }
            EnqueueError::NoQueue { known } => no_queue(known, f),
            EnqueueError::InvalidRetry(error) => error.fmt(f),
            EnqueueError::Payload(error) => write!(f, "the job {error}"),
            EnqueueError::QueueFull { queue } => {
                write!(f, "the buffer of queue \"{queue}\" is full; nothing was stored, try again later")
            }
            EnqueueError::StoreUnavailable => {
                f.write_str("the store cannot be reached; nothing was stored, try again later")
            }
            EnqueueError::Refused { source } if self.is_outcome_unknown() => {
                write!(f, "the store did not confirm the job, which may be stored or not: {source}")
            }
            EnqueueError::Refused { source } => write!(f, "the job was not accepted: {source}"),
            EnqueueError::TooManyCalls { queue } => {
                write!(
                    f,
                    "too many calls were under way to enqueue to queue \"{queue}\"; nothing was stored, try again later"
                )
            }
            EnqueueError::ClientEnded { queue } => write!(
                f,
                "the tokio runtime of this client has ended; nothing was stored in queue \"{queue}\", make a new client"
            ),
            EnqueueError::ShuttingDown { queue } => {
                write!(f, "the runtime of queue \"{queue}\" is shutting down or has ended; nothing was stored")
            }
            EnqueueError::NoProducer => {
                f.write_str("this handler runs without a runtime: there is no store to enqueue to")
            }
            EnqueueError::OutcomeUnknown { id, timeout } => write!(
                f,
                "no certain answer within {timeout:?}: job {id} may be stored or not; enqueue it again under the same id to find out"
            ),
        }
    }
}

fn no_queue(known: &[QueueName], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("this job's kind has no default queue (Job::defaults), or the job was sealed before; name a queue with .queue(…)")?;
    if known.is_empty() {
        return Ok(());
    }
    write!(f, "; this runtime has {}", listed(known))
}

fn listed(queues: &[QueueName]) -> String {
    let names: Vec<_> = queues.iter().map(QueueName::as_str).collect();
    names.join(", ")
}

impl StdError for EnqueueError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            EnqueueError::InvalidId(error) | EnqueueError::InvalidQueue(error) => error.source(),
            EnqueueError::InvalidRetry(error) => error.source(),
            EnqueueError::Payload(error) => error.source(),
            EnqueueError::Refused { source } => source.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_errors_that_may_go_away_are_retryable() {
        let queue = QueueName::new("email").unwrap();
        let refusal = StoreError::Refused { operation: "enqueue", reason: "the password is wrong".into() };
        let refused = EnqueueError::Refused { source: Arc::new(refusal) };
        assert!(EnqueueError::QueueFull { queue: queue.clone() }.is_retryable());
        assert!(EnqueueError::StoreUnavailable.is_retryable());
        assert!(!EnqueueError::ShuttingDown { queue }.is_retryable());
        assert!(!EnqueueError::InvalidId(JobId::parse("wel come").unwrap_err()).is_retryable());
        assert!(!refused.is_retryable() && !refused.is_outcome_unknown());
    }

    #[test]
    fn an_answer_that_cannot_be_read_never_says_that_nothing_was_stored() {
        let corrupt = StoreError::Corrupt { operation: "enqueue", what: "the reply is empty".into() };
        let error = EnqueueError::Refused { source: Arc::new(corrupt) };
        assert!(error.is_outcome_unknown() && !error.is_retryable());
        assert!(error.to_string().contains("may be stored or not: the store's data is damaged"), "{error}");
    }

    #[test]
    fn a_handler_that_could_not_enqueue_is_retried_unless_the_follow_up_job_is_invalid() {
        use crate::failure::Class;
        let full = EnqueueError::QueueFull { queue: QueueName::new("email").unwrap() };
        assert_eq!(full.to_failure().class(), Class::Temporary);
        let invalid = EnqueueError::InvalidId(JobId::parse("wel come").unwrap_err());
        assert_eq!(invalid.to_failure().class(), Class::Permanent);
    }

    #[test]
    fn what_the_store_answered_is_in_the_text_and_not_told_again_by_the_source() {
        let refusal = StoreError::Refused { operation: "enqueue", reason: "the password is wrong".into() };
        let refused = EnqueueError::Refused { source: Arc::new(refusal) };
        let text = "the job was not accepted: the store refused enqueue: the password is wrong";
        assert_eq!(refused.to_string(), text);
        assert!(refused.source().is_none());
    }
}
