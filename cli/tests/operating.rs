//! What an operator does at the command line: mistyped names, workers, acts on many jobs, and the removal of queues.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::process::Stdio;

use harness::{COMMAND_MAX, Harness, Worker};
use hook::{Hook, response};
use serde_json::{Value, json};
use terminal::{on_terminal, plain};

#[test]
fn a_mistyped_queue_is_refused_with_the_nearest_name_and_nothing_is_created() {
    let harness = Harness::new();
    harness.enqueue("billing", "k", "a-1", &[]);
    let keys = || -> u64 { redis::cmd("DBSIZE").query(&mut harness.redis.connection()).unwrap() };
    let before = keys();
    for arguments in [
        ["queue", "pause", "biling"].as_slice(),
        &["queue", "resume", "biling"],
        &["queue", "stats", "biling"],
        &["queue", "audit", "biling"],
        &["queue", "audit", "biling", "--repair"],
        &["jobs", "biling", "--state", "pending"],
        &["job", "show", "biling", "a-1"],
        &["job", "cancel", "biling", "a-1"],
        &["job", "retry", "biling", "a-1"],
        &["trace", "biling", "a-1"],
        &["dead", "list", "biling"],
        &["dead", "show", "biling", "--all"],
        &["dead", "redrive", "biling", "--all"],
        &["dead", "discard", "biling", "a-1"],
    ] {
        let finished = harness.run(arguments);
        assert_eq!((finished.status, finished.stdout.as_str()), (Some(1), ""), "{arguments:?}: {finished:?}");
        let said = "error: there is no queue biling; the most similar name is billing\n";
        assert_eq!(finished.stderr, said, "{arguments:?}");
    }
    assert_eq!(keys(), before);
    assert_eq!(harness.one(&["queues"])["queue"], "billing");
}

#[test]
fn a_queue_is_created_paused_only_on_demand() {
    let harness = Harness::new();
    let refused = harness.run(&["queue", "pause", "later"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert_eq!(harness.json(&["queues"]), Vec::<Value>::new());
    let created = harness.one(&["queue", "pause", "later", "--create"]);
    assert_eq!(created, json!({"queue": "later", "paused": true, "changed": true}));
    assert_eq!(harness.one(&["queues"])["paused"], json!(true));
    assert_eq!(harness.one(&["queue", "resume", "later"])["changed"], json!(true));
}

#[test]
fn a_worker_is_listed_with_its_host_and_process_while_it_lives_and_says_its_own_id() {
    let harness = Harness::new();
    assert_eq!(harness.json(&["workers"]), Vec::<Value>::new());
    let hook = Hook::start(|_| response(200, "", "{}"));
    let hook = hook.url();
    let mut command = harness.command(&["work", "q=8", "mail", "--allow-private", "--webhook", &hook]);
    command.env_remove("HOSTNAME").stdout(Stdio::null()).stderr(Stdio::piped());
    let (worker, said) = Worker::spawn_saying(&mut command);
    let rows = harness.json(&["workers"]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    let id = row["worker"].as_str().unwrap();
    assert!(said.contains(&format!("worker {id}")), "{said} does not name {id}");
    assert_eq!((&row["pid"], &row["queues"]), (&json!(worker.pid()), &json!(["q", "mail"])), "{row}");
    assert_eq!((&row["concurrency"], &row["every_kind"], &row["stale"]), (&json!(18), &json!(true), &json!(false)));
    assert_eq!(row["build"], "retraced");
    let host = row["host"].as_str().unwrap();
    assert!(!host.is_empty() && host != "unknown", "{row}");
    assert!(row["seen_ago_ms"].as_u64().unwrap() < 30_000, "{row}");

    for columns in [20, 80, 160] {
        let (status, printed) = on_terminal(harness.command(&["workers"]), columns, COMMAND_MAX);
        assert_eq!(status, Some(0), "{printed}");
        let shown = plain(&printed);
        assert!(shown.replace("\r\n", "").contains(id), "{columns}:\n{shown}");
        let lines = shown.lines().filter(|line| !line.starts_with("too narrow"));
        assert!(lines.map(|line| line.chars().count()).all(|width| width <= columns.into()), "{columns}:\n{shown}");
    }
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));
    assert_eq!(harness.json(&["workers"]), Vec::<Value>::new());
}
