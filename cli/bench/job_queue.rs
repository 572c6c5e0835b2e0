//! What a measurement needs of a [`Side`](super::side::Side).

use std::sync::Arc;

use super::job::BenchJob;
use super::recorder::Recorder;
use crate::error::CliError;

/// A job queue that can be measured: it accepts jobs and works on them.
pub(super) trait JobQueue: Clone + Send + Sync + 'static {
    /// A running worker.
    type Worker;

    /// Enqueues one job.
    fn enqueue(&self, job: BenchJob) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Enqueues many jobs with one call.
    fn enqueue_all(&self, jobs: Vec<BenchJob>) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Enqueues many jobs with one call, each due at its `at_us`.
    fn enqueue_due(&self, jobs: Vec<BenchJob>) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Starts a worker that passes jobs to the recorder. ReTraced's worker has `concurrency` executors; the floor has a fixed number of cycles.
    fn start_worker(
        &self,
        concurrency: usize,
        recorder: Arc<Recorder>,
    ) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Starts a worker that waits for jobs in this many empty queues. The floor has no such worker, and returns an error.
    fn start_idle_worker(
        &self,
        queues: usize,
        recorder: Arc<Recorder>,
    ) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Settles all jobs that were handled, and stops the worker.
    fn end(worker: Self::Worker) -> impl Future<Output = Result<(), CliError>> + Send;
}
