//! A job in the in-flight table and its phase, and what the table tells of it.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::context::LeaseWatch;
use retraced_jobs::store::{ClaimedJob, Settlement, Verdict};
use retraced_jobs::trace::ExecutorId;
use tokio::time::Instant;

use super::grant::Grant;
use super::quarantine::CrashRisk;

/// A job in the table.
pub(super) struct Held {
    pub(super) job: ClaimedJob,
    pub(super) lease: Arc<LeaseWatch>,
    pub(super) risk: CrashRisk,
    pub(super) phase: Phase,
}

/// Where a job in the table is between its grant and the confirmation of its outcome.
pub(super) enum Phase {
    Waiting {
        since: Instant,
    },
    /// Its start is being recorded in the store.
    Starting {
        executor: ExecutorId,
    },
    Running(Run),
    Finished(Settlement),
    Settling(Settlement),
}

/// A handler that runs.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) executor: ExecutorId,
    pub(super) started: Instant,
    pub(super) started_ms: u64,
    pub(super) reported_stuck: bool,
}

/// A job an executor is to run now.
pub(crate) struct NextJob {
    pub(crate) grant: Grant,
    pub(crate) job: ClaimedJob,
    pub(crate) lease: Arc<LeaseWatch>,
    /// Its start must be recorded in the store before its handler runs, then [`started`](super::Inflight::started) called.
    pub(crate) records_start: bool,
}

/// A job whose handler runs now.
pub(crate) struct Running {
    pub(crate) executor: ExecutorId,
    pub(crate) job: ClaimedJob,
    pub(crate) ran: Duration,
}

/// An attempt that was ended without the word of its executor: interrupted, or settled as timed out.
pub(crate) struct EndedAttempt {
    pub(crate) running: Running,
    pub(crate) verdict: Verdict,
    pub(crate) timed_out: bool,
}

/// What is wrong with running handlers.
#[derive(Default)]
pub(crate) struct Overdue {
    /// Handlers that run past their timeout and the margin after it. Their attempts are settled.
    pub(crate) zombies: Vec<Running>,
    /// Handlers that have not yielded for a while. Each is named once.
    pub(crate) stuck: Vec<Running>,
}
