//! One attempt of a job.

use std::fmt;

use retraced_jobs::failure::Code;
use retraced_jobs::retry::Decision;
use retraced_jobs::store::JobView;
use retraced_jobs::trace::{self, AttemptLog, AttemptRecord, Ended, Released, StoredAttempt, StoredProgress};
use serde::Serialize;

use super::Timestamp;

/// One attempt of a job: which worker held the job, how the attempt ended, and the retry decision after a failure. JSON leaves out the fields that do not apply.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AttemptDetail {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// When the store recorded its end.
    pub settled_at: Timestamp,
    /// The worker process that held the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The executor's number in its pool, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<u32>,
    /// How often the executor of this number had been restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// When the attempt started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How long the handler ran, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ran_ms: Option<u64>,
    /// When its lease expired; only if the job was reclaimed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expired_at: Option<Timestamp>,
    /// Whether the handler of a lost attempt had started: `no` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun: Option<&'static str>,
    /// How many attempts in a row were lost, this one included; only for a lost attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_a_row: Option<u32>,
    /// Why the job was released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Released>,
    /// How long the job was delayed when it was released, in ms; 0 when it went straight back to its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Until when the job was delayed; only if it was postponed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The failure's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The failure's message, or why the record is unreadable. It comes from a handler: print it through [`printable`](super::printable).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The failure's causes, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// File, line and column of a panic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Backtrace of a panic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// What was decided after the failure, with every number that went into it; none for a job that was cancelled or rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The last progress the handler reported, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What the handler wrote to the attempt's log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
    /// How many log lines were not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_dropped: Option<u32>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// The handler returned `Ok`.
    Completed,
    /// The handler failed, panicked or timed out, its job was cancelled, or no worker could run the job. `code` says which.
    Failed,
    /// The worker released the job. Counted as a release.
    Released,
    /// The lease expired after the handler had started. Counted as a crash.
    Crashed,
    /// The lease expired, and the store has no record that the handler had started. Counted as a release.
    Lost,
    /// The handler did not start, because its worker ran another job that may crash it. Counted as nothing.
    Postponed,
    /// The grant never reached its worker. Counted as a release.
    Unclaimed,
    /// The record cannot be read; `message` says why.
    Unreadable,
    /// A newer version of ReTraced wrote the record, and this version does not know how the attempt ended.
    Unknown,
}

/// The progress a handler reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// How much of the work is done, from 0 to 100.
    pub percent: u8,
    /// What the handler was doing. It comes from a handler: print it through [`printable`](super::printable).
    pub note: String,
    /// When the store was told, while the handler ran; none if the worker told it with the end of the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// A line of an attempt's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogLine {
    /// Milliseconds since the attempt started.
    pub after_ms: u64,
    /// The text.
    pub text: String,
}

impl From<&StoredAttempt> for AttemptDetail {
    fn from(stored: &StoredAttempt) -> Self {
        let ended = |outcome| Self::new(stored, outcome);
        match &stored.record {
            Ok(AttemptRecord::Reported(log)) => Self::of_log(stored, log),
            Ok(AttemptRecord::Crashed { instance, lease_expired_ms }) => Self {
                worker: Some(instance.to_string()),
                lease_expired_at: Some(Timestamp::from_ms(*lease_expired_ms)),
                ..ended(AttemptOutcome::Crashed)
            },
            Ok(AttemptRecord::Lost { instance, lease_expired_ms, watched, in_a_row }) => Self {
                worker: Some(instance.to_string()),
                lease_expired_at: Some(Timestamp::from_ms(*lease_expired_ms)),
                begun: Some(if *watched { "no" } else { "unknown" }),
                in_a_row: Some(*in_a_row),
                ..ended(AttemptOutcome::Lost)
            },
            Ok(AttemptRecord::Postponed { instance, due_ms }) => Self {
                worker: Some(instance.to_string()),
                due_at: Some(Timestamp::from_ms(*due_ms)),
                ..ended(AttemptOutcome::Postponed)
            },
            Ok(AttemptRecord::Unclaimed { instance }) => {
                Self { worker: Some(instance.to_string()), ..ended(AttemptOutcome::Unclaimed) }
            }
            Ok(_) => ended(AttemptOutcome::Unknown),
            Err(unreadable) => Self { message: Some(unreadable.reason.clone()), ..ended(AttemptOutcome::Unreadable) },
        }
    }
}

impl AttemptDetail {
    /// The attempts kept of a job, oldest first. One without a report of its worker has the progress that the store was told while it ran.
    pub(crate) fn all_of(view: &JobView) -> Vec<Self> {
        let stored_for =
            |attempt| view.progress.as_ref().filter(|stored| stored.attempt == attempt).map(Progress::from);
        let attempts = view.history.iter().map(Self::from);
        attempts.map(|one| Self { progress: one.progress.clone().or_else(|| stored_for(one.attempt)), ..one }).collect()
    }

    fn new(stored: &StoredAttempt, outcome: AttemptOutcome) -> Self {
        Self {
            attempt: stored.attempt,
            outcome,
            settled_at: Timestamp::from_ms(stored.settled_ms),
            worker: None,
            executor: None,
            generation: None,
            started_at: None,
            ran_ms: None,
            lease_expired_at: None,
            begun: None,
            in_a_row: None,
            reason: None,
            delay_ms: None,
            due_at: None,
            code: None,
            message: None,
            chain: Vec::new(),
            location: None,
            backtrace: None,
            decision: None,
            progress: None,
            log: Vec::new(),
            log_dropped: None,
        }
    }

    fn of_log(stored: &StoredAttempt, log: &AttemptLog) -> Self {
        let ended = |outcome| Self {
            worker: Some(log.instance.to_string()),
            executor: Some(log.executor.slot),
            generation: Some(log.executor.generation),
            started_at: Some(Timestamp::from_ms(log.started_ms)),
            ran_ms: Some(log.ran_ms),
            progress: log.progress.as_ref().map(Progress::from),
            log: log.lines.iter().map(LogLine::from).collect(),
            log_dropped: Some(log.lines_dropped).filter(|dropped| *dropped > 0),
            ..Self::new(stored, outcome)
        };
        match log.ended.clone() {
            Ended::Completed { .. } => ended(AttemptOutcome::Completed),
            Ended::Released { reason, delay_ms } => {
                Self { reason: Some(reason), delay_ms: Some(delay_ms), ..ended(AttemptOutcome::Released) }
            }
            Ended::Failed { code, message, chain, location, backtrace, decision } => Self {
                code: Some(code),
                message: Some(message),
                chain,
                location,
                backtrace,
                decision: decision.map(|decision| *decision),
                ..ended(AttemptOutcome::Failed)
            },
            _ => ended(AttemptOutcome::Unknown),
        }
    }
}

impl From<&trace::Progress> for Progress {
    fn from(progress: &trace::Progress) -> Self {
        Self { percent: progress.percent, note: progress.note.clone(), at: None }
    }
}

impl From<&StoredProgress> for Progress {
    fn from(stored: &StoredProgress) -> Self {
        Self { at: Some(Timestamp::from_ms(stored.at_ms)), ..Self::from(&stored.progress) }
    }
}

/// As in `40 %: 40 of 100 rows`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percent)?;
        if self.note.is_empty() { Ok(()) } else { write!(f, ": {}", self.note) }
    }
}

impl From<&trace::LogLine> for LogLine {
    fn from(line: &trace::LogLine) -> Self {
        Self { after_ms: line.after_ms, text: line.text.clone() }
    }
}
