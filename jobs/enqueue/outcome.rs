//! How a job ended, and why that may not be known.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::codec::{self, CodecError};
use crate::job::JobState;
use crate::store::{JobView, StoreError};
use crate::trace::LastError;

/// How a job ended.
///
/// ```
/// use retraced_jobs::enqueue::{Outcome, OutcomeError};
/// #[derive(serde::Deserialize)]
/// struct Report { pages: u32 }
/// fn pages(outcome: &Outcome) -> Result<u32, OutcomeError> {
///     Ok(outcome.output::<Report>()?.pages)
/// }
/// let refused = pages(&Outcome::NotKept).unwrap_err();
/// assert_eq!(refused.to_string(), "there is no output: the job is not kept (any more)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its handler succeeded.
    Completed {
        /// What the handler returned, as MessagePack (nil for nothing), from [`JobView::output`]; [`Outcome::output`] reads it. `None` when the output is not kept, as in
        /// a queue that keeps no completed jobs.
        output: Option<Bytes>,
    },
    /// It is in the dead letter queue: its retries are exhausted, its last failure is not retried, or it was released too often because no worker could run it.
    Dead {
        /// The last failure, crash or loss: its code and message. `None` when none is in the history.
        error: Option<LastError>,
    },
    /// It is poisoned: a permanent failure, or too many workers died while they held it.
    Poisoned {
        /// The last failure, crash or loss: its code and message. `None` when none is in the history.
        error: Option<LastError>,
    },
    /// It was cancelled.
    Cancelled {
        /// The last failure, crash or loss, if there was one. An error that the handler returned after the cancellation is one too, with code `CANCELLED`.
        error: Option<LastError>,
    },
    /// The store kept no job of this id when the wait began: it was removed, or never there. In a queue that keeps no completed jobs, it may have completed before
    /// the wait began; a job that completes during the wait is [`Completed`](Self::Completed). An operator's discard during
    /// the wait also gives this outcome.
    NotKept,
}

impl Outcome {
    /// The outcome of a job as a store has returned it; pass `None` if the store has no such job. Returns `None` if the job has not ended.
    #[must_use]
    pub fn of(job: Option<&JobView>) -> Option<Self> {
        let Some(job) = job else { return Some(Outcome::NotKept) };
        match job.state {
            JobState::Completed => Some(Outcome::Completed { output: job.output() }),
            JobState::Dead => Some(Outcome::Dead { error: job.last_error() }),
            JobState::Poisoned => Some(Outcome::Poisoned { error: job.last_error() }),
            JobState::Cancelled => Some(Outcome::Cancelled { error: job.last_error() }),
            JobState::Pending | JobState::Processing | JobState::Delayed => None,
        }
    }

    /// Whether its handler succeeded.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self, Outcome::Completed { .. })
    }

    /// What the handler returned. Where it returned nothing, `T` may be `()` or an `Option`, which is then `None`.
    ///
    /// # Errors
    /// [`OutcomeError::NotCompleted`] unless the handler succeeded; [`OutcomeError::OutputNotKept`] where the queue keeps no completed jobs;
    /// [`OutcomeError::Decode`] when the output is not a `T`.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, OutcomeError> {
        match self {
            Outcome::Completed { output: Some(output) } => codec::from_payload(output).map_err(OutcomeError::Decode),
            Outcome::Completed { output: None } => Err(OutcomeError::OutputNotKept),
            other => Err(OutcomeError::NotCompleted(Box::new(other.clone()))),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, error) = match self {
            Outcome::Completed { .. } => return f.write_str("the job completed"),
            Outcome::NotKept => return f.write_str("the job is not kept (any more)"),
            Outcome::Dead { error } => ("dead", error),
            Outcome::Poisoned { error } => ("poisoned", error),
            Outcome::Cancelled { error } => ("cancelled", error),
        };
        write!(f, "the job is {state}")?;
        match error {
            Some(error) => write!(f, ": {}: {}", error.code, error.message),
            None => Ok(()),
        }
    }
}

