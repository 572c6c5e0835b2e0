//! What an operator does at the command line: mistyped names, workers, acts on many jobs, and the removal of queues.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/failures.rs"]
mod failures;
#[path = "support/gate.rs"]
mod gate;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use failures::run_jobs;
use gate::Gate;
use harness::{COMMAND_MAX, Harness, Worker, objects, retraced};
use hook::{Hook, response};
use retraced::supervision::{EventKind, SupervisionEvent};
use retraced::{Operator, RedisStore};
use serde_json::{Value, json};
use support::finish;
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
        &["queue", "delete", "biling"],
        &["queue", "delete", "biling", "--force"],
        &["job", "cancel", "biling", "--all"],
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
    let none = harness.run(&["queues"]).stdout;
    assert!(none.starts_with("no queue is known here under the prefix retraced: none was used yet"), "{none}");
    let created = harness.one(&["queue", "pause", "later", "--create"]);
    assert_eq!(created, json!({"queue": "later", "paused": true, "changed": true}));
    assert_eq!(harness.one(&["queues"])["paused"], json!(true));
    assert_eq!(harness.one(&["queue", "resume", "later"])["changed"], json!(true));
}

/// Goal: a pause that is reported as refused has changed nothing. Method: the memory is full when the queue is to be created.
#[test]
fn a_queue_that_could_not_be_created_is_never_paused() {
    let harness = Harness::new();
    let mut raw = harness.redis.connection();
    let mut limit = |bytes| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query::<()>(&mut raw).unwrap();
    };
    limit("1");
    let refused = harness.run(&["queue", "pause", "later", "--create"]);
    assert!(refused.status == Some(1) && refused.stderr.contains("memory is full"), "{refused:?}");
    limit("0");
    assert_eq!(harness.json(&["queues"]), Vec::<Value>::new());
    harness.enqueue("later", "k", "a-1", &[]);
    assert_eq!(harness.one(&["queues"])["paused"], json!(false));
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

fn from_file(harness: &Harness, lines: impl Iterator<Item = String>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines.collect::<String>()).unwrap();
    harness.json(&["enqueue", "q", "--from", file.path().to_str().unwrap()]);
}

#[test]
fn an_id_given_twice_is_acted_on_once_and_is_no_failure() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "bad.data"), ("c", "bad.data")]);
    let redriven = harness.run(&["dead", "redrive", "q", "a", "b", "a", "--id", "b"]);
    assert_eq!(
        (redriven.status, redriven.stderr.as_str()),
        (Some(0), format!("2 jobs redriven\n{NO_WORKER}").as_str()),
        "{redriven:?}"
    );
    assert_eq!(redriven.stdout, "a  poisoned → pending\nb  poisoned → pending\n");
    let shown = harness.json(&["dead", "show", "q", "c", "c"]);
    assert_eq!(shown.len(), 1, "{shown:?}");
    let cancelled = harness.run(&["job", "cancel", "q", "a", "a", "b"]);
    assert_eq!((cancelled.status, cancelled.stderr.as_str()), (Some(0), "2 jobs cancelled\n"), "{cancelled:?}");
    let discarded = harness.run(&["dead", "discard", "q", "c", "c"]);
    assert_eq!((discarded.status, discarded.stderr.as_str()), (Some(0), "1 job discarded\n"), "{discarded:?}");
    // One that cannot be moved is still a failure.
    assert_eq!(harness.run(&["dead", "redrive", "q", "a", "nope"]).status, Some(1));
}

#[test]
fn a_dry_run_changes_nothing_and_lists_what_the_act_would_change() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "mail.down"), ("c", "bad.data")]);
    harness.enqueue("q", "k", "waits", &[]);
    let contents = || -> Vec<String> {
        let listed =
            ["dead", "poisoned", "pending", "cancelled"].map(|state| harness.json(&["jobs", "q", "--state", state]));
        listed.iter().flatten().map(ToString::to_string).collect()
    };
    let before = contents();
    for (act, listed, said) in [
        (["dead", "redrive", "q", "--all"].as_slice(), 3, "3 jobs would be redriven"),
        (
            &["dead", "discard", "q", "--kind", "bad.data", "--limit", "1"],
            1,
            "1 job would be discarded, as many as --limit allows; more may match",
        ),
        (&["dead", "discard", "q", "b"], 1, "1 job would be discarded"),
        (&["job", "cancel", "q", "--all"], 1, "1 job would be cancelled"),
        (&["job", "cancel", "q", "waits"], 1, "1 job would be cancelled"),
    ] {
        let finished = harness.run(&[act, &["--dry-run", "--json"]].concat());
        assert_eq!(finished.status, Some(0), "{act:?}: {finished:?}");
        assert_eq!(objects(&finished.stdout).len(), listed, "{act:?}: {finished:?}");
        assert_eq!(finished.stderr, format!("{said}; nothing was changed (--dry-run)\n"), "{act:?}");
    }
    let refused = harness.run(&["dead", "redrive", "q", "a", "waits", "nope", "--dry-run"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (Some(1), "a  is poisoned\n"), "{refused:?}");
    assert!(refused.stderr.contains("waits  is pending, so it cannot be redriven\nnope  is not kept"), "{refused:?}");
    assert_eq!(contents(), before);
}

