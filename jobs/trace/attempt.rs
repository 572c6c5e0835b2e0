//! One attempt of a job, as it is kept.

use bytes::Bytes;

use crate::failure::Code;
use crate::job::InstanceId;
use crate::limits::{HISTORY_FIRST, HISTORY_LAST};
use crate::retry::Decision;

use super::{LastError, Progress};

/// The attempt whose record is dropped when attempt `n` is recorded, because it is neither among the first three nor among the last seven; `None` if there is
/// none.
///
/// ```
/// use retraced_jobs::trace::evicted_by;
/// assert_eq!(evicted_by(9), None); // attempt 2 is among the first three
/// assert_eq!(evicted_by(11), Some(4));
/// ```
#[must_use]
pub fn evicted_by(n: u32) -> Option<u32> {
    n.checked_sub(HISTORY_LAST).filter(|dropped| *dropped > HISTORY_FIRST)
}

/// The executor that ran an attempt: its slot in the pool, and how often that slot was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct ExecutorId {
    /// Its slot in the pool, from 0: the 3 in `email/executor-3`.
    #[serde(rename = "x")]
    pub slot: u32,
    /// 0 for the first executor of this slot, one more after each restart.
    #[serde(rename = "g")]
    pub generation: u32,
}

impl ExecutorId {
    /// The executor of this slot, restarted this often.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }
}

/// A line that a handler wrote with [`Context::log`](crate::context::Context::log).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// Milliseconds since the attempt started.
    #[serde(rename = "t")]
    pub after_ms: u64,
    /// The text, at most [`LOG_LINE_BYTES_MAX`](super::LOG_LINE_BYTES_MAX).
    #[serde(rename = "m")]
    pub text: String,
}

impl LogLine {
    /// A line written this long after the attempt started.
    #[must_use]
    pub fn new(after_ms: u64, text: impl Into<String>) -> Self {
        Self { after_ms, text: text.into() }
    }
}

/// A worker's report of an attempt: who ran it, for how long, how it ended, and the lines that its handler logged.
///
/// ```
/// use retraced_jobs::codec;
/// use retraced_jobs::job::InstanceId;
/// use retraced_jobs::trace::{AttemptLog, Ended, ExecutorId, LogLine, Progress, Released};
/// let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// let ended = Ended::Released { reason: Released::Snoozed, delay_ms: 5_000 };
/// let mut log = AttemptLog::new(instance, ExecutorId::new(3, 0), 1_750_000_000_000, 120, ended);
/// log.lines.push(LogLine::new(7, "the other side is not ready"));
/// log.progress = Some(Progress::new(10, "asked"));
/// let bytes = codec::encode_attempt(&log);
/// assert_eq!(codec::decode_attempt(&bytes), Ok(log));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct AttemptLog {
    /// The worker process.
    #[serde(rename = "i")]
    pub instance: InstanceId,
    /// The executor.
    #[serde(rename = "e")]
    pub executor: ExecutorId,
    /// When it started, in ms since the Unix epoch: the worker's estimate of the store's clock.
    #[serde(rename = "s")]
    pub started_ms: u64,
    /// How long it ran, in ms, by a monotonic clock.
    #[serde(rename = "d")]
    pub ran_ms: u64,
    /// How it ended.
    #[serde(rename = "o")]
    pub ended: Ended,
    /// The lines that the handler logged. Empty for an attempt that completed.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LogLine>,
    /// How many lines beyond [`LOG_LINES_MAX`](super::LOG_LINES_MAX) were dropped.
    #[serde(rename = "ld", default, skip_serializing_if = "is_zero")]
    pub lines_dropped: u32,
    /// The last progress the handler reported. `None` for an attempt that completed.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

