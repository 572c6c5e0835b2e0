//! A queue damaged by manual edits, audited and repaired through the library and at the command line.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use redis::Commands;
use retraced::store::FindingKind;
use retraced::store::Moved;
use retraced::{Client, Job, JobState, Operator, QueueName, RedisStore, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use support::redis_server::RedisServer;
use support::{Finished, finish, without_settings};

#[derive(Serialize, Deserialize)]
struct Work;

impl Job for Work {
    const KIND: &'static str = "work";
}

fn audit(server: &RedisServer, more: &[&str]) -> Finished {
    let mut command = without_settings(env!("CARGO_BIN_EXE_retraced"));
    command.args(["queue", "audit", "q"]).args(more).env("RETRACED_REDIS_URL", server.url()).env("NO_COLOR", "1");
    finish(command, Duration::from_secs(60))
}

fn object(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[tokio::test]
async fn a_damaged_queue_is_shown_and_repaired_at_the_command_line() {
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let (admin, queue) = (Operator::shared(store.clone()), QueueName::new("q").unwrap());
    let client = Client::shared(store).queue("q").unwrap();
    for n in 0..3 {
        client.job(Work).id(format!("job-{n}")).enqueue().await.unwrap();
    }
    let undamaged = audit(&server, &[]);
    assert_eq!(
        (undamaged.status, undamaged.stdout.as_str()),
        (Some(0), "queue q\n  stored  3 jobs, each in exactly one container\n")
    );

    let _: () = server.connection().del("retraced:{q}:pending").unwrap();
    let seen = admin.audit(&queue).await.unwrap();
    assert_eq!((seen.before.difference(), seen.after.difference()), (3, 3));
    assert_eq!(
        seen.findings.iter().map(|found| (found.kind, found.count)).collect::<Vec<_>>(),
        [(FindingKind::Orphaned, 3)]
    );
    let shown = audit(&server, &["--json"]);
    assert_eq!(shown.status, Some(1), "{shown:?}");
    assert!(shown.stderr.contains("--repair"), "{shown:?}");
    let shape = object(&shown);
    assert_eq!(
        (&shape["adds_up"], &shape["repaired"], &shape["difference"]),
        (&false.into(), &false.into(), &3.into())
    );
    assert_eq!((&shape["findings"][0]["kind"], &shape["findings"][0]["count"]), (&"orphaned".into(), &3.into()));

    let repaired = audit(&server, &["--repair"]);
    assert_eq!(repaired.status, Some(0), "{repaired:?}");
    assert!(repaired.stdout.contains("repaired  3 jobs in no container, for example job-"), "{repaired:?}");
    let shape = object(&audit(&server, &["--json"]));
    assert_eq!((&shape["adds_up"], &shape["jobs"]), (&true.into(), &3.into()));
    assert!(shape["findings"].as_array().unwrap().is_empty(), "{shape}");
    assert_eq!(admin.stats(&queue).await.unwrap().pending, 3);
}

/// Goal: acting on a list affects only the jobs as they were listed. Method: between the list and the action another operator redrives one of the jobs.
#[tokio::test]
async fn an_action_on_a_list_leaves_alone_jobs_that_somebody_else_has_moved() {
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let (admin, queue) = (Operator::shared(store.clone()), QueueName::new("q").unwrap());
    let client = Client::shared(store).queue("q").unwrap();
    for n in 0..2 {
        let id = client.job(Work).id(format!("job-{n}")).enqueue().await.unwrap().id.clone();
        admin.cancel(&queue, [id]).await.unwrap();
    }
    let listed = admin.jobs(&queue, JobState::Cancelled, None, 10).await.unwrap().jobs;
    admin.redrive(&queue, [&listed[0].id]).await.unwrap();
    let moved = admin.discard(&queue, &listed).await.unwrap();
    let gone = Moved::Moved { from: JobState::Cancelled, to: None };
    assert_eq!(moved, [Moved::Refused { state: JobState::Pending }, gone]);
    assert!(admin.job(&queue, &listed[0].id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_queue_is_not_left_out_of_the_list_after_a_repair_because_the_list_was_lost() {
    let server = RedisServer::start();
    let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
    let (admin, queue) = (Operator::shared(store.clone()), QueueName::new("q").unwrap());
    Client::shared(store).queue("q").unwrap().enqueue(Work).await.unwrap();
    let _: () = server.connection().del("retraced:queues").unwrap();
    assert_eq!(admin.queues().await.unwrap(), []);
    let repaired = audit(&server, &["--repair"]);
    assert_eq!(repaired.status, Some(0), "{repaired:?}");
    assert_eq!(admin.queues().await.unwrap(), [queue]);
    // A name that nobody used is not made known by a repair.
    admin.repair(&QueueName::new("mistyped").unwrap()).await.unwrap();
    assert_eq!(admin.queues().await.unwrap().len(), 1);
}