#[test]
fn no_act_on_a_job_is_missing_in_its_trace_nor_who_did_it() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data")]);
    harness.enqueue("q", "k", "later", &["--delay", "1h"]);
    for act in [
        ["dead", "redrive", "q", "--all", "--by", "ada \u{1b}[2J"].as_slice(),
        &["job", "cancel", "q", "a", "--by", "bob"],
        &["job", "cancel", "q", "later"],
    ] {
        let finished = harness.run(act);
        assert_eq!(finished.status, Some(0), "{finished:?}");
    }
    let mut retry = harness.command(&["job", "retry", "q", "later"]);
    retry.env("RETRACED_BY", "cyd");
    assert_eq!(finish(retry, COMMAND_MAX).status, Some(0));

    let trace = harness.run(&["trace", "q", "a"]).stdout;
    let redriven = "redriven by ada \\u{1b}[2J, was poisoned: attempt 2 is its first try again";
    let at = |text: &str| trace.find(text).unwrap_or_else(|| panic!("{text}: {trace}"));
    assert!(at("attempt 1 failed") < at(redriven) && at(redriven) < at("cancelled by bob, was pending"), "{trace}");
    let traced = harness.one(&["trace", "q", "later"]);
    for (n, act, from) in [(0, "cancel", "delayed"), (1, "redrive", "cancelled")] {
        assert_eq!((&traced["acts"][n]["act"], &traced["acts"][n]["from"]), (&json!(act), &json!(from)), "{traced}");
    }
    assert_eq!(traced["acts"][1]["by"], "cyd");
    // Nobody gave a name: it is the user's, at this host.
    let by = traced["acts"][0]["by"].as_str().unwrap();
    assert!(by.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty()), "{by}");
}

#[test]
fn a_removed_job_is_never_explained_by_guesses() {
    let harness = Harness::new();
    run_jobs(&harness, &[("dead", "bad.data"), ("discarded", "bad.data")]);
    assert_eq!(harness.run(&["dead", "discard", "q", "discarded", "--by", "ada"]).status, Some(0));
    // The worker keeps no dead job for longer than this.
    let mut work = harness.command(&["work", "q", "--allow-private", "--webhook", "http://127.0.0.1:1/"]);
    work.args(["--keep-dead", "0s"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let worker = Worker::launch(&mut work);
    worker.wait_for("jobs trimmed by retention");
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));
    let explains = |arguments: &[&str], why: &[&str]| {
        let finished = harness.run(arguments);
        assert_eq!((finished.status, finished.stdout.as_str()), (Some(1), ""), "{arguments:?}: {finished:?}");
        for part in why {
            assert!(finished.stderr.contains(part), "{arguments:?}: {part}: {finished:?}");
        }
    };
    for command in [["trace", "q"], ["job", "show"], ["dead", "show"]] {
        let of = |id| if command[1] == "q" { vec!["trace", "q", id] } else { vec![command[0], command[1], "q", id] };
        let since = "is kept: it had been poisoned since 2";
        explains(&of("dead"), &["no job dead ", since, ", and was removed at 2", "by retention because of its age"]);
        explains(&of("discarded"), &["no job discarded ", since, ", and was discarded at 2", " by ada\n"]);
        explains(&of("nope"), &["no job nope is kept; perhaps it was never enqueued"]);
    }
    let left = ["queue q: no job discarded is kept: it had been poisoned", ", and was discarded at 2", " by ada\n"];
    explains(&["job", "find", "discarded"], &left);
    explains(
        &["job", "find", "nope"],
        &["no job nope is kept; perhaps it was never enqueued", "or it was removed with its queue"],
    );
}

