//! Real worker processes that are killed, against a real Redis server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use retraced::store::BATCH_MAX;
use retraced::supervision::{EventKind, SupervisionEvent};
use retraced::{
    Client, Context, Failure, Job, JobState, Operator, Queue, QueueName, RedisStore, Runtime, State, Store,
};
use serde::{Deserialize, Serialize};
use support::redis_server::RedisServer;
use support::{Execution, Executions, eventually, full_scale, summarize, unix_ms};

/// The leases to test. Half of each is longer than the gap between two workers: if no worker reclaimed for half a lease, expired leases would get one more lease of
/// grace. Some are multiples of the time between two kills, so that jobs are reclaimed at the moment of a later kill.
const LEASES_S: [u64; 4] = [6, 3, 4, 30];
const BETWEEN_KILLS: Duration = Duration::from_secs(3);
const EXECUTORS: usize = 50;
const HANDLER: Duration = Duration::from_millis(10);

#[derive(Serialize, Deserialize)]
struct Work {
    number: u64,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

async fn work(job: Work, _: Context, log: State<Executions>) -> Result<(), Failure> {
    log.began(job.number);
    tokio::time::sleep(HANDLER).await;
    log.ended(job.number);
    Ok(())
}

/// Not a test: the worker process, if a test started this binary as one. Otherwise it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_of_a_worker_process() {
    let Ok(url) = std::env::var("RETRACED_TEST_WORKER_OF") else { return };
    let log_path = std::env::var("RETRACED_TEST_EXECUTION_LOG").unwrap();
    let lease = std::env::var("RETRACED_TEST_LEASE_S").unwrap().parse().unwrap();
    let runtime = Runtime::builder()
        .store(RedisStore::connect(&url).await.unwrap())
        .state(Executions::at(Path::new(&log_path)))
        .lease(Duration::from_secs(lease))
        .shutdown_grace(Duration::from_secs(5))
        .queue(Queue::new("torture").unwrap().concurrency(EXECUTORS).handler(work))
        .start()
        .await
        .unwrap();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    terminate.recv().await;
    runtime.shutdown().await.unwrap();
}

struct Worker(Child);

impl Worker {
    fn start(server: &RedisServer, log_path: &Path, lease: Duration) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role_of_a_worker_process", "--nocapture", "--test-threads=1"])
            .env("RETRACED_TEST_WORKER_OF", server.url())
            .env("RETRACED_TEST_EXECUTION_LOG", log_path)
            .env("RETRACED_TEST_LEASE_S", lease.as_secs().to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").arg(signal).arg(self.0.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn enqueue(store: &Arc<dyn Store>, jobs: u64) {
    let seal = |number: u64| {
        let options = retraced::JobOptions::default().id(number.to_string().parse().unwrap());
        retraced::seal_job(&Work { number }, &options).unwrap()
    };
    let sealed: Vec<_> = (0..jobs).map(seal).collect();
    let queue = Client::shared(store.clone()).queue("torture").unwrap();
    let receipts = queue.enqueue_timeout(Duration::from_secs(10)).enqueue_all(sealed).await.unwrap();
    assert!(receipts.len() as u64 == jobs && receipts.iter().all(|receipt| receipt.created));
}

/// A killed worker and the grants it held.
struct Kill {
    at_ms: u64,
    held: HashMap<u64, u32>,
}

impl Kill {
    /// Kills this worker, and reads which grants it held.
    async fn of(worker: Worker, admin: &Operator, queue: &QueueName, earlier: &[Kill]) -> Self {
        drop(worker);
        let at_ms = unix_ms();
        let (mut held, mut from) = (HashMap::new(), None);
        loop {
            let page = admin.jobs(queue, JobState::Processing, from, BATCH_MAX).await.unwrap();
            for job in page.jobs {
                let (number, grant) = (job.id.to_string().parse().unwrap(), job.counters.attempts);
                // Leases of workers that were killed earlier may still exist.
                if !earlier.iter().any(|kill| kill.held.get(&number) == Some(&grant)) {
                    held.insert(number, grant);
                }
            }
            from = page.next;
            if from.is_none() {
                return Self { at_ms, held };
            }
        }
    }
}

/// Goal: a worker that is killed with -9 again and again loses no job and leaves none stuck, repeats only jobs in flight, and the jobs it held run again within a lease
/// and 2 s. No job is poisoned as one that kills its worker. Method: one worker process at a time is killed and restarted every 3 s; handlers write to a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_again_and_again_loses_nothing() {
    let (jobs, kills_least, leases) =
        if full_scale() { (100_000, 6, &LEASES_S[..]) } else { (20_000, 2, &LEASES_S[..1]) };
    for lease in leases {
        kill_again_and_again(jobs, kills_least, Duration::from_secs(*lease)).await;
    }
}

