//! The queue actor: the front door of a queue. It takes `Enqueue` messages and never awaits the store.
//!
//! Bounds: its mailbox is ractor's, unbounded; what it has taken in is bounded by the [front door](crate::front_door)'s buffer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::codec::CodecError;
use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::handler::{Job, JobOptions, seal_job};
use retraced_jobs::job::{JobId, NewJob, QueueName};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::front_door::Arrival;
use crate::house::{House, Room};

/// How long an enqueue waits before it looks again for a queue actor that is being restarted.
const RESTART_WAIT: Duration = Duration::from_millis(5);

/// The message that enqueues a job: a plain ractor message, for whoever holds the queue's `ActorRef`.
///
/// A bare cast is not acknowledged: it is lost if the actor ends before it handles the message, or if the buffer is full. Hold a [`QueueHandle`] to be sure.
///
/// ```
/// use retraced_actors::Enqueue;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Ring { bell: u32 }
/// # impl retraced_jobs::handler::Job for Ring { const KIND: &'static str = "bell.ring"; }
/// let message = Enqueue::new(Ring { bell: 1 })?;
/// let id = message.id().clone();
/// let (message, receipt) = message.with_reply();
/// assert_eq!(*message.id(), id, "made by the producer: sent again, it is the same job");
/// # drop(receipt);
/// # Ok::<(), retraced_jobs::codec::CodecError>(())
/// ```
pub struct Enqueue(pub(crate) Arrival);

impl Enqueue {
    /// A job with its queue's options, nobody waiting for its receipt.
    ///
    /// # Errors
    /// [`CodecError`] when the job cannot be written or is larger than a payload may be.
    pub fn new<J: Job>(job: J) -> Result<Self, CodecError> {
        Ok(Self::sealed(seal_job(&job, &JobOptions::default())?))
    }

    /// A job sealed before, with options of its own.
    #[must_use]
    pub fn sealed(job: NewJob) -> Self {
        Self(Arrival { job, reply: None })
    }

    /// The same message, with a receiver for its receipt.
    #[must_use]
    pub fn with_reply(mut self) -> (Self, oneshot::Receiver<Result<Receipt, EnqueueError>>) {
        let (reply, receipt) = oneshot::channel();
        self.0.reply = Some(reply);
        (self, receipt)
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.0.job.id
    }
}

impl fmt::Debug for Enqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue").field("id", &self.0.job.id).finish_non_exhaustive()
    }
}

/// The actor.
pub(crate) struct Queue;

impl Actor for Queue {
    type Msg = Enqueue;
    type State = Arc<Room>;
    type Arguments = Arc<Room>;

    async fn pre_start(&self, myself: ActorRef<Enqueue>, room: Arc<Room>) -> Result<Arc<Room>, ActorProcessingErr> {
        room.queue.fill(&myself);
        Ok(room)
    }

    async fn handle(
        &self,
        _: ActorRef<Enqueue>,
        Enqueue(arrival): Enqueue,
        room: &mut Arc<Room>,
    ) -> Result<(), ActorProcessingErr> {
        room.door.arrive(arrival);
        Ok(())
    }
}

/// What applications hold of a queue: enqueues with a receipt, across restarts of the queue actor. Cheap to clone.
#[derive(Clone)]
pub struct QueueHandle {
    house: Arc<House>,
    room: Arc<Room>,
}

impl QueueHandle {
    pub(crate) fn new(house: Arc<House>, room: Arc<Room>) -> Self {
        Self { house, room }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &QueueName {
        &self.room.name
    }

    /// The queue actor of this moment; `None` while it is being restarted or the queue is closed. References die with their actor: ask again rather
    /// than keep one.
    #[must_use]
    pub fn actor(&self) -> Option<ActorRef<Enqueue>> {
        let actor = self.room.queue.get()?;
        (actor.get_status() <= ractor::ActorStatus::Running).then(|| (*actor).clone())
    }

    /// Enqueues a sealed job, and waits for its receipt for up to `patience`.
    ///
    /// The same job, with the same id, is sent again whenever the actor or its buffer could not take it, so it is stored once at most.
    ///
    /// # Errors
    /// [`EnqueueError`]; [`EnqueueError::OutcomeUnknown`] leaves open whether the job was stored.
    pub async fn enqueue(&self, job: NewJob, patience: Duration) -> Result<Receipt, EnqueueError> {
        let deadline = Instant::now() + patience;
        let mut last = None;
        loop {
            let Some(actor) = self.actor() else {
                self.wait(deadline, last.clone(), tokio::time::sleep(RESTART_WAIT)).await?;
                continue;
            };
            let (message, receipt) = Enqueue::sealed(job.clone()).with_reply();
            if actor.cast(message).is_err() {
                self.wait(deadline, last.clone(), tokio::time::sleep(RESTART_WAIT)).await?;
                continue;
            }
            match tokio::time::timeout_at(deadline, receipt).await {
                Ok(Ok(Ok(receipt))) => return Ok(receipt),
                Ok(Ok(Err(error))) if !error.is_retryable() => return Err(error),
                Ok(Ok(Err(error))) => {
                    last = Some(error);
                    self.wait(deadline, last.clone(), self.room.door.room()).await?;
                }
                // The actor ended before it answered; whether it passed the job on is unknown, and the id makes it safe to ask again.
                Ok(Err(_)) => last = None,
                Err(_) => return Err(EnqueueError::OutcomeUnknown { id: job.id, timeout: patience }),
            }
        }
    }

    async fn wait(
        &self,
        deadline: Instant,
        last: Option<EnqueueError>,
        what: impl Future<Output = ()>,
    ) -> Result<(), EnqueueError> {
        let queue = self.room.name.clone();
        tokio::time::timeout_at(deadline, what).await.map_err(|_| match last {
            Some(error) => error,
            None if self.house.ended.is_cancelled() => EnqueueError::ShuttingDown { queue },
            None => EnqueueError::QueueClosed { queue },
        })
    }
}
