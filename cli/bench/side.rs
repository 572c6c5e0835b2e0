//! The two sides of a benchmark: ReTraced, and the floor (the bare loop). A measurement is written once, for both sides.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::job::BenchJob;
use super::recorder::Recorder;
use crate::error::CliError;

/// Which side a figure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Peer {
    Retraced,
    Floor,
}

impl Peer {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Peer::Retraced => "retraced",
            Peer::Floor => "floor",
        }
    }
}

/// One side: accepts jobs and works on them.
pub(super) trait Side: Clone + Send + Sync + 'static {
    /// A running worker.
    type Worker;

    /// Enqueues one job.
    fn enqueue(&self, job: BenchJob) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Enqueues many jobs with one call.
    fn enqueue_all(&self, jobs: Vec<BenchJob>) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Enqueues many jobs with one call, each due at its instant.
    fn enqueue_due(&self, jobs: Vec<BenchJob>) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Starts a worker that passes jobs to the recorder, `concurrency` at a time where that can be chosen.
    fn work(
        &self,
        concurrency: usize,
        recorder: Arc<Recorder>,
    ) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Starts a worker that waits for jobs in this many empty queues.
    fn wait(
        &self,
        queues: usize,
        recorder: Arc<Recorder>,
    ) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Stops the worker after everything it has handled is settled.
    fn end(worker: Self::Worker) -> impl Future<Output = Result<(), CliError>> + Send;
}
