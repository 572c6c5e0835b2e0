//! Redrives or discards all jobs that match a filter, step by step.

use retraced_jobs::job::{JobId, QueueName};
use retraced_jobs::store::{JobSummary, Moved, Target};

use super::{JobFilter, JobSearch};
use crate::limits::{BULK_STEP_EXAMINED_MAX, BULK_STEP_JOBS};
use crate::operator::{Operator, OperatorError};

/// A redrive or a discard of all jobs that match a filter. Each step acts on at most 100 jobs, in the order in which they are found. To stop, drop the `BulkAction`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{Client, Job, MemoryStore, Operator, QueueName, Store};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome;
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// # let client = Client::shared(store.clone()).queue("email")?;
/// # let (operator, queue) = (Operator::shared(store), QueueName::new("email")?);
/// # for _ in 0..3 { let id = client.enqueue(Welcome).await?.id.clone(); operator.cancel(&queue, [id]).await?; }
/// use retraced::find::{BulkAction, BulkStep};
/// use retraced::{JobState, find::JobFilter};
/// let mut redrive: BulkAction = operator.redrive_matching(&queue, &JobFilter::in_state(JobState::Cancelled));
/// while let Some(BulkStep { results, .. }) = redrive.step().await? {
///     println!("{} jobs", results.len());
/// }
/// assert_eq!((redrive.changed(), redrive.unchanged()), (3, 0));
/// # Ok(())
/// # }
/// ```
pub struct BulkAction {
    operator: Operator,
    queue: QueueName,
    action: Action,
    search: JobSearch,
    /// Jobs that were found and not yet acted on.
    unsent: Vec<JobSummary>,
    /// How many jobs the steps so far have examined.
    examined: u64,
    changed: u64,
    unchanged: u64,
}

/// What one step of a bulk action did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkStep {
    /// The result for each job that was acted on; empty when none of the examined jobs matched.
    pub results: Vec<(JobId, Moved)>,
    /// How many jobs were examined since the last step that succeeded: at most 2,000 in each step.
    pub examined: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Redrive,
    Discard,
}

impl BulkAction {
    pub(super) fn new(operator: &Operator, queue: &QueueName, filter: &JobFilter, action: Action) -> Self {
        let search = JobSearch::from_the_beginning(operator, queue, filter);
        let (operator, queue) = (operator.clone(), queue.clone());
        Self { operator, queue, action, search, unsent: Vec::new(), examined: 0, changed: 0, unchanged: 0 }
    }

    /// Acts on the next jobs; `None` when there are no more.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refused or did not answer. The next step then acts on the same jobs again. Jobs that were changed although no answer came are
    /// counted as unchanged.
    pub async fn step(&mut self) -> Result<Option<BulkStep>, OperatorError> {
        if self.unsent.is_empty() {
            self.unsent = self.search.take(BULK_STEP_JOBS, BULK_STEP_EXAMINED_MAX).await?;
        }
        if self.unsent.is_empty() && self.search.is_over() {
            return Ok(None);
        }
        let targets: Vec<Target> = self.unsent.iter().map(Target::from).collect();
        let moved = match (self.action, targets.is_empty()) {
            (_, true) => Vec::new(),
            (Action::Redrive, false) => self.operator.redrive(&self.queue, targets).await?,
            (Action::Discard, false) => self.operator.discard(&self.queue, targets).await?,
        };
        self.count(&moved);
        let examined = self.search.examined() - std::mem::replace(&mut self.examined, self.search.examined());
        let results = self.unsent.drain(..).map(|job| job.id).zip(moved).collect();
        Ok(Some(BulkStep { results, examined }))
    }

    /// How many jobs were changed so far.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// How many jobs were left alone so far: somebody else moved them first, or their state does not allow the action.
    #[must_use]
    pub fn unchanged(&self) -> u64 {
        self.unchanged
    }

    fn count(&mut self, moved: &[Moved]) {
        let unchanged = moved.iter().filter(|moved| matches!(moved, Moved::Refused { .. } | Moved::NotFound)).count();
        self.unchanged += unchanged as u64;
        self.changed += (moved.len() - unchanged) as u64;
    }
}
