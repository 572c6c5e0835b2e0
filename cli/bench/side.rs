//! What a measurement needs of a side: of ReTraced, or of the floor (the bare loop).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::job::BenchJob;
use super::recorder::Recorder;
use crate::error::CliError;

/// The name of a side; `--json` has it as `peer`.
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

    /// Enqueues many jobs with one call, each due at its `at_us`.
    fn enqueue_due(&self, jobs: Vec<BenchJob>) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Starts a worker that passes jobs to the recorder. ReTraced's worker has `concurrency` executors; the floor has a fixed number of cycles.
    fn work(
        &self,
        concurrency: usize,
        recorder: Arc<Recorder>,
    ) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Starts a worker that waits for jobs in this many empty queues. The floor has no such worker, and returns an error.
    fn wait(
        &self,
        queues: usize,
        recorder: Arc<Recorder>,
    ) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Settles all jobs that were handled, and stops the worker.
    fn end(worker: Self::Worker) -> impl Future<Output = Result<(), CliError>> + Send;
}
