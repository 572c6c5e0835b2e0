//! Which jobs to find.

use retraced_jobs::codec;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{JobState, Kind};
use retraced_jobs::store::JobSummary;

/// Which jobs to find: those in certain states that fulfil all conditions (code, kind, time). Without conditions every job in these states matches.
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
/// # for _ in 0..3 { client.enqueue(Welcome).await?; }
/// # let (operator, queue) = (Operator::shared(store), QueueName::new("email")?);
/// use retraced::find::{FoundJobs, JobCursor};
/// use retraced::{JobState, find::JobFilter};
/// let filter = JobFilter::in_state(JobState::Pending).kind("welcome".parse()?);
/// let FoundJobs { jobs, next, .. } = operator.find(&queue, &filter, None, 2).await?;
/// let cursor: JobCursor = next.ok_or("there is more")?.to_string().parse()?;
/// let rest = operator.find(&queue, &filter, Some(cursor), 2).await?;
/// assert_eq!((jobs.len(), rest.jobs.len(), rest.next), (2, 1, None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFilter {
    states: Vec<JobState>,
    code: Option<Code>,
    kind: Option<Kind>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
}

impl JobFilter {
    /// Jobs in this state. They are found in this order: pending jobs from the front of the queue, delayed ones by due time, processing ones by the expiry of their
    /// lease, ended ones latest first.
    #[must_use]
    pub fn in_state(state: JobState) -> Self {
        Self::of(vec![state])
    }

    /// Dead and poisoned jobs, which wait for an operator's decision. They are found latest first.
    #[must_use]
    pub fn failed() -> Self {
        Self::of(vec![JobState::Dead, JobState::Poisoned])
    }

    /// Pending and delayed jobs, which no worker holds.
    #[must_use]
    pub fn waiting() -> Self {
        Self::of(vec![JobState::Pending, JobState::Delayed])
    }

    fn of(states: Vec<JobState>) -> Self {
        Self { states, code: None, kind: None, since_ms: None, until_ms: None }
    }

    /// Only jobs whose latest failure or crash has this code.
    #[must_use]
    pub fn code(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Only jobs of this kind.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Only jobs that ended at this instant or later; jobs that have not ended match if they were enqueued at this instant or later. In ms since the Unix epoch, on
    /// the store's clock.
    #[must_use]
    pub fn since_ms(self, since_ms: u64) -> Self {
        Self { since_ms: Some(since_ms), ..self }
    }

    /// Only jobs that ended at this instant or earlier; jobs that have not ended match if they were enqueued at this instant or earlier. In ms since the Unix epoch, on
    /// the store's clock.
    #[must_use]
    pub fn until_ms(self, until_ms: u64) -> Self {
        Self { until_ms: Some(until_ms), ..self }
    }

    /// Whether there are no conditions besides the states.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.code.is_none() && self.kind.is_none() && self.since_ms.is_none() && self.until_ms.is_none()
    }

    /// The states of the jobs to find.
    #[must_use]
    pub fn states(&self) -> &[JobState] {
        &self.states
    }

    /// Whether a job in one of these states fulfils the conditions.
    #[must_use]
    pub fn matches(&self, job: &JobSummary) -> bool {
        let code = self.code.is_none_or(|code| job.last_error.as_ref().is_some_and(|error| error.code == code));
        code && !self.is_too_old(job)
            && !self.is_too_new(job)
            && self.kind.as_ref().is_none_or(|kind| codec::open(&job.envelope).is_ok_and(|e| e.kind == *kind))
    }

    /// Whether the job is older than [`since_ms`](Self::since_ms) allows. Where jobs are found latest first, all jobs after this one are too old as well.
    pub(super) fn is_too_old(&self, job: &JobSummary) -> bool {
        self.since_ms.is_some_and(|since_ms| time_of(job).is_none_or(|at_ms| at_ms < since_ms))
    }

    fn is_too_new(&self, job: &JobSummary) -> bool {
        self.until_ms.is_some_and(|until_ms| time_of(job).is_none_or(|at_ms| at_ms > until_ms))
    }
}

/// The instant that conditions about time compare: when the job ended, or was enqueued if it has not ended.
fn time_of(job: &JobSummary) -> Option<u64> {
    if job.state.is_final() { job.at_ms } else { job.enqueued_ms }
}
