//! A producer without a tree: it only enqueues.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retraced_actors::{EnqueueError, Receipt, receipt};
use retraced_jobs::handler::Job;
use retraced_jobs::job::{Incarnation, InvalidName, NewJob, QueueName};
use retraced_jobs::store::{BATCH_MAX, Lanes, Store, StoreError};
use uuid::Uuid;

use crate::operator::{OperatorError, until_known};
use crate::producer::{Door, JobRequest, ProduceError};

/// Calls a client may have open at a time; further ones wait.
const CLIENT_LANES_MAX: u16 = 64;

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
    lanes: Lanes,
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
        Self { store, lanes: Lanes::new(Incarnation::from(Uuid::new_v4()), CLIENT_LANES_MAX) }
    }

    /// A queue to enqueue to. It need not have been used before.
    ///
    /// # Errors
    /// [`InvalidName`] unless the name is 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn queue(&self, name: impl AsRef<str>) -> Result<ClientQueue, InvalidName> {
        Ok(ClientQueue { client: self.clone(), name: QueueName::new(name)?, announced: Arc::default() })
    }
}

/// A queue, as a [`Client`] holds it.
///
/// Used in the example of [`Client`]: `client.queue(…)` gives a `ClientQueue`.
#[derive(Clone)]
pub struct ClientQueue {
    client: Client,
    name: QueueName,
    /// Whether operators know of this queue by now; until then each enqueue says so again.
    announced: Arc<AtomicBool>,
}

impl ClientQueue {
    /// Enqueues a job with the queue's options, and waits for its receipt for up to 800 ms.
    ///
    /// # Errors
    /// [`ProduceError`]. Only [`EnqueueError::Unknown`] leaves open whether the job was stored.
    pub async fn enqueue<J: Job>(&self, job: J) -> Result<Receipt, ProduceError> {
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
        let mut receipts = Vec::with_capacity(jobs.len());
        for slice in jobs.chunks(BATCH_MAX) {
            receipts.extend(self.send(slice, patience).await?);
        }
        Ok(receipts)
    }

    async fn send(&self, jobs: &[NewJob], patience: Duration) -> Result<Vec<Receipt>, EnqueueError> {
        let Client { store, lanes } = &self.client;
        let unknown = || EnqueueError::Unknown { id: jobs[0].id.clone(), patience };
        let Ok(mut lane) = tokio::time::timeout(patience, lanes.take()).await else {
            return Err(EnqueueError::Busy { queue: self.name.clone() });
        };
        let sent = until_known(patience, lane.next_call(), |call| store.enqueue(call, &self.name, jobs));
        let (sent, ()) = tokio::join!(sent, self.announce(patience));
        match sent {
            Ok(results) => Ok(jobs.iter().zip(results).map(|(job, r)| receipt(job.id.clone(), r)).collect()),
            Err(error @ (OperatorError::Store(StoreError::Unavailable { .. }) | OperatorError::TimedOut { .. })) => {
                tracing::debug!(target: "retraced", queue = %self.name, "the outcome of an enqueue is unknown: {error}");
                Err(unknown())
            }
            Err(error) => Err(EnqueueError::Refused { reason: error.to_string() }),
        }
    }

    /// Makes the queue known to operators, who would not see one that has no worker yet. What fails is said again with the next enqueue.
    async fn announce(&self, patience: Duration) {
        if self.announced.load(Ordering::Relaxed) {
            return;
        }
        let said = self.client.store.announce(std::slice::from_ref(&self.name));
        if let Ok(Ok(())) = tokio::time::timeout(patience, said).await {
            self.announced.store(true, Ordering::Relaxed);
        }
    }
}

impl Door for ClientQueue {
    async fn take(&self, job: NewJob, patience: Duration) -> Result<Receipt, EnqueueError> {
        let id = job.id.clone();
        let receipts = self.send(std::slice::from_ref(&job), patience).await?;
        receipts.into_iter().next().ok_or(EnqueueError::Unknown { id, patience })
    }
}
