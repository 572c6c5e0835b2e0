//! One runtime on a real Redis server: its actors are killed, its handlers panic or block, or its server is frozen or restarted.
//!
//! `RETRACED_SCALE=full` runs the scenarios at the size for which figures are published; `make test` runs a quick form.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use retraced::supervision::{Budget, EventKind, RestartDelay, RestartPolicy, SupervisionEvent};
use retraced::{
    Client, Code, Context, Failure, Job, JobState, Operator, Queue, QueueName, RedisStore, Retry, Runtime, State, Store,
};
use serde::{Deserialize, Serialize};
use support::redis_server::RedisServer;
use support::{eventually, full_scale, unix_ms};
use tokio::sync::broadcast;

const MANY_RESTARTS: RestartPolicy = RestartPolicy::new(
    retraced::supervision::Strategy::OneForOne,
    Budget::new(500, Duration::from_secs(60)),
    RestartDelay::new(Duration::from_millis(10), Duration::from_millis(100), 20),
);

#[derive(Serialize, Deserialize)]
struct Work {
    number: u64,
    millis: u64,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

/// The actors outside of the pool, which are killed under load. Supervisors are not among them.
const KILLED: [&str; 10] = [
    "faults/queue",
    "faults/fetcher",
    "faults/settler",
    "retry-scheduler",
    "reclaimer",
    "janitor",
    "watchdog",
    "lease-keeper",
    "store-link",
    "ledger",
];

/// What handlers did, recorded inside the process.
#[derive(Clone, Default)]
struct Seen(Arc<SeenInner>);

#[derive(Default)]
struct SeenInner {
    running: AtomicUsize,
    returned: AtomicU64,
    starts: Mutex<HashMap<u64, u32>>,
    dropped: AtomicU64,
}

/// Counts handlers that are dropped before they return.
struct Running<'a> {
    seen: &'a Seen,
    returned: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.seen.0.running.fetch_sub(1, Ordering::SeqCst);
        if !self.returned {
            self.seen.0.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn work(job: Work, _: Context, seen: State<Seen>) -> Result<(), Failure> {
    seen.0.running.fetch_add(1, Ordering::SeqCst);
    *seen.0.starts.lock().unwrap().entry(job.number).or_default() += 1;
    let mut running = Running { seen: &seen, returned: false };
    tokio::time::sleep(Duration::from_millis(job.millis)).await;
    seen.0.returned.fetch_add(1, Ordering::SeqCst);
    running.returned = true;
    Ok(())
}

impl Seen {
    fn repeated(&self) -> usize {
        self.0.starts.lock().unwrap().values().filter(|starts| **starts > 1).count()
    }

    fn returned(&self) -> u64 {
        self.0.returned.load(Ordering::SeqCst)
    }
}

fn queue() -> QueueName {
    QueueName::new("faults").unwrap()
}

async fn enqueue(store: &Arc<dyn Store>, numbers: std::ops::Range<u64>, millis: u64) {
    let options = retraced::JobOptions::default();
    let sealed: Vec<_> =
        numbers.map(|number| retraced::seal_job(&Work { number, millis }, &options).unwrap()).collect();
    let queue = Client::shared(store.clone()).queue("faults").unwrap();
    queue.enqueue_timeout(Duration::from_secs(10)).enqueue_all(sealed).await.unwrap();
}

fn drain_events(events: &mut broadcast::Receiver<SupervisionEvent>) -> Vec<SupervisionEvent> {
    let mut all = Vec::new();
    loop {
        match events.try_recv() {
            Ok(event) => all.push(event),
            Err(broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => return all,
        }
    }
}

/// Goal: killing any actor outside the pool drops no handler. Method: under constant load each actor of [`KILLED`] is killed. The test counts handlers that are dropped
/// or started twice, and compares the jobs completed in the third second after a kill with those in the seconds before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_any_actor_of_the_tree_affects_no_handler() {
    let kills = if full_scale() { 20 } else { 1 };
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let seen = Seen::default();
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .state(seen.clone())
        .lease(Duration::from_secs(2))
        .restart_policy(MANY_RESTARTS)
        .queue(Queue::new("faults").unwrap().concurrency(50).restart_policy(MANY_RESTARTS).handler(work))
        .start()
        .await
        .unwrap();
    let handle = runtime.queue("faults").unwrap();
    let produced = Arc::new(AtomicU64::new(0));
    let producer = {
        let (produced, seen) = (produced.clone(), seen.clone());
        tokio::spawn(async move {
            loop {
                let number = produced.load(Ordering::SeqCst);
                if number.saturating_sub(seen.returned()) > 2_000 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                let batch = (0..50).map(|k| {
                    handle
                        .job(Work { number: number + k, millis: 50 })
                        .enqueue_timeout(Duration::from_secs(5))
                        .enqueue()
                });
                for receipt in futures_util::future::join_all(batch).await {
                    assert!(receipt.unwrap().created);
                }
                produced.fetch_add(50, Ordering::SeqCst);
            }
        })
    };

    eventually("the completion of the first jobs", Duration::from_secs(20), || async { seen.returned() > 500 }).await;
    let mut per_second = Vec::new();
    for _ in 0..if full_scale() { 9 } else { 1 } {
        per_second.push(jobs_in_a_second(&seen).await);
    }
    per_second.sort_unstable();
    let median = per_second[per_second.len() / 2];
    let mut worst: (u64, &str) = (u64::MAX, "");
    for actor in KILLED {
        for _ in 0..kills {
            assert!(runtime.kill(actor), "no actor at {actor}");
            if full_scale() {
                tokio::time::sleep(Duration::from_secs(2)).await;
                worst = worst.min((jobs_in_a_second(&seen).await, actor));
            } else {
                let before = seen.returned();
                let more_done = || async { seen.returned() > before + 200 };
                eventually("the completion of jobs after a kill", Duration::from_secs(20), more_done).await;
            }
        }
    }
    producer.abort();
    let _ = producer.await;
    let all = produced.load(Ordering::SeqCst);
    let report = runtime.shutdown().await.unwrap();
    if full_scale() {
        assert!(worst.0 * 10 >= median * 8, "{worst:?} against {median}");
    }
    println!(
        "{} actors killed {kills} times each over {all} jobs: median {median} jobs/s before; worst third second {} jobs/s ({:.0} %, {}); handlers dropped {}, jobs started twice {}",
        KILLED.len(),
        worst.0,
        100.0 * worst.0 as f64 / median as f64,
        worst.1,
        seen.0.dropped.load(Ordering::SeqCst),
        seen.repeated(),
    );
    assert_eq!(seen.0.dropped.load(Ordering::SeqCst), 0, "no handler is dropped");
    assert_eq!(seen.repeated(), 0, "no finished job runs again");
    assert_eq!((report.killed, report.unsettled), (0, 0));
    let stats = Operator::shared(store).stats(&queue()).await.unwrap();
    assert_eq!(stats.completed_total, seen.returned());
    assert_eq!((stats.crashes_total, stats.stale_settlements_total, stats.processing), (0, 0, 0), "{stats:?}");
}

async fn jobs_in_a_second(seen: &Seen) -> u64 {
    let before = seen.returned();
    tokio::time::sleep(Duration::from_secs(1)).await;
    seen.returned() - before
}

#[derive(Serialize, Deserialize)]
struct MayPanic {
    number: u64,
    panics: bool,
}

impl Job for MayPanic {
    const KIND: &'static str = "may-panic";
}

#[derive(Clone, Default)]
struct PanickedAt(Arc<Mutex<HashMap<String, u64>>>);

async fn may_panic(job: MayPanic, ctx: Context, at: State<PanickedAt>) -> Result<(), Failure> {
    if job.panics && ctx.attempt() == 1 {
        at.0.lock().unwrap().insert(ctx.id().to_string(), unix_ms());
        panic!("number {} panics", job.number);
    }
    Ok(())
}

/// Goal: a panic is settled as `PANIC` soon, and reported with job, attempt, message and location. Method: a hundred jobs, one after another. The time of the settlement
/// in the store is compared with the time of the panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_settled_at_once_and_reported_with_its_location() {
    let count = if full_scale() { 100 } else { 10 };
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let at = PanickedAt::default();
    let retry = Retry::fixed().base(Duration::from_secs(3600)).max_delay(Duration::from_secs(3600)).max_attempts(2);
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .state(at.clone())
        .queue(Queue::new("faults").unwrap().concurrency(2).retry(retry).handler(may_panic))
        .start()
        .await
        .unwrap();
    let mut events = runtime.supervision();
    let admin = Operator::shared(store);
    let handle = runtime.queue("faults").unwrap();
    let mut took_ms = Vec::new();
    for number in 0..count {
        let id = handle.enqueue(MayPanic { number, panics: true }).await.unwrap().id.clone();
        let settled = || async { admin.job(&queue(), &id).await.unwrap().unwrap().state == JobState::Delayed };
        eventually("the settlement", Duration::from_secs(10), settled).await;
        let view = admin.job(&queue(), &id).await.unwrap().unwrap();
        let error = view.last_error().unwrap();
        assert_eq!((error.code, error.message.as_str()), (Code::Panic, format!("number {number} panics").as_str()));
        took_ms.push(view.history[0].settled_ms.saturating_sub(at.0.lock().unwrap()[&id.to_string()]));
        // The pool may report a panic after the attempt was settled.
        let panic = async {
            loop {
                match events.recv().await.unwrap().kind {
                    EventKind::HandlerPanicked { job, attempt, message, location, .. } if job == id => {
                        return (attempt, message, location);
                    }
                    _ => {}
                }
            }
        };
        let reported = tokio::time::timeout(Duration::from_secs(10), panic).await;
        let (attempt, message, location) = reported.expect("a supervision event of this panic");
        assert_eq!((attempt, message), (1, format!("number {number} panics")));
        assert!(location.is_some_and(|location| location.contains("faults.rs:")));
    }
    took_ms.sort_unstable();
    // The percentile by nearest rank: of a hundred values the ninety-ninth.
    let p99 = took_ms[(took_ms.len() * 99).div_ceil(100) - 1];
    println!(
        "{count} panics, from the panic to its settlement: p50 {} ms, p99 {p99} ms, max {:?} ms",
        took_ms[took_ms.len() / 2],
        took_ms.last()
    );
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_of_which_one_in_a_hundred_panics_use_no_restart_budget() {
    let jobs = 10_000;
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .state(PanickedAt::default())
        .queue(
            Queue::new("faults")
                .unwrap()
                .concurrency(20)
                .retry(Retry::fixed().base(Duration::from_millis(1)))
                .handler(may_panic),
        )
        .start()
        .await
        .unwrap();
    let mut events = runtime.supervision();
    let options = retraced::JobOptions::default();
    let sealed: Vec<_> = (0..jobs)
        .map(|number| retraced::seal_job(&MayPanic { number, panics: number % 100 == 0 }, &options).unwrap())
        .collect();
    let client = Client::shared(store.clone()).queue("faults").unwrap();
    client.enqueue_timeout(Duration::from_secs(10)).enqueue_all(sealed).await.unwrap();
    let admin = Operator::shared(store);
    let mut kinds = Vec::new();
    let panics =
        |kinds: &[EventKind]| kinds.iter().filter(|k| matches!(k, EventKind::HandlerPanicked { .. })).count() as u64;
    let all = async {
        while panics(&kinds) < jobs / 100 {
            kinds.push(events.recv().await.unwrap().kind);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("a supervision event of each panic");
    let completed = || async { admin.stats(&queue()).await.unwrap().completed_total == jobs };
    eventually("the end of all jobs", Duration::from_secs(60), completed).await;
    let stats = admin.stats(&queue()).await.unwrap();
    assert_eq!((stats.failures_total, stats.crashes_total, stats.dead), (jobs / 100, 0, 0));
    runtime.shutdown().await.unwrap();
    kinds.extend(drain_events(&mut events).into_iter().map(|event| event.kind));
    assert_eq!(panics(&kinds), jobs / 100, "each panic is reported once");
    let counted = kinds.iter().find(|kind| {
        matches!(kind, EventKind::Crashed { .. } | EventKind::Escalated { .. } | EventKind::SupervisorClosed { .. })
    });
    assert_eq!(counted, None, "a handler's panic uses no restart budget");
}

/// Goal: an outage is not a crash. Method: a thousand handlers run when the server is frozen for three leases. Afterwards no crash was counted, no job ran twice, and
/// the throughput is as high as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_outage_of_three_leases_counts_no_crash() {
    let lease = Duration::from_secs(2);
    let (jobs, millis) = (8_000, 500);
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let seen = Seen::default();
    enqueue(&store, 0..jobs, millis).await;
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .state(seen.clone())
        .lease(lease)
        .queue(Queue::new("faults").unwrap().concurrency(1_000).handler(work))
        .start()
        .await
        .unwrap();
    let mut events = runtime.supervision();
    let busy = || async { seen.0.running.load(Ordering::SeqCst) >= 1_000 };
    eventually("a thousand running handlers", Duration::from_secs(20), busy).await;
    let before = jobs_in_a_second(&seen).await;
    // All handlers take equally long and end together. The server is frozen when all executors are busy again.
    eventually("a thousand running handlers, again", Duration::from_secs(20), busy).await;
    let in_flight = seen.0.running.load(Ordering::SeqCst);
    server.freeze();
    tokio::time::sleep(lease * 3).await;
    server.thaw();
    let thawed = Instant::now();
    let mut full_speed = None;
    let admin = Operator::shared(store);
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.returned() < jobs {
        let count = seen.returned();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let per_second = (seen.returned() - count) * 2;
        if full_speed.is_none() && per_second * 10 >= before * 8 {
            full_speed = Some(thawed.elapsed());
        }
        assert!(Instant::now() < deadline, "stuck: {:?}", admin.stats(&queue()).await);
    }
    let settled = || async { admin.stats(&queue()).await.unwrap().completed_total == jobs };
    eventually("the last settlement", Duration::from_secs(10), settled).await;
    let stats = admin.stats(&queue()).await.unwrap();
    let outages = drain_events(&mut events)
        .iter()
        .filter(|event| matches!(event.kind, EventKind::StoreUnreachable { .. }))
        .count();
    println!(
        "frozen for {:?} with {in_flight} in flight: {before} jobs/s before, 80 % of that reached {full_speed:?} after the thaw; crashes {}, started twice {}, outage reported {outages} times",
        lease * 3,
        stats.crashes_total,
        seen.repeated(),
    );
    assert_eq!(stats.crashes_total, 0);
    assert_eq!(seen.repeated(), 0);
    assert_eq!(outages, 1, "an outage is reported once");
    assert!(full_speed.is_some_and(|after| !full_scale() || after <= Duration::from_secs(5)));
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_with_its_append_only_file_loses_nothing() {
    let jobs = 2_000;
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let seen = Seen::default();
    enqueue(&store, 0..jobs, 20).await;
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .state(seen.clone())
        .lease(Duration::from_secs(2))
        .queue(Queue::new("faults").unwrap().concurrency(50).handler(work))
        .start()
        .await
        .unwrap();
    eventually("the completion of some jobs", Duration::from_secs(20), || async { seen.returned() > 300 }).await;
    server.restart();
    let admin = Operator::shared(store);
    let settled = || async { admin.stats(&queue()).await.is_ok_and(|stats| stats.completed_total == jobs) };
    eventually("the completion of all jobs", Duration::from_secs(30), settled).await;
    let stats = admin.stats(&queue()).await.unwrap();
    assert_eq!((seen.returned(), seen.repeated(), stats.crashes_total), (jobs, 0, 0), "{stats:?}");
    runtime.shutdown().await.unwrap();
}

/// Goal: connections that the server closes and that are replaced at once are not reported as outages, and cost no job an attempt. Method: the server closes idle
/// connections after a second, and the test closes all others every 200 ms while jobs run, then none while the runtime is idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_closes_are_not_reported_as_outages() {
    let jobs = 300;
    let server = RedisServer::start_with(&["--timeout", "1"]);
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let seen = Seen::default();
    enqueue(&store, 0..jobs, 50).await;
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .state(seen.clone())
        .queue(Queue::new("faults").unwrap().concurrency(5).handler(work))
        .start()
        .await
        .unwrap();
    let mut events = runtime.supervision();
    let mut killed = 0;
    while seen.returned() < jobs {
        for kind in ["normal", "pubsub"] {
            let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", kind]).query::<u64>(&mut server.connection());
            killed += kill.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Longer than the server keeps an idle connection, several times.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let admin = Operator::shared(store);
    let settled = || async { admin.stats(&queue()).await.is_ok_and(|stats| stats.completed_total == jobs) };
    eventually("the completion of all jobs", Duration::from_secs(10), settled).await;
    let stats = admin.stats(&queue()).await.unwrap();
    let reported: Vec<_> = drain_events(&mut events).into_iter().map(|event| event.kind).collect();
    println!("{killed} connections closed by the test: {reported:?}");
    assert!(killed > 20, "{killed}");
    let outage =
        |kind: &EventKind| matches!(kind, EventKind::StoreUnreachable { .. } | EventKind::StoreReachable { .. });
    assert!(!reported.iter().any(outage), "{reported:?}");
    assert_eq!((seen.repeated(), stats.failures_total, stats.crashes_total), (0, 0, 0), "{stats:?}");
    runtime.shutdown().await.unwrap();
}

/// Goal: a worker whose server loses all data under load says so within seconds, once and with numbers, and goes on. Method: FLUSHALL while jobs run and wait, after which more jobs are enqueued than before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_the_server_lost_is_reported_with_numbers() {
    // Each lot is one batch, so that no count comes in the middle of it.
    let jobs = 80;
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let seen = Seen::default();
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .state(seen.clone())
        .queue(Queue::new("faults").unwrap().concurrency(5).handler(work))
        .start()
        .await
        .unwrap();
    let mut events = runtime.supervision();
    enqueue(&store, 0..jobs, 1_000).await;
    // The first count of a queue that was empty when the worker started follows its first job, within 5 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let _: () = redis::cmd("FLUSHALL").query(&mut server.connection()).unwrap();
    let later = jobs + 100;
    enqueue(&store, jobs..jobs + later, 1).await;
    let reported = tokio::time::timeout(Duration::from_secs(15), async {
        loop {
            let event = events.recv().await.unwrap();
            if matches!(event.kind, EventKind::DataLost { .. }) {
                return event.kind;
            }
        }
    });
    let kind = reported.await.expect("the loss is reported");
    let EventKind::DataLost { queue: of, jobs_before, enqueued_before, enqueued, .. } = kind else { unreachable!() };
    assert_eq!((of, enqueued_before, enqueued), (queue(), jobs, later), "more were enqueued since than before");
    assert!((1..=jobs).contains(&jobs_before), "{jobs_before}");
    let admin = Operator::shared(store);
    let settled = || async { admin.stats(&queue()).await.is_ok_and(|stats| stats.completed_total == later) };
    eventually("the completion of the new jobs", Duration::from_secs(10), settled).await;
    runtime.shutdown().await.unwrap();
    let again = drain_events(&mut events);
    assert!(!again.iter().any(|event| matches!(event.kind, EventKind::DataLost { .. })), "{again:?}");
}

#[derive(Serialize, Deserialize)]
struct Block {
    /// Whether the job is snoozed once. Its next start is recorded in the store, by the executor.
    returns_first: bool,
    millis: u64,
}

impl Job for Block {
    const KIND: &'static str = "block";
}

async fn block(job: Block, ctx: Context) -> Result<(), Failure> {
    if ctx.counters().releases == 0 && job.returns_first {
        return Err(Failure::snooze(Duration::ZERO));
    }
    std::thread::sleep(Duration::from_millis(job.millis));
    Ok(())
}

/// Goal: handlers that block every thread of their runtime stop neither renewals nor the actors. Method: two handlers block both threads of a runtime for three leases;
/// the test watches from another runtime.
#[test]
fn handlers_that_block_every_thread_lose_no_lease_and_are_named() {
    no_lease_is_lost_while_threads_are_blocked(false);
}

/// The same for jobs that returned before: the executors record their starts, which must not bind the connection to the runtime that is blocked then.
#[test]
fn handlers_of_returned_jobs_that_block_every_thread_lose_no_lease() {
    no_lease_is_lost_while_threads_are_blocked(true);
}

fn no_lease_is_lost_while_threads_are_blocked(returns_first: bool) {
    let lease = Duration::from_secs(1);
    let handlers_runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let test_runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start();
    let (url, (sender, receiver)) = (server.url(), std::sync::mpsc::channel());
    handlers_runtime.spawn(async move {
        let runtime = Runtime::builder()
            .store(RedisStore::connect(&url).await.unwrap())
            .lease(lease)
            .queue(Queue::new("faults").unwrap().concurrency(2).handler(block))
            .start()
            .await
            .unwrap();
        sender.send(runtime).unwrap();
    });
    let runtime = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    test_runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
        let admin = Operator::shared(store.clone());
        let mut events = runtime.supervision();
        let client = Client::shared(store).queue("faults").unwrap();
        let millis = u64::try_from((lease * 3).as_millis()).unwrap();
        let mut ids = vec![
            client.enqueue(Block { returns_first, millis }).await.unwrap().id.clone(),
            client.enqueue(Block { returns_first, millis }).await.unwrap().id.clone(),
        ];
        let done = || async { admin.stats(&queue()).await.unwrap().completed_total == 2 };
        eventually("the end of both jobs", Duration::from_secs(20), done).await;
        let events = drain_events(&mut events);
        let mut stuck: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Stuck { job, .. } => Some(job.clone()),
                _ => None,
            })
            .collect();
        stuck.sort();
        ids.sort();
        let stats = admin.stats(&queue()).await.unwrap();
        println!(
            "two handlers blocked both threads for {:?}: crashes counted {}, handlers reported {}",
            lease * 3,
            stats.crashes_total,
            stuck.len()
        );
        assert_eq!(stuck, ids, "each is reported once");
        assert_eq!((stats.crashes_total, stats.stale_settlements_total), (0, 0));
        assert!(!events.iter().any(|event| matches!(event.kind, EventKind::LeaseLost { .. })));
        runtime.shutdown().await.unwrap();
    });
    handlers_runtime.shutdown_background();
}

