//! What `retraced enqueue` takes, and what comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/harness.rs"]
mod harness;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::Write;
use std::process::Stdio;

use harness::{COMMAND_MAX, Harness, Worker};
use serde_json::json;
use support::{Finished, finished};

/// What no parser of JSON into values keeps: large numbers, their spelling, the order of keys, and equal keys.
const EXACT: &str =
    r#"{"z":117.63331139400017,"b":9007199254740991.0,"a":100000000000000000000,"a":-0,"c":[1.50,1E2]}"#;

fn with_input(harness: &Harness, arguments: &[&str], input: &[u8]) -> Finished {
    let mut command = harness.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finished(child, COMMAND_MAX)
}

#[test]
fn a_payload_never_comes_back_changed() {
    let harness = Harness::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("\n  {EXACT}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let job = |id: &'static str| ["enqueue", "q", "--kind", "k", "--id", id];
    harness.json(&[&job("option")[..], &["--payload", EXACT]].concat());
    harness.json(&[&job("file")[..], &["--payload-file", path]].concat());
    let piped = with_input(&harness, &[&job("input")[..], &["--payload-file", "-"]].concat(), EXACT.as_bytes());
    assert_eq!(piped.status, Some(0), "{piped:?}");
    std::fs::write(file.path(), format!("{{\"kind\":\"k\",\"id\":\"line\",\"payload\": {EXACT} }}")).unwrap();
    harness.json(&["enqueue", "q", "--from", path]);
    for id in ["option", "file", "input", "line"] {
        let json = harness.run(&["job", "show", "q", id, "--json"]);
        assert!(json.stdout.contains(&format!("\"payload\":{EXACT}")), "{id}: {json:?}");
        let text = harness.run(&["job", "show", "q", id]);
        assert!(text.stdout.contains(EXACT), "{id}: {text:?}");
    }
}

#[test]
fn a_paused_or_mistyped_queue_is_not_used_in_silence() {
    let harness = Harness::new();
    let enqueue = |queue| harness.run(&["enqueue", queue, "--kind", "k", "--payload", "1"]);
    let first = enqueue("billing");
    assert_eq!((first.status, first.stderr.lines().count()), (Some(0), 1), "{first:?}");
    assert!(first.stderr.starts_with("no worker processes queue billing"), "{first:?}");
    let mistyped = enqueue("biling");
    assert_eq!(mistyped.status, Some(0), "{mistyped:?}");
    assert!(mistyped.stderr.contains("queue biling is new; if billing was meant"), "{mistyped:?}");
    harness.json(&["queue", "pause", "billing", "--by", "ada"]);
    let paused = enqueue("billing");
    assert_eq!(paused.status, Some(0), "{paused:?}");
    for said in ["queue billing is paused by ada since ", ": its jobs wait until `retraced queue resume billing`"] {
        assert!(paused.stderr.contains(said), "{paused:?}");
    }

    let mut work = harness.command(&["work", "billing", "--allow-private", "--webhook", "http://127.0.0.1:1/"]);
    let worker = Worker::spawn(work.stdout(Stdio::piped()).stderr(Stdio::piped()));
    worker.wait_for("queue billing is paused by ada since ");
    let mut work = harness.command(&["work", "billings", "--allow-private", "--webhook", "http://127.0.0.1:1/"]);
    let worker = Worker::launch(work.stdout(Stdio::piped()).stderr(Stdio::piped()));
    worker.wait_for("warning: queue billings is new; billing may be meant");
}

#[test]
fn an_id_never_comes_back_spelt_differently() {
    let harness = Harness::new();
    for id in [
        "9e107d9d372bb6826bd81d3542a419d6",
        "0190163d8694739baea5966c26f8ad91",
        "0190163D-8694-739B-AEA5-966C26F8AD91",
        "0190163d-8694-739b-aea5-966c26f8ad91",
    ] {
        let enqueued = harness.one(&["enqueue", "q", "--kind", "k", "--payload", "1", "--id", id]);
        assert_eq!((&enqueued["id"], &enqueued["created"]), (&json!(id), &json!(true)));
        assert_eq!(harness.one(&["job", "show", "q", id])["id"], json!(id));
    }
}

#[test]
fn jobs_that_existed_already_are_not_counted_as_enqueued() {
    let harness = Harness::new();
    let job = |id: &str| format!("{{\"kind\":\"k\",\"payload\":1,\"id\":\"{id}\"}}\n");
    let send = |ids: &[&str]| {
        let lines: String = ids.iter().map(|id| job(id)).collect();
        let sent = with_input(&harness, &["enqueue", "q", "--from", "-"], lines.as_bytes());
        assert_eq!(sent.status, Some(0), "{sent:?}");
        sent.stderr.lines().next().unwrap().to_owned()
    };
    assert_eq!(send(&["a", "b"]), "2 jobs enqueued to q");
    assert_eq!(send(&["a", "c"]), "1 job enqueued to q; 1 existed already and is unchanged");
    assert_eq!(send(&["a", "b", "c"]), "0 jobs enqueued to q; 3 existed already and are unchanged");
}

#[test]
fn a_payload_file_that_is_no_json_is_refused_with_the_reason() {
    let harness = Harness::new();
    for (input, why) in [
        (&b"\xef\xbb\xbf{}"[..], "payload begins with a byte order mark"),
        (b"\xff\xfe{\0}\0", "it is not UTF-8"),
        (b"", "payload is empty"),
        (b"{} {}", "payload is not JSON: trailing characters at line 1 column 4"),
        (b"[\"\\ud800\"]", "half of a surrogate pair"),
    ] {
        let refused = with_input(&harness, &["enqueue", "q", "--kind", "k", "--payload-file", "-"], input);
        assert_eq!(refused.status, Some(1), "{refused:?}");
        assert!(refused.stderr.starts_with(&format!("error: standard input: {why}")) || refused.stderr.contains(why));
        assert!(!refused.stderr.contains("payload payload"), "{refused:?}");
    }
    let missing = harness.run(&["enqueue", "q", "--kind", "k", "--payload-file", "no-such-file"]);
    assert!(missing.stderr.starts_with("error: no-such-file cannot be read: "), "{missing:?}");
    assert_eq!(harness.json(&["queues"]), Vec::<serde_json::Value>::new());
    let both = harness.run(&["enqueue", "q", "--kind", "k", "--payload-file", "f", "--payload", "1"]);
    assert_eq!(both.status, Some(2), "{both:?}");
}
