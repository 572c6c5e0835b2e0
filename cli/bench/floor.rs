//! The floor: a bare loop that does the least work a worker with leases must do on Redis. It does not use the store, and has no tokens, counters, history, supervision
//! or handlers. The distance to the floor is what these cost.
//!
//! Bodies are in a hash, ids in a list, leases in a sorted set. A *cycle* is a task that settles a batch of up to 64 jobs and claims the next batch in one script, again
//! and again. Four cycles run at a time. A cycle that finds no jobs sleeps until an enqueue wakes it, for at most 1 s. The *promoter* is the task that moves due jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, Script};
use retraced::{QueueName, codec};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::job::{BenchJob, now_us};
use super::job_queue::JobQueue;
use super::recorder::Recorder;
use super::server::{connect, failed};
use crate::error::CliError;
use crate::limits::{FLOOR_BATCH_MAX, FLOOR_CYCLES, FLOOR_LEASE, FLOOR_PROMOTE_MAX, FLOOR_SLEEP_MAX};

const SETTLE_AND_CLAIM: &str = include_str!("floor/settle_and_claim.lua");
const PROMOTE: &str = include_str!("floor/promote.lua");

/// Whom an enqueue wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wakes {
    /// A sleeping cycle. For measurements that enqueue while a worker runs.
    OneCycle,
    Nobody,
}

#[derive(Clone)]
pub(super) struct Floor(Arc<Inner>);

struct Inner {
    url: String,
    connection: MultiplexedConnection,
    keys: Keys,
    settle_and_claim: Script,
    promote: Script,
    wakes: Wakes,
    /// Wakes the promoter after an enqueue of delayed jobs, and when the floor stops.
    wake_promoter: Notify,
}

/// The keys of the floor. They have the hash tag of the queue, and names that the store does not use.
struct Keys {
    ready: String,
    lease: String,
    job: String,
    delayed: String,
    wake: String,
}

impl Keys {
    fn of(queue: &QueueName) -> Self {
        let key = |name: &str| format!("floor:{{{queue}}}:{name}");
        Self { ready: key("ready"), lease: key("lease"), job: key("job"), delayed: key("delayed"), wake: key("wake") }
    }
}

impl Floor {
    pub(super) async fn open(url: &str, queue: &QueueName, wakes: Wakes) -> Result<Self, CliError> {
        Ok(Self(Arc::new(Inner {
            url: url.into(),
            connection: connect(url).await?,
            keys: Keys::of(queue),
            settle_and_claim: Script::new(SETTLE_AND_CLAIM),
            promote: Script::new(PROMOTE),
            wakes,
            wake_promoter: Notify::new(),
        })))
    }

    async fn send(&self, pipeline: &Pipeline) -> Result<(), CliError> {
        let mut connection = self.0.connection.clone();
        pipeline.query_async::<()>(&mut connection).await.map_err(|error| failed(&error))
    }

    /// Adds the commands that store a job; returns its id.
    fn store(&self, pipeline: &mut Pipeline, job: &BenchJob) -> Result<Uuid, CliError> {
        let (id, body) = (Uuid::now_v7(), codec::to_payload(job).map_err(|e| CliError::Failed(e.to_string()))?);
        pipeline.cmd("HSET").arg(&self.0.keys.job).arg(&id.as_bytes()[..]).arg(body).ignore();
        Ok(id)
    }

    async fn push(&self, jobs: &[BenchJob]) -> Result<(), CliError> {
        let mut pipeline = redis::pipe();
        for job in jobs {
            let id = self.store(&mut pipeline, job)?;
            pipeline.cmd("LPUSH").arg(&self.0.keys.ready).arg(&id.as_bytes()[..]).ignore();
        }
        if self.0.wakes == Wakes::OneCycle {
            wake(&mut pipeline, &self.0.keys);
        }
        self.send(&pipeline).await
    }
}

impl JobQueue for Floor {
    type Worker = Cycles;

    async fn enqueue(&self, job: BenchJob) -> Result<(), CliError> {
        self.push(std::slice::from_ref(&job)).await
    }

    async fn enqueue_all(&self, jobs: Vec<BenchJob>) -> Result<(), CliError> {
        self.push(&jobs).await
    }

    async fn enqueue_due(&self, jobs: Vec<BenchJob>) -> Result<(), CliError> {
        let mut pipeline = redis::pipe();
        for job in &jobs {
            let id = self.store(&mut pipeline, job)?;
            pipeline.cmd("ZADD").arg(&self.0.keys.delayed).arg(job.at_us / 1_000).arg(&id.as_bytes()[..]).ignore();
        }
        self.send(&pipeline).await?;
        self.0.wake_promoter.notify_one();
        Ok(())
    }

