//! The message that enqueues a job.

use std::fmt;

use retraced_jobs::codec::CodecError;
use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::job::{JobId, NewJob};
use retraced_jobs::typed_job::{Job, JobOptions, seal_job};
use tokio::sync::oneshot;

/// Where a producer waits for its receipt.
pub(super) type Reply = oneshot::Sender<Result<Receipt, EnqueueError>>;

/// The message that enqueues a job: a plain ractor message, for code that holds the queue's `ActorRef`.
///
/// A bare cast is not acknowledged: the job is lost if the actor ends before it handles the message, or if the buffer is full. With a
/// [`FrontDoorHandle`](super::FrontDoorHandle) the producer gets a receipt or an error in both cases.
///
/// ```
/// use retraced_actors::Enqueue;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Ring { bell: u32 }
/// # impl retraced_jobs::typed_job::Job for Ring { const KIND: &'static str = "bell.ring"; }
/// let message = Enqueue::new(Ring { bell: 1 })?;
/// let id = message.id().clone();
/// let (message, receipt) = message.with_reply();
/// assert_eq!(*message.id(), id, "made by the producer: sent again, it is the same job");
/// # drop(receipt);
/// # Ok::<(), retraced_jobs::codec::CodecError>(())
/// ```
pub struct Enqueue {
    pub(super) job: NewJob,
    pub(super) reply: Option<Reply>,
}

impl Enqueue {
    /// A job without options of its own, and without a reply.
    ///
    /// # Errors
    /// [`CodecError`] if the job cannot be serialized or its payload is too large.
    pub fn new<J: Job>(job: J) -> Result<Self, CodecError> {
        Ok(Self::sealed(seal_job(&job, &JobOptions::default())?))
    }

    /// A job that was sealed before, without a reply.
    #[must_use]
    pub fn sealed(job: NewJob) -> Self {
        Self { job, reply: None }
    }

    /// The same message, with a receiver for its receipt.
    #[must_use]
    pub fn with_reply(mut self) -> (Self, oneshot::Receiver<Result<Receipt, EnqueueError>>) {
        let (reply, receipt) = oneshot::channel();
        self.reply = Some(reply);
        (self, receipt)
    }

    /// The id of the job.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.job.id
    }
}

impl fmt::Debug for Enqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue").field("id", &self.job.id).finish_non_exhaustive()
    }
}
