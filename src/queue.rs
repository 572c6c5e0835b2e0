//! A queue, as applications hold it.

use std::time::Duration;

use ractor::ActorRef;
use retraced_actors::{Enqueue, EnqueueError, Receipt};
use retraced_jobs::handler::Job;
use retraced_jobs::job::{NewJob, QueueName};

use crate::producer::{Door, JobRequest, ProduceError};

/// A queue of a running [`Runtime`](crate::Runtime): enqueues with a receipt, across restarts of the queue actor. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
/// # let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send));
/// # let runtime = builder.start().await?;
/// let email: retraced::QueueHandle = runtime.queue("email")?;
/// let receipt = email.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
/// assert!(receipt.created);
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct QueueHandle(retraced_actors::QueueHandle);

impl QueueHandle {
    pub(crate) fn new(handle: retraced_actors::QueueHandle) -> Self {
        Self(handle)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        self.0.name()
    }

    /// Enqueues a job with the queue's options, and waits for its receipt for up to 800 ms.
    ///
    /// # Errors
    /// [`ProduceError`]. Only [`EnqueueError::Unknown`] leaves open whether the job was stored.
    pub async fn enqueue<J: Job>(&self, job: J) -> Result<Receipt, ProduceError> {
        self.job(job).enqueue().await
    }

    /// A job with options of its own: `.id(…)`, `.delay(…)`, `.retry(…)`, then `.enqueue().await`.
    pub fn job<J: Job>(&self, job: J) -> JobRequest<'_, Self, J> {
        JobRequest::new(self, job)
    }

    /// Enqueues a job that was sealed before.
    ///
    /// # Errors
    /// [`EnqueueError`].
    pub async fn enqueue_sealed(&self, job: NewJob, patience: Duration) -> Result<Receipt, EnqueueError> {
        self.0.enqueue(job, patience).await
    }

    /// The queue actor of this moment, for plain [`Enqueue`] messages; `None` while it is being restarted. A bare cast is not acknowledged and may be lost:
    /// [`enqueue`](Self::enqueue) is not.
    #[must_use]
    pub fn actor(&self) -> Option<ActorRef<Enqueue>> {
        self.0.actor()
    }
}

impl Door for QueueHandle {
    async fn take(&self, job: NewJob, patience: Duration) -> Result<Receipt, EnqueueError> {
        self.0.enqueue(job, patience).await
    }
}
