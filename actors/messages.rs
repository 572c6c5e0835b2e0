//! The messages of the actors that other actors address. An actor that only sends messages to itself has them in its own file.

use ractor::ActorCell;
use retraced_jobs::trace::ExecutorId;

/// To an executor.
#[derive(Debug)]
pub(crate) enum ExecutorMessage {
    /// There may be a job.
    Wake,
}

/// To a fetcher.
#[derive(Debug)]
pub(crate) enum FetcherMessage {
    /// There may be jobs to claim: after a hint, an idle executor or a poll.
    Poll,
    /// A claim of the fetcher has ended.
    Claimed { jobs: usize, queue_empty: bool },
}

/// To a settler.
#[derive(Debug)]
pub(crate) enum SettlerMessage {
    /// Attempts have ended, or a settlement call has.
    Flush,
}

/// To a pool.
#[derive(Debug)]
pub(crate) enum PoolMessage {
    /// An executor has started, or could not.
    Started { id: ExecutorId, result: Result<ActorCell, String> },
    /// A restart delay is over, or a zombie's slot is to be taken by another executor.
    Start { slot: u32 },
}

/// To the retry scheduler.
#[derive(Debug)]
pub(crate) enum RetrySchedulerMessage {
    /// Jobs may be due.
    Promote,
    /// A round has ended; the next one is due after this.
    Promoted { next: std::time::Duration },
}

/// To the store link.
#[derive(Debug)]
pub(crate) enum StoreLinkMessage {
    /// A call was not answered.
    Lost,
    /// A health check has ended.
    Probed { answered: bool },
}