#[test]
fn a_limit_and_an_end_of_time_select_no_more_than_they_say() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "mail.down"), ("c", "bad.data"), ("d", "mail.down")]);
    let dead = || harness.json(&["dead", "list", "q"]);
    // The latest first.
    let latest = dead()[0]["id"].clone();
    let redriven = harness.json(&["dead", "redrive", "q", "--all", "--limit", "1"]);
    assert_eq!((redriven.len(), &redriven[0]["id"]), (1, &latest), "{redriven:?}");
    let rows = dead();
    let (latest, earlier) = (rows[0]["ended_at"].as_str().unwrap(), rows[1]["ended_at"].as_str().unwrap());
    assert!(latest >= earlier);
    let until = harness.json(&["dead", "list", "q", "--until", earlier]);
    let expected = rows.iter().filter(|row| row["ended_at"].as_str().unwrap() <= earlier).count();
    assert_eq!(until.len(), expected, "{until:?}");
    assert_eq!(harness.json(&["dead", "list", "q", "--until", "1h"]), Vec::<Value>::new());
    harness.json(&["dead", "discard", "q", "--until", "2000-01-01T00:00:00Z"]);
    assert_eq!(dead().len(), 3);
    let impossible = harness.run(&["dead", "discard", "q", "--since", "1h", "--until", "2h"]);
    assert_eq!((impossible.status, impossible.stdout.as_str()), (Some(2), ""), "{impossible:?}");
    assert!(impossible.stderr.contains("--since is later than --until"), "{impossible:?}");
    assert_eq!(harness.run(&["dead", "discard", "q", "--all", "--limit", "0"]).status, Some(2));
    assert_eq!(harness.run(&["dead", "discard", "q", "a", "--limit", "1"]).status, Some(2));
}

#[test]
fn a_limit_beside_ids_is_refused_and_nothing_is_acted_on() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "bad.data")]);
    harness.enqueue("q", "k", "waits", &[]);
    for act in [
        ["dead", "discard", "q", "--id", "a", "--id", "b"].as_slice(),
        &["dead", "redrive", "q", "--id", "a", "--id", "b"],
        &["dead", "discard", "q", "a", "--id", "b"],
        &["dead", "redrive", "q", "a", "b"],
        &["job", "cancel", "q", "waits"],
    ] {
        let refused = harness.run(&[act, &["--limit", "1"]].concat());
        assert_eq!((refused.status, refused.stdout.as_str()), (Some(2), ""), "{act:?}: {refused:?}");
        assert!(refused.stderr.contains("--limit"), "{act:?}: {refused:?}");
    }
    assert_eq!(["a", "b", "waits"].map(|id| harness.state("q", id)), ["poisoned", "poisoned", "pending"]);
}

#[test]
fn a_running_job_that_was_asked_to_stop_is_not_reported_as_cancelled() {
    let (harness, gate) = (Harness::new(), Gate::default());
    let opens = gate.clone();
    let hook = Hook::start(move |_| {
        opens.wait();
        response(200, "", "")
    });
    let worker = harness.worker(&hook.url(), &[]);
    harness.enqueue("q", "k", "later", &["--delay", "1h"]);
    for (running, act, said) in [
        ("a", ["job", "cancel", "q", "--state", "processing"].as_slice(), "1 running job asked to stop\n"),
        ("b", &["job", "cancel", "q", "b"], "1 running job asked to stop\n"),
        ("c", &["job", "cancel", "q", "c", "later"], "1 job cancelled; 1 running job asked to stop\n"),
    ] {
        let before = hook.requests().len();
        harness.enqueue("q", "slow", running, &[]);
        hook.wait_for_requests(before + 1);
        let cancelled = harness.run(&[act, &["--json"]].concat());
        assert_eq!((cancelled.status, cancelled.stderr.as_str()), (Some(0), said), "{act:?}: {cancelled:?}");
        assert_eq!(objects(&cancelled.stdout)[0]["result"], "asked", "{act:?}");
        harness.wait_for_state("q", running, "cancelled");
    }
    gate.open();
    drop(worker);
}

#[test]
fn many_waiting_jobs_are_cancelled_by_filter_and_none_is_missed() {
    let harness = Harness::new();
    let job =
        |n: u32| format!("{{\"kind\":\"{}\",\"payload\":{n}}}\n", if n.is_multiple_of(3) { "keep" } else { "drop" });
    from_file(&harness, (0..1_500).map(job));
    harness.enqueue("q", "drop", "later", &["--delay", "1h"]);
    let stats = |field: &str| harness.one(&["queue", "stats", "q"])[field].as_u64().unwrap();
    let limited = harness.run(&["job", "cancel", "q", "--kind", "drop", "--state", "pending", "--limit", "150"]);
    assert_eq!(
        (limited.status, limited.stderr.as_str()),
        (Some(0), "150 jobs cancelled, as many as --limit allows; more may match\n"),
        "{limited:?}"
    );
    let cancelled = harness.run(&["job", "cancel", "q", "--kind", "drop"]);
    assert_eq!((cancelled.status, cancelled.stderr.as_str()), (Some(0), "851 jobs cancelled\n"), "{cancelled:?}");
    assert_eq!((stats("pending"), stats("delayed"), stats("cancelled")), (500, 0, 1_001));
    let none = harness.run(&["job", "cancel", "q", "--kind", "drop"]);
    assert_eq!((none.status, none.stderr.as_str()), (Some(0), "no pending or delayed jobs that match in queue q\n"));
    harness.json(&["job", "cancel", "q", "--all"]);
    assert_eq!((stats("pending"), stats("cancelled")), (0, 1_501));
    for misused in [
        ["job", "cancel", "q"].as_slice(),
        &["job", "cancel", "q", "--state", "dead"],
        &["job", "cancel", "q", "a", "--all"],
    ] {
        assert_eq!(harness.run(misused).status, Some(2), "{misused:?}");
    }
}

