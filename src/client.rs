//! A producer that needs no supervision tree; runtimes and handlers use it too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use retraced_actors::StoreCalls;
use retraced_jobs::enqueue::{
    EnqueueError, IntoNewJob, JobHandle, Outcome, OutcomeError, Producers, QueueHandle, QueueProducer,
};
use retraced_jobs::job::{JobId, QueueName};
use retraced_jobs::store::Store;
use tokio::runtime::Handle;

use crate::batcher::{BatchedProducer, Batcher};
use crate::limits::{CLIENT_CALLS_MAX, CLIENT_QUEUES_MAX};
use crate::outcome_waiter::OutcomeWaiter;

/// Enqueues jobs and waits for their outcomes. It needs no supervision tree, so a process that runs no jobs can use it. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use retraced::{Client, Job, MemoryStore, QueueHandle};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
///
/// let client = Client::new(MemoryStore::new());
/// let email: QueueHandle = client.queue("email")?;
/// let job = email.job(SendEmail { to: "ada@example.com".into() }).id("welcome-42").enqueue().await?;
/// assert!(job.created);
/// let again = email.job(SendEmail { to: "ada@example.com".into() }).id("welcome-42").enqueue().await?;
/// assert!(!again.created);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    calls: StoreCalls,
    waiter: OutcomeWaiter,
    /// One batcher per queue, so that all handles of a queue share calls.
    batchers: Mutex<HashMap<QueueName, Arc<Batcher>>>,
}

impl Client {
    /// A client over a store.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::shared(Arc::new(store))
    }

    /// A client over a store that other parts of the program use too.
    #[must_use]
    pub fn shared(store: Arc<dyn Store>) -> Self {
        Self::with_calls(StoreCalls::new(store, CLIENT_CALLS_MAX, None))
    }

    /// A client whose calls run on this tokio runtime: that of a supervision tree.
    pub(crate) fn running_on(store: Arc<dyn Store>, tokio: Handle) -> Self {
        Self::with_calls(StoreCalls::new(store, CLIENT_CALLS_MAX, Some(tokio)))
    }

    fn with_calls(calls: StoreCalls) -> Self {
        let waiter = OutcomeWaiter::new(calls.clone());
        Self(Arc::new(Inner { calls, waiter, batchers: Mutex::default() }))
    }

    /// A client for handlers. It shares this client's replay slots, and so its bound of open calls, but batches separately. While the store takes no new jobs, its enqueues
    /// wait until their timeout, unless a right is missing. If they failed at once, the job would lose an attempt.
    pub(crate) fn for_handlers(&self) -> Self {
        let (calls, waiter) = (self.0.calls.clone().waiting_while_blocked(), self.0.waiter.clone());
        Self(Arc::new(Inner { calls, waiter, batchers: Mutex::default() }))
    }

    /// A queue to enqueue to. It need not have been used before.
    ///
    /// # Errors
    /// [`EnqueueError::InvalidQueue`] unless the name is 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn queue(&self, name: impl AsRef<str>) -> Result<QueueHandle, EnqueueError> {
        let name = QueueName::new(name).map_err(EnqueueError::InvalidQueue)?;
        Ok(QueueHandle::new(self.producer(&name)))
    }

    /// Enqueues a job to the default queue of its kind ([`JobDefaults::queue`](crate::JobDefaults::queue)), and waits for its receipt.
    ///
    /// # Errors
    /// [`EnqueueError::NoQueue`] when the kind has no default queue, and for a sealed job, which does not say its queue; the other errors are those of
    /// [`QueueHandle::enqueue`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use retraced::{Client, Job, JobDefaults, MemoryStore};
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct SendEmail { to: String }
    /// impl Job for SendEmail {
    ///     const KIND: &'static str = "email.send";
    ///
    ///     fn defaults() -> JobDefaults {
    ///         JobDefaults::new().queue("email")
    ///     }
    /// }
    ///
    /// let client = Client::new(MemoryStore::new());
    /// let job = client.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
    /// assert_eq!(job.queue.as_str(), "email");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue(&self, job: impl IntoNewJob) -> Result<JobHandle, EnqueueError> {
        match job.default_queue()? {
            Some(queue) => QueueHandle::new(self.producer(&queue)).enqueue(job).await,
            None => Err(EnqueueError::NoQueue { known: Vec::new() }),
        }
    }

    /// Waits until a job has ended, for up to `timeout`. For jobs whose [`JobHandle`](crate::JobHandle) is gone or in another process.
    ///
    /// # Errors
    /// [`OutcomeError`].
    ///
    /// # Cancel safety
    /// It only reads: it can be dropped and called again.
    pub async fn outcome(&self, queue: &QueueName, id: &JobId, timeout: Duration) -> Result<Outcome, OutcomeError> {
        self.0.waiter.wait_for_end(queue, id, timeout).await
    }

    fn batcher(&self, queue: &QueueName) -> Arc<Batcher> {
        let mut batchers = self.0.batchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batcher) = batchers.get(queue) {
            return batcher.clone();
        }
        if batchers.len() >= CLIENT_QUEUES_MAX {
            batchers.retain(|_, batcher| Arc::strong_count(batcher) > 1);
        }
        let batcher = Batcher::new(self.0.calls.clone(), queue.clone());
        batchers.insert(queue.clone(), batcher.clone());
        batcher
    }
}

impl Producers for Client {
    fn producer(&self, queue: &QueueName) -> Arc<dyn QueueProducer> {
        Arc::new(BatchedProducer { batcher: self.batcher(queue), waiter: self.0.waiter.clone() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::store::memory::MemoryStore;

    use super::*;

    #[test]
    fn handles_of_one_queue_never_have_batches_of_their_own() {
        let client = Client::new(MemoryStore::new());
        let queue = QueueName::new("email").unwrap();
        assert!(Arc::ptr_eq(&client.batcher(&queue), &client.clone().batcher(&queue)));
        assert!(!Arc::ptr_eq(&client.batcher(&queue), &client.batcher(&QueueName::new("other").unwrap())));
    }
}
