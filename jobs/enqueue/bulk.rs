//! The error of a bulk enqueue that did not store all of its jobs.

use std::error::Error as StdError;
use std::fmt;

use super::{EnqueueError, Receipt};
use crate::job::NewJob;

/// The error of an `enqueue_all` of which not all jobs are known to be stored. The remaining jobs are sealed, so they can be sent again under the same ids, and none is
/// stored twice.
///
/// ```
/// use retraced_jobs::enqueue::{EnqueueAllError, QueueHandle, Receipt};
/// use retraced_jobs::job::NewJob;
/// async fn store_all(queue: &QueueHandle, mut jobs: Vec<NewJob>) -> Result<Vec<Receipt>, EnqueueAllError> {
///     let mut stored = Vec::new();
///     loop {
///         match queue.enqueue_all(jobs).await {
///             Ok(receipts) => {
///                 stored.extend(receipts);
///                 return Ok(stored);
///             }
///             Err(error) if error.is_retryable() => {
///                 stored.extend(error.stored);
///                 jobs = error.remaining;
///                 tokio::time::sleep(std::time::Duration::from_secs(1)).await;
///             }
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EnqueueAllError {
    /// Receipts of all jobs that are known to be stored, in the order of the jobs. These are not always the first jobs: part of a batch may be stored.
    pub stored: Vec<Receipt>,
    /// The jobs without a receipt, in order. If [`error`](Self::error) leaves the outcome unknown, those of one batch (at most 200) may be stored all the same. When
    /// they are sent again, their receipts say `created: false` although this call created them. Empty when a job could not be sealed: then nothing was sent.
    pub remaining: Vec<NewJob>,
    /// Why the first of the remaining jobs has no receipt, or why a job could not be sealed.
    pub error: EnqueueError,
}

impl EnqueueAllError {
    /// The error, for those who implement a [`QueueProducer`](super::QueueProducer).
    #[must_use]
    pub fn new(stored: Vec<Receipt>, remaining: Vec<NewJob>, error: EnqueueError) -> Self {
        Self { stored, remaining, error }
    }

    /// Whether sending the remaining jobs again may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.error.is_retryable()
    }
}

impl fmt::Display for EnqueueAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stored, all) = (self.stored.len(), self.stored.len() + self.remaining.len());
        match all {
            0 => write!(f, "none of the jobs was stored: {}", self.error),
            _ => write!(f, "{stored} of {all} jobs are known to be stored: {}", self.error),
        }
    }
}

impl StdError for EnqueueAllError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