/// Why there is no outcome, or no output in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum OutcomeError {
    /// The job had not ended in time. Wait again, or read its trace.
    TimedOut {
        /// How long the caller waited.
        timeout: Duration,
        /// The state in which the job was last seen; `None` when the store never answered.
        state: Option<JobState>,
    },
    /// The store refuses the read: the text says what to change.
    Store {
        /// What the store answered.
        source: Arc<StoreError>,
    },
    /// The runtime whose threads read the store has ended, so use a client; or the handler runs without a runtime.
    RuntimeEnded,
    /// The job was removed after it had been seen, and nothing says how it ended. This happens when retention keeps ended jobs for less than a second, when the hint
    /// about an operator's discard is missed, or when the job completes during an outage of several seconds in a queue that keeps no completed jobs. Do not run the
    /// job's work again without checking whether it was done.
    EndUnknown {
        /// The state in which the job was last seen.
        seen: JobState,
    },
    /// There is no output: the job did not complete.
    NotCompleted(Box<Outcome>),
    /// The job completed, but its output is not kept: let the queue's retention keep completed jobs for as long as somebody may wait.
    OutputNotKept,
    /// The output does not fit the type that was asked for.
    Decode(CodecError),
}

impl fmt::Display for OutcomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutcomeError::TimedOut { timeout, state: Some(state) } => {
                write!(f, "the job had not ended within {timeout:?}: it is {state}")
            }
            OutcomeError::TimedOut { timeout, state: None } => {
                write!(f, "the store did not answer within {timeout:?}")
            }
            OutcomeError::Store { source } => source.fmt(f),
            OutcomeError::EndUnknown { seen } => {
                write!(f, "the job was {seen} and has ended, but how is not known: it is not kept any more")
            }
            OutcomeError::RuntimeEnded => f.write_str("the runtime has ended; ask through a client"),
            OutcomeError::NotCompleted(outcome) => write!(f, "there is no output: {outcome}"),
            OutcomeError::OutputNotKept => {
                f.write_str("the job completed, but its output is not kept; let the queue keep completed jobs")
            }
            OutcomeError::Decode(error) => write!(f, "the output cannot be read as what was asked for: {error}"),
        }
    }
}

impl StdError for OutcomeError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            OutcomeError::Store { source } => source.source(),
            OutcomeError::Decode(error) => error.source(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::{InstanceId, JobId, QueueName};
    use crate::trace::{AttemptLog, AttemptRecord, Ended, ExecutorId, StoredAttempt};

    #[test]
    fn an_output_is_read_as_its_type_and_no_output_as_nothing() {
        let output = codec::to_payload(&("page", 3)).unwrap();
        let outcome = Outcome::Completed { output: Some(output.into()) };
        assert_eq!(outcome.output::<(String, u32)>().unwrap(), ("page".into(), 3));
        assert!(matches!(outcome.output::<u32>(), Err(OutcomeError::Decode(_))));
        let nothing = Outcome::of(Some(&completed(Some(None)))).unwrap();
        nothing.output::<()>().unwrap();
        assert_eq!(nothing.output::<Option<u32>>().unwrap(), None);
    }

    /// A completed job; `last_attempt` is the output of its last attempt, or `None` if that attempt is not kept.
    fn completed(last_attempt: Option<Option<Bytes>>) -> JobView {
        let id = JobId::parse("welcome-42").unwrap();
        let mut job = JobView::new(QueueName::new("email").unwrap(), id, JobState::Completed);
        job.history.extend(last_attempt.map(|output| {
            let (instance, executor) = (InstanceId::from(uuid::Uuid::nil()), ExecutorId::new(3, 1));
            let log = AttemptLog::new(instance, executor, 1, 1, Ended::Completed { output });
            StoredAttempt { attempt: 1, settled_ms: 1, record: Ok(AttemptRecord::Reported(log)) }
        }));
        job
    }

    #[test]
    fn an_output_that_is_not_kept_is_not_read_as_nothing() {
        let outcome = Outcome::of(Some(&completed(None))).unwrap();
        assert!(outcome.is_completed());
        for refused in [outcome.output::<()>().unwrap_err(), outcome.output::<Option<u32>>().map(drop).unwrap_err()] {
            assert!(matches!(refused, OutcomeError::OutputNotKept), "{refused}");
        }
    }

    #[test]
    fn a_job_that_failed_has_no_output_and_the_error_says_why() {
        let error = LastError { code: crate::failure::Code::Timeout, message: "too slow".into(), at_ms: 1 };
        let refused = Outcome::Dead { error: Some(error) }.output::<u32>().unwrap_err();
        assert_eq!(refused.to_string(), "there is no output: the job is dead: TIMEOUT: too slow");
    }
}
