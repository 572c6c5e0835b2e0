//! What producers hold: a queue, and a job they have enqueued.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::{EnqueueAllError, EnqueueError, IntoNewJob, JobRequest, Outcome, OutcomeError, QueueProducer, Receipt};
use crate::job::{JobId, NewJob, QueueName};
use crate::limits::ENQUEUE_TIMEOUT;
use crate::typed_job::Job;

/// A queue to enqueue to, obtained from a runtime, a client or a handler's context. Cheap to clone.
///
/// Jobs enqueued one by one, but by many tasks at once, share round trips to the store.
///
/// ```
/// use retraced_jobs::enqueue::{EnqueueError, JobHandle, QueueHandle};
/// use retraced_jobs::typed_job::Job;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
///
/// async fn welcome(email: &QueueHandle) -> Result<(), EnqueueError> {
///     let job: JobHandle = email.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
///     println!("{} is {}", job.id, job.state);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct QueueHandle {
    producer: Arc<dyn QueueProducer>,
    timeout: Duration,
}

impl fmt::Debug for QueueHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueHandle").field("name", self.name()).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl QueueHandle {
    /// A handle over a producer. Applications get their handles from a runtime, a client or a context.
    #[doc(hidden)]
    #[must_use]
    pub fn new(producer: Arc<dyn QueueProducer>) -> Self {
        Self { producer, timeout: ENQUEUE_TIMEOUT }
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        self.producer.name()
    }

    /// The same queue, with another limit for how long each enqueue waits for capacity in the buffer, for the store and for the receipt. Default 800 ms, so that a
    /// caller learns of an outage within a second; in a handler 30 s, so that a short outage does not make the attempt fail. [`enqueue_all`](Self::enqueue_all) waits up to this long for each of its batches.
    #[must_use]
    pub fn enqueue_timeout(&self, timeout: Duration) -> Self {
        Self { producer: self.producer.clone(), timeout }
    }

    /// Enqueues a job, and waits for its receipt. The job is a typed job without options, a [`JobRequest`], or a sealed job.
    ///
    /// # Errors
    /// [`EnqueueError`]. Nothing was stored unless [`EnqueueError::is_outcome_unknown`] says otherwise.
    pub async fn enqueue(&self, job: impl IntoNewJob) -> Result<JobHandle, EnqueueError> {
        let receipt = self.producer.enqueue(job.into_new_job()?, self.timeout).await?;
        Ok(JobHandle { receipt, producer: self.producer.clone() })
    }

    /// A request to enqueue this job with options: `.id(…)`, `.delay(…)`, `.retry(…)` and others, then `.enqueue().await`.
    pub fn job<J: Job>(&self, job: J) -> JobRequest<J, Self> {
        JobRequest::to(job, self.clone())
    }

    /// Enqueues many jobs in batches of at most 200 jobs and 1 MiB, and returns one receipt per job, in order. A job above 1 MiB is a batch of its own. All jobs are
    /// sealed first: if one cannot be sealed, none is stored. They are held in memory until the end, so split a very long iterator.
    ///
    /// # Errors
    /// [`EnqueueAllError`] says which jobs were stored, and holds the others, sealed, to be sent again.
    ///
    /// ```
    /// # use retraced_jobs::enqueue::{EnqueueAllError, JobRequest, QueueHandle};
    /// # use retraced_jobs::typed_job::Job;
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendEmail { to: String }
    /// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
    /// async fn newsletter(email: &QueueHandle, readers: &[String]) -> Result<(), EnqueueAllError> {
    ///     let jobs = readers.iter().map(|to| JobRequest::new(SendEmail { to: to.clone() }).id(format!("june-{to}")));
    ///     let receipts = email.enqueue_all(jobs).await?;
    ///     println!("{} are new", receipts.iter().filter(|receipt| receipt.created).count());
    ///     Ok(())
    /// }
    /// ```
    pub async fn enqueue_all<T: IntoNewJob>(
        &self,
        jobs: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Receipt>, EnqueueAllError> {
        let sealed: Result<Vec<NewJob>, _> = jobs.into_iter().map(IntoNewJob::into_new_job).collect();
        let sealed = sealed.map_err(|error| EnqueueAllError::new(Vec::new(), Vec::new(), error))?;
        self.producer.enqueue_all(sealed, self.timeout).await
    }

    /// Waits until a job of this queue has ended, for up to `timeout`.
    ///
    /// # Errors
    /// [`OutcomeError`].
    ///
    /// # Cancel safety
    /// Waiting only reads: the future can be dropped, and the outcome waited for again.
    pub async fn outcome(&self, id: &JobId, timeout: Duration) -> Result<Outcome, OutcomeError> {
        self.producer.outcome(id.clone(), timeout).await
    }
}

