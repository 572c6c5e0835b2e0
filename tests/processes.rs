//! Real worker processes that are killed, against a real Redis server.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use retraced::store::Store;
use retraced::{Client, Context, Failure, Job, Operator, Queue, QueueName, RedisStore, Runtime, State};
use serde::{Deserialize, Serialize};
use support::redis_server::RedisServer;
use support::{Execution, Executions, eventually, full_scale, unix_ms, verdict};

/// Half of it is longer than a worker is away between two kills: when nobody looked for half a lease, expired leases get a grace of one more. And it is no multiple
/// of the time between two kills: a job taken back at the very moment of the next kill would be charged a crash again each time, and the third is one too many.
const LEASE: Duration = Duration::from_secs(4);
const EXECUTORS: usize = 50;
const HANDLER: Duration = Duration::from_millis(10);

#[derive(Serialize, Deserialize)]
struct Work {
    number: u64,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

async fn work(job: Work, _: Context, ledger: State<Executions>) -> Result<(), Failure> {
    ledger.began(job.number);
    tokio::time::sleep(HANDLER).await;
    ledger.ended(job.number);
    Ok(())
}

/// Not a test: what this binary does when a test starts it as a worker process. Does nothing otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_of_a_worker_process() {
    let Ok(url) = std::env::var("RETRACED_TEST_WORKER_OF") else { return };
    let ledger = std::env::var("RETRACED_TEST_LEDGER").unwrap();
    let runtime = Runtime::builder()
        .store(RedisStore::connect(&url).await.unwrap())
        .state(Executions::at(Path::new(&ledger)))
        .lease(LEASE)
        .grace(Duration::from_secs(5))
        .queue(Queue::new("torture").unwrap().concurrency(EXECUTORS))
        .handler("torture", work)
        .start()
        .await
        .unwrap();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    terminate.recv().await;
    runtime.shutdown().await.unwrap();
}

struct Worker(Child);

impl Worker {
    fn start(server: &RedisServer, ledger: &Path) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role_of_a_worker_process", "--nocapture", "--test-threads=1"])
            .env("RETRACED_TEST_WORKER_OF", server.url())
            .env("RETRACED_TEST_LEDGER", ledger)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn pid(&self) -> u64 {
        self.0.id().into()
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
    let options = retraced::JobOptions::default();
    let sealed: Vec<_> = (0..jobs).map(|number| retraced::seal_job(&Work { number }, &options).unwrap()).collect();
    let queue = Client::shared(store.clone()).queue("torture").unwrap();
    let receipts = queue.enqueue_all(&sealed, Duration::from_secs(10)).await.unwrap();
    assert!(receipts.len() as u64 == jobs && receipts.iter().all(|receipt| receipt.created));
}

/// Goal: a worker that is killed with -9 again and again loses nothing, sticks nowhere, repeats only what was in flight, and what it held runs again within a lease
/// and two seconds. Method: one worker process at a time, killed every three seconds and started anew; handlers write to a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_again_and_again_loses_nothing() {
    let (jobs, kills_least) = if full_scale() { (100_000, 6) } else { (20_000, 2) };
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("executions");
    let executions = Executions::at(&ledger);
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let desk = Operator::new(store.clone());
    let queue = QueueName::new("torture").unwrap();
    enqueue(&store, jobs).await;

