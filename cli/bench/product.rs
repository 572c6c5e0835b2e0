//! ReTraced's side of a measurement, as a user would write it: a client that enqueues, and a runtime with a typed handler.

use std::sync::Arc;

use retraced::job::RunAt;
use retraced::store::{KeyPrefix, RedisOptions, StoreFacts};
use retraced::{
    Client, Code, Context, Failure, JobOptions, Queue, QueueHandle, QueueName, RedisStore, Retention, Retry, Runtime,
    State, seal_job,
};
use serde::{Deserialize, Serialize};

use super::job::BenchJob;
use super::job_queue::JobQueue;
use super::recorder::Recorder;
use super::server::idle_queues;
use crate::error::CliError;
use crate::limits::BULK_TIMEOUT;

/// What becomes of completed jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Completed {
    /// They are kept as the default retention says.
    Kept,
    /// None is kept.
    Removed,
}

#[derive(Clone)]
pub(super) struct Retraced {
    url: String,
    queue: QueueName,
    prefix: KeyPrefix,
    handle: QueueHandle,
    completed: Completed,
}

impl Retraced {
    pub(super) async fn open(
        url: &str,
        prefix: KeyPrefix,
        queue: &QueueName,
        completed: Completed,
    ) -> Result<Self, CliError> {
        let handle = Client::new(store(url, &prefix).await?).queue(queue).map_err(failed)?;
        Ok(Self { url: url.into(), prefix, queue: queue.clone(), handle, completed })
    }

    async fn send(&self, jobs: &[BenchJob], options: impl Fn(&BenchJob) -> JobOptions) -> Result<(), CliError> {
        let sealed: Result<Vec<_>, _> = jobs.iter().map(|job| seal_job(job, &options(job))).collect();
        self.handle.enqueue_timeout(BULK_TIMEOUT).enqueue_all(sealed.map_err(failed)?).await?;
        Ok(())
    }
}

impl JobQueue for Retraced {
    type Worker = Runtime;

    async fn enqueue(&self, job: BenchJob) -> Result<(), CliError> {
        self.handle.enqueue(job).await.map(drop).map_err(failed)
    }

    async fn enqueue_all(&self, jobs: Vec<BenchJob>) -> Result<(), CliError> {
        self.send(&jobs, |_| JobOptions::default()).await
    }

    async fn enqueue_due(&self, jobs: Vec<BenchJob>) -> Result<(), CliError> {
        let due = |job: &BenchJob| JobOptions::default().run_at(RunAt::At(job.at_us / 1_000));
        self.send(&jobs, due).await
    }

    async fn start_worker(&self, concurrency: usize, recorder: Arc<Recorder>) -> Result<Runtime, CliError> {
        let mut retention = Retention::default();
        if self.completed == Completed::Removed {
            retention.completed = None;
        }
        let queue = Queue::new(&self.queue).map_err(failed)?;
        // With this strategy the first two failures are retried at once, so `retry` does not measure a backoff.
        let queue = queue.concurrency(concurrency).retention(retention).retry(Retry::three_tier());
        let runtime = Runtime::builder()
            .store(store(&self.url, &self.prefix).await?)
            .state(recorder)
            .queue(queue.handler(handle))
            .start()
            .await?;
        Ok(runtime)
    }

    async fn start_idle_worker(&self, queues: usize, recorder: Arc<Recorder>) -> Result<Runtime, CliError> {
        let mut builder = Runtime::builder().store(store(&self.url, &self.prefix).await?).state(recorder);
        for name in idle_queues(&self.queue).take(queues) {
            builder = builder.queue(Queue::new(&name).map_err(failed)?.handler(handle));
        }
        Ok(builder.start().await?)
    }

    async fn end(runtime: Runtime) -> Result<(), CliError> {
        let report = runtime.shutdown().await?;
        match report.unsettled {
            0 => Ok(()),
            n => Err(CliError::Failed(format!("the store did not confirm the outcomes of {n} jobs in time"))),
        }
    }
}

async fn handle(job: BenchJob, _: Context, recorder: State<Arc<Recorder>>) -> Result<(), Failure> {
    if recorder.handle(&job) {
        return Ok(());
    }
    Err(Failure::temporary(Code::ServiceUnavailable, "this attempt is meant to fail"))
}

async fn store(url: &str, prefix: &KeyPrefix) -> Result<RedisStore, CliError> {
    // Whether the server may evict keys was checked before anything was measured.
    let options = RedisOptions::default().prefix(prefix.clone()).allow_eviction();
    let store = RedisStore::open(url, options).map_err(failed)?;
    // Not `probe`, which would put the connection of the workers on this runtime: `retraced work` has it on the threads of the tree.
    store.check().await.and_then(StoreFacts::usable).map_err(failed)?;
    Ok(store)
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}
