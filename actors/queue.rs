//! The queue actor: the front door of a queue. It takes `Enqueue` messages and never awaits the store.
//!
//! Bounds: its mailbox is ractor's, unbounded; what it has taken in is bounded by the [front door](crate::front_door)'s buffer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::codec::CodecError;
use retraced_jobs::handler::{Job, JobOptions, seal_job};
use retraced_jobs::job::{JobId, NewJob, QueueName};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::front_door::{Arrival, Receipt, Refusal};
use crate::house::{House, Room};

/// How long an enqueue waits, by default, for room, for the store, or for its answer.
pub const ENQUEUE_TIMEOUT: Duration = Duration::from_millis(800);
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
    pub fn with_reply(mut self) -> (Self, oneshot::Receiver<Result<Receipt, Refusal>>) {
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
    /// [`EnqueueError`]; [`EnqueueError::Unknown`] leaves open whether the job was stored.
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
                Ok(Ok(Err(Refusal::Closed))) => return Err(EnqueueError::Closed { queue: self.room.name.clone() }),
                Ok(Ok(Err(Refusal::Refused(reason)))) => return Err(EnqueueError::Refused { reason }),
                Ok(Ok(Err(refusal))) => {
                    last = Some(refusal);
                    self.wait(deadline, last.clone(), self.room.door.room()).await?;
                }
                // The actor ended before it answered; whether it passed the job on is unknown, and the id makes it safe to ask again.
                Ok(Err(_)) => last = None,
                Err(_) => return Err(EnqueueError::Unknown { id: job.id, patience }),
            }
        }
    }

    async fn wait(
        &self,
        deadline: Instant,
        last: Option<Refusal>,
        what: impl Future<Output = ()>,
    ) -> Result<(), EnqueueError> {
        let queue = self.room.name.clone();
        tokio::time::timeout_at(deadline, what).await.map_err(|_| match last {
            Some(Refusal::Busy) => EnqueueError::Busy { queue },
            Some(_) => EnqueueError::StoreAway,
            None if self.house.ended.is_cancelled() => EnqueueError::Closed { queue },
            None => EnqueueError::NoActor { queue },
        })
    }
}

/// Why a job was not enqueued, or nobody knows whether it was.
///
/// ```
/// use retraced_actors::EnqueueError;
/// use retraced_jobs::job::JobId;
/// let patience = std::time::Duration::from_millis(800);
/// let error = EnqueueError::Unknown { id: JobId::parse("welcome-42").unwrap(), patience };
/// // The only one that leaves open whether the job is stored. Its id makes a second try safe.
/// assert!(error.to_string().contains("welcome-42"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The queue's buffer stayed full. Nothing was stored. Enqueue slower, or let more producers share the work.
    Busy {
        /// The queue.
        queue: QueueName,
    },
    /// The store is away. Nothing was stored. The supervision events say why.
    StoreAway,
    /// The store answered, and will not take the job.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The runtime shuts down. Nothing was stored.
    Closed {
        /// The queue.
        queue: QueueName,
    },
    /// The queue actor is not running: the queue is closed after too many crashes, and is tried again later. Nothing was stored.
    NoActor {
        /// The queue.
        queue: QueueName,
    },
    /// No answer came in time. The job may be stored or not; enqueue it again under the same id to find out.
    Unknown {
        /// The job.
        id: JobId,
        /// How long the answer was waited for.
        patience: Duration,
    },
}

impl fmt::Display for EnqueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnqueueError::Busy { queue } => write!(f, "the buffer of queue \"{queue}\" is full; nothing was stored"),
            EnqueueError::StoreAway => write!(f, "the store cannot be reached; nothing was stored"),
            EnqueueError::Refused { reason } => write!(f, "the job was refused: {reason}"),
            EnqueueError::Closed { queue } => write!(f, "queue \"{queue}\" shuts down; nothing was stored"),
            EnqueueError::NoActor { queue } => write!(
                f,
                "queue \"{queue}\" is closed after too many crashes and will be tried again; nothing was stored"
            ),
            EnqueueError::Unknown { id, patience } => write!(
                f,
                "no answer within {patience:?}: job {id} may be stored or not; enqueue it again under the same id to find out"
            ),
        }
    }
}

impl std::error::Error for EnqueueError {}