    let begun = Instant::now();
    let mut kills: Vec<(u64, u64, u64)> = Vec::new();
    let mut worker = Worker::start(&server, &ledger);
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let stats = desk.stats(&queue).await.unwrap();
        if stats.completed_total == jobs {
            break;
        }
        assert_eq!(stats.poisoned, 0, "a job was taken for one that kills its worker: {stats:?}");
        assert!(begun.elapsed() < Duration::from_secs(300), "stuck: {stats:?}");
        if stats.pending == 0 && kills.len() >= kills_least {
            continue;
        }
        let pid = worker.pid();
        drop(worker);
        let in_flight = desk.stats(&queue).await.unwrap().processing;
        kills.push((pid, unix_ms(), in_flight));
        worker = Worker::start(&server, &ledger);
    }
    drop(worker);

    let stats = desk.stats(&queue).await.unwrap();
    let log = executions.read();
    let found = verdict(&log, jobs);
    let in_flight: u64 = kills.iter().map(|(_, _, in_flight)| in_flight).sum();
    let slowest = slowest_recovery(&log, &kills);
    println!(
        "{jobs} jobs, {} kills, {:.1} s: lost {}, starts {}, more than once {}, in flight at the kills {in_flight}, crashes charged {}, slowest recovery {slowest:?}",
        kills.len(),
        begun.elapsed().as_secs_f64(),
        found.lost,
        found.starts,
        found.extra_starts,
        stats.crashes_total,
    );
    assert!(kills.len() >= kills_least, "the work was done before the kills: {}", kills.len());
    assert_eq!(found.lost, 0);
    assert_eq!((stats.pending, stats.processing, stats.delayed, stats.dead, stats.poisoned), (0, 0, 0, 0, 0));
    assert!(found.extra_starts as u64 <= in_flight);
    assert!(slowest <= LEASE + Duration::from_secs(2));
    let audit = desk.audit(&queue, false).await.unwrap();
    assert!(audit.before.adds_up() && audit.findings.is_empty(), "{audit:?}");
}

/// How long after its worker's death a job that was running then began to run again, at most.
fn slowest_recovery(log: &[Execution], kills: &[(u64, u64, u64)]) -> Duration {
    let mut running: HashMap<u64, (u64, u64)> = HashMap::new();
    let mut slowest = 0;
    for execution in log {
        if !execution.began {
            running.remove(&execution.job);
        } else if let Some((pid, _)) = running.insert(execution.job, (execution.pid, execution.at_ms)) {
            let killed_ms = kills.iter().find(|(killed, _, _)| *killed == pid).map(|(_, at, _)| *at);
            slowest = slowest.max(execution.at_ms.saturating_sub(killed_ms.unwrap_or(execution.at_ms)));
        }
    }
    Duration::from_millis(slowest)
}

/// Goal: SIGTERM under load costs nothing: what runs finishes, what was fetched ahead goes back, no attempt is charged, and the process ends well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_asked_to_end_finishes_what_runs_and_hands_back_the_rest() {
    let jobs = 3_000;
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("executions");
    let executions = Executions::at(&ledger);
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let desk = Operator::new(store.clone());
    let queue = QueueName::new("torture").unwrap();
    enqueue(&store, jobs).await;

    let mut worker = Worker::start(&server, &ledger);
    let some_done = || async { desk.stats(&queue).await.unwrap().completed_total > 200 };
    eventually("the work's beginning", Duration::from_secs(30), some_done).await;
    worker.signal("-TERM");
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = worker.0.try_wait().unwrap() {
            break status;
        }
        assert!(asked.elapsed() < Duration::from_secs(10), "it did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(status.success(), "{status}");
    let stats = desk.stats(&queue).await.unwrap();
    let first = verdict(&executions.read(), jobs);
    assert_eq!(stats.processing, 0, "everything held was settled: {stats:?}");
    assert_eq!(stats.completed_total + stats.pending, jobs, "{stats:?}");
    assert_eq!(first.starts as u64, stats.completed_total, "what began was finished and confirmed");
    assert_eq!((stats.failures_total, stats.crashes_total), (0, 0));

    let _successor = Worker::start(&server, &ledger);
    let all_done = || async { desk.stats(&queue).await.unwrap().completed_total == jobs };
    eventually("the successor's end of the work", Duration::from_secs(30), all_done).await;
    let found = verdict(&executions.read(), jobs);
    assert_eq!((found.lost, found.extra_starts), (0, 0));
}