impl AttemptLog {
    /// The log of an attempt without lines or progress.
    #[must_use]
    pub fn new(instance: InstanceId, executor: ExecutorId, started_ms: u64, ran_ms: u64, ended: Ended) -> Self {
        Self { instance, executor, started_ms, ran_ms, ended, lines: Vec::new(), lines_dropped: 0, progress: None }
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The end of an attempt, as its worker reports it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Ended {
    /// The handler returned `Ok`.
    #[serde(rename = "ok")]
    Completed {
        /// What the handler returned, as a MessagePack payload made by [`codec::to_output`](crate::codec::to_output); `None` when it returned nothing. At most
        /// [`OUTPUT_BYTES_MAX`](super::OUTPUT_BYTES_MAX).
        #[serde(rename = "out", default, skip_serializing_if = "Option::is_none")]
        output: Option<Bytes>,
    },
    /// The handler failed, panicked or timed out, or the job could not be given to a handler. Also the end of an attempt after which the job is `cancelled`.
    #[serde(rename = "err")]
    Failed {
        /// Why.
        #[serde(rename = "c")]
        code: Code,
        /// The error's text.
        #[serde(rename = "m")]
        message: String,
        /// The error's causes, nearest first.
        #[serde(rename = "ch", default, skip_serializing_if = "Vec::is_empty")]
        chain: Vec<String>,
        /// File, line and column of a panic.
        #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// Backtrace of a panic, at most [`BACKTRACE_BYTES_MAX`](super::BACKTRACE_BYTES_MAX).
        #[serde(rename = "bt", default, skip_serializing_if = "Option::is_none")]
        backtrace: Option<String>,
        /// The retry decision and its inputs; `None` for a job that was cancelled, or rejected after too many releases.
        #[serde(rename = "dec", default, with = "crate::retry::compact", skip_serializing_if = "Option::is_none")]
        decision: Option<Box<Decision>>,
    },
    /// Released without counting a failure.
    #[serde(rename = "rel")]
    Released {
        /// Why.
        #[serde(rename = "why")]
        reason: Released,
        /// How long the job was delayed, in ms; 0 when it went straight back to `pending`.
        #[serde(rename = "w", default)]
        delay_ms: u64,
    },
}

/// Why a job was released without counting a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Released {
    /// A shutdown interrupted it, or its executor was killed.
    Interrupted,
    /// Its blocking handler got no thread within its timeout. A job that waited too long for an executor is released without a record.
    Unstarted,
    /// The worker has no handler for its kind, or a newer version sealed its envelope.
    UnknownKind,
    /// The worker's handler cannot decode its payload, or the payload is larger than the worker allows.
    Undecodable,
    /// The worker had run out of open files, ports, memory or threads ([`Resource`](crate::failure::Resource)).
    OutOfResources,
    /// The handler snoozed it ([`Failure::snooze`](crate::failure::Failure::snooze)).
    Snoozed,
}

/// One entry of a job's history, read back from the store.
///
/// ```
/// use retraced_jobs::job::InstanceId;
/// use retraced_jobs::trace::{AttemptRecord, LastError, StoredAttempt, UnreadableAttempt};
/// let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// let crashed = AttemptRecord::Crashed { instance, lease_expired_ms: 1_750_000_030_000 };
/// let attempt = StoredAttempt::new(1, 1_750_000_030_500, Ok(crashed));
/// let LastError { code, message, .. } = attempt.error().unwrap();
/// assert_eq!((code.as_str(), message.as_str()), ("LEASE_LOST", "worker 00000001 stopped renewing its lease"));
///
/// let record = Err(UnreadableAttempt::new("a newer version wrote it"));
/// let attempt = StoredAttempt::new(2, 1_750_000_060_000, record);
/// assert_eq!(attempt.error().unwrap().message, "a newer version wrote it");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredAttempt {
    /// Which grant of the job, from 1.
    pub attempt: u32,
    /// When the store recorded its end, in ms since the Unix epoch.
    pub settled_ms: u64,
    /// What was recorded.
    pub record: Result<AttemptRecord, UnreadableAttempt>,
}

impl StoredAttempt {
    /// An entry of a history, for those who write a store.
    #[must_use]
    pub fn new(attempt: u32, settled_ms: u64, record: Result<AttemptRecord, UnreadableAttempt>) -> Self {
        Self { attempt, settled_ms, record }
    }
}

impl StoredAttempt {
    /// The failure, crash or loss that this entry reports, or why the entry cannot be read; `None` for a completion or a release by the worker.
    #[must_use]
    pub fn error(&self) -> Option<LastError> {
        let (code, message) = match &self.record {
            Ok(AttemptRecord::Reported(AttemptLog { ended: Ended::Failed { code, message, .. }, .. })) => {
                (*code, message.clone())
            }
            Ok(AttemptRecord::Crashed { instance, .. } | AttemptRecord::Lost { instance, .. }) => {
                (Code::LeaseLost, format!("worker {} stopped renewing its lease", instance.short()))
            }
            Ok(AttemptRecord::Reported(_) | AttemptRecord::Postponed { .. } | AttemptRecord::Unclaimed { .. }) => {
                return None;
            }
            Err(unreadable) => (Code::UnknownError, unreadable.reason.clone()),
        };
        Some(LastError { code, message, at_ms: self.settled_ms })
    }
}

/// What is kept about one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptRecord {
    /// The worker reported how it ended.
    Reported(AttemptLog),
    /// No report: the handler had started, the lease expired and the job was reclaimed. Counted as a crash.
    Crashed {
        /// The worker that held it.
        instance: InstanceId,
        /// When its lease expired, in ms since the Unix epoch.
        lease_expired_ms: u64,
    },
    /// No report: the lease expired and the job was reclaimed, but the handler is not known to have started. Counted as a release.
    Lost {
        /// The worker that held it.
        instance: InstanceId,
        /// When its lease expired, in ms since the Unix epoch.
        lease_expired_ms: u64,
        /// Whether the store would know of a start, because the job had been returned before. If so, its handler certainly had not started.
        watched: bool,
        /// How many attempts in a row ended as `Lost`, this one included.
        in_a_row: u32,
    },
    /// The handler did not start, because the worker ran a job that may crash it, and this one must not run beside it. The job was delayed. Counted as nothing.
    Postponed {
        /// The worker that gave it back.
        instance: InstanceId,
        /// Until when it was delayed, in ms since the Unix epoch.
        due_ms: u64,
    },
    /// The worker never read the reply to its claim, so it does not know of this grant. The job was released without counting a failure.
    Unclaimed {
        /// The worker to which the job was granted.
        instance: InstanceId,
    },
}

/// An entry of a history that cannot be read: written by a newer version, or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnreadableAttempt {
    /// What is wrong with it.
    pub reason: String,
}

impl UnreadableAttempt {
    /// An entry that cannot be read, and why.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::evicted_by;

    #[test]
    fn the_first_three_and_the_last_seven_attempts_stay() {
        let mut kept = std::collections::BTreeSet::new();
        for n in 1..=500 {
            kept.insert(n);
            if let Some(dropped) = evicted_by(n) {
                assert!(kept.remove(&dropped), "attempt {dropped} was dropped twice or never written");
            }
        }
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [1, 2, 3, 494, 495, 496, 497, 498, 499, 500]);
    }
}
