//! What is measured and how. Each measurement is written once, for any [`JobQueue`]; only the drain by several processes is in [`workers`](super::workers).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use retraced::limits::CONCURRENCY_MAX;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::cost::{Cost, memory_peak_mib};
use super::figures::Figures;
use super::job::{BenchJob, now_us};
use super::job_queue::JobQueue;
use super::recorder::Recorder;
use super::server::Server;
use super::side::Side;
use crate::error::CliError;
use crate::limits::{
    BENCH_DUE_AFTER, BENCH_DUE_WITHIN, BENCH_IDLE_AFTER, BENCH_IDLE_FOR, BENCH_QUEUES_MAX, ENQUEUE_INTERVAL,
    FLOOR_CYCLES, MEASUREMENT_TIMEOUT, MEASUREMENT_TIMEOUT_PER_JOB, ROUND_TRIPS_PER_JOB_MAX,
};

/// Jobs per bulk call.
const BULK: u64 = 100;
/// Executors of the worker of `latency`, which is mostly idle. Each queue of `idle` has as many: it uses the default of a queue, which is the same number.
const EXECUTORS_IDLE: usize = 10;
/// Executors of the worker of `delayed_lateness` and `retry`, which is busy.
const EXECUTORS_BUSY: usize = 100;
/// How often each job of the retry measurement fails before it succeeds.
const FAILURES: u8 = 2;

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Measurement {
    EnqueueOne,
    EnqueueInflight { calls: usize },
    EnqueueBulk,
    Drain { executors: usize, workers: usize },
    Latency,
    Lateness,
    Retry,
    Idle,
}

impl Measurement {
    /// All measurements, with drains at these concurrencies by this many processes.
    pub(super) fn all(drains: &[usize], workers: usize) -> Vec<Self> {
        let enqueues = [
            Measurement::EnqueueOne,
            Measurement::EnqueueInflight { calls: 10 },
            Measurement::EnqueueInflight { calls: 100 },
            Measurement::EnqueueBulk,
        ];
        let drains = drains.iter().map(|executors| Measurement::Drain { executors: *executors, workers });
        let others = [Measurement::Latency, Measurement::Lateness, Measurement::Retry, Measurement::Idle];
        enqueues.into_iter().chain(drains).chain(others).collect()
    }

    /// The name of the measurement. Its metrics have this name or begin with it, except `redis_memory`.
    pub(super) fn name(self) -> String {
        match self {
            Measurement::EnqueueOne => "enqueue_one".into(),
            Measurement::EnqueueInflight { calls } => format!("enqueue_inflight{calls}"),
            Measurement::EnqueueBulk => format!("enqueue_bulk{BULK}"),
            Measurement::Drain { .. } => "drain".into(),
            Measurement::Latency => "latency".into(),
            Measurement::Lateness => "delayed_lateness".into(),
            Measurement::Retry => "retry".into(),
            Measurement::Idle => "idle".into(),
        }
    }

    /// The names of its metrics.
    pub(super) fn metrics(self) -> Vec<String> {
        let name = self.name();
        let costs = ["worker_cpu", "redis_cpu", "redis_calls", "redis_reads"].map(|cost| format!("{name}_{cost}"));
        let mut metrics = Vec::new();
        // No worker runs while only enqueues are measured: there `…_worker_cpu` is the processor time of the process that enqueues.
        match self {
            Measurement::EnqueueOne | Measurement::EnqueueInflight { .. } => metrics.push(name),
            Measurement::EnqueueBulk => metrics.extend([name, "redis_memory".into()]),
            Measurement::Drain { workers: 1, .. } => metrics.extend([name, "drain_rss_peak".into()]),
            // `AFTER_HELP` in `mod.rs` says what the share is.
            Measurement::Drain { .. } => metrics.extend([name, "drain_share_min".into(), "drain_rss_peak".into()]),
            Measurement::Retry => metrics.extend(["retry_total".into(), "retry_attempts".into()]),
            Measurement::Latency | Measurement::Lateness => {
                return ["p50", "p95", "p99", "max"].map(|rank| format!("{name}_{rank}")).into();
            }
            Measurement::Idle => return ["worker_cpu", "redis_calls"].map(|cost| format!("{name}_{cost}")).into(),
        }
        metrics.extend(costs);
        metrics
    }