    async fn start_worker(&self, _: usize, recorder: Arc<Recorder>) -> Result<Cycles, CliError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..FLOOR_CYCLES {
            let (calls, sleep) = (connect(&self.0.url).await?, connect(&self.0.url).await?);
            tasks.spawn(cycle(self.0.clone(), calls, sleep, recorder.clone(), stop.clone()));
        }
        tasks.spawn(promoter(self.0.clone(), connect(&self.0.url).await?, stop.clone()));
        Ok(Cycles { floor: self.clone(), stop, tasks })
    }

    async fn start_idle_worker(&self, _: usize, _: Arc<Recorder>) -> Result<Cycles, CliError> {
        Err(CliError::Failed("the floor supports only one queue".into()))
    }

    async fn end(mut worker: Cycles) -> Result<(), CliError> {
        worker.stop.store(true, Ordering::SeqCst);
        worker.floor.0.wake_promoter.notify_one();
        let mut pipeline = redis::pipe();
        (0..FLOOR_CYCLES).for_each(|_| wake(&mut pipeline, &worker.floor.0.keys));
        worker.floor.send(&pipeline).await?;
        while let Some(task) = worker.tasks.join_next().await {
            task.map_err(|error| CliError::Failed(format!("the floor's loop ended: {error}")))?
                .map_err(|e| failed(&e))?;
        }
        Ok(())
    }
}

/// The running tasks of the floor: the cycles and the promoter.
pub(super) struct Cycles {
    floor: Floor,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<(), RedisError>>,
}

fn wake(pipeline: &mut Pipeline, keys: &Keys) {
    pipeline.cmd("LPUSH").arg(&keys.wake).arg("").ignore();
}

async fn cycle(
    floor: Arc<Inner>,
    mut calls: MultiplexedConnection,
    mut sleep: MultiplexedConnection,
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
) -> Result<(), RedisError> {
    let keys = &floor.keys;
    let (mut done, mut failed) = (Vec::<Vec<u8>>::new(), Vec::<Vec<u8>>::new());
    loop {
        let mut call = floor.settle_and_claim.key(&keys.ready);
        call.key(&keys.lease)
            .key(&keys.job)
            .arg(FLOOR_BATCH_MAX)
            .arg(now_us() / 1_000 + FLOOR_LEASE.as_millis() as u64);
        call.arg(done.len()).arg(&done).arg(&failed);
        let (ids, bodies): (Vec<Vec<u8>>, Vec<Vec<u8>>) = call.invoke_async(&mut calls).await?;
        done.clear();
        failed.clear();
        if ids.is_empty() {
            if stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            redis::cmd("BLPOP").arg(&keys.wake).arg(FLOOR_SLEEP_MAX.as_secs()).query_async::<()>(&mut sleep).await?;
        }
        for (id, body) in ids.into_iter().zip(bodies) {
            let job: BenchJob = codec::from_payload(&body)
                .map_err(|error| RedisError::from((redis::ErrorKind::Parse, "a job", error.to_string())))?;
            if recorder.handle(&job) { done.push(id) } else { failed.push(id) }
        }
    }
}

/// Moves due jobs to the ready list, then sleeps until the next one is due, for at most [`FLOOR_SLEEP_MAX`].
async fn promoter(
    floor: Arc<Inner>,
    mut calls: MultiplexedConnection,
    stop: Arc<AtomicBool>,
) -> Result<(), RedisError> {
    let keys = &floor.keys;
    while !stop.load(Ordering::SeqCst) {
        let now_ms = now_us() / 1_000;
        let mut call = floor.promote.key(&keys.delayed);
        call.key(&keys.ready).key(&keys.wake).arg(now_ms).arg(FLOOR_PROMOTE_MAX);
        let (moved, next): (usize, String) = call.invoke_async(&mut calls).await?;
        if moved == 0 {
            let until_next = next.parse::<f64>().ok().map(|due_ms| time_until(due_ms as u64));
            let wait = until_next.unwrap_or(FLOOR_SLEEP_MAX).min(FLOOR_SLEEP_MAX);
            let _ = tokio::time::timeout(wait, floor.wake_promoter.notified()).await;
        }
    }
    Ok(())
}

fn time_until(due_ms: u64) -> Duration {
    Duration::from_micros(due_ms.saturating_mul(1_000).saturating_sub(now_us()))
}
