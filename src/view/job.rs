//! A job as one line of a list, and with everything that is known about it.

use retraced_jobs::codec::{self, Envelope, JsonText};
use retraced_jobs::failure::Code;
use retraced_jobs::job::{Counters, JobId, JobState, Kind, QueueName};
use retraced_jobs::retry::RetryOverrides;
use retraced_jobs::store::{self, JobSummary, JobView};
use retraced_jobs::trace::{AttemptRecord, Ended, LastError, StoredAttempt};
use serde::Serialize;

use super::{ActDetail, AttemptDetail, Progress, Timestamp};

/// A job without its payload and history: one line of a list.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{Client, Job, JobState, MemoryStore, Operator, QueueName, Store, find::JobFilter};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome;
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// # Client::shared(store.clone()).queue("email")?.enqueue(Welcome).await?;
/// use retraced::view::JobRow;
/// let (operator, queue) = (Operator::shared(store), QueueName::new("email")?);
/// let page = operator.find(&queue, &JobFilter::in_state(JobState::Pending), None, 50).await?;
/// let rows: Vec<JobRow> = page.jobs.iter().map(|job| JobRow::new(&queue, job)).collect();
/// assert_eq!(serde_json::to_value(&rows)?[0]["kind"], "welcome");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobRow {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its kind; `None` when its envelope cannot be read.
    pub kind: Option<Kind>,
    /// Its state.
    pub state: JobState,
    /// Attempts so far: one per grant.
    pub attempts: u32,
    /// Failed attempts.
    pub failures: u32,
    /// Attempts whose lease expired after the handler had started.
    pub crashes: u32,
    /// Attempts that were released or lost, without counting a failure or a crash.
    pub releases: u32,
    /// After how many failures the job goes to the dead letter queue, if the job sets that itself. Otherwise a [`JobDetail`] takes it from the latest retry decision in
    /// the history, and a list, which has no history, shows `None`: then the policy of its kind or queue applies.
    pub max_attempts: Option<u32>,
    /// When the store accepted it.
    pub enqueued_at: Option<Timestamp>,
    /// When it is due; only while it is delayed.
    pub due_at: Option<Timestamp>,
    /// When its lease expires unless renewed; only while it is processing.
    pub lease_expires_at: Option<Timestamp>,
    /// When it ended; only in a final state.
    pub ended_at: Option<Timestamp>,
    /// Its latest failure or crash.
    pub last_error: Option<JobError>,
    /// The worker that holds the job; only while it is processing. Its handler may not have begun: a worker claims jobs ahead of its executors.
    pub held_by: Option<LeaseHolder>,
    /// The progress of the running attempt; only while it is processing, and if its handler has reported some.
    pub progress: Option<Progress>,
}

/// The latest failure or crash of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobError {
    /// The code of the failure.
    pub code: Code,
    /// The error's text. It comes from a handler: print it through [`printable`](super::printable).
    pub message: String,
    /// When the store recorded it.
    pub at: Timestamp,
}

/// A job with everything that is known about it. In JSON the fields of `row` stand beside the others.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{Client, Job, MemoryStore, Operator, QueueName, Store};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome { to: String }
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// # let job = Welcome { to: "ada".into() };
/// # let id = Client::shared(store.clone()).queue("email")?.enqueue(job).await?.id.clone();
/// use retraced::view::{AttemptDetail, AttemptOutcome, JobDetail, JobError, LeaseHolder, LogLine, Progress};
/// let (operator, queue) = (Operator::shared(store), QueueName::new("email")?);
/// let view = operator.job(&queue, &id).await?.ok_or("gone")?;
/// let job = JobDetail::from(&view);
/// assert_eq!(serde_json::to_value(&job)?["payload"]["to"], "ada");
///
/// let (holder, error): (Option<LeaseHolder>, Option<JobError>) = (job.row.held_by, job.row.last_error);
/// assert!(holder.is_none() && error.is_none());
/// for AttemptDetail { outcome, log, progress, .. } in job.history {
///     let (lines, progress): (Vec<LogLine>, Option<Progress>) = (log, progress);
///     println!("{lines:?} {progress:?} {}", outcome == AttemptOutcome::Completed);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobDetail {
    /// The job as one line of a list.
    #[serde(flatten)]
    pub row: JobRow,
    /// The retry settings of this job; `None` when those of its kind or queue apply.
    pub retry: Option<RetryOverrides>,
    /// The timeout of this job, in ms; `None` when that of its kind or queue applies.
    pub timeout_ms: Option<u64>,
    /// The payload. `None` when it cannot be shown as JSON; then `unreadable` says why. With `serde_json` it serializes as the JSON that it is.
    pub payload: Option<JsonText>,
    /// Why there is no payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// The attempts kept, oldest first.
    pub history: Vec<AttemptDetail>,
    /// How many attempts have ended and are not kept in `history`.
    pub history_collapsed: u32,
    /// What operators did to the job, oldest first: the latest five acts.
    pub acts: Vec<ActDetail>,
    /// How many acts are not kept in `acts`.
    pub acts_dropped: u32,
}

