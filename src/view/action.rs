//! The result of an enqueue, and of an operator's action on a job.

use retraced_jobs::enqueue::Receipt;
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::Moved;
use serde::Serialize;

/// The result of an enqueue, for one job.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use retraced::{Client, Job, MemoryStore, QueueName};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome;
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// use retraced::view::EnqueuedRow;
/// let receipt = Client::new(MemoryStore::new()).queue("email")?.enqueue(Welcome).await?.into_receipt();
/// let row = EnqueuedRow::new(&QueueName::new("email")?, receipt);
/// assert_eq!(serde_json::to_value(&row)?["state"], "pending");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EnqueuedRow {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Whether the job is new; otherwise a job of this id was kept already, and nothing changed.
    pub created: bool,
    /// The state of the job.
    pub state: JobState,
}

impl EnqueuedRow {
    /// The row for a receipt.
    #[must_use]
    pub fn new(queue: &QueueName, receipt: Receipt) -> Self {
        Self { id: receipt.id, queue: queue.clone(), created: receipt.created, state: receipt.state }
    }
}

/// The result of a redrive, cancel or discard, for one job.
///
/// ```
/// use retraced::view::{ActionResult, ActionRow};
/// use retraced::{JobId, JobState, QueueName, store::Moved};
/// let moved = Moved::Moved { from: JobState::Dead, to: Some(JobState::Pending) };
/// let row = ActionRow::new(&QueueName::new("email")?, &JobId::parse("welcome-42")?, moved);
/// assert_eq!(row.result, ActionResult::Moved);
/// assert_eq!(serde_json::to_value(&row)?["from"], "dead");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActionRow {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// What happened.
    pub result: ActionResult,
    /// The state before; `None` when no such job is kept.
    pub from: Option<JobState>,
    /// The state now; `None` when the job is not kept.
    pub state: Option<JobState>,
}

/// What happened to one job that an operator acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActionResult {
    /// It changed its state.
    Moved,
    /// It was removed with its history.
    Removed,
    /// A worker holds it, and its handler is asked to stop.
    Asked,
    /// Its state does not allow the action, somebody else moved it first, or its stored record is cut off, so that it cannot run again. Nothing changed.
    Refused,
    /// No job of this id is kept. Nothing changed.
    NotFound,
    /// A newer version of the store returned a result that this version does not know.
    Unknown,
}

impl ActionRow {
    /// The row for the store's answer about one job.
    #[must_use]
    pub fn new(queue: &QueueName, id: &JobId, moved: Moved) -> Self {
        let (result, from, state) = match moved {
            Moved::Moved { from, to: Some(to) } => (ActionResult::Moved, Some(from), Some(to)),
            Moved::Moved { from, to: None } => (ActionResult::Removed, Some(from), None),
            Moved::Asked => (ActionResult::Asked, Some(JobState::Processing), Some(JobState::Processing)),
            Moved::Refused { state } => (ActionResult::Refused, Some(state), Some(state)),
            Moved::NotFound => (ActionResult::NotFound, None, None),
            _ => (ActionResult::Unknown, None, None),
        };
        Self { id: id.clone(), queue: queue.clone(), result, from, state }
    }

    /// Whether the action moved or removed the job, or asked its handler to stop.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !matches!(self.result, ActionResult::Refused | ActionResult::NotFound | ActionResult::Unknown)
    }
}
