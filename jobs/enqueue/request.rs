//! A job with options of its own, before it is sealed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::EnqueueError;
use crate::job::{JobId, NewJob, QueueName, RunAt};
use crate::retry::{Retry, RetryOverrides};
use crate::typed_job::{Job, JobOptions, seal_job};
use crate::units::millis;

/// What a queue takes: a typed job, a [`JobRequest`], or a job that was sealed before.
///
/// ```
/// use retraced_jobs::enqueue::{IntoNewJob, JobRequest};
/// use retraced_jobs::typed_job::Job;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
///
/// let sealed = JobRequest::new(SendEmail { to: "ada@example.com".into() }).id("welcome-42").into_new_job()?;
/// assert_eq!(sealed.id.to_string(), "welcome-42");
/// # Ok::<(), retraced_jobs::enqueue::EnqueueError>(())
/// ```
pub trait IntoNewJob {
    /// Seals the job. A job without an id gets a new id with each call: to send it again, keep the sealed job.
    ///
    /// # Errors
    /// [`EnqueueError::InvalidId`], [`EnqueueError::InvalidRetry`] or [`EnqueueError::Payload`].
    fn into_new_job(self) -> Result<NewJob, EnqueueError>;

    /// The default queue of the job's kind ([`JobDefaults::queue`](crate::typed_job::JobDefaults::queue)), for an `enqueue` that names no queue, such as
    /// [`Context::enqueue`](crate::context::Context::enqueue).
    ///
    /// # Errors
    /// [`EnqueueError::InvalidQueue`] when its name is not allowed; [`EnqueueError::NoQueue`] for a sealed job, which no longer says whether its kind has one.
    fn default_queue(&self) -> Result<Option<QueueName>, EnqueueError> {
        Ok(None)
    }
}

impl<J: Job> IntoNewJob for J {
    fn default_queue(&self) -> Result<Option<QueueName>, EnqueueError> {
        default_queue_of::<J>()
    }

    fn into_new_job(self) -> Result<NewJob, EnqueueError> {
        seal_job(&self, &JobOptions::default()).map_err(EnqueueError::Payload)
    }
}

impl IntoNewJob for NewJob {
    fn default_queue(&self) -> Result<Option<QueueName>, EnqueueError> {
        Err(EnqueueError::NoQueue { known: Vec::new() })
    }

    fn into_new_job(self) -> Result<NewJob, EnqueueError> {
        Ok(self)
    }
}

impl<J: Job> IntoNewJob for JobRequest<J> {
    fn default_queue(&self) -> Result<Option<QueueName>, EnqueueError> {
        default_queue_of::<J>()
    }

    fn into_new_job(self) -> Result<NewJob, EnqueueError> {
        self.seal().map(|(sealed, ())| sealed)
    }
}

fn default_queue_of<J: Job>() -> Result<Option<QueueName>, EnqueueError> {
    J::defaults().default_queue().map(QueueName::new).transpose().map_err(EnqueueError::InvalidQueue)
}

/// One job with options of its own. [`QueueHandle::job`](super::QueueHandle::job) makes one that knows its queue; its last call is
/// [`enqueue`](JobRequest::enqueue). [`JobRequest::new`] makes one for any queue, for [`QueueHandle::enqueue`](super::QueueHandle::enqueue) and
/// [`QueueHandle::enqueue_all`](super::QueueHandle::enqueue_all).
///
/// ```
/// use std::time::Duration;
/// use retraced_jobs::enqueue::{EnqueueError, JobRequest, QueueHandle};
/// use retraced_jobs::typed_job::Job;
/// use retraced_jobs::retry::Retry;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
///
/// async fn welcome(email: &QueueHandle) -> Result<(), EnqueueError> {
///     let job = SendEmail { to: "ada@example.com".into() };
///     email.job(job).id("welcome-42").delay(Duration::from_secs(600)).enqueue().await?;
///     let job = SendEmail { to: "bob@example.com".into() };
///     email.enqueue(JobRequest::new(job).retry(Retry::three_tier().max_attempts(8))).await?;
///     Ok(())
/// }
/// ```
#[must_use = "nothing is enqueued until .enqueue() is awaited, or a queue is given the request"]
pub struct JobRequest<J, Q = ()> {
    job: J,
    options: JobOptions,
    mistake: Option<EnqueueError>,
    pub(super) queue: Q,
}

impl<J: Job> JobRequest<J> {
    /// A job for any queue.
    pub fn new(job: J) -> Self {
        Self::to(job, ())
    }
}

impl<J: Job, Q> JobRequest<J, Q> {
    pub(super) fn to(job: J, queue: Q) -> Self {
        Self { job, options: JobOptions::default(), mistake: None, queue }
    }

    /// Gives the job an id of your own: 1 to 128 characters of `A-Z a-z 0-9 . _ - :`. As long as its queue keeps a job of this id, enqueueing it again changes
    /// nothing, and the receipt says `created: false`. Default: a new UUID.
    pub fn id(mut self, id: impl AsRef<str>) -> Self {
        match JobId::parse(id.as_ref()) {
            Ok(id) => self.options.id = Some(id),
            Err(invalid) => self.mistake = Some(EnqueueError::InvalidId(invalid)),
        }
        self
    }

    /// Runs the job no earlier than this long after the store has accepted it.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.run_at = RunAt::After(delay);
        self
    }

    /// Runs the job no earlier than at this instant of the store's clock. An instant that has passed means now.
    pub fn at(mut self, at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.options.run_at = RunAt::At(millis(since));
        self
    }

    /// Retries the job by this policy, instead of that of its kind or queue. A number out of bounds makes the enqueue fail.
    pub fn retry(mut self, retry: Retry) -> Self {
        match retry.validate() {
            Ok(retry) => self.options.retry = RetryOverrides::all_of(&retry),
            Err(invalid) => self.mistake = Some(EnqueueError::InvalidRetry(invalid)),
        }
        self
    }

    /// Gives the handler this long for the job, instead of the timeout of its kind or queue. In whole milliseconds and at least 1 ms; there is no upper limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Allows this job a payload of up to this many bytes, at most 64 MiB, instead of what its kind says or 1 MiB. It is not stored with the job: the workers of its
    /// queue must take such payloads too, by their queue's options or the kind's defaults.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.options.payload_bytes_max = Some(bytes);
        self
    }

    pub(super) fn seal(self) -> Result<(NewJob, Q), EnqueueError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let sealed = seal_job(&self.job, &self.options).map_err(EnqueueError::Payload)?;
        Ok((sealed, self.queue))
    }
}
