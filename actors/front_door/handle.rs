//! What applications hold of a queue.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::job::{NewJob, QueueName};
use tokio::time::Instant;

use super::{Enqueue, FrontDoor};
use crate::limits::RESEND_DELAY;

/// Enqueues jobs, each with a receipt. Cheap to clone.
#[derive(Clone)]
pub struct QueueHandle {
    door: Arc<FrontDoor>,
}

impl QueueHandle {
    pub(crate) fn new(door: Arc<FrontDoor>) -> Self {
        Self { door }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        self.door.queue()
    }

    /// The present queue actor; `None` while it is being restarted. A reference dies with its actor: ask again rather than keep one.
    #[must_use]
    pub fn actor(&self) -> Option<ActorRef<Enqueue>> {
        let actor = self.door.actor.get()?;
        (actor.get_status() <= ractor::ActorStatus::Running).then(|| (*actor).clone())
    }

    /// Enqueues a sealed job, and waits for its receipt for at most `timeout`.
    ///
    /// The same job, with the same id, is sent again if the buffer could not take it, so it is stored once at most.
    ///
    /// # Errors
    /// [`EnqueueError`]; only [`EnqueueError::OutcomeUnknown`] leaves open whether the job was stored.
    pub async fn enqueue(&self, job: NewJob, timeout: Duration) -> Result<Receipt, EnqueueError> {
        let deadline = Instant::now() + timeout;
        loop {
            let (message, receipt) = Enqueue::sealed(job.clone()).with_reply();
            self.door.accept(message);
            match tokio::time::timeout_at(deadline, receipt).await {
                Ok(Ok(Ok(receipt))) => return Ok(receipt),
                Ok(Ok(Err(error))) if !error.is_retryable() => return Err(error),
                Ok(Ok(Err(error))) => {
                    tokio::time::timeout_at(deadline, self.door.capacity()).await.map_err(|_| error)?;
                }
                // The flush ended before it answered, by a crash or with the runtime. Whether it sent the job is unknown; its id makes it safe to send it again.
                Ok(Err(_)) if self.door.has_ended() => {
                    return Err(EnqueueError::ShuttingDown { queue: self.name().clone() });
                }
                Ok(Err(_)) if Instant::now() + RESEND_DELAY < deadline => tokio::time::sleep(RESEND_DELAY).await,
                Ok(Err(_)) | Err(_) => return Err(EnqueueError::OutcomeUnknown { id: job.id, timeout }),
            }
        }
    }
}
