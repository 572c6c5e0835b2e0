//! What an operator must be able to see: codes of failures, queues during an outage, queues and jobs without a worker, and options that throw jobs away.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/failures.rs"]
mod failures;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use failures::run_jobs;
use harness::{COMMAND_MAX, EVENT_MAX, Harness, Worker, objects};
use hook::{Hook, response};
use serde_json::{Value, json};
use terminal::{OnTerminal, on_terminal, plain};

const ID: &str = "01a213a3-1375-7026-9136-f54aa1ebe517";

#[test]
fn the_code_of_a_failure_is_never_cut_nor_anything_in_a_pipe() {
    let harness = Harness::new();
    run_jobs(&harness, &[(ID, "hostile"), ("b", "mail.down")]);
    let lists = [
        ["dead", "list", "q"].as_slice(),
        &["dead", "redrive", "q", "--all", "--dry-run"],
        &["dead", "list", "q", "--code", "NETWORK_ERROR"],
    ];
    for (arguments, codes) in lists.into_iter().zip([
        &["AUTHORIZATION_FAILED", "NETWORK_ERROR"][..],
        &["AUTHORIZATION_FAILED", "NETWORK_ERROR"],
        &["NETWORK_ERROR"],
    ]) {
        for columns in [60, 80, 120] {
            let (status, printed) = on_terminal(harness.command(arguments), columns, COMMAND_MAX);
            assert_eq!(status, Some(0), "{printed}");
            let shown = plain(&printed);
            assert!(codes.iter().all(|code| shown.contains(code)), "{columns}:\n{shown}");
        }
    }
    let message = harness.one(&["job", "show", "q", ID])["last_error"]["message"].as_str().unwrap().to_owned();
    let end: String = message.chars().skip(message.chars().count() - 40).collect();
    let piped = harness.run(&["dead", "list", "q"]).stdout;
    assert!(piped.contains(&end), "{piped}");
}

#[test]
fn dead_jobs_are_counted_by_code_by_kind_and_by_message() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "mail.down"), ("c", "mail.down"), ("d", "fine")]);
    let list = |by: &str, more: &[&str]| harness.json(&[&["dead", "list", "q", "--count-by", by], more].concat());
    let counted = |rows: &[Value], by: &str| -> Vec<(String, u64)> {
        rows.iter().map(|row| (row[by].as_str().unwrap().to_owned(), row["jobs"].as_u64().unwrap())).collect()
    };
    let rows = list("code", &[]);
    assert_eq!(counted(&rows, "code"), [("NETWORK_ERROR".into(), 2), ("INVALID_JOB_DATA".into(), 1)]);
    assert_eq!((&rows[0]["example"], &rows[0]["queue"]), (&json!("c"), &json!("q")), "{rows:?}");
    assert_eq!(counted(&list("kind", &[]), "kind"), [("mail.down".into(), 2), ("bad.data".into(), 1)]);
    let rows = list("message", &["--kind", "mail.down"]);
    let message = rows[0]["message"].as_str().unwrap();
    assert!(rows.len() == 1 && rows[0]["jobs"] == 2 && !message.contains(|c: char| c.is_numeric()), "{rows:?}");
    let text = harness.run(&["dead", "list", "q", "--count-by", "code", "--kind", "bad.data"]).stdout;
    assert!(text.starts_with("JOBS") && text.contains("INVALID_JOB_DATA") && !text.contains("NETWORK_ERROR"), "{text}");
    assert_eq!(harness.run(&["dead", "list", "q", "--count-by", "code", "--limit", "3"]).status, Some(2));
}

