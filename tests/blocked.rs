//! A runtime on a server that answers but takes no writes, or no new jobs: it says so once, loses and repeats nothing, and producers hear at once what the server said.
//!
//! `RETRACED_SCALE=full` blocks the server for 60 s each time; `make test` for 3 s.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use retraced::store::{Block, StoreError};
use retraced::supervision::{EventKind, SupervisionEvent};
use retraced::{Client, EnqueueError, Job, Operator, Queue, QueueName, RedisStore, Runtime, State, StoreStatus};
use serde::{Deserialize, Serialize};
use support::redis_server::RedisServer;
use support::{eventually, full_scale};
use tokio::sync::broadcast;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const IN_FLIGHT: u64 = 1_000;

#[derive(Serialize, Deserialize)]
struct Work {
    number: u64,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

#[derive(Clone, Default)]
struct Seen(Arc<SeenInner>);

#[derive(Default)]
struct SeenInner {
    starts: Mutex<HashMap<u64, u32>>,
    running: AtomicU64,
    /// Handlers return once this is set, so that all are running when the server is blocked.
    release: AtomicBool,
}

async fn work(job: Work, seen: State<Seen>) {
    *seen.0.starts.lock().unwrap().entry(job.number).or_default() += 1;
    seen.0.running.fetch_add(1, Ordering::SeqCst);
    while !seen.0.release.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Receives events until one is wanted, and adds them to those received before.
async fn until(
    events: &mut broadcast::Receiver<SupervisionEvent>,
    kinds: &mut Vec<EventKind>,
    wanted: fn(&EventKind) -> bool,
) {
    while !kinds.last().is_some_and(wanted) {
        let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
        kinds.push(event.unwrap_or_else(|_| panic!("after {kinds:?}")).unwrap().kind);
    }
}

/// A runtime that has run its first job, so all its connections are open. Handlers return at once.
async fn started(server: &RedisServer) -> (Runtime, Seen) {
    let seen = Seen::default();
    seen.0.release.store(true, Ordering::SeqCst);
    let runtime = Runtime::builder()
        .store(RedisStore::connect(&server.url()).await.unwrap())
        .state(seen.clone())
        .queue(Queue::new("jobs").unwrap().handler(work))
        .start()
        .await
        .unwrap();
    runtime.queue("jobs").unwrap().enqueue(Work { number: 1 }).await.unwrap();
    let ran = || async { seen.0.starts.lock().unwrap().contains_key(&1) };
    eventually("the first job runs", Duration::from_secs(20), ran).await;
    (runtime, seen)
}

/// Goal: a password that is rotated, or a user that is disabled, is one block that ends, and not an outage, damage or a refusal of each call. Method: the user of a runtime is
/// disabled and its connections are closed; later the user is enabled again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_accepted_no_longer_is_one_block() {
    let server = RedisServer::start();
    let acl = |url: &str, commands: &[&[&str]]| {
        let mut admin = redis::Client::open(url).unwrap().get_connection().unwrap();
        for command in commands {
            let _: redis::Value = redis::cmd(command[0]).arg(&command[1..]).query(&mut admin).unwrap();
        }
    };
    acl(&server.url(), &[&["ACL", "SETUSER", "admin", "on", ">sesame", "~*", "&*", "+@all"]]);
    let admin = format!("{}?user=admin&pass=sesame", server.url());
    let (runtime, seen) = started(&server).await;
    let jobs = runtime.queue("jobs").unwrap();
    let ran = |number: u64| seen.0.starts.lock().unwrap().contains_key(&number);
    let mut events = runtime.supervision();
    acl(
        &admin,
        &[
            &["ACL", "SETUSER", "default", "off"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["CLIENT", "KILL", "TYPE", "pubsub"],
        ],
    );
    let mut kinds = Vec::new();
    until(&mut events, &mut kinds, |kind| matches!(kind, EventKind::StoreBlocked { .. })).await;
    // The first call may have been on its way when the connection was closed; then its outcome is unknown.
    let _ = jobs.enqueue(Work { number: 2 }).await.unwrap_err();
    let refused = jobs.enqueue(Work { number: 2 }).await.unwrap_err();
    let EnqueueError::Refused { source } = &refused else { panic!("{refused:?}") };
    assert!(matches!(**source, StoreError::Blocked { by: Block::Login, .. }) && refused.is_retryable(), "{refused:?}");
    assert!(source.to_string().contains("NOAUTH") && !source.to_string().contains("damaged"), "{source}");
    // Longer than an outage and calls that fail while others are answered take to be reported.
    tokio::time::sleep(Duration::from_secs(12)).await;
    acl(&admin, &[&["ACL", "SETUSER", "default", "on"]]);
    eventually("an enqueue succeeds", Duration::from_secs(20), || async {
        jobs.enqueue(Work { number: 3 }).await.is_ok()
    })
    .await;
    eventually("its job runs", Duration::from_secs(20), || async { ran(3) }).await;
    until(&mut events, &mut kinds, |kind| matches!(kind, EventKind::StoreUnblocked { .. })).await;
    let store_events = kinds.iter().filter(|kind| {
        matches!(
            kind,
            EventKind::StoreBlocked { .. }
                | EventKind::StoreUnblocked { .. }
                | EventKind::StoreRefused { .. }
                | EventKind::StoreUnreachable { .. }
                | EventKind::StoreReachable { .. }
                | EventKind::StoreCallFailing { .. }
        )
    });
    assert_eq!(store_events.count(), 2, "{kinds:#?}");
    runtime.shutdown().await.unwrap();
}

/// Goal: a login that only new connections are refused is one block that lasts until it is accepted, and the calls on open connections work meanwhile. Method: the server is given a
/// password, and only the subscription is cut; later the password is removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_only_new_connections_are_refused_is_one_block() {
    let server = RedisServer::start();
    let mut admin = server.connection();
    let mut tell = |command: &[&str]| {
        let _: redis::Value = redis::cmd(command[0]).arg(&command[1..]).query(&mut admin).unwrap();
    };
    let (runtime, seen) = started(&server).await;
    let jobs = runtime.queue("jobs").unwrap();
    let ran = |number: u64| seen.0.starts.lock().unwrap().contains_key(&number);
    let mut events = runtime.supervision();
    tell(&["CONFIG", "SET", "requirepass", "sesame"]);
    tell(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let mut kinds = Vec::new();
    until(&mut events, &mut kinds, |kind| matches!(kind, EventKind::StoreBlocked { .. })).await;
    // Several probes long.
    let deadline = Instant::now() + Duration::from_secs(6);
    let mut number = 2;
    while Instant::now() < deadline {
        jobs.enqueue(Work { number }).await.unwrap();
        eventually("a job runs on open connections", Duration::from_secs(20), || async { ran(number) }).await;
        assert_eq!(runtime.store_status(), StoreStatus::Blocked(Block::Login));
        number += 1;
    }
    while let Ok(event) = events.try_recv() {
        assert!(
            !matches!(event.kind, EventKind::StoreUnblocked { .. }),
            "over before the login is accepted: {event:?}"
        );
        kinds.push(event.kind);
    }
    tell(&["CONFIG", "SET", "requirepass", ""]);
    until(&mut events, &mut kinds, |kind| matches!(kind, EventKind::StoreUnblocked { .. })).await;
    let of_store =
        |kind: &&EventKind| matches!(kind, EventKind::StoreBlocked { .. } | EventKind::StoreUnblocked { .. });
    assert_eq!(kinds.iter().filter(of_store).count(), 2, "{kinds:#?}");
    runtime.shutdown().await.unwrap();
}

/// Counts the lines that the process logs.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        if *event.metadata().level() <= tracing::Level::INFO && event.metadata().target().starts_with("retraced") {
            let mut text = Text(format!("{} {} ", event.metadata().level(), event.metadata().target()));
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
    }
}