/// Goal: cancelled jobs in front of a live one do not delay it. Method: the worker of a queue with 20,000 of them starts, and the live job must run within seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_behind_many_cancelled_ones_starts_at_once() {
    const CANCELLED: u64 = 20_000;
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    enqueue(&store, 0..CANCELLED, 0).await;
    let operator = Operator::shared(store.clone());
    let (mut cancelled, mut next) = (0, None);
    while cancelled < CANCELLED as usize {
        let page = operator.jobs(&queue(), JobState::Pending, next, 200).await.unwrap();
        let ids: Vec<_> = page.jobs.into_iter().map(|job| job.id).collect();
        cancelled += operator.cancel(&queue(), &ids).await.unwrap().len();
        next = page.next;
    }
    let seen = Seen::default();
    let runtime = Runtime::builder()
        .store(RedisStore::connect(&server.url()).await.unwrap())
        .state(seen.clone())
        .queue(Queue::new("faults").unwrap().handler(work))
        .start()
        .await
        .unwrap();
    enqueue(&store, CANCELLED..CANCELLED + 1, 0).await;
    let done = || async { seen.0.returned.load(Ordering::SeqCst) == 1 };
    eventually("the live job", Duration::from_secs(10), done).await;
    runtime.shutdown().await.unwrap();
}