/// What a command says that makes jobs pending while no worker runs.
const NO_WORKER: &str =
    "no worker processes queue q: its jobs wait until one runs (`retraced work q …`, or your application)\n";

#[test]
fn a_redrive_says_that_no_worker_runs_the_jobs() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "bad.data")]);
    for redrive in [["dead", "redrive", "q", "a"], ["job", "retry", "q", "b"]] {
        let redriven = harness.run(&redrive);
        assert_eq!(redriven.status, Some(0), "{redriven:?}");
        assert!(redriven.stderr.ends_with(NO_WORKER), "{redriven:?}");
    }
    harness.json(&["job", "cancel", "q", "a"]);
    let retried = harness.run(&["--json", "job", "retry", "q", "a"]);
    assert_eq!((retried.status, retried.stderr.as_str()), (Some(0), NO_WORKER), "{retried:?}");
    // Nothing waits because of these.
    harness.json(&["job", "cancel", "q", "a"]);
    for nothing in [
        &["dead", "redrive", "q", "--all", "--dry-run"][..],
        &["dead", "redrive", "q", "--all", "--code", "TIMEOUT"],
        &["job", "cancel", "q", "--all"],
    ] {
        let finished = harness.run(nothing);
        assert!(!finished.stderr.contains("no worker"), "{finished:?}");
    }
}

#[test]
fn a_deleted_queue_leaves_no_key_and_no_name_and_unfinished_jobs_or_live_workers_keep_it() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "fine")]);
    harness.enqueue("q", "k", "waits", &[]);
    harness.enqueue("q", "k", "later", &["--delay", "1h"]);
    harness.enqueue("other", "k", "a", &[]);
    harness.one(&["queue", "pause", "q"]);
    let keys =
        || -> Vec<String> { redis::cmd("KEYS").arg("retraced:{q}:*").query(&mut harness.redis.connection()).unwrap() };
    let hook = Hook::start(|_| response(200, "", "{}"));
    let worker = harness.worker(&hook.url(), &[]);
    let id = harness.one(&["workers"])["worker"].as_str().unwrap().to_owned();
    for more in [&[][..], &["--force"]] {
        let used = harness.run(&[&["queue", "delete", "q"], more].concat());
        assert_eq!((used.status, used.stdout.as_str()), (Some(1), ""), "{used:?}");
        assert!(used.stderr.contains("live workers") && used.stderr.contains(&id), "{used:?}");
    }
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));
    let live = harness.run(&["queue", "delete", "q"]);
    assert_eq!(live.status, Some(1), "{live:?}");
    let said = "queue q has jobs: 1 pending, 1 delayed, 1 poisoned; `retraced job cancel --all q` cancels those that wait (if it finds fewer, `retraced queue audit --repair q` first); `retraced dead list q` shows";
    assert!(live.stderr.contains(said) && !keys().is_empty(), "{live:?}");
    harness.json(&["job", "cancel", "q", "--all"]);
    let failed = harness.run(&["queue", "delete", "q"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(
        failed.stderr.contains("queue q has jobs: 1 poisoned; `retraced dead list q`") && !keys().is_empty(),
        "{failed:?}"
    );
    let deleted = harness.one(&["queue", "delete", "q", "--force"]);
    assert_eq!((&deleted["queue"], &deleted["deleted"]), (&json!("q"), &json!(true)));
    assert!(deleted["jobs"].as_u64().unwrap() >= 3, "{deleted}");
    assert_eq!(keys(), Vec::<String>::new());
    let listed: Vec<Value> = harness.json(&["queues"]).iter().map(|row| row["queue"].clone()).collect();
    assert_eq!(listed, [json!("other")]);

    // A queue with a key of a wrong type can be deleted too.
    harness.enqueue("q", "k", "a", &[]);
    let mut raw = harness.redis.connection();
    let _: () = redis::cmd("SET").arg("retraced:{q}:dead").arg("not a set").query(&mut raw).unwrap();
    let damaged = harness.run(&["queue", "delete", "q"]);
    assert_eq!(damaged.status, Some(1), "{damaged:?}");
    assert_eq!(harness.one(&["queue", "delete", "q", "--force"])["jobs"], json!(1));
    assert_eq!(keys(), Vec::<String>::new());
}

#[test]
fn a_worker_whose_row_cannot_be_read_keeps_its_queue_until_it_is_stale() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a", &[]);
    let mut raw = harness.redis.connection();
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut raw).unwrap();
    let mut write_row = |seen_ms: u64| {
        let row = [&seen_ms.to_be_bytes()[2..], b"of a newer version"].concat();
        let _: () = redis::cmd("HSET").arg("retraced:workers").arg(&[7_u8; 16]).arg(row).query(&mut raw).unwrap();
    };
    write_row(seconds * 1_000);
    let id = "07070707070707070707070707070707";
    let used = harness.run(&["queue", "delete", "q", "--force"]);
    assert_eq!((used.status, used.stdout.as_str()), (Some(1), ""), "{used:?}");
    assert!(used.stderr.contains("live workers") && used.stderr.contains(id), "{used:?}");
    let row = harness.one(&["workers"]);
    assert_eq!((&row["worker"], &row["unreadable"], &row["stale"]), (&json!(id), &json!(true), &json!(false)));
    let shown = harness.run(&["workers"]);
    assert!(shown.stdout.contains(id) && shown.stdout.contains("unreadable"), "{shown:?}");

    write_row(seconds * 1_000 - 31_000);
    assert_eq!(harness.one(&["workers"])["stale"], json!(true));
    assert_eq!(harness.one(&["queue", "delete", "q", "--force"])["jobs"], json!(1));
}