/// Blocks or unblocks a server.
fn switch(server: &RedisServer, by: Block, blocked: bool) {
    let number = if blocked { "1" } else { "0" };
    match by {
        Block::Memory => server.set("maxmemory", number),
        Block::MissingReplicas => server.set("min-replicas-to-write", number),
        Block::Replica => server.demote(blocked),
        Block::Disk => server.break_disk(blocked),
        Block::Rights => {
            // Scripts call HMGET before they write anything.
            let right = if blocked { "-hmget" } else { "+hmget" };
            let _: () = redis::cmd("ACL").arg(&["SETUSER", "default", right]).query(&mut server.connection()).unwrap();
        }
        other => panic!("no way to block a server by {other:?}"),
    }
}

fn all(events: &mut broadcast::Receiver<SupervisionEvent>) -> Vec<EventKind> {
    std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.kind).collect()
}

/// Enqueues once per 10 ms until told to stop. Returns how often it was refused, how often it succeeded, and the longest wait for an answer.
async fn produce(
    jobs: retraced::QueueHandle,
    numbers: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    by: Block,
) -> (u64, u64, Duration) {
    let (mut refused, mut stored, mut longest) = (0, 0, Duration::ZERO);
    while !over.load(Ordering::SeqCst) {
        let asked = Instant::now();
        match jobs.enqueue(Work { number: numbers.fetch_add(1, Ordering::SeqCst) }).await {
            Ok(_) => stored += 1,
            Err(EnqueueError::Refused { source }) => {
                assert!(matches!(*source, StoreError::Blocked { by: seen, .. } if seen == by), "{source:?}");
                refused += 1;
            }
            Err(error) => panic!("{by:?}: {error:?}"),
        }
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (refused, stored, longest)
}

/// Goal: a block is reported once, with its cause; nothing is lost or repeated; producers hear of it within a second. Method: a thousand handlers run, a client and a runtime
/// enqueue, and the server is blocked in each way in turn. In a full server what runs is settled while it is blocked, in the others afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_server_is_reported_once_and_loses_and_repeats_nothing() {
    let lines = Lines::default();
    let _subscriber = tracing_subscriber::registry().with(lines.clone()).set_default();
    // The tree logs on threads of its own.
    let _ = tracing_subscriber::registry().with(lines.clone()).try_init();
    let blocked_for = Duration::from_secs(if full_scale() { 60 } else { 3 });
    for by in [Block::Memory, Block::MissingReplicas, Block::Replica, Block::Disk, Block::Rights] {
        let server = RedisServer::start();
        if by == Block::MissingReplicas && !server.scripts_need_replicas() {
            continue;
        }
        let seen = Seen::default();
        let runtime = Runtime::builder()
            .store(RedisStore::connect(&server.url()).await.unwrap())
            .state(seen.clone())
            .queue(Queue::new("jobs").unwrap().concurrency(IN_FLIGHT as usize).handler(work))
            .start()
            .await
            .unwrap();
        let queue = QueueName::new("jobs").unwrap();
        let client = Client::new(RedisStore::connect(&server.url()).await.unwrap());
        let operator = Operator::new(RedisStore::connect(&server.url()).await.unwrap());
        let first: Vec<Work> = (0..IN_FLIGHT).map(|number| Work { number }).collect();
        client.queue("jobs").unwrap().enqueue_all(first).await.unwrap();
        let busy = || async { seen.0.running.load(Ordering::SeqCst) == IN_FLIGHT };
        eventually("a thousand running handlers", Duration::from_secs(20), busy).await;
        let mut events = runtime.supervision();
        let numbers = Arc::new(AtomicU64::new(IN_FLIGHT));
        let over = Arc::new(AtomicBool::new(false));
        lines.0.lock().unwrap().clear();

        switch(&server, by, true);
        let producers = [runtime.queue("jobs").unwrap(), client.queue("jobs").unwrap()];
        let producers = producers.map(|jobs| tokio::spawn(produce(jobs, numbers.clone(), over.clone(), by)));
        tokio::time::sleep(blocked_for / 3).await;
        seen.0.release.store(true, Ordering::SeqCst);
        tokio::time::sleep(blocked_for * 2 / 3).await;
        if by == Block::Memory {
            let stats = operator.stats(&queue).await.unwrap();
            assert_eq!(stats.completed_total, IN_FLIGHT, "a full server settles what runs");
        }
        switch(&server, by, false);
        tokio::time::sleep(Duration::from_secs(2)).await;
        over.store(true, Ordering::SeqCst);
        let (mut refused, mut stored) = (0, 0);
        for producer in producers {
            let (one_refused, one_stored, longest) = producer.await.unwrap();
            assert!(one_refused > 0 && one_stored > 0, "{by:?}: refused {one_refused}, stored {one_stored}");
            assert!(longest < Duration::from_secs(1), "{by:?}: a producer waited {longest:?}");
            refused += one_refused;
            stored += one_stored;
        }
        let done =
            || async { operator.stats(&queue).await.is_ok_and(|stats| stats.completed_total == IN_FLIGHT + stored) };
        eventually("the completion of all jobs", Duration::from_secs(30), done).await;
        let stats = operator.stats(&queue).await.unwrap();
        assert_eq!((stats.failures_total, stats.crashes_total, stats.releases_total), (0, 0, 0), "{by:?}: {stats:?}");
        let repeated = seen.0.starts.lock().unwrap().values().filter(|starts| **starts > 1).count();
        assert_eq!(repeated, 0, "{by:?}");
        let kinds = all(&mut events);
        let count = |wanted: fn(&EventKind) -> bool| kinds.iter().filter(|kind| wanted(kind)).count();
        let reported = (
            count(|kind| matches!(kind, EventKind::StoreBlocked { .. })),
            count(|kind| matches!(kind, EventKind::StoreUnblocked { .. })),
        );
        assert_eq!(reported, (1, 1), "{by:?}: {kinds:?}");
        let logged = lines.0.lock().unwrap().clone();
        println!(
            "{by:?} for {blocked_for:?}: {} lines logged, {refused} enqueues refused, {stored} stored",
            logged.len()
        );
        assert!(logged.len() <= 10, "{by:?}: {logged:#?}");
        runtime.shutdown().await.unwrap();
    }
}
