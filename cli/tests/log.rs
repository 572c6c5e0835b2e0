//! The log of `retraced work`, as text and as JSON: the built binary, a Redis of its own, and receivers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use harness::{Harness, Worker, retraced};
use hook::{Hook, response};
use serde_json::Value;
use support::finish;

/// A receiver that has a failure with escapes and quotes for jobs of kind `bad`, refuses those of kind `poison`, and accepts all others.
fn receiver() -> Hook {
    Hook::start(|request| match request.kind() {
        "bad" => response(
            500,
            "",
            "{\"success\":false,\"error\":{\"code\":\"NETWORK_ERROR\",\"message\":\"a \\\"b\\\"\\n\\u001b[31m c=d\"}}",
        ),
        "poison" => response(422, "", ""),
        _ => response(200, "", ""),
    })
}

/// A worker that logs all attempts in this format.
fn worker(harness: &Harness, hook: &Hook, format: &str) -> Worker {
    let mut command =
        harness.command(&["work", "q", "--allow-private", "--webhook", &hook.url(), "--keep-dead", "30s"]);
    command.env("RETRACED_LOG_FORMAT", format).env("RETRACED_LOG", " warn, retraced =info,retraced::attempts= debug ");
    Worker::launch(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

#[test]
fn no_line_of_a_json_log_is_anything_but_one_object_with_words() {
    let harness = Harness::new();
    let hook = receiver();
    let worker = worker(&harness, &hook, "json");
    let warning = parse(&worker.wait_for("--keep-dead removes"));
    assert_eq!((&warning["level"], &warning["target"]), (&"WARN".into(), &"retraced::cli".into()), "{warning}");
    assert!(warning["message"].as_str().is_some_and(|text| text.starts_with("--keep-dead")), "{warning}");
    let first = parse(&worker.wait_for("working "));
    assert_eq!((&first["level"], &first["target"]), (&"INFO".into(), &"retraced::cli".into()), "{first}");

    harness.enqueue("q", "bad", "b-1", &["--base-delay", "1s"]);
    let line = worker.wait_for("\"attempt failed\"");
    let failed = parse(&line);
    for (field, value) in [
        ("level", Value::from("INFO")),
        ("target", "retraced::attempts".into()),
        ("queue", "q".into()),
        ("job", "b-1".into()),
        ("kind", "bad".into()),
        ("attempt", 1.into()),
        ("code", "NETWORK_ERROR".into()),
        ("verdict", "retry".into()),
    ] {
        assert_eq!(failed[field], value, "{field} in {line}");
    }
    assert!(failed["ran_ms"].is_u64() && failed["delay_ms"].as_u64().is_some_and(|ms| ms >= 500), "{line}");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("a \"b\"") && reason.contains("c=d"), "{line}");
    let stamp = failed["timestamp"].as_str().unwrap();
    assert!(stamp.ends_with('Z') && stamp.len() == first["timestamp"].as_str().unwrap().len(), "{line}");

    harness.enqueue("q", "good", "g-1", &[]);
    let ended = parse(&worker.wait_for("\"attempt ended\""));
    assert_eq!(
        (&ended["job"], &ended["verdict"], &ended["level"]),
        (&"g-1".into(), &"complete".into(), &"DEBUG".into())
    );
    harness.enqueue("q", "poison", "p-1", &[]);
    // The store may have confirmed the end of the attempt before its executor has logged it.
    let mut lines = [worker.wait_for("p-1"), worker.wait_for("p-1")].map(|line| parse(&line));
    lines.sort_by_key(|line| line["message"].to_string());
    let [failed, poisoned] = &lines;
    assert_eq!((&failed["verdict"], &poisoned["message"]), (&"poison".into(), &"job poisoned".into()), "{lines:?}");
    assert_eq!((&poisoned["job"], &poisoned["level"]), (&"p-1".into(), &"WARN".into()));

    worker.signal("-USR1");
    assert!(parse(&worker.wait_for("running: "))["message"].is_string());
    worker.signal("-TERM");
    let (status, lines) = worker.rest();
    assert_eq!(status, Some(0));
    assert!(lines.iter().any(|line| parse(line)["message"].as_str().is_some_and(|text| text.starts_with("drained"))));
}

#[test]
fn a_worker_that_fails_does_not_leave_its_json_log() {
    let mut command = retraced();
    command.args(["work", "q", "--webhook", "https://h.example/", "--log-format", "json"]);
    command.env("RETRACED_REDIS_URL", "redis://127.0.0.1:1");
    let finished = finish(command, harness::COMMAND_MAX);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let error = parse(finished.stderr.lines().last().unwrap());
    assert_eq!(error["level"], "ERROR", "{finished:?}");
}

#[test]
fn no_line_of_a_text_log_has_debug_forms_or_unquoted_reasons() {
    let harness = Harness::new();
    let hook = receiver();
    let worker = worker(&harness, &hook, "text");
    let line = worker.wait_for("--keep-dead removes");
    let (time, warning) = line.split_once("  ").unwrap();
    assert!(time.ends_with('Z') && warning.starts_with("warning: --keep-dead"), "{line}");
    harness.enqueue("q", "bad", "b-1", &["--base-delay", "1s"]);
    let line = worker.wait_for("attempt failed");
    assert!(line.contains("job=b-1 kind=\"bad\" attempt=1 code=NETWORK_ERROR reason=\""), "{line}");
    assert!(line.contains(" verdict=retry delay_ms=") && !line.contains(" {"), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    harness.enqueue("q", "good", "g-1", &[]);
    let line = worker.wait_for("g-1");
    assert!(line.contains(" verdict=complete") && !line.contains("delay_ms"), "{line}");
}

#[test]
fn a_log_filter_that_cannot_be_read_is_not_ignored() {
    // A word that is no level, taken for a target, would silence the warnings of everything else.
    for (filter, wrong) in [
        ("retraced=loud", "error parsing level filter"),
        ("warning", "\"warning\" is no level"),
        ("warn,verbose", "\"verbose\" is no level"),
        ("info , loud", "\"loud\" is no level"),
        ("warn;retraced=info", "\"warn;retraced\" is no target"),
        ("warn,retraced=", "\"retraced=\" has no level"),
        ("warn,retraced::cli=off", "retraced::cli cannot be filtered"),
        ("warn,retraced:attempts=debug", "\"retraced:attempts\" is no target"),
        ("warn,=info", "\"\" is no target"),
        (
            "warn,retraced::atempts=debug",
            "\"retraced::atempts\" is no target of this program, which has retraced, retraced::attempts",
        ),
    ] {
        let mut command = retraced();
        command.args(["work", "q", "--webhook", "https://h.example/"]).env("RETRACED_LOG", filter);
        let finished = finish(command, harness::COMMAND_MAX);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        let refused = format!("RETRACED_LOG is {filter:?}, which is no log filter");
        assert!(finished.stderr.contains(&refused) && finished.stderr.contains(wrong), "{finished:?}");
    }
}

/// The targets that the log lines and spans in this file or folder name.
fn targets(path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.filter(|path| !path.ends_with("tests")).for_each(|path| targets(&path, found));
    }
    if path.extension().is_some_and(|extension| extension == "rs") {
        let text = std::fs::read_to_string(path).unwrap();
        found.extend(text.split("target: \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
}

#[test]
fn no_target_of_the_log_and_no_empty_filter_is_refused() {
    let mut found = BTreeSet::new();
    for folder in ["jobs", "actors", "src", "cli"] {
        targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder), &mut found);
    }
    // The worker's own messages are always printed.
    assert!(found.remove("retraced::cli") && found.contains("retraced::attempts"), "{found:?}");
    let words: Vec<String> = found.iter().map(|target| format!("{target}=debug")).collect();
    for filter in [words.join(","), " , ".to_owned(), String::new()] {
        let mut command = retraced();
        command.args(["work", "q", "--webhook", "https://h.example/"]).env("RETRACED_LOG", &filter);
        command.env("RETRACED_REDIS_URL", "redis://127.0.0.1:1");
        let finished = finish(command, harness::COMMAND_MAX);
        assert_eq!(finished.status, Some(1), "{filter:?}: {finished:?}");
    }
}
