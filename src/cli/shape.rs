//! Jobs, attempts and queues as JSON: the field names that scripts rely on, in one place.

use retraced_jobs::codec::{self, Envelope};
use retraced_jobs::failure::Code;
use retraced_jobs::job::{Counters, JobId, JobState, Kind, QueueName};
use retraced_jobs::retry::Decision;
use retraced_jobs::store::{Moved, QueueStats};
use retraced_jobs::trace::{
    AttemptRecord, Ended, Finding, JobSummary, JobView, LastError, Progress, Released, StoredAttempt, SupervisionEvent,
};
use serde::Serialize;
use serde_json::Value;

use super::output::instant;
use crate::{Audit, Receipt};

/// A job, without its payload and history: one line of a list.
#[derive(Serialize)]
pub(super) struct JobLine {
    pub(super) id: JobId,
    pub(super) queue: QueueName,
    /// `None`: the envelope cannot be read.
    pub(super) kind: Option<Kind>,
    pub(super) state: JobState,
    #[serde(flatten)]
    pub(super) counters: CountersShape,
    /// As the job or its latest retry decision has it; `None`: not known here, the queue's default applies.
    pub(super) max_attempts: Option<u32>,
    pub(super) enqueued_at: Option<String>,
    pub(super) due_at: Option<String>,
    pub(super) lease_expires_at: Option<String>,
    pub(super) ended_at: Option<String>,
    pub(super) last_error: Option<ErrorShape>,
    /// The instants of the fields above, for tables.
    #[serde(skip)]
    pub(super) enqueued_ms: Option<u64>,
    #[serde(skip)]
    pub(super) at_ms: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct CountersShape {
    pub(super) attempts: u32,
    pub(super) failures: u32,
    pub(super) crashes: u32,
    pub(super) releases: u32,
}

#[derive(Serialize)]
pub(super) struct ErrorShape {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) at: String,
}

impl From<Counters> for CountersShape {
    fn from(c: Counters) -> Self {
        Self { attempts: c.attempts, failures: c.failures, crashes: c.crashes, releases: c.releases }
    }
}

impl From<LastError> for ErrorShape {
    fn from(error: LastError) -> Self {
        Self { code: error.code, message: error.message, at: instant(error.at_ms) }
    }
}

impl JobLine {
    pub(super) fn of_summary(queue: &QueueName, job: JobSummary) -> Self {
        let envelope = codec::open(&job.envelope).ok();
        Self::new(queue, job.id, job.state, job.counters, job.enqueued_ms, job.at_ms, envelope.as_ref(), job.last_error)
    }

    pub(super) fn of_view(view: &JobView) -> Self {
        let envelope = codec::open(&view.envelope).ok();
        let error = view.last_error();
        let (id, counters) = (view.id.clone(), view.counters);
        let mut line =
            Self::new(&view.queue, id, view.state, counters, view.enqueued_ms, view.at_ms, envelope.as_ref(), error);
        line.max_attempts = line.max_attempts.or_else(|| view.history.iter().rev().find_map(decided_max_attempts));
        line
    }

    #[expect(clippy::too_many_arguments, reason = "the two views of a job share these, and no type")]
    fn new(
        queue: &QueueName,
        id: JobId,
        state: JobState,
        counters: Counters,
        enqueued_ms: Option<u64>,
        at_ms: Option<u64>,
        envelope: Option<&Envelope>,
        last_error: Option<LastError>,
    ) -> Self {
        let at = |when: bool| at_ms.filter(|_| when).map(instant);
        Self {
            id,
            queue: queue.clone(),
            kind: envelope.map(|e| e.kind.clone()),
            state,
            counters: counters.into(),
            max_attempts: envelope.and_then(|e| e.retry.max_attempts),
            enqueued_at: enqueued_ms.map(instant),
            due_at: at(state == JobState::Delayed),
            lease_expires_at: at(state == JobState::Processing),
            ended_at: at(state.is_final()),
            last_error: last_error.map(ErrorShape::from),
            enqueued_ms,
            at_ms,
        }
    }
}

fn decided_max_attempts(attempt: &StoredAttempt) -> Option<u32> {
    match &attempt.record {
        Ok(AttemptRecord::Reported(log)) => match &log.ended {
            Ended::Failed { decision: Some(decision), .. } => Some(decision.max_attempts),
            _ => None,
        },
        _ => None,
    }
}

/// A job with everything that is known of it.
#[derive(Serialize)]
pub(super) struct JobShape {
    #[serde(flatten)]
    pub(super) line: JobLine,
    pub(super) retry: Option<Value>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) running: Option<RunningShape>,
    /// `None` when it cannot be shown as JSON; then `unreadable` says why.
    pub(super) payload: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unreadable: Option<String>,
    pub(super) history: Vec<AttemptShape>,
    /// Attempts between those of the history that are not kept in full.
    pub(super) history_collapsed: u32,
}

/// Who runs a job now.
#[derive(Serialize)]
pub(super) struct RunningShape {
    pub(super) attempt: u32,
    pub(super) worker: String,
    pub(super) cancel_asked: bool,
}