#[test]
fn a_damaged_queue_does_not_hide_the_others() {
    let harness = Harness::new();
    for queue in ["a", "damaged", "z"] {
        harness.enqueue(queue, "k", "1", &[]);
    }
    let mut raw = harness.redis.connection();
    let _: () = redis::cmd("SET").arg("retraced:{damaged}:dead").arg("not a set").query(&mut raw).unwrap();
    for more in [&[][..], &["--rates-over", "100ms"]] {
        let finished = harness.run(&[&["queues", "--json"], more].concat());
        let names: Vec<Value> = objects(&finished.stdout).iter().map(|row| row["queue"].clone()).collect();
        assert_eq!((finished.status, names), (Some(1), vec![json!("a"), json!("z")]), "{finished:?}");
        assert!(
            finished.stderr.contains("queue damaged cannot be shown")
                && finished.stderr.contains("retraced:{damaged}:dead"),
            "{finished:?}"
        );
    }
    let _: () = redis::cmd("SET").arg("retraced:{damaged}:tombstones").arg("not a hash").query(&mut raw).unwrap();
    let unknown = harness.run(&["job", "find", "nope"]);
    assert_eq!((unknown.status, unknown.stdout.as_str()), (Some(1), ""), "{unknown:?}");
    assert!(
        unknown.stderr.contains("perhaps it was never enqueued")
            && unknown.stderr.contains("the list of jobs removed from queue damaged cannot be read"),
        "{unknown:?}"
    );
    let _: () = redis::cmd("DEL").arg("retraced:{damaged}:job").query(&mut raw).unwrap();
    let _: () = redis::cmd("SET").arg("retraced:{damaged}:job").arg("not a hash").query(&mut raw).unwrap();
    let found = harness.run(&["job", "find", "1", "--json"]);
    let queues: Vec<Value> = objects(&found.stdout).iter().map(|row| row["queue"].clone()).collect();
    assert_eq!((found.status, queues), (Some(1), vec![json!("a"), json!("z")]), "{found:?}");
    assert!(found.stderr.contains("queue damaged cannot be searched"), "{found:?}");
}

#[test]
fn jobs_that_wait_in_a_paused_queue_are_shown_with_that_reason() {
    let harness = Harness::new();
    run_jobs(&harness, &[("dead", "mail.down"), ("-1", "mail.down")]);
    harness.enqueue("q", "k", "waits", &[]);
    let no_worker =
        "no worker processes queue q: its jobs wait until one runs (`retraced work q …`, or your application)\n";
    // Only a trace is asked for the reason why a job waits.
    let in_all = |command: &[&str], said: &str| match command[0] {
        "trace" => format!("{no_worker}{said}"),
        _ => said.to_owned(),
    };
    let about_waiting =
        [["trace", "q", "waits"].as_slice(), &["job", "show", "q", "waits"], &["jobs", "q", "--state", "pending"]];
    for command in about_waiting {
        assert_eq!(harness.run(command).stderr, in_all(command, ""), "{command:?}");
    }
    harness.one(&["queue", "pause", "q", "--by", "ada"]);
    let since = harness.one(&["queues"])["paused_since"].as_str().unwrap().to_owned();
    let said = format!("queue q is paused by ada since {since}: its jobs wait until `retraced queue resume q`\n");
    for command in about_waiting {
        assert_eq!(harness.run(command).stderr, in_all(command, &said), "{command:?}");
    }
    for command in [["job", "show", "q", "dead"].as_slice(), &["jobs", "q", "--state", "dead"]] {
        assert_eq!(harness.run(command).stderr, "", "{command:?}");
    }
    let remedy = "to run it again: `retraced dead redrive q dead`; to delete it: `retraced dead discard q dead`\n";
    assert_eq!(harness.run(&["trace", "q", "dead"]).stderr, remedy);
    // An id may begin like an option.
    let remedy = "to run it again: `retraced dead redrive -- q -1`; to delete it: `retraced dead discard -- q -1`\n";
    assert_eq!(harness.run(&["trace", "--", "q", "-1"]).stderr, remedy);
    harness.run(&["dead", "discard", "--", "q", "-1"]);
    assert_eq!(harness.run(&["dead", "redrive", "q", "--all"]).stderr, format!("1 job redriven\n{NO_WORKER}{said}"));
}