#[test]
fn a_watch_survives_an_outage_and_marks_old_numbers() {
    let mut harness = Harness::new();
    harness.enqueue("q", "k", "a", &[]);
    let mut screen = OnTerminal::start(harness.command(&["queues", "--watch=100ms"]), 100);
    let mut piped = harness.command(&["queues", "--watch=100ms", "--json"]);
    let mut piped = piped.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut rows = BufReader::new(piped.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(piped.stderr.take().unwrap()).lines();
    let first = screen.wait_for("no worker", EVENT_MAX);
    assert!(first.contains("Z\r\n"), "a frame has no time: {first:?}");
    let row = objects(&rows.next().unwrap().unwrap()).remove(0);
    assert!(row["read_at"].as_str().unwrap().ends_with('Z'), "{row}");
    harness.redis.stop();
    let old = screen.wait_for("OLD: these numbers are of ", EVENT_MAX);
    let frame = old + &screen.wait_for("no worker", EVENT_MAX);
    assert!(frame.contains(" ago; "), "{frame}");
    let note = said.next().unwrap().unwrap();
    assert!(note.starts_with("no numbers since ") && note.ends_with("waiting for the store"), "{note}");
    harness.redis.restart();
    assert_eq!(said.next().unwrap().unwrap(), "the store answers again");
    // The screen is cleared, and what follows is a time and not the mark.
    let frame = screen.wait_for("\u{1b}[2J2", EVENT_MAX);
    assert!(!frame.contains("these numbers"), "{frame}");
    for pid in [screen.pid(), piped.id()] {
        assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
    }
    drop(rows);
    assert_eq!(piped.wait().unwrap().code(), Some(0));
}

#[test]
fn options_that_keep_no_dead_job_are_never_accepted_in_silence() {
    let harness = Harness::new();
    let hook = Hook::start(|_| response(200, "", "{}"));
    let work =
        ["work", "q", "--allow-private", "--webhook", &hook.url(), "--keep-dead", "0s", "--keep-dead-bytes", "1B"];
    let worker = Worker::launch(harness.command(&work).stdout(Stdio::null()).stderr(Stdio::piped()));
    assert!(worker.wait_for("warning: --keep-dead removes").contains("about a second after its end"));
    worker.wait_for("warning: --keep-dead-bytes keeps no dead");
    let working = worker.wait_for("working q ");
    assert!(working.starts_with("20") && working.contains("Z  working"), "no time: {working}");
}

#[test]
fn a_queue_without_a_worker_is_never_shown_as_if_it_had_one() {
    let harness = Harness::new();
    let none = "no worker processes queue q: its jobs wait until one runs (`retraced work q …`, or your application)\n";
    let enqueue = |id: &str, delay: &str| {
        harness.run(&["enqueue", "q", "--kind", "k", "--payload", "1", "--id", id, "--delay", delay])
    };
    assert_eq!(enqueue("a", "1h").stderr, none);
    assert_eq!(harness.run(&["trace", "q", "a"]).stderr, none);
    assert!(harness.run(&["queues"]).stdout.contains("no worker"));
    let stats = harness.run(&["queue", "stats", "q"]).stdout;
    assert!(stats.lines().any(|line| line.split_whitespace().eq(["live", "workers", "0"])), "{stats}");
    for arguments in [
        ["trace", "q", "a"].as_slice(),
        &["queues"],
        &["queue", "stats", "q"],
        &["enqueue", "q", "--kind", "k", "--payload", "1", "--id", "a"],
    ] {
        let told = harness.run(&[arguments, &["--json"]].concat());
        assert_eq!(
            (objects(&told.stdout)[0]["workers"].as_u64(), told.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    let hook = Hook::start(|_| response(200, "", "{}"));
    let _worker = harness.worker(&hook.url(), &[]);
    assert_eq!(enqueue("b", "1h").stderr, "");
    assert_eq!(harness.run(&["trace", "q", "a"]).stderr, "");
    assert!(!harness.run(&["queues"]).stdout.contains("no worker"));
    assert_eq!(harness.one(&["queues"])["workers"], json!(1));
}

#[test]
fn a_missing_payload_is_named_with_every_way_to_give_one() {
    let harness = Harness::new();
    for arguments in
        [["enqueue", "q", "--kind", "k"].as_slice(), &["enqueue", "q", "--payload", "1"], &["enqueue", "q"]]
    {
        let refused = harness.run(arguments);
        assert_eq!(refused.status, Some(2), "{refused:?}");
        let said = "a job needs --kind and either --payload or --payload-file; --from takes jobs from a file instead";
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
}

/// Writes the rows of all workers again, as if their last heartbeat had been this long ago.
fn age_workers(harness: &Harness, ms: u64) {
    let script = "local t = redis.call('TIME') local at = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[1] \
        local rows = redis.call('HGETALL', KEYS[1]) \
        for i = 1, #rows, 2 do redis.call('HSET', KEYS[1], rows[i], struct.pack('>I6', at) .. string.sub(rows[i + 1], 7)) end";
    let mut connection = harness.redis.connection();
    let _: () = redis::cmd("EVAL").arg(script).arg(1).arg("retraced:workers").arg(ms).query(&mut connection).unwrap();
}

#[test]
fn the_row_of_a_killed_worker_does_not_go_on_as_if_it_lived() {
    let harness = Harness::new();
    let hook = Hook::start(|_| response(200, "", "{}"));
    let worker = harness.worker(&hook.url(), &[]);
    let shown = harness.run(&["workers"]).stdout;
    assert!(shown.contains("0 of 8") && !shown.contains("stale"), "{shown}");
    drop(worker);
    age_workers(&harness, 3_000_000);
    let told = harness.run(&["workers"]);
    assert!(
        told.stdout.contains("- of 8") && told.stdout.contains("50m ago") && told.stdout.contains("stale"),
        "{told:?}"
    );
    assert!(told.stderr.contains("Its line is removed 1h after its last heartbeat"), "{told:?}");
    // It started after the heartbeat that the test made older.
    assert!(told.stdout.contains("0ms"), "{told:?}");
}

#[test]
fn the_advice_of_a_refused_deletion_never_leads_nowhere() {
    let harness = Harness::new();
    let hook = Hook::start(|_| {
        std::thread::sleep(EVENT_MAX);
        Vec::new()
    });
    let worker = harness.worker(&hook.url(), &[]);
    harness.enqueue("q", "k", "runs", &[]);
    harness.wait_for_state("q", "runs", "processing");
    drop(worker);
    let refused = harness.run(&["queue", "delete", "q"]).stderr;
    assert!(refused.contains("a worker that was killed counts as live for 30s after its last heartbeat"), "{refused}");
    age_workers(&harness, 40_000);
    let refused = harness.run(&["queue", "delete", "q"]).stderr;
    assert!(
        refused.contains("1 processing") && refused.contains("the workers of the processing ones are gone"),
        "{refused}"
    );
    let deleted: Value = harness.one(&["queue", "delete", "q", "--force"]);
    assert_eq!(deleted["jobs"], json!(1));
}