impl JobShape {
    pub(super) fn of(view: &JobView) -> Self {
        let (envelope, payload, unreadable) = match codec::open(&view.envelope) {
            Ok(envelope) => match codec::to_json(&envelope.payload) {
                Ok(payload) => (Some(envelope), Some(payload), None),
                Err(error) => (Some(envelope), None, Some(error.to_string())),
            },
            Err(error) => (None, None, Some(error.to_string())),
        };
        Self {
            line: JobLine::of_view(view),
            retry: envelope.as_ref().filter(|e| !e.retry.is_empty()).and_then(|e| serde_json::to_value(e.retry).ok()),
            timeout_ms: envelope.and_then(|e| e.timeout_ms),
            running: view.claimant.as_ref().map(|claimant| RunningShape {
                attempt: claimant.attempt,
                worker: claimant.instance.to_string(),
                cancel_asked: claimant.cancel_asked,
            }),
            payload,
            unreadable,
            history: view.history.iter().map(AttemptShape::of).collect(),
            history_collapsed: view.collapsed,
        }
    }
}

/// One attempt. Fields that say nothing of it are left out.
#[derive(Serialize, Default)]
pub(super) struct AttemptShape {
    pub(super) attempt: u32,
    /// `completed`, `failed`, `released`, `crashed`, `unclaimed` (the grant never reached its worker) or `unreadable`.
    pub(super) outcome: &'static str,
    pub(super) settled_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ran_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_expired_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) begun: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_a_row: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<Released>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) chain: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backtrace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<ProgressShape>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) log: Vec<LogShape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_dropped: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct ProgressShape {
    pub(super) percent: u8,
    pub(super) note: String,
}

#[derive(Serialize)]
pub(super) struct LogShape {
    pub(super) after_ms: u64,
    pub(super) text: String,
}

impl AttemptShape {
    fn of(stored: &StoredAttempt) -> Self {
        let base = Self { attempt: stored.attempt, settled_at: instant(stored.settled_ms), ..Self::default() };
        let log = match &stored.record {
            Ok(AttemptRecord::Reported(log)) => log,
            Ok(AttemptRecord::Crashed { instance, lease_expired_ms }) => {
                let lease_expired_at = Some(instant(*lease_expired_ms));
                return Self { outcome: "crashed", worker: Some(instance.to_string()), lease_expired_at, ..base };
            }
            Ok(AttemptRecord::Lost { instance, lease_expired_ms, watched, in_a_row }) => {
                return Self {
                    outcome: "lost",
                    worker: Some(instance.to_string()),
                    lease_expired_at: Some(instant(*lease_expired_ms)),
                    begun: Some(if *watched { "no" } else { "unknown" }),
                    in_a_row: Some(*in_a_row),
                    ..base
                };
            }
            Ok(AttemptRecord::Unclaimed { instance }) => {
                return Self { outcome: "unclaimed", worker: Some(instance.to_string()), ..base };
            }
            Ok(_) => return Self { outcome: "unknown", ..base },
            Err(unreadable) => {
                return Self { outcome: "unreadable", message: Some(unreadable.reason.clone()), ..base };
            }
        };
        let base = Self {
            worker: Some(log.instance.to_string()),
            executor: Some(log.executor.slot),
            generation: Some(log.executor.generation),
            started_at: Some(instant(log.started_ms)),
            ran_ms: Some(log.ran_ms),
            progress: log
                .progress
                .as_ref()
                .map(|Progress { percent, note, .. }| ProgressShape { percent: *percent, note: note.clone() }),
            log: log.lines.iter().map(|l| LogShape { after_ms: l.after_ms, text: l.text.clone() }).collect(),
            log_dropped: Some(log.lines_dropped).filter(|dropped| *dropped > 0),
            ..base
        };
        match log.ended.clone() {
            Ended::Completed { .. } => Self { outcome: "completed", ..base },
            Ended::Released { reason, delay_ms } => {
                Self { outcome: "released", reason: Some(reason), delay_ms: Some(delay_ms), ..base }
            }
            Ended::Failed { code, message, chain, place, backtrace, decision } => Self {
                outcome: "failed",
                code: Some(code),
                message: Some(message),
                chain,
                place,
                backtrace,
                decision: decision.map(|decision| *decision),
                ..base
            },
            _ => Self { outcome: "unknown", ..base },
        }
    }
}

/// What became of one job that was enqueued.
#[derive(Serialize)]
pub(super) struct EnqueuedShape {
    pub(super) id: JobId,
    pub(super) queue: QueueName,
    pub(super) created: bool,
    pub(super) state: JobState,
}

impl EnqueuedShape {
    pub(super) fn of(queue: &QueueName, receipt: Receipt) -> Self {
        Self { id: receipt.id, queue: queue.clone(), created: receipt.created, state: receipt.state }
    }
}

