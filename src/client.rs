//! A producer without a tree: it only enqueues.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::handler::Job;
use retraced_jobs::job::{InstanceId, InvalidName, NewJob, QueueName};
use retraced_jobs::store::{ReplaySlots, Store};
use uuid::Uuid;

use crate::batcher::Batcher;
use crate::producer::{Door, JobRequest};

/// Calls a client may have open at a time; further ones wait.
const CLIENT_REPLAY_SLOTS_MAX: u16 = 64;

/// Enqueues jobs from a process that runs none. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use retraced::{Client, ClientQueue, Job, MemoryStore};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
///
/// let client = Client::new(MemoryStore::new());
/// let email: ClientQueue = client.queue("email")?;
/// let receipt = email.job(SendEmail { to: "ada@example.com".into() }).id("welcome-42").enqueue().await?;
/// assert!(receipt.created);
/// let again = email.job(SendEmail { to: "ada@example.com".into() }).id("welcome-42").enqueue().await?;
/// assert!(!again.created);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn Store>,
    replay_slots: ReplaySlots,
}

impl Client {
    /// A client over a store.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::shared(Arc::new(store))
    }

    /// A client over a store that others hold too.
    #[must_use]
    pub fn shared(store: Arc<dyn Store>) -> Self {
        Self { store, replay_slots: ReplaySlots::new(InstanceId::from(Uuid::new_v4()), CLIENT_REPLAY_SLOTS_MAX) }
    }

    /// A queue to enqueue to. It need not have been used before.
    ///
    /// # Errors
    /// [`InvalidName`] unless the name is 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn queue(&self, name: impl AsRef<str>) -> Result<ClientQueue, InvalidName> {
        Ok(ClientQueue { batcher: Batcher::new(self.store.clone(), self.replay_slots.clone(), QueueName::new(name)?) })
    }
}

/// A queue, as a [`Client`] holds it.
///
/// Jobs that are enqueued one by one, but by many at once, share calls: while one is under way the others gather for the next.
///
/// Used in the example of [`Client`]: `client.queue(…)` gives a `ClientQueue`.
#[derive(Clone)]
pub struct ClientQueue {
    batcher: Arc<Batcher>,
}

impl ClientQueue {
    /// Enqueues a job with the queue's options, and waits for its receipt for up to 800 ms.
    ///
    /// # Errors
    /// [`EnqueueError`]. Only [`EnqueueError::OutcomeUnknown`] leaves open whether the job was stored.
    pub async fn enqueue<J: Job>(&self, job: J) -> Result<Receipt, EnqueueError> {
        self.job(job).enqueue().await
    }

    /// A job with options of its own.
    pub fn job<J: Job>(&self, job: J) -> JobRequest<'_, Self, J> {
        JobRequest::new(self, job)
    }

    /// Enqueues many sealed jobs in as few round trips as their number allows; one receipt a job, in order.
    ///
    /// # Errors
    /// [`EnqueueError`] for the first slice of 200 that was not taken. Slices before it are stored; the ids make it safe to send all of them again.
    pub async fn enqueue_all(&self, jobs: &[NewJob], patience: Duration) -> Result<Vec<Receipt>, EnqueueError> {
        self.batcher.enqueue_all(jobs, patience).await
    }
}

impl Door for ClientQueue {
    async fn take(&self, job: NewJob, patience: Duration) -> Result<Receipt, EnqueueError> {
        self.batcher.enqueue(job, patience).await
    }
}
