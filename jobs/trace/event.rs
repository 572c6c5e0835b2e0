//! What happened in the supervision tree: every start, crash, restart and escalation, as data.

use super::Finding;
use crate::failure::Code;
use crate::job::{InstanceId, JobId, QueueName};

/// One supervision event. Logged under the target `retraced::supervision`, broadcast in the process, and kept (bounded) in the store.
///
/// ```
/// use retraced_jobs::job::InstanceId;
/// use retraced_jobs::trace::{EventKind, SupervisionEvent};
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
    /// The actor: a path in the tree, as `email/executor-3`.
    pub path: String,
    /// How often this node of the tree was restarted: 0 for the first actor.
    pub generation: u32,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl SupervisionEvent {
    /// What happened to the actor at `path`, restarted `generation` times, at this instant of the worker's wall clock in ms since the Unix epoch.
    #[must_use]
    pub fn new(at_ms: u64, instance: InstanceId, path: impl Into<String>, generation: u32, kind: EventKind) -> Self {
        Self { at_ms, instance, path: path.into(), generation, kind }
    }
}

/// What happened.
///
/// Used in the example of [`SupervisionEvent`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// An actor started.
    Started,
    /// An actor stopped as requested.
    Stopped,
    /// A handler panicked. The job's fault: its attempt is settled as `PANIC`, the executor is replaced, and the panic does not count against a restart budget.
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
        place: Option<String>,
    },
    /// An actor ended unexpectedly: the runtime's fault, counted against its supervisor's restart budget.
    Crashed {
        /// Why.
        reason: String,
        /// Failures within the supervisor's restart window, this one included.
        failures: u32,
        /// How many failures the window may hold.
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
    /// A crashed actor runs again.
    Restarted,
    /// A supervisor gives up: its restart budget is used up, or a child asked for it.
    Escalated {
        /// The child that failed last, or asked for it.
        child: String,
        /// How often children failed within the window; 0 if a child asked for it.
        failures: u32,
        /// The window, in ms.
        window_ms: u64,
        /// The last failure, or why the child asked for it.
        reason: String,
    },
    /// The workers of a queue, or the whole queue, closed because their supervisor exhausted its restart budget. The event's path names them. Jobs can
    /// still be enqueued, and other queues keep running.
    QueueClosed {
        /// They reopen after this long, in ms.
        reopens_in_ms: u64,
        /// Why.
        reason: String,
    },
    /// Closed workers, or a closed queue, run again.
    QueueReopened,
    /// The store cannot be reached. An outage is not a crash: every actor waits.
    StoreLost {
        /// The error, without credentials.
        reason: String,
    },
    /// The store is back.
    StoreBack {
        /// How long it was unavailable, in ms.
        away_ms: u64,
    },
    /// A handler still runs 10 s after its timeout. Its attempt is settled as `TIMEOUT`; attempts may overlap.
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
    /// A handler does not yield to the tokio runtime it runs on: one poll of it has lasted too long.
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
        owner: Option<InstanceId>,
        /// Crashes of the job; this one included, if it was counted.
        crashes: u32,
        /// Whether a crash was counted, because the handler had started. If it had not, or that is not known, the job was released without counting a failure.
        #[serde(default)]
        counted: bool,
        /// Whether this was one crash or loss too many, so that the job is poisoned.
        poisoned: bool,
    },
    /// The outcome of claims stayed unknown, because of a bug or damage: their replies were never read. The jobs that these claims
    /// were granted were released without counting a failure.
    ClaimsLost {
        /// The queue.
        queue: QueueName,
        /// How many claims.
        claims: usize,
        /// How many jobs were released.
        released: usize,
    },
    /// No worker could renew during an outage, so no lease is reclaimed for a while: the lease grace.
    GraceGiven {
        /// The queue.
        queue: QueueName,
        /// For how long, in ms.
        grace_ms: u64,
    },
    /// A worker learnt that its lease was lost while the handler ran. The handler is asked to stop.
    LeaseLost {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
    },
    /// A settlement came too late: another worker holds the job, or it is gone. Nothing was changed.
    StaleSettlement {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: u32,
    },
    /// A worker released a job because it has no handler for its kind.
    UnknownKind {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// Its kind, or why it is not known.
        kind: String,
    },
    /// A job was poisoned.
    JobPoisoned {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// Why.
        code: Code,
    },
    /// A job was moved to the dead letter queue: its attempts are used up, or such a failure is not retried.
    JobDied {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        job: JobId,
        /// Why.
        code: Code,
    },
    /// Messages to the queue actor were refused because its buffer is full.
    Busy {
        /// How many were refused since the last such event.
        refused: u64,
    },
    /// An audit found jobs that are in no container, or in two.
    AuditFailed {
        /// The queue.
        queue: QueueName,
        /// Jobs stored minus jobs found in containers.
        difference: i64,
    },
    /// What an audit found was repaired; no job was deleted.
    QueueRepaired {
        /// The queue.
        queue: QueueName,
        /// What was found, and how much of it.
        findings: Vec<Finding>,
    },
    /// The store refuses calls for a reason that waiting does not remove.
    StoreRefused {
        /// What was tried.
        operation: String,
        /// Why it was refused, without credentials.
        reason: String,
    },
}