/// The worker that holds a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The worker process.
    pub worker: String,
    /// When it claimed the job.
    pub claimed_at: Timestamp,
    /// Whether somebody asked to cancel the job.
    pub cancel_asked: bool,
    #[serde(skip)]
    short_worker: String,
}

/// What both a [`JobSummary`] and a [`JobView`] hold.
struct CommonFields<'a> {
    id: &'a JobId,
    state: JobState,
    counters: Counters,
    enqueued_ms: Option<u64>,
    at_ms: Option<u64>,
    last_error: Option<LastError>,
    held_by: Option<LeaseHolder>,
    progress: Option<Progress>,
}

impl JobRow {
    /// One line of a list of the queue's jobs.
    #[must_use]
    pub fn new(queue: &QueueName, job: &JobSummary) -> Self {
        let JobSummary { id, state, counters, enqueued_ms, at_ms, last_error, held_by, progress, .. } = job;
        let last_error = last_error.clone();
        let common = CommonFields {
            id,
            state: *state,
            counters: *counters,
            enqueued_ms: *enqueued_ms,
            at_ms: *at_ms,
            last_error,
            held_by: held_by.as_ref().map(LeaseHolder::from),
            progress: progress.as_ref().map(Progress::from),
        };
        Self::of(queue, common, codec::open(&job.envelope).ok().as_ref())
    }

    fn of(queue: &QueueName, job: CommonFields<'_>, envelope: Option<&Envelope>) -> Self {
        let CommonFields { id, state, counters, enqueued_ms, at_ms, last_error, held_by, progress } = job;
        let at = |applies: bool| at_ms.filter(|_| applies).map(Timestamp::from_ms);
        Self {
            id: id.clone(),
            queue: queue.clone(),
            kind: envelope.map(|envelope| envelope.kind.clone()),
            state,
            attempts: counters.attempts,
            failures: counters.failures,
            crashes: counters.crashes,
            releases: counters.releases,
            max_attempts: envelope.and_then(|envelope| envelope.retry.max_attempts),
            enqueued_at: enqueued_ms.map(Timestamp::from_ms),
            due_at: at(state == JobState::Delayed),
            lease_expires_at: at(state == JobState::Processing),
            ended_at: at(state.is_final()),
            last_error: last_error.map(JobError::from),
            held_by,
            progress,
        }
    }

    /// The instant that belongs to its state: when it is due, when its lease expires, or when it ended. `None` while it is pending.
    #[must_use]
    pub fn state_instant(&self) -> Option<Timestamp> {
        self.due_at.or(self.lease_expires_at).or(self.ended_at)
    }
}

impl From<&JobView> for JobRow {
    fn from(view: &JobView) -> Self {
        let common = CommonFields {
            id: &view.id,
            state: view.state,
            counters: view.counters,
            enqueued_ms: view.enqueued_ms,
            at_ms: view.at_ms,
            last_error: view.last_error(),
            held_by: view.held_by.as_ref().map(LeaseHolder::from),
            progress: view.running_progress().map(Progress::from),
        };
        let mut row = Self::of(&view.queue, common, codec::open(&view.envelope).ok().as_ref());
        row.max_attempts = row.max_attempts.or_else(|| view.history.iter().rev().find_map(decided_max_attempts));
        row
    }
}

fn decided_max_attempts(attempt: &StoredAttempt) -> Option<u32> {
    let Ok(AttemptRecord::Reported(log)) = &attempt.record else { return None };
    match &log.ended {
        Ended::Failed { decision: Some(decision), .. } => Some(decision.max_attempts),
        _ => None,
    }
}

impl From<&JobView> for JobDetail {
    fn from(view: &JobView) -> Self {
        let envelope = codec::open(&view.envelope);
        let payload = match &envelope {
            Ok(envelope) => codec::to_json_text(&envelope.payload).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (payload, unreadable) = match payload {
            Ok(payload) => (Some(payload), None),
            Err(why) => (None, Some(why)),
        };
        let envelope = envelope.ok();
        Self {
            row: JobRow::from(view),
            retry: envelope.as_ref().map(|envelope| envelope.retry).filter(|retry| !retry.is_empty()),
            timeout_ms: envelope.and_then(|envelope| envelope.timeout_ms),
            payload,
            unreadable,
            history: AttemptDetail::all_of(view),
            history_collapsed: view.collapsed,
            acts: view.acts.iter().map(ActDetail::from).collect(),
            acts_dropped: view.acts_dropped,
        }
    }
}

impl From<&store::LeaseHolder> for LeaseHolder {
    fn from(holder: &store::LeaseHolder) -> Self {
        Self {
            attempt: holder.attempt,
            worker: holder.instance.to_string(),
            claimed_at: Timestamp::from_ms(holder.claimed_ms),
            cancel_asked: holder.cancel_asked,
            short_worker: holder.instance.short(),
        }
    }
}

impl LeaseHolder {
    /// The last eight characters of the worker's id: logs and traces name it by these.
    #[must_use]
    pub fn short_worker(&self) -> &str {
        &self.short_worker
    }
}

impl From<LastError> for JobError {
    fn from(error: LastError) -> Self {
        Self { code: error.code, message: error.message, at: Timestamp::from_ms(error.at_ms) }
    }
}