    /// How many jobs it uses. Latency and lateness never use more than their default: latency takes 20 ms per job, and the due
    /// times of all jobs of lateness are spread over 3 s.
    pub(super) fn jobs(self, requested: Option<u64>) -> u64 {
        match self {
            Measurement::EnqueueOne => requested.unwrap_or(20_000),
            Measurement::EnqueueInflight { calls } => requested.unwrap_or(if calls < 100 { 50_000 } else { 100_000 }),
            Measurement::EnqueueBulk | Measurement::Drain { .. } => requested.unwrap_or(200_000),
            Measurement::Retry => requested.unwrap_or(20_000),
            Measurement::Latency => requested.map_or(500, |jobs| jobs.min(500)),
            Measurement::Lateness => requested.map_or(1_000, |jobs| jobs.min(1_000)),
            Measurement::Idle => 0,
        }
    }

    /// The concurrency with which it runs, and which is printed: calls of an enqueue measurement, executors of each queue, or cycles of the floor.
    pub(super) fn concurrency(self, side: Side) -> usize {
        match (self, side) {
            (Measurement::EnqueueOne | Measurement::EnqueueBulk, _) => 1,
            (Measurement::EnqueueInflight { calls }, _) => calls,
            (_, Side::Floor) => FLOOR_CYCLES,
            (Measurement::Drain { executors, .. }, Side::Retraced) => executors.min(CONCURRENCY_MAX),
            (Measurement::Latency | Measurement::Idle, Side::Retraced) => EXECUTORS_IDLE,
            (Measurement::Lateness | Measurement::Retry, Side::Retraced) => EXECUTORS_BUSY,
        }
    }

    /// How many worker processes drain; 1 for all other measurements.
    pub(super) fn workers(self) -> usize {
        if let Measurement::Drain { workers, .. } = self { workers } else { 1 }
    }

    /// Whether the floor ([`Side::Floor`]) can be measured too: it has no worker of a hundred queues.
    pub(super) fn has_a_floor(self) -> bool {
        self != Measurement::Idle
    }

    /// Whether jobs are enqueued while a worker runs.
    pub(super) fn has_a_worker_while_enqueueing(self) -> bool {
        matches!(self, Measurement::Latency | Measurement::Lateness | Measurement::Retry)
    }

    /// Its timeout, given the round trip that `--round-trip-ms` adds.
    pub(super) fn timeout(self, jobs: u64, round_trip: Duration) -> Duration {
        let per_job = if self == Measurement::Latency {
            ENQUEUE_INTERVAL + MEASUREMENT_TIMEOUT_PER_JOB
        } else {
            MEASUREMENT_TIMEOUT_PER_JOB
        };
        MEASUREMENT_TIMEOUT + (per_job + round_trip * ROUND_TRIPS_PER_JOB_MAX) * u32::try_from(jobs).unwrap_or(u32::MAX)
    }

    /// Measures in this process: a drain is one with a single worker.
    pub(super) async fn run<Q: JobQueue>(
        self,
        queue: Q,
        server: &mut Server,
        jobs: u64,
        executors: usize,
    ) -> Result<Figures, CliError> {
        let mut figures = Figures::default();
        let into = &mut figures;
        match self {
            Measurement::EnqueueOne => self.enqueue(&queue, server, jobs, 1, into).await?,
            Measurement::EnqueueInflight { calls } => self.enqueue(&queue, server, jobs, calls, into).await?,
            Measurement::EnqueueBulk => self.enqueue_bulk(&queue, server, jobs, into).await?,
            Measurement::Drain { .. } => self.drain(&queue, server, jobs, executors, into).await?,
            Measurement::Latency => self.latency(&queue, jobs, executors, into).await?,
            Measurement::Lateness => self.lateness(&queue, jobs, executors, into).await?,
            Measurement::Retry => self.retry(&queue, server, jobs, executors, into).await?,
            Measurement::Idle => self.idle(&queue, server, into).await?,
        }
        Ok(figures)
    }