impl<J: Job> JobRequest<J, QueueHandle> {
    /// How long the producer waits for capacity in the buffer, for the store and for the receipt; not how long the job may run. Default 800 ms, so that a caller
    /// learns of an outage within a second; in a handler 30 s.
    pub fn enqueue_timeout(mut self, timeout: Duration) -> Self {
        self.queue = self.queue.enqueue_timeout(timeout);
        self
    }

    /// Enqueues the job, and waits for its receipt.
    ///
    /// # Errors
    /// [`EnqueueError`]. Nothing was stored unless [`EnqueueError::is_outcome_unknown`] says otherwise.
    pub async fn enqueue(self) -> Result<JobHandle, EnqueueError> {
        let (sealed, queue) = self.seal()?;
        queue.enqueue(sealed).await
    }
}

/// The [`Receipt`] of a stored job, and a way to wait for the job's outcome.
///
/// ```
/// use std::time::Duration;
/// use retraced_jobs::enqueue::{JobHandle, Outcome, OutcomeError};
/// async fn follow(job: JobHandle) -> Result<(), OutcomeError> {
///     match job.outcome_timeout(Duration::from_secs(30)).await? {
///         Outcome::Completed { .. } => println!("{} is done", job.id),
///         other => println!("{} did not succeed: {other}", job.id),
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct JobHandle {
    receipt: Receipt,
    producer: Arc<dyn QueueProducer>,
}

impl JobHandle {
    /// Waits until the job has ended, however long that takes: through retries, restarts and outages of the store.
    ///
    /// A queue may keep no completed jobs. There, a job that completes while this call waits is reported as completed, without its output; a job that had
    /// completed before is [`Outcome::NotKept`].
    ///
    /// # Errors
    /// [`OutcomeError::Store`] when the store refuses the read; [`OutcomeError::EndUnknown`] when the job was removed after it had been seen, and how it ended is not
    /// known; [`OutcomeError::RuntimeEnded`].
    ///
    /// # Cancel safety
    /// Waiting only reads: the future can be dropped, and the outcome waited for again.
    pub async fn outcome(&self) -> Result<Outcome, OutcomeError> {
        self.outcome_timeout(Duration::MAX).await
    }

    /// Waits until the job has ended, for up to `timeout`.
    ///
    /// # Errors
    /// [`OutcomeError`]; [`OutcomeError::TimedOut`] has the state in which the job was last seen.
    ///
    /// # Cancel safety
    /// Waiting only reads: the future can be dropped, and the outcome waited for again.
    pub async fn outcome_timeout(&self, timeout: Duration) -> Result<Outcome, OutcomeError> {
        self.producer.outcome(self.receipt.id.clone(), timeout).await
    }

    /// The receipt alone.
    #[must_use]
    pub fn into_receipt(self) -> Receipt {
        self.receipt
    }
}

impl Deref for JobHandle {
    type Target = Receipt;

    fn deref(&self) -> &Receipt {
        &self.receipt
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("receipt", &self.receipt).finish_non_exhaustive()
    }
}