/// Goal: two runtimes in one process do not disturb each other, on one queue or on two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runtimes_in_one_process_do_not_disturb_each_other() {
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let seen = Seen::default();
    let start = async |own: &str| {
        Runtime::builder()
            .shared_store(store.clone())
            .state(seen.clone())
            .queue(Queue::new("faults").unwrap().handler(work))
            .queue(Queue::new(own).unwrap().handler(work))
            .start()
            .await
            .unwrap()
    };
    let (one, two) = (start("one").await, start("two").await);
    assert_ne!(one.instance(), two.instance());
    enqueue(&store, 0..500, 2).await;
    one.queue("one").unwrap().enqueue(Work { number: 1_000, millis: 1 }).await.unwrap();
    two.queue("two").unwrap().enqueue(Work { number: 2_000, millis: 1 }).await.unwrap();
    assert!(one.queue("two").is_err());
    eventually("the end of all jobs", Duration::from_secs(20), || async { seen.returned() == 502 }).await;
    one.shutdown().await.unwrap();
    enqueue(&store, 3_000..3_100, 1).await;
    eventually("the end of the jobs of the second runtime", Duration::from_secs(20), || async {
        seen.returned() == 602
    })
    .await;
    two.shutdown().await.unwrap();
    assert_eq!(seen.repeated(), 0);
}
