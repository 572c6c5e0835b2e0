//! The handle of a front door, for the facade.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::job::{NewJob, QueueName};
use tokio::time::Instant;

use super::{Enqueue, FrontDoor};
use crate::limits::{DEADLINE_MAX, RESEND_DELAY};

/// Enqueues jobs, each with a receipt. Cheap to clone.
#[derive(Clone)]
pub struct FrontDoorHandle {
    door: Arc<FrontDoor>,
}

impl FrontDoorHandle {
    pub(crate) fn new(door: Arc<FrontDoor>) -> Self {
        Self { door }
    }

    /// The name of the queue.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        self.door.queue()
    }

    /// The current queue actor; `None` while it is being restarted or the queue is closed, and after the runtime has ended. Do not keep the reference: it is useless once the actor has ended.
    #[must_use]
    pub fn actor(&self) -> Option<ActorRef<Enqueue>> {
        let actor = self.door.actor.get()?;
        (actor.get_status() <= ractor::ActorStatus::Running).then(|| (*actor).clone())
    }

    /// Enqueues a sealed job, and waits for its receipt for at most `timeout`. A timeout above [`DEADLINE_MAX`] counts as that.
    ///
    /// The job is sent again if the buffer is full, the store is unreachable, or a flush ended without an answer. The id stays the same, so the job is
    /// stored at most once. What a store that is blocked says is returned at once.
    ///
    /// # Errors
    /// [`EnqueueError`]; [`EnqueueError::is_outcome_unknown`] says whether the job may have been stored all the same.
    pub async fn enqueue(&self, job: NewJob, timeout: Duration) -> Result<Receipt, EnqueueError> {
        let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
        let unknown = || EnqueueError::OutcomeUnknown { id: job.id.clone(), timeout };
        // Set once a flush that had taken the job ended without an answer: the job may be stored, whatever a later flush answers.
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
            // `Refused` stands for a blocked store here: retryable, but the caller hears at once what it said.
            let over = !error.is_retryable()
                || matches!(error, EnqueueError::Refused { .. })
                || tokio::time::timeout_at(deadline, self.door.wait_for_capacity()).await.is_err();
            if over {
                return Err(if maybe_stored { unknown() } else { error });
            }
        }
    }
}