#[test]
fn a_usage_shows_no_option_that_is_not_required() {
    for (arguments, usage) in [
        (["queue", "pause"].as_slice(), "Usage: retraced queue pause [OPTIONS] <QUEUE>"),
        (&["job", "show", "q"], "Usage: retraced job show [OPTIONS] <QUEUE> <ID>"),
        (&["jobs"], "Usage: retraced jobs [OPTIONS] --state <STATE> <QUEUE>"),
        (&["queues", "--colour"], "Usage: retraced queues [OPTIONS]"),
        (&["nope"], "Usage: retraced [OPTIONS] <COMMAND>"),
    ] {
        for url in [None, Some("redis://127.0.0.1:1")] {
            let mut command = retraced();
            command.args(arguments).envs(url.map(|url| ("RETRACED_REDIS_URL", url)));
            let finished = finish(command, COMMAND_MAX);
            assert_eq!(finished.status, Some(2), "{finished:?}");
            assert!(finished.stderr.contains(&format!("{usage}\n")), "{arguments:?}: {}", finished.stderr);
        }
    }
    let mut without_state = retraced();
    without_state.args(["jobs", "q"]);
    let finished = finish(without_state, COMMAND_MAX);
    let said = "error: a state is needed: --state with one of pending, processing, delayed, completed, dead, poisoned, cancelled\n";
    assert_eq!((finished.status, finished.stderr.as_str()), (Some(2), said));
}

#[test]
fn no_tip_of_a_usage_error_leads_to_harm_or_to_the_next_error() {
    for (arguments, tip, misleading) in [
        (["job", "cancel", "q", "--state", "dead"].as_slice(), "`retraced dead discard` deletes", "delayed' exists"),
        (&["queues", "--watch", "1s"], "write '--watch=1s'", "-- 1s"),
        (&["queue", "stats", "q", "--id", "a"], "Usage: retraced queue stats", "-- --id"),
        (&["job", "show", "q", "-1"], "'-- -1'", "--1"),
        (&["jobs", "q", "--state", "procesing"], "'processing'", "have ended"),
        (&["queues", "--color", "dead"], "possible values: auto", "have ended"),
        (&["queues", "--watch", "-1"], "unexpected argument '-1'", "--watch=-1"),
        (&["queues", "q"], "unexpected argument 'q'", "-- queues"),
        (&["queues", "-dash1"], "unexpected argument '-d'", "-- -dash1"),
        (&["queue", "stats", "q", "--id=a"], "unexpected argument '--id'", "-- --id"),
        (&["job", "cancel", "q", "--state", "DEAD"], "`retraced dead discard` deletes", "delayed' exists"),
        (&["job", "find", "--all"], "unexpected argument '--all'", "--allow-eviction"),
        (&["queues", "--colour", "never"], "'--color'", "-- --colour"),
        (&["enqueue", "q", "--id", "-dash1"], "write '--id=-dash1'", "-- -d"),
        (&["job", "show", "q", "-dash1"], "write '-- -dash1'", "'-d' as a value"),
        // Only the beginning of a long value is repeated.
        (
            &["enqueue", "q", "--kind", "k", "--payload", &format!("[{}", "7,".repeat(500))],
            "7…' for '--payload",
            &"7,".repeat(60),
        ),
    ] {
        let mut command = retraced();
        command.args(arguments);
        let finished = finish(command, COMMAND_MAX);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        let said = &finished.stderr;
        assert!(said.contains(tip) && !said.contains(misleading), "{arguments:?}: {said}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set_and_a_bad_one_is_named_and_never_blamed_on_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("retraced.toml"), "[work]\nwebhook = \"https://x.example/\"\n").unwrap();
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = retraced();
        command.args(arguments).envs(variables.iter().copied()).current_dir(folder.path());
        finish(command, COMMAND_MAX)
    };
    let names = [
        "RETRACED_REDIS_URL",
        "RETRACED_COLOR",
        "RETRACED_CONFIG",
        "RETRACED_QUEUE",
        "RETRACED_WEBHOOK",
        "RETRACED_LEASE",
        "RETRACED_WEBHOOK_SECRET_FILE",
        "RETRACED_ALLOW_PRIVATE",
        "RETRACED_SHUTDOWN_GRACE",
        "RETRACED_TIMEOUT",
        "RETRACED_KEEP_DEAD",
        "RETRACED_KEEP_DEAD_BYTES",
    ];
    let expected = run(&["config"], &[]);
    assert_eq!(expected.status, Some(0), "{expected:?}");
    for name in names {
        let finished = run(&["config"], &[(name, "")]);
        assert_eq!((finished.status, &finished.stdout), (Some(0), &expected.stdout), "{name}: {finished:?}");
    }
    for (name, value) in [("RETRACED_LEASE", "soon"), ("RETRACED_COLOR", "pink"), ("RETRACED_TIMEOUT", " 5s")] {
        for arguments in [["work", "q"].as_slice(), &["config"]] {
            let finished = run(arguments, &[(name, value)]);
            assert_eq!(finished.status, Some(2), "{finished:?}");
            assert!(finished.stderr.contains(name), "{name} is not named: {finished:?}");
            assert!(!finished.stderr.contains("retraced.toml"), "the file is blamed for {name}: {finished:?}");
        }
    }
    let misspelt = run(&["config"], &[("RETRACED_LEESE", "5s")]);
    assert_eq!((misspelt.status, &misspelt.stdout), (Some(0), &expected.stdout), "{misspelt:?}");
    let said =
        "the environment variable RETRACED_LEESE is not read: there is no such setting; RETRACED_LEASE may be meant";
    assert!(misspelt.stderr.contains(said), "{misspelt:?}");
    let finished = run(&["queues"], &[("RETRACED_REDIS_URL", "\"redis://h\"")]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("RETRACED_REDIS_URL"), "{finished:?}");
}

