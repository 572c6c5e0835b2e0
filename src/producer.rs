//! Asking for a job: its options, and what can go wrong before the queue takes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retraced_actors::bounds::ENQUEUE_TIMEOUT;
use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::handler::{Job, JobOptions, seal_job};
use retraced_jobs::job::{JobId, NewJob, RunAt};
use retraced_jobs::retry::{Retry, RetryOverrides};

/// Whoever takes sealed jobs in.
pub(crate) trait Door {
    /// Enqueues one sealed job, waiting for its receipt for up to `patience`.
    fn take(&self, job: NewJob, patience: Duration) -> impl Future<Output = Result<Receipt, EnqueueError>> + Send;
}

/// One job with options of its own, ready to be enqueued.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use retraced::{Client, Job, JobRequest, MemoryStore, Retry};
/// # use std::time::Duration;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// # let email = Client::new(MemoryStore::new()).queue("email")?;
/// let receipt = email
///     .job(SendEmail { to: "ada@example.com".into() })
///     .id("welcome-42")
///     .delay(Duration::from_secs(600))
///     .retry(Retry::three_tier().max_attempts(8))
///     .enqueue()
///     .await?;
/// assert_eq!(receipt.state.to_string(), "delayed");
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is enqueued until .enqueue() is awaited"]
pub struct JobRequest<'a, D, J> {
    door: &'a D,
    job: J,
    options: JobOptions,
    patience: Duration,
    mistake: Option<EnqueueError>,
}

#[expect(private_bounds, reason = "doors are ours")]
impl<'a, D: Door, J: Job> JobRequest<'a, D, J> {
    pub(crate) fn new(door: &'a D, job: J) -> Self {
        Self { door, job, options: JobOptions::default(), patience: ENQUEUE_TIMEOUT, mistake: None }
    }

    /// An id of your own: 1 to 128 of `A-Z a-z 0-9 . _ - :`. As long as a job of this id is kept, enqueueing it again changes nothing, and the receipt says so.
    pub fn id(mut self, id: impl AsRef<str>) -> Self {
        match JobId::parse(id.as_ref()) {
            Ok(id) => self.options.id = Some(id),
            Err(invalid) => self.mistake = Some(EnqueueError::InvalidId(invalid)),
        }
        self
    }

    /// Not before this long from now, by the store's clock.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.run_at = RunAt::After(delay);
        self
    }

    /// Not before this instant, by the store's clock; one that has passed means now.
    pub fn at(mut self, at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.options.run_at = RunAt::At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Retried by this policy instead of its queue's.
    pub fn retry(mut self, retry: Retry) -> Self {
        match retry.validate() {
            Ok(retry) => self.options.retry = RetryOverrides::all_of(&retry),
            Err(invalid) => self.mistake = Some(EnqueueError::InvalidRetry(invalid)),
        }
        self
    }

    /// Its handler may run this long, instead of its queue's timeout.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// How long to wait for room, for the store and for the receipt. Default 800 ms, so that a caller learns of an outage within a second.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Enqueues the job, and waits for its receipt.
    ///
    /// # Errors
    /// [`EnqueueError`]. Only [`EnqueueError::OutcomeUnknown`] leaves open whether the job was stored.
    pub async fn enqueue(self) -> Result<Receipt, EnqueueError> {
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        let sealed = seal_job(&self.job, &self.options).map_err(EnqueueError::Payload)?;
        self.door.take(sealed, self.patience).await
    }
}
