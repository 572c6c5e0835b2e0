//! The messages of those actors to which other actors write. An actor that only writes to itself defines its messages in its own file.

use ractor::ActorCell;
use retraced_jobs::trace::ExecutorId;

/// To an executor.
#[derive(Debug)]
pub(crate) enum ExecutorMessage {
    /// There may be a job to run.
    Wake,
}

/// To a fetcher.
#[derive(Debug)]
pub(crate) enum FetcherMessage {
    /// There may be jobs to claim: a hint arrived, an executor is idle, or the poll timer fired.
    Poll,
    /// A claim that the fetcher sent has ended.
    Claimed { jobs: usize, queue_empty: bool },
}

/// To a settler.
#[derive(Debug)]
pub(crate) enum SettlerMessage {
    /// There may be outcomes to settle.
    Settle,
}

/// To a pool.
#[derive(Debug)]
pub(crate) enum PoolMessage {
    /// An executor has started, or could not.
    StartEnded { id: ExecutorId, result: Result<ActorCell, String> },
    /// Start an executor in this slot: when the pool starts, or after a restart delay.
    Start { slot: u32 },
    /// The handler of this executor is a zombie: start another one in its slot, unless that has happened already.
    Replace { zombie: ExecutorId },
}

/// To the retry scheduler.
#[derive(Debug)]
pub(crate) enum RetrySchedulerMessage {
    /// Jobs may be due: at the start, when the timer has fired, and when a round was requested.
    StartRound,
    /// A round has ended. The next one is due after `next_in`.
    RoundEnded { next_in: std::time::Duration },
}

/// To the store link.
#[derive(Debug)]
pub(crate) enum StoreLinkMessage {
    /// A call was not answered, or the store is blocked: probe until the store is up.
    NotUp,
    /// Calls have gone unanswered for so long that it is to be reported as an outage.
    OutageReportDue,
    /// A health check has ended.
    Probed,
}