#[test]
fn a_trace_breaks_no_word_at_the_edge_of_a_terminal() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "mail.down")]);
    let traced = harness.run(&["trace", "q", "a"]);
    let whole = traced.stdout + &traced.stderr;
    for columns in [40, 80, 100] {
        let (status, printed) = on_terminal(harness.command(&["trace", "q", "a"]), columns, COMMAND_MAX);
        assert_eq!(status, Some(0), "{printed}");
        let shown = plain(&printed);
        assert!(shown.lines().all(|line| line.chars().count() <= columns.into()), "{columns}:\n{shown}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&shown), words(&whole), "{columns}:\n{shown}");
    }
}

#[test]
fn dead_and_poisoned_jobs_are_told_apart_at_80_columns() {
    let harness = Harness::new();
    run_jobs(&harness, &[("01a213a3-1375-7026-9136-f54aa1ebe517", "bad.data"), ("b", "mail.down")]);
    let (_, printed) = on_terminal(harness.command(&["dead", "list", "q"]), 80, COMMAND_MAX);
    let shown = plain(&printed);
    assert!(shown.contains("STATE") && shown.contains("poisoned") && shown.contains("dead "), "{shown}");
}

#[test]
fn queues_are_watched_until_the_reader_leaves_or_ctrl_c() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a", &[]);
    for by_signal in [true, false] {
        let mut child = harness.command(&["queues", "--watch=100ms", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            assert_eq!(objects(&lines.next().unwrap().unwrap())[0]["pending"], json!(1));
        }
        if by_signal {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
            assert_eq!(status_of(child), Some(0));
        } else {
            drop(lines);
            assert_eq!(status_of(child), Some(0));
        }
    }
    assert_eq!(harness.run(&["queues", "--watch=1ms"]).status, Some(2));
}

#[test]
fn ctrl_c_ends_a_watch_that_waits_for_its_rates() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a", &[]);
    let mut raw = harness.redis.connection();
    let mut lists_read = || {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut raw).unwrap();
        stats.lines().find(|line| line.starts_with("cmdstat_smembers:")).map(str::to_owned)
    };
    let before = lists_read();
    let mut command = harness.command(&["queues", "--watch=100ms", "--rates-over", "2m"]);
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + COMMAND_MAX;
    while lists_read() == before {
        assert!(Instant::now() < deadline, "the queues were not read");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(status_of(child), Some(0));
}

#[test]
fn a_server_that_may_drop_jobs_is_used_by_nobody_who_does_not_allow_it() {
    let harness = Harness::new();
    harness.redis.set("maxmemory-policy", "allkeys-lru");
    let refused = harness.run(&["queues"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.stderr.contains("allkeys-lru") && refused.stderr.contains("(--allow-eviction)"), "{refused:?}");
    assert_eq!(harness.json(&["queues", "--allow-eviction"]), [] as [Value; 0]);
    let mut by_variable = harness.command(&["queues"]);
    by_variable.env("RETRACED_ALLOW_EVICTION", "true");
    assert_eq!(finish(by_variable, COMMAND_MAX).status, Some(0));
}

#[test]
fn one_finding_of_an_audit_is_no_plural() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a", &[]);
    let _: () = redis::cmd("DEL").arg("retraced:{q}:pending").query(&mut harness.redis.connection()).unwrap();
    let audited = harness.run(&["queue", "audit", "q"]);
    assert!(audited.stdout.contains("1 job, not each in exactly one container"), "{audited:?}");
    assert!(audited.stdout.contains("1 job in no container"), "{audited:?}");
}