/// What became of one job that an operator acted on.
#[derive(Serialize)]
pub(super) struct ActedShape {
    pub(super) id: JobId,
    pub(super) queue: QueueName,
    /// `moved`, `removed`, `asked` (it runs, its handler is asked to stop), `refused` (its state does not allow it) or `not_found`.
    pub(super) result: &'static str,
    pub(super) from: Option<JobState>,
    /// Where it is now; `None` when it is gone.
    pub(super) state: Option<JobState>,
}

impl ActedShape {
    pub(super) fn of(queue: &QueueName, id: &JobId, moved: Moved) -> Self {
        let (result, from, state) = match moved {
            Moved::Moved { from, to: Some(to) } => ("moved", Some(from), Some(to)),
            Moved::Moved { from, to: None } => ("removed", Some(from), None),
            Moved::Asked => ("asked", Some(JobState::Processing), Some(JobState::Processing)),
            Moved::Refused { state } => ("refused", Some(state), Some(state)),
            Moved::NotFound => ("not_found", None, None),
            _ => ("unknown", None, None),
        };
        Self { id: id.clone(), queue: queue.clone(), result, from, state }
    }

    /// Whether nothing was done.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.result, "refused" | "not_found")
    }
}

/// Depths and counters of a queue. Counters count from the queue's beginning, `*_kept` and states without it what is stored now.
#[derive(Serialize)]
pub(super) struct StatsShape {
    pub(super) queue: QueueName,
    pub(super) paused: bool,
    pub(super) pending: u64,
    pub(super) processing: u64,
    pub(super) delayed: u64,
    pub(super) completed: u64,
    pub(super) completed_kept: u64,
    pub(super) dead: u64,
    pub(super) poisoned: u64,
    pub(super) cancelled: u64,
    pub(super) oldest_pending_ms: Option<u64>,
    pub(super) delayed_overdue_ms: Option<i64>,
    pub(super) enqueued: u64,
    pub(super) failures: u64,
    pub(super) crashes: u64,
    pub(super) releases: u64,
    pub(super) stale_settlements: u64,
    pub(super) trimmed: u64,
    pub(super) garbage: u64,
    #[serde(flatten)]
    pub(super) rates: Option<Rates>,
}

/// How fast a queue moves, measured between two looks.
#[derive(Serialize, Clone, Copy)]
pub(super) struct Rates {
    pub(super) measured_ms: u64,
    pub(super) enqueued_per_s: f64,
    pub(super) completed_per_s: f64,
    pub(super) failures_per_s: f64,
}

impl StatsShape {
    pub(super) fn of(queue: QueueName, stats: QueueStats) -> Self {
        Self {
            queue,
            paused: stats.paused,
            pending: stats.pending,
            processing: stats.processing,
            delayed: stats.delayed,
            completed: stats.completed_total,
            completed_kept: stats.completed_kept,
            dead: stats.dead,
            poisoned: stats.poisoned,
            cancelled: stats.cancelled,
            oldest_pending_ms: stats.oldest_pending_ms,
            delayed_overdue_ms: stats.delayed_overdue_ms,
            enqueued: stats.enqueued_total,
            failures: stats.failures_total,
            crashes: stats.crashes_total,
            releases: stats.releases_total,
            stale_settlements: stats.stale_settlements_total,
            trimmed: stats.trimmed_total,
            garbage: stats.garbage_total,
            rates: None,
        }
    }
}

/// What an audit of a queue found. The counts are those after it.
#[derive(Serialize)]
pub(super) struct AuditShape {
    pub(super) queue: QueueName,
    /// Whether every job is in one place.
    pub(super) adds_up: bool,
    /// Whether what was found was mended.
    pub(super) repaired: bool,
    pub(super) jobs: u64,
    pub(super) pending_entries: u64,
    pub(super) stale_entries: u64,
    pub(super) contained: u64,
    pub(super) difference: i64,
    pub(super) grant_difference: i64,
    pub(super) findings: Vec<Finding>,
}

impl AuditShape {
    pub(super) fn of(queue: QueueName, repaired: bool, audit: Audit) -> Self {
        let Audit { after, findings, .. } = audit;
        Self {
            queue,
            adds_up: after.adds_up(),
            repaired,
            jobs: after.jobs,
            pending_entries: after.pending_entries,
            stale_entries: after.stale,
            contained: after.contained,
            difference: after.difference(),
            grant_difference: after.grant_difference,
            findings,
        }
    }

    /// Whether nothing is wrong any more.
    pub(super) fn is_sound(&self) -> bool {
        self.adds_up && (self.repaired || self.findings.is_empty())
    }
}

/// A supervision event, in the words of the other shapes: `at`, `worker`, `actor`, `generation`, `event`, and what the event tells.
pub(super) fn event(event: &SupervisionEvent) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        for name in ["at_ms", "instance", "path"] {
            fields.remove(name);
        }
        fields.insert("at".into(), instant(event.at_ms).into());
        fields.insert("worker".into(), event.instance.to_string().into());
        fields.insert("actor".into(), event.path.clone().into());
    }
    value
}