async fn kill_again_and_again(jobs: u64, kills_least: usize, lease: Duration) {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let log_path = folder.path().join("executions");
    let executions = Executions::at(&log_path);
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let admin = Operator::shared(store.clone());
    let queue = QueueName::new("torture").unwrap();
    enqueue(&store, jobs).await;

    let begun = Instant::now();
    let mut kills: Vec<Kill> = Vec::new();
    let mut worker = Worker::start(&server, &log_path, lease);
    loop {
        tokio::time::sleep(BETWEEN_KILLS).await;
        let stats = admin.stats(&queue).await.unwrap();
        if stats.completed_total == jobs {
            break;
        }
        assert_eq!(stats.poisoned, 0, "a job was poisoned as one that kills its worker: {stats:?}");
        assert!(begun.elapsed() < Duration::from_secs(300), "stuck: {stats:?}");
        if stats.pending == 0 && kills.len() >= kills_least {
            continue;
        }
        kills.push(Kill::of(worker, &admin, &queue, &kills).await);
        worker = Worker::start(&server, &log_path, lease);
    }
    drop(worker);

    let stats = admin.stats(&queue).await.unwrap();
    let log = executions.read();
    let summary = summarize(&log, jobs);
    let in_flight: usize = kills.iter().map(|kill| kill.held.len()).sum();
    let slowest = slowest_recovery(&log, &kills);
    println!(
        "lease {lease:?}: {jobs} jobs, {} kills, {:.1} s: lost {}, starts {}, more than once {}, in flight at the kills {in_flight}, crashes counted {}, slowest recovery {slowest:?}",
        kills.len(),
        begun.elapsed().as_secs_f64(),
        summary.lost,
        summary.starts,
        summary.extra_starts,
        stats.crashes_total,
    );
    assert!(kills.len() >= kills_least, "all jobs were completed before there were enough kills: {}", kills.len());
    assert_eq!(summary.lost, 0);
    assert_eq!((stats.pending, stats.processing, stats.delayed, stats.dead, stats.poisoned), (0, 0, 0, 0, 0));
    assert!(summary.extra_starts <= in_flight);
    assert!(slowest <= lease + Duration::from_secs(2));
    let audit = admin.audit(&queue).await.unwrap();
    assert!(audit.before.adds_up() && audit.findings.is_empty(), "{audit:?}");
}

/// The longest time from a kill until a job held by the killed worker started again, or was held by another worker when that one was killed.
fn slowest_recovery(log: &[Execution], kills: &[Kill]) -> Duration {
    let mut starts: HashMap<u64, Vec<u64>> = HashMap::new();
    for execution in log.iter().filter(|execution| execution.began) {
        starts.entry(execution.job).or_default().push(execution.at_ms);
    }
    let mut slowest = 0;
    for (n, kill) in kills.iter().enumerate() {
        for (job, grant) in &kill.held {
            let begun = starts.get(job).and_then(|starts| starts.iter().find(|at_ms| **at_ms >= kill.at_ms)).copied();
            let held = |later: &&Kill| later.held.get(job).is_some_and(|another| another != grant);
            let held = kills[n + 1..].iter().find(held).map(|later| later.at_ms);
            // A job whose settlement had been confirmed does not start again.
            let again = begun.into_iter().chain(held).min().unwrap_or(kill.at_ms);
            slowest = slowest.max(again - kill.at_ms);
        }
    }
    Duration::from_millis(slowest)
}