#[test]
fn a_job_in_two_containers_never_hides_one_in_none() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a", &[]);
    harness.enqueue("q", "k", "b", &[]);
    let mut raw = harness.redis.connection();
    let _: () = redis::cmd("LPOP").arg("retraced:{q}:pending").query(&mut raw).unwrap();
    let _: () =
        redis::cmd("ZADD").arg("retraced:{q}:dead").arg(1_750_000_000_000_u64).arg("b").query(&mut raw).unwrap();
    let audited = harness.run(&["queue", "audit", "q"]);
    assert!(audited.stdout.contains("2 jobs, not each in exactly one container"), "{audited:?}");
    let repaired = harness.run(&["queue", "audit", "q", "--repair"]);
    assert!(repaired.stdout.contains("2 jobs, each in exactly one container"), "{repaired:?}");
}

#[test]
fn a_lease_without_a_grant_is_damage_but_misplaces_no_job() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a", &[]);
    let mut raw = harness.redis.connection();
    let _: () = redis::cmd("LPOP").arg("retraced:{q}:pending").query(&mut raw).unwrap();
    let _: () =
        redis::cmd("ZADD").arg("retraced:{q}:lease").arg(4_000_000_000_000_u64).arg("a").query(&mut raw).unwrap();
    let audited = harness.run(&["queue", "audit", "q"]);
    assert!(audited.stdout.contains("1 job, but leases and grants do not match"), "{audited:?}");
    assert!(audited.stdout.contains("1 lease without a grant"), "{audited:?}");
}

/// Goal: dead and poisoned jobs never vanish in silence: the worker that removes them says so, the ledger and `queues` show it, and an option keeps more.
#[test]
fn jobs_that_failed_are_never_trimmed_in_silence() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "bad.data"), ("c", "mail.down")]);
    let queues = || harness.run(&["queues"]).stdout;
    assert!(!queues().contains("TRIMMED"), "{}", queues());
    let hook = Hook::start(|_| response(200, "", "{}"));
    let hook = hook.url();
    let work = |options: &[&str]| {
        let mut command = harness.command(&["work", "q", "--allow-private", "--webhook", &hook]);
        command.args(options).stdout(Stdio::null()).stderr(Stdio::piped());
        // The first trim may come before the line that says that the worker works, which `spawn` waits for.
        Worker::launch(&mut command)
    };
    let bounds = |least: &str, most: &str| {
        let refused = harness.run(&["work", "q", "--webhook", &hook, least, most]);
        assert_eq!(refused.status, Some(2), "{refused:?}");
    };
    bounds("--keep-dead-bytes", "many");
    bounds("--keep-dead", "4000d");

    // Each job counts 1 KiB.
    let worker = work(&["--keep-dead-bytes", "1KiB"]);
    let said = worker.wait_for("jobs trimmed by retention");
    for part in ["WARN", "queue=q", "state=poisoned", "count=1", "reason=too many bytes were kept"] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));
    let stats = harness.one(&["queue", "stats", "q"]);
    assert_eq!((&stats["trimmed_poisoned"], &stats["trimmed_dead"], &stats["dead"]), (&json!(1), &json!(0), &json!(1)));

    let worker = work(&["--keep-dead", "0s"]);
    worker.wait_for("jobs trimmed by retention");
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));
    let stats = harness.run(&["queue", "stats", "q"]).stdout;
    assert!(stats.contains("1 dead, 2 poisoned"), "{stats}");
    assert!(queues().contains("TRIMMED"), "{}", queues());
    let recorded = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = RedisStore::connect(&harness.redis.url()).await.unwrap();
        Operator::new(store).events(None, 200).await.unwrap().events
    });
    // An event is stored again if the worker ends before the answer to its first call.
    let trimmed = |event: SupervisionEvent| match event.kind {
        EventKind::JobsTrimmed { state, count, oldest_ms, .. } if oldest_ms > 0 => {
            Some(((event.at_ms, state.to_string()), count))
        }
        _ => None,
    };
    let trimmed: BTreeMap<_, u64> = recorded.into_iter().filter_map(trimmed).collect();
    assert_eq!(trimmed.into_values().sum::<u64>(), 3, "the ledger");
}

/// The exit status of a process that ends by itself.
fn status_of(mut child: Child) -> Option<i32> {
    let deadline = Instant::now() + COMMAND_MAX;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}
