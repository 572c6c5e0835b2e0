//! What the facade holds of a front door.

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
pub struct FrontDoorHandle {
    door: Arc<FrontDoor>,
}

impl FrontDoorHandle {
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
        let unknown = || EnqueueError::OutcomeUnknown { id: job.id.clone(), timeout };
        // Set once a flush that had taken the job ended without an answer: whatever a call sent later is told, the first may have stored it.
        let mut maybe_stored = false;
        loop {
            let (message, receipt) = Enqueue::sealed(job.clone()).with_reply();
            self.door.accept(message);
            let error = match tokio::time::timeout_at(deadline, receipt).await {
                Ok(Ok(Ok(receipt))) => return Ok(receipt),
                Ok(Ok(Err(error))) => error,
                Ok(Err(_)) if !self.door.has_ended() && Instant::now() + RESEND_DELAY < deadline => {
                    maybe_stored = true;
                    tokio::time::sleep(RESEND_DELAY).await;
                    continue;
                }
                Ok(Err(_)) | Err(_) => return Err(unknown()),
            };
            let over = !error.is_retryable() || tokio::time::timeout_at(deadline, self.door.capacity()).await.is_err();
            if over {
                return Err(if maybe_stored { unknown() } else { error });
            }
        }
    }
}
