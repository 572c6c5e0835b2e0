//! Supervision events: starts, crashes and restarts of actors, and what the actors report about jobs, queues and the store.

use std::fmt;

use super::{Finding, TrimReason};
use crate::failure::{Code, Resource};
use crate::job::{InstanceId, JobId, JobState, QueueName};

/// One supervision event. It is logged under the target `retraced::supervision`, sent to the process's subscribers and observers, and kept in the store's ledger,
/// which is bounded.
///
/// ```
/// use retraced_jobs::job::InstanceId;
/// use retraced_jobs::events::{EventKind, SupervisionEvent};
/// let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// let kind = EventKind::RestartScheduled { delay_ms: 50 };
/// let event = SupervisionEvent::new(0, instance, "email/fetcher", 1, kind);
/// let json = serde_json::to_value(&event).unwrap();
/// assert_eq!((&json["path"], &json["event"]), (&"email/fetcher".into(), &"restart_scheduled".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct SupervisionEvent {
    /// When, in ms since the Unix epoch, by the worker's wall clock.
    pub at_ms: u64,
    /// The worker process.
    pub instance: InstanceId,
    /// Where in the tree: the path of an actor such as `email/executor-3`, or of a queue such as `email`.
    pub path: String,
    /// The generation of the actor: how often an actor had been started at this path before.
    pub generation: u32,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl SupervisionEvent {
    /// An event; the arguments are the fields of the same names.
    #[must_use]
    pub fn new(at_ms: u64, instance: InstanceId, path: impl Into<String>, generation: u32, kind: EventKind) -> Self {
        Self { at_ms, instance, path: path.into(), generation, kind }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// An actor started.
    Started,
    /// An actor stopped as requested.
    Stopped,
    /// A handler panicked. The attempt is settled as `PANIC` and the executor is replaced. The panic does not count against a restart budget.
    HandlerPanicked {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The attempt that panicked.
        attempt: u32,
        /// The panic's message.
        message: String,
        /// File, line and column.
        location: Option<String>,
    },
    /// An actor ended by an error, a panic of its own or a kill. This counts against its supervisor's restart budget.
    Crashed {
        /// Why.
        reason: String,
        /// How often children of the supervisor failed within its restart window, this failure included.
        failures: u32,
        /// How many such failures the supervisor tolerates within the window.
        budget: u32,
    },
    /// An actor could not be started.
    StartFailed {
        /// Why.
        reason: String,
    },
    /// A crashed actor will be started again.
    RestartScheduled {
        /// It starts after this long, in ms.
        delay_ms: u64,
    },
    /// An actor that had ended was started again.
    Restarted,
    /// A supervisor gives up: its restart budget is used up, or a child asked it to give up.
    Escalated {
        /// The child that failed last, or that asked.
        child: String,
        /// How often children failed within the window; 0 if a child asked.
        failures: u32,
        /// The window, in ms.
        window_ms: u64,
        /// The last failure, or why the child asked.
        reason: String,
    },
    /// A supervisor gave up or could not be restarted, and is closed for a while: that of the workers of a queue, or that of the whole queue. The event's path names it.
    /// Jobs can still be enqueued, and other queues keep running.
    SupervisorClosed {
        /// It reopens after this long, in ms.
        reopens_in_ms: u64,
        /// Why.
        reason: String,
    },
    /// A closed supervisor, that of the workers of a queue or that of the whole queue, runs again.
    SupervisorReopened,
    /// Calls to the store have gone unanswered for a second. Actors wait until the store answers, and then repeat their calls.
    StoreUnreachable {
        /// The error, without credentials.
        reason: String,
    },
    /// The store can be reached again.
    StoreReachable {
        /// How long it could not be reached, in ms.
        away_ms: u64,
    },
    /// The store answers, but refuses writes or new jobs. Each call that is refused is sent again with a backoff of its own; the others go on.
    StoreBlocked {
        /// Why, in the words of the store, and what to do; without credentials.
        reason: String,
    },
    /// The store takes writes and new jobs again.
    StoreUnblocked {
        /// How long it refused them, in ms.
        blocked_ms: u64,
    },
    /// Calls of one kind have had no answer for 10 s, although the store answers others: a proxy cuts them, for example. They are sent again until they are answered.
    StoreCallFailing {
        /// What is tried: a verb of the store, or `hints` for the subscription for hints.
        operation: String,
        /// The last error, without credentials.
        reason: String,
    },
    /// No call of this kind fails any more.
    StoreCallRecovered {
        /// What was tried.
        operation: String,
        /// How long it failed, in ms.
        failed_ms: u64,
    },
    /// A handler still runs 10 s after its timeout. Its attempt is settled as `TIMEOUT`, so the next attempt may overlap with it.
    Zombie {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
        /// How long it has run, in ms.
        ran_ms: u64,
    },
    /// A handler blocks its thread: one poll of it has lasted for more than a second.
    Stuck {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// How long it has run, in ms.
        ran_ms: u64,
    },
    /// A lease expired and its job was reclaimed.
    LeaseReclaimed {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The worker that held it.
        held_by: Option<InstanceId>,
        /// Crashes of the job; this one included, if it was counted.
        crashes: u32,
        /// Whether a crash was counted, because the handler was known to have started. Otherwise a release was counted.
        #[serde(default)]
        counted: bool,
        /// Whether the job is poisoned, because this was one crash or loss too many.
        poisoned: bool,
    },
    /// The replies to some claims were never read, because of a bug or damage. The jobs that were granted to these claims were released without counting a failure.
    ClaimsLost {
        /// The queue.
        queue: QueueName,
        /// How many claims.
        claims: usize,
        /// How many jobs were released.
        released: usize,
    },
    /// No worker had looked for expired leases of this queue for half a lease (a reclaim gap), because of an outage or because no worker ran. No lease is reclaimed during the lease grace: `grace_ms`, at most one lease.
    LeaseGraceGiven {
        /// The queue.
        queue: QueueName,
        /// For how long, in ms.
        grace_ms: u64,
    },
    /// The clock of the store was set back, so that leases ended further from now than any lease lasts. They now end one lease from now, unless they are renewed.
    LeasesShortened {
        /// The queue.
        queue: QueueName,
        /// How many leases, in one look at the queue.
        leases: usize,
    },
    /// The store refused to renew the lease of a job that ran, or waited for an executor, in this worker. Its handler is asked to stop.
    LeaseLost {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
    },
    /// A settlement came too late: the job's lease is no longer the one of this attempt. Nothing was changed.
    StaleSettlement {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
    },
    /// A worker cannot run a job, because it has no handler for its kind or a newer version sealed its envelope. The job was released or moved to the dead letter
    /// queue.
    UnknownKind {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The job's kind, or why the envelope cannot be read.
        kind: String,
    },
    /// A worker cannot decode a job's payload, and released the job with a delay for a worker that can.
    Undecodable {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// Why.
        error: String,
    },
    /// Jobs that were released or reclaimed before did not start within a second, because a crash suspect ran in this process, and they must not run beside it. They are
    /// delayed, and nothing is counted. Reported at once, and then at most once per minute and queue.
    JobsPostponed {
        /// The queue.
        queue: QueueName,
        /// How many times a job was delayed since the last report.
        count: u64,
        /// One of the jobs.
        job: JobId,
        /// For how long, in ms.
        delay_ms: u64,
    },
    /// Attempts fail because this process has run out of something. Their jobs are released without counting a failure, and executors pause. Reported once, and again
    /// after a minute without such an attempt.
    OutOfResources {
        /// The queue of the first such attempt.
        queue: QueueName,
        /// What is exhausted.
        resource: Resource,
        /// The error of that attempt.
        error: String,
    },
    /// An attempt ended in a way that poisons its job, and the store has confirmed it. A job that is poisoned when it is reclaimed is reported as `LeaseReclaimed`.
    JobPoisoned {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// Why.
        code: Code,
    },
    /// An attempt ended in a way that moves its job to the dead letter queue, and the store has confirmed it: its retries are exhausted, its failure is not retried, or no
    /// worker could run it for too many releases.
    JobDied {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// Why.
        code: Code,
    },
    /// Retention removed dead or poisoned jobs. The first removal is reported at once, later ones are summed up for a minute.
    JobsTrimmed {
        /// The queue.
        queue: QueueName,
        /// The state they were in.
        state: JobState,
        /// How many.
        count: u64,
        /// Which bound they exceeded.
        reason: TrimReason,
        /// When the oldest of them had ended, in ms since the Unix epoch.
        oldest_ms: u64,
    },
    /// `Enqueue` messages whose senders asked for no reply were dropped.
    EnqueuesDropped {
        /// How many were dropped for this reason since they were last reported.
        dropped: u64,
        /// Why.
        reason: DropReason,
    },
    /// In two checks in a row, the counts of a queue did not add up. A repair follows.
    AuditFailed {
        /// The queue.
        queue: QueueName,
        /// Stored jobs minus jobs in containers; 0 if only the numbers of grants and leases differ.
        difference: i64,
    },
    /// The store has lost data of a queue: the number of jobs ever enqueued to it fell, or its sequence began anew, since this process counted them last. The store was
    /// emptied or restored from an older copy, or the queue was deleted.
    DataLost {
        /// The queue.
        queue: QueueName,
        /// Jobs that it had when this process counted them last.
        jobs_before: u64,
        /// Jobs that it has now.
        jobs: u64,
        /// Jobs ever enqueued, as of the last count.
        enqueued_before: u64,
        /// Jobs ever enqueued, as of now.
        enqueued: u64,
        /// The time between the two counts, in ms.
        counted_before_ms: u64,
    },
    /// A repair removed damage; no job was deleted.
    QueueRepaired {
        /// The queue.
        queue: QueueName,
        /// What was found, and how much of it.
        findings: Vec<Finding>,
    },
    /// The store refuses to settle, and so many outcomes are unsettled that the queue claims no more jobs. It goes on when the store settles again.
    /// In a queue of concurrency 1 a single job on its way back to the front is enough, because a claim could overtake it.
    ClaimsStopped {
        /// The queue.
        queue: QueueName,
        /// How many outcomes that the store has not confirmed keep the queue from claiming.
        unsettled: u64,
        /// What the store said, without credentials.
        reason: String,
    },
    /// The store settles again, and the queue claims again.
    ClaimsResumed {
        /// The queue.
        queue: QueueName,
    },
    /// Another process calls under the process instance of this one, probably a copy of its memory (a fork, a restored snapshot, CRIU). This process goes on as the
    /// instance that the event names. Jobs that it held when it was copied run in both processes.
    InstanceReplaced {
        /// The instance that both used.
        old: InstanceId,
        /// How it was noticed.
        reason: String,
    },
    /// The store refuses calls for a reason that waiting does not remove.
    StoreRefused {
        /// What was tried.
        operation: String,
        /// Why it was refused, without credentials.
        reason: String,
    },
}

/// Why an `Enqueue` message whose sender asked for no reply was dropped.
///
/// ```
/// use retraced_jobs::events::{DropReason, EventKind};
/// let kind = EventKind::EnqueuesDropped { dropped: 7, reason: DropReason::BufferFull };
/// assert_eq!(serde_json::to_value(&kind).unwrap()["reason"], "buffer_full");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// The queue's buffer was full.
    BufferFull,
    /// The runtime was shutting down or had ended.
    ShuttingDown,
    /// The store refused the call that carried them, and nothing was stored.
    Refused,
    /// The store gave no readable answer to the call that carried them, or panicked. They may be stored.
    Unanswered,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropReason::BufferFull => "the enqueue buffer is full",
            DropReason::ShuttingDown => "the runtime is shutting down",
            DropReason::Refused => "the store refused them",
            DropReason::Unanswered => "the store gave no readable answer; they may be stored",
        })
    }
}
