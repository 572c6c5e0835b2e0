//! Several applications on one server: a running job is stopped by nobody but those who may cancel it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retraced::store::{KeyPrefix, RedisOptions};
use retraced::{Context, Job, JobId, JobRequest, Operator, Queue, QueueName, RedisStore, Runtime, State};
use serde::{Deserialize, Serialize};
use support::eventually;
use support::redis_server::RedisServer;

const LONG: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Work;

impl Job for Work {
    const KIND: &'static str = "work";
}

/// The jobs whose handlers run, and whether each was asked to stop.
#[derive(Clone, Default)]
struct Running(Arc<Mutex<HashMap<String, bool>>>);

impl Running {
    fn is_asked(&self, id: &str) -> Option<bool> {
        self.0.lock().unwrap().get(id).copied()
    }
}

async fn work(_: Work, ctx: Context, running: State<Running>) {
    let id = ctx.id().to_string();
    running.0.lock().unwrap().insert(id.clone(), false);
    ctx.cancellation().cancelled().await;
    running.0.lock().unwrap().insert(id, true);
}

/// One application: a worker with two running jobs of the same ids as everybody's.
struct Application {
    runtime: Runtime,
    operator: Operator,
    running: Running,
    queue: QueueName,
}

impl Application {
    async fn start(url: &str, options: RedisOptions) -> Self {
        let store = || RedisStore::open(url, options.clone()).unwrap();
        let running = Running::default();
        // A lease so long that no renewal but that of a hint falls into the test.
        let runtime = Runtime::builder()
            .store(store())
            .lease(Duration::from_secs(600))
            .state(running.clone())
            .queue(Queue::new("jobs").unwrap().concurrency(2).handler(work));
        let runtime = runtime.start().await.unwrap();
        let jobs = runtime.queue("jobs").unwrap();
        for id in ["one", "two"] {
            jobs.enqueue(JobRequest::new(Work).id(id)).await.unwrap();
        }
        let both = || async { running.0.lock().unwrap().len() == 2 };
        eventually("two running handlers", LONG, both).await;
        Self { runtime, operator: Operator::new(store()), running, queue: QueueName::new("jobs").unwrap() }
    }

    async fn cancel(&self, id: &str) {
        let id: JobId = id.parse().unwrap();
        self.operator.cancel(&self.queue, [id]).await.unwrap();
    }

    async fn until_asked_to_stop(&self, id: &str) {
        eventually("the cancellation", LONG, || async { self.running.is_asked(id) == Some(true) }).await;
    }

    async fn end(self) {
        for id in ["one", "two"] {
            self.cancel(id).await;
        }
        self.runtime.shutdown().await.unwrap();
    }
}

/// Goal: an operator in one database, or with one prefix, cancels no job of another. Method: two workers run jobs with the same ids in queues of the same name. One application
/// cancels a job; then the other cancels its second job, whose hint comes later on every channel, and its first one must still run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_stops_no_job_of_another_database_or_prefix() {
    let server = RedisServer::start();
    let database = |number: u8| (format!("{}?db={number}", server.url()), RedisOptions::default());
    let prefix = |name| (server.url(), RedisOptions::default().prefix(KeyPrefix::new(name).unwrap()));
    for [ours, theirs] in [[database(4), database(5)], [prefix("ours"), prefix("theirs")]] {
        let ours = Application::start(&ours.0, ours.1).await;
        let theirs = Application::start(&theirs.0, theirs.1).await;
        theirs.cancel("one").await;
        theirs.until_asked_to_stop("one").await;
        ours.cancel("two").await;
        ours.until_asked_to_stop("two").await;
        assert_eq!(ours.running.is_asked("one"), Some(false), "a foreign cancel stopped a handler");
        ours.end().await;
        theirs.end().await;
    }
}

/// Goal: a message alone cancels nothing. Method: somebody publishes that a running job was cancelled, and other things; then another job is cancelled in earnest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_message_cancels_no_job() {
    let server = RedisServer::start();
    let ours = Application::start(&server.url(), RedisOptions::default()).await;
    let mut raw = server.connection();
    let channels: Vec<String> = redis::cmd("PUBSUB").arg("CHANNELS").arg("*wake*").query(&mut raw).unwrap();
    assert!(channels.len() == 1 && channels[0].contains("{jobs}"), "{channels:?}");
    let messages = [
        &b"cancel:one"[..],
        b"cancel:",
        b"cancel:\xff\xfe",
        b"ended:c\x03one",
        b"ended:c\xffone",
        b"pending",
        b"delayed",
        b"",
    ];
    for message in messages.iter().cycle().take(100 * messages.len()) {
        let _: () = redis::cmd("PUBLISH").arg(&channels[0]).arg(*message).query(&mut raw).unwrap();
    }
    ours.cancel("two").await;
    ours.until_asked_to_stop("two").await;
    assert_eq!(ours.running.is_asked("one"), Some(false), "a forged message stopped a handler");
    ours.end().await;
}