    async fn enqueue<Q: JobQueue>(
        self,
        queue: &Q,
        server: &mut Server,
        jobs: u64,
        calls: usize,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let before = Cost::read(server).await?;
        let begun = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..calls {
            let (queue, next) = (queue.clone(), next.clone());
            callers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        return Ok::<_, CliError>(());
                    }
                    queue.enqueue(BenchJob::now(number)).await?;
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.map_err(|error| CliError::Failed(format!("a caller ended: {error}")))??;
        }
        into.put(self.name(), jobs as f64 / begun.elapsed().as_secs_f64(), "jobs/s");
        before.put_per_job(server, jobs, &self.name(), into).await
    }

    async fn enqueue_bulk<Q: JobQueue>(
        self,
        queue: &Q,
        server: &mut Server,
        jobs: u64,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let memory = server.counters().await?.memory_bytes;
        let before = Cost::read(server).await?;
        let begun = Instant::now();
        fill(queue, jobs).await?;
        into.put(self.name(), jobs as f64 / begun.elapsed().as_secs_f64(), "jobs/s");
        before.put_per_job(server, jobs, &self.name(), into).await?;
        let stored = server.counters().await?.memory_bytes.saturating_sub(memory);
        into.put("redis_memory", stored as f64 / jobs as f64, "bytes/job");
        Ok(())
    }

    async fn drain<Q: JobQueue>(
        self,
        queue: &Q,
        server: &mut Server,
        jobs: u64,
        executors: usize,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        fill(queue, jobs).await?;
        let before = Cost::read(server).await?;
        let recorder = Arc::new(Recorder::of(jobs));
        let worker = queue.start_worker(executors, recorder.clone()).await?;
        recorder.wait_for(jobs).await;
        Q::end(worker).await?;
        into.put(self.name(), recorder.rate(), "jobs/s");
        before.put_per_job(server, jobs, &self.name(), into).await?;
        if let Some(mib) = memory_peak_mib() {
            into.put("drain_rss_peak", mib, "MiB");
        }
        Ok(())
    }

    /// Measures from the call of enqueue to the handler's first line. An extra job goes first and is not measured: it opens the connections.
    async fn latency<Q: JobQueue>(
        self,
        queue: &Q,
        jobs: u64,
        executors: usize,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let recorder = Arc::new(Recorder::with_delays(jobs + 1));
        let worker = queue.start_worker(executors, recorder.clone()).await?;
        queue.enqueue(BenchJob::now(0)).await?;
        recorder.wait_for(1).await;
        let mut ticks = interval(ENQUEUE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick comes at once.
        ticks.tick().await;
        for number in 1..=jobs {
            ticks.tick().await;
            queue.enqueue(BenchJob::now(number)).await?;
        }
        recorder.wait_for(jobs + 1).await;
        Q::end(worker).await?;
        let extra_jobs = 1;
        into.put_ranks(&self.name(), &recorder.delays_ms(extra_jobs));
        Ok(())
    }

    /// Measures from the due time of a job to the handler's first line.
    async fn lateness<Q: JobQueue>(
        self,
        queue: &Q,
        jobs: u64,
        executors: usize,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let recorder = Arc::new(Recorder::with_delays(jobs));
        let worker = queue.start_worker(executors, recorder.clone()).await?;
        let first_us = now_us() + BENCH_DUE_AFTER.as_micros() as u64;
        // Due times are whole milliseconds.
        let due_us = |number: u64| (first_us + BENCH_DUE_WITHIN.as_micros() as u64 * number / jobs) / 1_000 * 1_000;
        for from in (0..jobs).step_by(BULK as usize) {
            let numbers = from..jobs.min(from + BULK);
            queue.enqueue_due(numbers.map(|number| BenchJob::at(number, due_us(number))).collect()).await?;
        }
        recorder.wait_for(jobs).await;
        Q::end(worker).await?;
        into.put_ranks(&self.name(), &recorder.delays_ms(0));
        Ok(())
    }

    async fn retry<Q: JobQueue>(
        self,
        queue: &Q,
        server: &mut Server,
        jobs: u64,
        executors: usize,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let before = Cost::read(server).await?;
        let recorder = Arc::new(Recorder::with_failures(jobs, FAILURES));
        let worker = queue.start_worker(executors, recorder.clone()).await?;
        let begun = Instant::now();
        fill(queue, jobs).await?;
        recorder.wait_for(jobs).await;
        let took_s = begun.elapsed().as_secs_f64();
        Q::end(worker).await?;
        into.put("retry_total", took_s, "s");
        // A rate, as its unit says.
        into.put("retry_attempts", (jobs * (u64::from(FAILURES) + 1)) as f64 / took_s, "attempts/s");
        before.put_per_job(server, jobs, &self.name(), into).await
    }

    /// Measures the cost of a worker that has nothing to do.
    async fn idle<Q: JobQueue>(self, queue: &Q, server: &mut Server, into: &mut Figures) -> Result<(), CliError> {
        let worker = queue.start_idle_worker(BENCH_QUEUES_MAX, Arc::new(Recorder::of(0))).await?;
        sleep(BENCH_IDLE_AFTER).await;
        let before = Cost::read(server).await?;
        sleep(BENCH_IDLE_FOR).await;
        before.put_per_second(server, &self.name(), into).await?;
        Q::end(worker).await
    }
}

/// Enqueues this many jobs in bulk.
pub(super) async fn fill<Q: JobQueue>(queue: &Q, jobs: u64) -> Result<(), CliError> {
    for from in (0..jobs).step_by(BULK as usize) {
        queue.enqueue_all((from..jobs.min(from + BULK)).map(BenchJob::now).collect()).await?;
    }
    Ok(())
}