/// Goal: the jobs of a killed worker do not wait until a clock that was set back has caught up, and the operator learns why leases changed. Method: a worker is killed under
/// load, the clock is set back by an hour, and another worker with shorter leases is started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_killed_worker_do_not_wait_for_a_clock_that_was_set_back() {
    let (jobs, hour) = (20_000, Duration::from_secs(60 * 60));
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let log_path = folder.path().join("executions");
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let admin = Operator::shared(store.clone());
    let queue = QueueName::new("torture").unwrap();
    enqueue(&store, jobs).await;

    let completed = |least| {
        let (admin, queue) = (&admin, &queue);
        move || async move { admin.stats(queue).await.unwrap().completed_total >= least }
    };
    let worker = Worker::start(&server, &log_path, Duration::from_secs(6));
    eventually("the worker is busy", Duration::from_secs(20), completed(500)).await;
    drop(worker);
    let held = admin.stats(&queue).await.unwrap().processing;
    assert!(held > 0, "no job was in flight");
    server.set_clock_back("retraced", queue.as_str(), hour);
    let _other = Worker::start(&server, &log_path, Duration::from_secs(3));
    eventually("the end of all jobs", Duration::from_secs(60), completed(jobs)).await;
    let shortened = |event: &SupervisionEvent| match event.kind {
        EventKind::LeasesShortened { leases, .. } => leases as u64,
        _ => 0,
    };
    let reported = || async {
        let (mut leases, mut from) = (0, None);
        loop {
            let page = admin.events(from, BATCH_MAX).await.unwrap();
            leases += page.events.iter().map(shortened).sum::<u64>();
            from = page.next;
            if from.is_none() {
                return leases == held;
            }
        }
    };
    eventually("the report of each lease that was shortened", Duration::from_secs(20), reported).await;
}

/// Goal: after a SIGTERM under load no failure is counted. Running jobs finish, prefetched jobs are released, and the process exits with success.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_receives_sigterm_finishes_running_jobs_and_releases_the_rest() {
    let jobs = 3_000;
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let log_path = folder.path().join("executions");
    let executions = Executions::at(&log_path);
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let admin = Operator::shared(store.clone());
    let queue = QueueName::new("torture").unwrap();
    enqueue(&store, jobs).await;

    let lease = Duration::from_secs(4);
    let mut worker = Worker::start(&server, &log_path, lease);
    let some_done = || async { admin.stats(&queue).await.unwrap().completed_total > 200 };
    eventually("the completion of the first jobs", Duration::from_secs(30), some_done).await;
    worker.signal("-TERM");
    let signalled = Instant::now();
    let status = loop {
        if let Some(status) = worker.0.try_wait().unwrap() {
            break status;
        }
        assert!(signalled.elapsed() < Duration::from_secs(10), "the worker did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(status.success(), "{status}");
    let stats = admin.stats(&queue).await.unwrap();
    let first = summarize(&executions.read(), jobs);
    assert_eq!(stats.processing, 0, "everything held was settled: {stats:?}");
    assert_eq!(stats.completed_total + stats.pending, jobs, "{stats:?}");
    assert_eq!(first.starts as u64, stats.completed_total, "every started job was finished and confirmed");
    assert_eq!((stats.failures_total, stats.crashes_total), (0, 0));

    let _successor = Worker::start(&server, &log_path, lease);
    let all_done = || async { admin.stats(&queue).await.unwrap().completed_total == jobs };
    eventually("the completion of all jobs by the successor", Duration::from_secs(30), all_done).await;
    let summary = summarize(&executions.read(), jobs);
    assert_eq!((summary.lost, summary.extra_starts), (0, 0));
}
