//! A worker whose Redis server's clock is set an hour ahead or back while it runs.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retraced::{
    Client, Context, Job, JobRequest, JobState, Operator, Queue, QueueName, RedisStore, Runtime, State, Store,
};
use serde::{Deserialize, Serialize};
use support::eventually;
use support::redis_server::RedisServer;

const HOUR_S: i64 = 60 * 60;
/// Longest wait for anything that takes seconds.
const SOON: Duration = Duration::from_secs(30);
/// Longer than any test takes.
const LATER: Duration = Duration::from_secs(20 * 60);

#[derive(Serialize, Deserialize)]
struct Work {
    millis: u64,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

/// How often each job was started.
#[derive(Clone, Default)]
struct Starts(Arc<Mutex<HashMap<String, u32>>>);

async fn work(job: Work, ctx: Context, starts: State<Starts>) {
    *starts.0.lock().unwrap().entry(ctx.id().to_string()).or_default() += 1;
    tokio::time::sleep(Duration::from_millis(job.millis)).await;
}

/// A worker on a server whose clock can be moved, with five jobs that run for 8 s, 20 short ones that wait, and one that is due in 20 min.
struct World {
    server: RedisServer,
    runtime: Runtime,
    operator: Operator,
    starts: Starts,
}

impl World {
    async fn new() -> Self {
        let server = RedisServer::start_with_own_clock();
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
        let starts = Starts::default();
        let queue = Queue::new("q").unwrap().concurrency(5);
        let runtime = Runtime::builder()
            .lease(Duration::from_secs(5))
            .shared_store(store.clone())
            .state(starts.clone())
            .queue(queue.handler(work));
        let runtime = runtime.start().await.unwrap();
        let world = Self { server, runtime, operator: Operator::shared(store.clone()), starts };
        let client = Client::shared(store).queue("q").unwrap();
        client
            .enqueue_all((0..5).map(|n| JobRequest::new(Work { millis: 8_000 }).id(format!("long-{n}"))))
            .await
            .unwrap();
        client
            .enqueue_all((0..20).map(|n| JobRequest::new(Work { millis: 10 }).id(format!("short-{n}"))))
            .await
            .unwrap();
        client.enqueue(JobRequest::new(Work { millis: 10 }).id("later").delay(LATER)).await.unwrap();
        eventually("the start of the long jobs", SOON, || async { world.starts.0.lock().unwrap().len() == 5 }).await;
        world
    }

    fn queue() -> QueueName {
        QueueName::new("q").unwrap()
    }

    async fn completed(&self, jobs: u64) {
        let done =
            || async { self.operator.stats(&Self::queue()).await.is_ok_and(|stats| stats.completed_total == jobs) };
        eventually("the completion of all jobs", SOON, done).await;
    }

    async fn end(self) {
        let stats = self.operator.stats(&Self::queue()).await.unwrap();
        assert_eq!((stats.crashes_total, stats.failures_total), (0, 0), "{stats:?}");
        let audit = self.operator.audit(&Self::queue()).await.unwrap();
        assert!(audit.after.adds_up() && audit.findings.is_empty(), "{audit:?}");
        self.runtime.shutdown().await.unwrap();
        let twice: Vec<_> =
            self.starts.0.lock().unwrap().iter().filter(|(_, n)| **n > 1).map(|(id, _)| id.clone()).collect();
        assert_eq!(twice, Vec::<String>::new(), "started twice");
    }
}

/// Goal: no running job is taken for lost and run twice, and what is due later becomes due, as `docs/redis.md` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_an_hour_ahead_runs_no_job_twice() {
    let world = World::new().await;
    world.server.set_clock(HOUR_S);
    world.completed(26).await;
    world.end().await;
}

/// Goal: jobs run on and settle, waiting ones are claimed, and a delayed job waits longer, as `docs/redis.md` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_an_hour_back_stops_nothing() {
    let world = World::new().await;
    world.server.set_clock(-HOUR_S);
    world.completed(25).await;
    let later = world.operator.job(&World::queue(), &"later".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(later.state, JobState::Delayed);
    world.end().await;
}
