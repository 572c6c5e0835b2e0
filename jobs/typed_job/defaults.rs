//! The defaults of a kind of job.

use std::time::Duration;

use crate::job::{InvalidName, QueueName};
use crate::limits::{HANDLER_TIMEOUT_MAX, HANDLER_TIMEOUT_MIN, PAYLOAD_BYTES_CEILING};
use crate::retry::{InvalidRetry, Retry};

/// Defaults of a kind, returned by [`Job::defaults`](super::Job::defaults). What the queue sets overrides them, and what the call that enqueues sets overrides
/// both:
///
/// | | the kind | the queue | the call that enqueues |
/// | --- | --- | --- | --- |
/// | queue | [`queue`](Self::queue), when `enqueue` names no queue | – | the queue it is enqueued to |
/// | retries | [`retry`](Self::retry), [`max_attempts`](Self::max_attempts) | `Queue::retry`, which replaces both | `.retry(…)` |
/// | timeout | [`timeout`](Self::timeout) | `Queue::timeout` | `.timeout(…)` |
/// | kept after completion | [`discard_completed`](Self::discard_completed) | `Queue::retention` | – |
/// | largest payload | [`payload_bytes_max`](Self::payload_bytes_max) | `Queue::payload_bytes_max`, for its worker | `.payload_bytes_max(…)`, for this call |
///
/// What none of them sets is this library's default: 5 attempts with exponential delays, a timeout of 5 min, completed jobs are kept for up to a day, payloads of up
/// to 1 MiB. The default queue is applied by the producer, the largest payload by the producer when it seals a job and again by the worker. The other defaults are
/// applied by the worker alone. None of them is stored with the job: producers and workers apply those of their own build.
///
/// ```
/// use std::time::Duration;
/// use retraced_jobs::typed_job::{Job, JobDefaults};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail {
///     const KIND: &'static str = "email.send";
///
///     fn defaults() -> JobDefaults {
///         JobDefaults::new().queue("email").max_attempts(8).timeout(Duration::from_secs(20))
///     }
/// }
/// assert_eq!(SendEmail::defaults().default_queue(), Some("email"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct JobDefaults {
    queue: Option<&'static str>,
    retry: Option<Retry>,
    max_attempts: Option<u32>,
    timeout: Option<Duration>,
    discard_completed: bool,
    payload_bytes_max: Option<usize>,
}

impl JobDefaults {
    /// No defaults.
    pub const fn new() -> Self {
        Self {
            queue: None,
            retry: None,
            max_attempts: None,
            timeout: None,
            discard_completed: false,
            payload_bytes_max: None,
        }
    }

    /// The queue for jobs of this kind that are enqueued without naming a queue, through a runtime, a client or a [`Context`](crate::context::Context). Default:
    /// none. A follow-up job then goes to the queue of the handler that enqueues it, and a runtime with only one queue uses that one.
    pub const fn queue(mut self, name: &'static str) -> Self {
        self.queue = Some(name);
        self
    }

    /// How failed jobs are retried, unless `Queue::retry` is set for their queue. Default: 5 attempts with exponential delays.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// How many attempts may fail before a job is dead, in place of the number in [`retry`](Self::retry): 1 to 1000. `Queue::retry` overrides it.
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// How long a handler may run, unless `Queue::timeout` is set for the job's queue: 1 ms to 7 days. Default: 5 min.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Removes completed jobs of this kind at once, with their output and history, unless `Queue::retention` is set for their queue. Default: they are kept.
    pub const fn discard_completed(mut self) -> Self {
        self.discard_completed = true;
        self
    }

    /// Largest payload of this kind, in bytes: up to 64 MiB. Producers refuse to enqueue a larger one; a worker treats it as a payload that cannot be decoded
    /// ([`OnUndecodable`](crate::retry::OnUndecodable)), unless `Queue::payload_bytes_max` sets another limit for it. Default: 1 MiB.
    pub const fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.payload_bytes_max = Some(bytes);
        self
    }

    /// The default queue of this kind, if it has one.
    #[must_use]
    pub const fn default_queue(&self) -> Option<&'static str> {
        self.queue
    }

    /// The kind's retry policy. What the kind does not set comes from `fallback`.
    #[must_use]
    pub fn retry_or(&self, fallback: Retry) -> Retry {
        let retry = self.retry.unwrap_or(fallback);
        self.max_attempts.map_or(retry, |attempts| retry.max_attempts(attempts))
    }

    /// The kind's timeout, if it has one.
    #[must_use]
    pub const fn timeout_of_kind(&self) -> Option<Duration> {
        self.timeout
    }

    /// The kind's largest payload in bytes, if it sets one.
    #[must_use]
    pub const fn payload_bytes_max_of_kind(&self) -> Option<usize> {
        self.payload_bytes_max
    }

    /// Whether completed jobs of this kind are kept if their queue sets no retention: `false` after [`discard_completed`](Self::discard_completed).
    #[must_use]
    pub const fn keeps_completed(&self) -> bool {
        !self.discard_completed
    }

    /// Checks every number and name.
    ///
    /// # Errors
    /// [`InvalidDefaults`] names the first number or name that is not allowed.
    pub fn validate(&self) -> Result<(), InvalidDefaults> {
        self.retry_or(Retry::default()).validate().map_err(InvalidDefaults::Retry)?;
        self.queue.map(QueueName::new).transpose().map_err(InvalidDefaults::Queue)?;
        match (self.timeout, self.payload_bytes_max) {
            (Some(timeout), _) if !(HANDLER_TIMEOUT_MIN..=HANDLER_TIMEOUT_MAX).contains(&timeout) => {
                Err(InvalidDefaults::Timeout(timeout))
            }
            (_, Some(bytes)) if bytes > PAYLOAD_BYTES_CEILING => Err(InvalidDefaults::PayloadBytes(bytes)),
            _ => Ok(()),
        }
    }
}

/// A default of a kind is not allowed.
///
/// ```
/// use retraced_jobs::typed_job::{InvalidDefaults, JobDefaults};
/// let refused: InvalidDefaults = JobDefaults::new().max_attempts(0).validate().unwrap_err();
/// assert_eq!(refused.to_string(), "max attempts is 0, allowed are 1 to 1000");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidDefaults {
    /// A number of the retry policy.
    Retry(InvalidRetry),
    /// The queue's name.
    Queue(InvalidName),
    /// The timeout.
    Timeout(Duration),
    /// The largest payload, in bytes.
    PayloadBytes(usize),
}

impl std::fmt::Display for InvalidDefaults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InvalidDefaults::Retry(invalid) => invalid.fmt(f),
            InvalidDefaults::Queue(invalid) => invalid.fmt(f),
            InvalidDefaults::Timeout(timeout) => {
                write!(f, "timeout is {timeout:?}, allowed are {HANDLER_TIMEOUT_MIN:?} to {HANDLER_TIMEOUT_MAX:?}")
            }
            InvalidDefaults::PayloadBytes(bytes) => {
                write!(f, "largest payload is {bytes} bytes, allowed are up to {PAYLOAD_BYTES_CEILING}")
            }
        }
    }
}

impl std::error::Error for InvalidDefaults {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InvalidDefaults::Retry(invalid) => invalid.source(),
            InvalidDefaults::Queue(invalid) => invalid.source(),
            InvalidDefaults::Timeout(_) | InvalidDefaults::PayloadBytes(_) => None,
        }
    }
}
