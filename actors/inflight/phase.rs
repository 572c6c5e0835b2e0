//! The phases of a job in the in-flight table, and what the table tells its callers about jobs.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::context::AttemptControl;
use retraced_jobs::execution::RanBy;
use retraced_jobs::store::{ClaimedJob, Settlement, Verdict};
use retraced_jobs::trace::ExecutorId;
use tokio::time::Instant;

use super::grant::GrantId;
use super::quarantine::CrashRisk;

/// A job in the table.
pub(super) struct Held {
    pub(super) job: ClaimedJob,
    pub(super) control: Arc<AttemptControl>,
    pub(super) risk: CrashRisk,
    pub(super) phase: Phase,
}

/// Where a job in the table is between its grant and the confirmation of its outcome.
pub(super) enum Phase {
    Waiting {
        /// The instant from which the job may start. It may be in the future.
        ready_from: Instant,
    },
    /// The executor records the start in the store.
    Starting {
        executor: ExecutorId,
    },
    Running(Run),
    Finished {
        settlement: Settlement,
        /// Size of the payload that the store may delete, in bytes.
        payload: usize,
    },
    /// Its outcome is in a batch that is being sent: a [`Settling`](super::Settling) holds it.
    Settling {
        /// Size of the record, in bytes.
        record: usize,
        payload: usize,
    },
}

/// The run of a handler.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) executor: ExecutorId,
    pub(super) started: Instant,
    /// On the store's clock.
    pub(super) started_ms: u64,
    pub(super) reported_stuck: bool,
}

impl Run {
    pub(super) fn ran_by(self, now: Instant) -> RanBy {
        RanBy { executor: self.executor, started_ms: self.started_ms, ran: now.duration_since(self.started) }
    }
}

/// Why an executor asks for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskReason {
    /// It was just woken. If it gets a job and another one may start, the next idle executor is woken.
    Woken,
    /// The job that it ran has ended.
    JobEnded,
}

/// A job that an executor must run now.
pub(crate) struct NextJob {
    pub(crate) grant: GrantId,
    pub(crate) job: ClaimedJob,
    pub(crate) control: Arc<AttemptControl>,
    /// The executor must record the start in the store, and then call [`started`](super::Inflight::started), before it runs the handler.
    pub(crate) records_start: bool,
}

/// A job with the run of its handler so far.
pub(crate) struct HandlerRun {
    pub(crate) executor: ExecutorId,
    pub(crate) job: ClaimedJob,
    pub(crate) ran: Duration,
}

/// An attempt that ended without a report from its executor: it was interrupted, or it timed out and its handler goes on.
pub(crate) struct EndedAttempt {
    pub(crate) run: HandlerRun,
    pub(crate) verdict: Verdict,
    pub(crate) timed_out: bool,
}

/// What an inspection finds wrong with running handlers.
#[derive(Default)]
pub(crate) struct Inspection {
    /// Handlers that still run [`ZOMBIE_AFTER`](crate::limits::ZOMBIE_AFTER) past their timeout. Their attempts have just ended as timed out.
    pub(crate) zombies: Vec<HandlerRun>,
    /// Handlers that have not yielded for [`STUCK_AFTER`](crate::limits::STUCK_AFTER). Each attempt is reported once.
    pub(crate) stuck: Vec<HandlerRun>,
}
