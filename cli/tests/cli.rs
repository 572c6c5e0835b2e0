//! The command line as its users run it: the built binary, a Redis of its own, and webhooks on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use harness::{COMMAND_MAX, EVENT_MAX, Harness, objects, retraced};
use hook::{Hook, response};
use retraced::{Code, Context, Failure, Queue, RawJob, RedisStore, Runtime};
use serde_json::{Value, json};
use support::redis_server::RedisServer;
use support::{Finished, eventually, finish, finished};

#[test]
fn enqueue_prints_one_object_per_job_and_reports_an_id_that_exists() {
    let harness = Harness::new();
    let job = ["enqueue", "q", "--kind", "k", "--payload", "{\"big\":18446744073709551615}", "--id", "a-1"];
    assert_eq!(
        harness.one(&job),
        json!({"id": "a-1", "queue": "q", "created": true, "state": "pending", "workers": 0})
    );
    assert_eq!(
        harness.one(&job),
        json!({"id": "a-1", "queue": "q", "created": false, "state": "pending", "workers": 0})
    );
    let later = harness.one(&["enqueue", "q", "--kind", "k", "--payload", "1", "--delay", "1h"]);
    assert_eq!((&later["created"], &later["state"]), (&json!(true), &json!("delayed")));
    let shown = harness.one(&["job", "show", "q", "a-1"]);
    assert_eq!(shown["payload"], json!({"big": u64::MAX}));
}

#[test]
fn a_queue_is_listed_after_its_first_enqueue() {
    let harness = Harness::new();
    assert_eq!(harness.json(&["queues"]), Vec::<Value>::new());
    harness.enqueue("q", "k", "a-1", &[]);
    let listed = harness.one(&["queues"]);
    assert_eq!((&listed["queue"], &listed["pending"]), (&json!("q"), &json!(1)));
}

#[test]
fn a_job_is_shown_with_the_fields_of_its_contract() {
    let harness = Harness::new();
    let retry = ["--max-attempts", "7", "--strategy", "linear", "--base-delay", "250ms", "--factor", "3"];
    let bounds = ["--max-delay", "5m", "--jitter", "0", "--immediate-tries", "2", "--at", "2099-01-31T08:00:00+01:00"];
    harness.enqueue("q", "mail.send", "a-1", &[&retry[..], &bounds].concat());
    let shown = harness.one(&["job", "show", "q", "a-1"]);
    for (field, value) in [
        ("id", json!("a-1")),
        ("queue", json!("q")),
        ("kind", json!("mail.send")),
        ("state", json!("delayed")),
        ("attempts", json!(0)),
        ("failures", json!(0)),
        ("crashes", json!(0)),
        ("releases", json!(0)),
        ("max_attempts", json!(7)),
        ("due_at", json!("2099-01-31T07:00:00.000Z")),
        ("last_error", Value::Null),
        ("payload", json!({"n": 1})),
        ("history", json!([])),
    ] {
        assert_eq!(shown[field], value, "{field} of {shown}");
    }
    let enqueued = shown["enqueued_at"].as_str().unwrap();
    assert!(enqueued.len() == "2099-01-31T07:00:00.000Z".len() && enqueued.ends_with('Z'), "{enqueued}");
    let expected = json!({"strategy": "linear", "max_attempts": 7, "base_ms": 250, "factor": 3, "max_ms": 300_000, "jitter": 0, "immediate_tries": 2});
    assert_eq!(shown["retry"], expected);
}

#[test]
fn jobs_are_listed_page_by_page() {
    let harness = Harness::new();
    for n in 1..=5 {
        harness.enqueue("q", "k", &format!("a-{n}"), &[]);
    }
    let list = ["jobs", "q", "--state", "pending", "--json"];
    let first = harness.run(&[&list[..], &["--limit", "3"]].concat());
    let ids = |finished: &Finished| -> Vec<String> {
        objects(&finished.stdout).iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&first), ["a-1", "a-2", "a-3"]);
    let cursor = first.stderr.trim().rsplit(' ').next().unwrap();
    let rest = harness.run(&[&list[..], &["--cursor", cursor]].concat());
    assert_eq!(ids(&rest), ["a-4", "a-5"]);
    assert!(rest.stderr.is_empty(), "{rest:?}");
}

#[test]
fn jobs_are_cancelled_and_retried_and_refusals_are_reported() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a-1", &["--delay", "1h"]);
    let act = |verb: &str, id: &str| {
        let finished = harness.run(&["job", verb, "q", id, "--json"]);
        (finished.status, objects(&finished.stdout))
    };
    let moved = |from: &str, to: &str| {
        (Some(0), vec![json!({"id": "a-1", "queue": "q", "result": "moved", "from": from, "state": to})])
    };
    assert_eq!(act("cancel", "a-1"), moved("delayed", "cancelled"));
    let (status, refused) = act("cancel", "a-1");
    assert_eq!(
        (status, &refused[0]["result"], &refused[0]["state"]),
        (Some(1), &json!("refused"), &json!("cancelled"))
    );
    assert_eq!(act("retry", "a-1"), moved("cancelled", "pending"));
    let (status, missing) = act("retry", "nope");
    assert_eq!((status, &missing[0]["result"]), (Some(1), &json!("not_found")));
    for command in [["job", "show"].as_slice(), &["trace"]] {
        let finished = harness.run(&[command, &["q", "nope"]].concat());
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("queue q: no job nope is kept"), "{finished:?}");
    }
}

#[test]
fn a_job_is_found_by_its_id_alone() {
    let harness = Harness::new();
    for queue in ["q", "sms", "email"] {
        harness.enqueue(queue, "k", if queue == "sms" { "b-1" } else { "a-1" }, &[]);
    }
    let found = harness.json(&["job", "find", "a-1"]);
    let place = |row: &Value| (row["queue"].clone(), row["id"].clone(), row["state"].clone());
    let expected = ["email", "q"].map(|queue| (json!(queue), json!("a-1"), json!("pending")));
    assert_eq!(found.iter().map(place).collect::<Vec<_>>(), expected);
    assert!(harness.run(&["job", "find", "b-1"]).stdout.contains("sms"));
    let unknown = harness.run(&["job", "find", "c-1"]);
    assert_eq!((unknown.status, unknown.stdout.as_str()), (Some(1), ""), "{unknown:?}");
    assert!(unknown.stderr.contains("no job c-1 is kept"), "{unknown:?}");
}

#[test]
fn a_queue_is_paused_resumed_and_counted() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a-1", &[]);
    let pause = |verb: &str| harness.one(&["queue", verb, "q"]);
    assert_eq!(harness.one(&["queue", "stats", "q"])["paused_by"], json!(null));
    let first = harness.one(&["queue", "pause", "q", "--by", "ada\u{1b}[31m"]);
    assert_eq!(first, json!({"queue": "q", "paused": true, "changed": true}));
    let again = pause("pause");
    let since = again["paused_since"].as_str().unwrap();
    assert_eq!((&again["paused"], &again["changed"]), (&json!(true), &json!(false)), "{again}");
    let said = harness.run(&["queue", "pause", "q"]).stdout;
    assert_eq!(said, format!("queue q is already paused by ada\\u{{1b}}[31m since {since}\n"));
    let stats = harness.one(&["queue", "stats", "q"]);
    for (field, value) in [
        ("queue", json!("q")),
        ("paused", json!(true)),
        ("paused_by", json!("ada\u{1b}[31m")),
        ("pending", json!(1)),
        ("processing", json!(0)),
        ("delayed", json!(0)),
        ("completed", json!(0)),
        ("completed_kept", json!(0)),
        ("dead", json!(0)),
        ("poisoned", json!(0)),
        ("cancelled", json!(0)),
    ] {
        assert_eq!(stats[field], value, "{field} of {stats}");
    }
    assert!(stats["oldest_pending_ms"].is_u64(), "{stats}");
    let since = stats["paused_since"].as_str().unwrap().to_owned();
    assert_eq!(harness.one(&["queues"])["paused_since"], since);
    // Whoever reads that a queue is paused reads also by whom and since when, with control characters escaped.
    let name = r"ada\u{1b}[31m";
    let said = format!("paused by {name} since {since}");
    let shown = harness.run(&["queues"]).stdout;
    assert!(shown.contains(&said), "{shown:?}");
    let shown = harness.run(&["queue", "stats", "q"]).stdout;
    for (label, value) in [("paused by", name), ("paused since", &since)] {
        let told = |line: &str| line.trim_start().strip_prefix(label).is_some_and(|rest| rest.trim() == value);
        assert!(shown.lines().any(told), "{label}: {shown:?}");
    }
    let note = harness.run(&["enqueue", "q", "--kind", "k", "--payload", "1"]).stderr;
    assert!(note.contains(&format!("queue q is {said}: its jobs wait until")), "{note:?}");
    assert_eq!(pause("resume"), json!({"queue": "q", "paused": false, "changed": true}));
    assert_eq!(harness.one(&["queues", "--rates-over", "100ms"])["completed_per_s"], json!(0.0));
}

#[test]
fn a_file_with_an_invalid_line_stores_nothing_and_the_line_is_named() {
    let harness = Harness::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.jsonl");
    let path = path.to_str().unwrap();
    let mut lines: Vec<String> =
        (1..=100).map(|n| format!("{{\"kind\":\"k\",\"payload\":{{\"n\":{n}}},\"id\":\"a-{n}\"}}")).collect();
    lines[6] = "{\"kind\":\"k\",\"payload\":}".into();
    std::fs::write(path, lines.join("\n")).unwrap();
    let refused = harness.run(&["enqueue", "q", "--from", path, "--json"]);
    assert_eq!((refused.status, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains(&format!("line 7 of {path}: expected value at column 23")), "{refused:?}");
    assert!(refused.stderr.contains("nothing was enqueued"), "{refused:?}");
    assert_eq!(harness.json(&["queues"]), Vec::<Value>::new());

    lines[6] = "{\"kind\":\"k\",\"payload\":[],\"delay_ms\":60000,\"max_attempts\":2,\"retry\":{\"base_ms\":5}}".into();
    std::fs::write(path, lines.join("\n")).unwrap();
    assert_eq!(harness.json(&["enqueue", "q", "--from", path]).len(), 100);
    let stats = harness.one(&["queue", "stats", "q"]);
    assert_eq!((&stats["pending"], &stats["delayed"]), (&json!(99), &json!(1)));
}

#[test]
fn standard_input_is_enqueued_as_it_arrives_and_what_is_stored_is_reported() {
    let harness = Harness::new();
    let mut command = harness.command(&["enqueue", "q", "--from", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"kind\":\"k\",\"payload\":1,\"id\":\"early\"}\n").unwrap();
    let deadline = Instant::now() + EVENT_MAX;
    while harness.run(&["job", "show", "q", "early"]).status != Some(0) {
        assert!(Instant::now() < deadline, "the line was not enqueued before the next one arrived");
    }
    stdin.write_all(b"{\"kind\":\"k\",\"payload\":1}\n\n{\"kind\":\"k\",\"payload\":1,\"id\":\"early\"}\n{\"kind\":\"k\"}\n{\"kind\":\"k\",\"payload\":1}\n").unwrap();
    drop(stdin);
    let finished = finished(child, COMMAND_MAX);
    assert_eq!(finished.status, Some(1));
    let phrase = "line 5 of standard input: missing field `payload`";
    assert!(finished.stderr.contains(phrase), "{finished:?}");
    assert!(finished.stderr.contains("stored before that: 2 jobs, up to line 4; 1 existed already"), "{finished:?}");
    assert_eq!(harness.one(&["queue", "stats", "q"])["pending"], json!(2));
}

#[test]
fn a_refused_job_is_reported_without_a_count_and_those_of_a_file_with_one() {
    let harness = Harness::new();
    // The key of the pending jobs has another type, so the store refuses every job.
    redis::cmd("SET").arg("retraced:{q}:pending").arg("x").exec(&mut harness.redis.connection()).unwrap();
    let one = harness.run(&["enqueue", "q", "--kind", "k", "--payload", "1"]);
    assert_eq!(one.status, Some(1), "{one:?}");
    assert!(
        one.stderr.starts_with("error: the store did not confirm the job, ") && !one.stderr.contains("of 1"),
        "{one:?}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"kind\":\"k\",\"payload\":1}\n").unwrap();
    let many = harness.run(&["enqueue", "q", "--from", file.path().to_str().unwrap()]);
    assert_eq!(many.stderr, format!("{}; stored before that: nothing\n", one.stderr.trim_end()));
}

#[test]
fn invalid_options_are_usage_errors_before_redis_is_asked() {
    let job = |more: &[&'static str]| [&["enqueue", "q", "--kind", "k", "--payload", "1"], more].concat();
    let work = |more: &[&'static str]| [&["work", "--webhook", "http://localhost/"], more].concat();
    for (arguments, phrase) in [
        (vec![], "Usage"),
        (vec!["nonsense"], "unrecognized subcommand"),
        (vec!["jobs", "a b", "--state", "dead"], "invalid queue name"),
        (vec!["jobs", "q", "--state", "asleep"], "possible values: pending, processing"),
        (vec!["jobs", "q", "--state", "dead", "--limit", "0"], "0 is not in 1.."),
        (vec!["enqueue", "q", "--kind", "k", "--payload", "{x"], "not JSON"),
        (vec!["enqueue", "q", "--payload", "1"], "--kind"),
        (vec!["enqueue", "q", "--from", "f", "--kind", "k"], "cannot be used with"),
        (job(&["--max-attempts", "0"]), "max attempts is 0, allowed are 1 to 1000"),
        (job(&["--jitter", "101"]), "jitter in percent is 101"),
        (job(&["--factor", "0"]), "factor is 0"),
        (job(&["--max-delay", "0s"]), "max delay in ms is 0"),
        (job(&["--delay", "10"]), "the unit is missing"),
        (job(&["--delay", "9999999d"]), "it ends after 9999-12-30T22:00:00Z"),
        (job(&["--delay", "1s", "--at", "2030-01-01T00:00:00Z"]), "cannot be used with"),
        (job(&["--at", "tomorrow"]), "RFC 3339"),
        (job(&["--id", "a b"]), "invalid job id"),
        (work(&[]), "<QUEUE[=CONCURRENCY]>..."),
        (work(&["q=0"]), "concurrency must be 1 to 10000"),
        (work(&["q", "q=2"]), "queue q was given twice"),
        (work(&["q", "--lease", "1ms"]), "must be between 300ms and 1h"),
        (work(&["q", "--timeout", "0s"]), "must be between 10ms and 1h"),
        (work(&["q", "--shutdown-grace", "2h"]), "must be between 0ms and 1h"),
        (vec!["dead", "discard", "q"], "required"),
        (vec!["dead", "discard", "q", "--all", "--code", "TIMEOUT"], "cannot be used with"),
        (vec!["dead", "list", "q", "--code", "BORED"], "possible values: INVALID_JOB_DATA"),
    ] {
        let mut command = retraced();
        command.args(&arguments).env("RETRACED_REDIS_URL", "redis://127.0.0.1:1");
        let finished = finish(command, COMMAND_MAX);
        assert_eq!(finished.status, Some(2), "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(phrase), "{arguments:?}: {finished:?}");
    }
}

#[test]
fn secrets_of_urls_are_never_printed() {
    let server = RedisServer::start_with(&["--requirepass", "right-secret"]);
    let wrong = server.url_with_password("wrong-secret");
    let stats = ["queue", "stats", "q"].as_slice();
    let work = ["work", "q", "--webhook"];
    for (redis, arguments, status, phrase) in [
        (wrong.as_str(), stats, Some(1), "check user and password"),
        (&server.url(), stats, Some(1), "check user and password"),
        ("redis://:a-secret@127.0.0.1:1", stats, Some(1), "127.0.0.1:1"),
        ("redis//a-secret", stats, Some(2), "redis://[user:password@]host"),
        ("redis://:a-secret@127.0.0.1:1", &["--help"], Some(0), "RETRACED_REDIS_URL"),
        (
            "redis://127.0.0.1:1",
            &[&work[..], &["http://me:a-secret@:99999/?t=a-secret"]].concat(),
            Some(2),
            "--webhook",
        ),
        ("redis://127.0.0.1:1", &[&work[..], &["ftp://me:a-secret@x/"]].concat(), Some(2), "--webhook"),
    ] {
        let mut command = retraced();
        command.args(arguments).env("RETRACED_REDIS_URL", redis);
        let finished = finish(command, COMMAND_MAX);
        let printed = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.status, status, "{printed}");
        assert!(printed.contains(phrase) && !printed.contains("secret"), "{printed}");
    }
}

#[test]
fn an_unreachable_redis_is_reported_with_its_address_and_a_remedy() {
    let mut command = retraced();
    command.args(["queues", "--redis", "redis://127.0.0.1:1"]);
    let finished = finish(command, Duration::from_secs(10));
    assert_eq!((finished.status, finished.stdout.as_str()), (Some(1), ""));
    for phrase in ["127.0.0.1:1", "Connection refused", "start it", "--redis URL or RETRACED_REDIS_URL"] {
        assert!(finished.stderr.contains(phrase), "{finished:?}");
    }
}

/// A server that gives this answer to whatever it is sent, also to several commands at once; none if it is empty. Returns its URL.
fn server_that_answers(answer: &str) -> String {
    let answers = answer.repeat(16);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, answers) = (connection.unwrap(), answers.clone());
            std::thread::spawn(move || {
                let mut read = [0; 4096];
                while connection.read(&mut read).is_ok_and(|n| n > 0) {
                    if connection.write_all(answers.as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn nobody_is_told_to_start_a_server_that_runs() {
    for (answer, remedy) in [
        ("", "it may be frozen"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "this is no answer of a Redis server: check the address"),
        ("-CLUSTERDOWN Hash slot not served\r\n", "it is a node of a Redis Cluster"),
    ] {
        let mut command = retraced();
        command.args(["queues", "--redis", &server_that_answers(answer)]);
        let finished = finish(command, COMMAND_MAX);
        assert_eq!((finished.status, finished.stdout.as_str()), (Some(1), ""));
        assert!(finished.stderr.contains(remedy) && !finished.stderr.contains("start it"), "{answer:?}: {finished:?}");
    }
}

#[test]
fn what_a_server_says_before_it_closes_the_connection_is_not_lost() {
    // Redis says this as soon as it accepts a connection, and closes it without reading anything.
    let said = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set. To connect,\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            // It may be closed already.
            let _ = connection.unwrap().write_all(said.as_bytes());
        }
    });
    let full = Harness::new();
    let raw = full.redis.connection();
    full.redis.set("maxclients", "1");
    for (url, words) in [
        (
            url,
            "says: DENIED Redis is running in protected mode because protected mode is enabled and no password is set;",
        ),
        (full.redis.url(), "says: ERR max number of clients reached"),
    ] {
        let mut command = retraced();
        command.args(["queues", "--redis", &url]);
        let finished = finish(command, COMMAND_MAX);
        assert!(finished.status == Some(1) && finished.stderr.contains(words), "{finished:?}");
    }
    drop(raw);
}

#[test]
fn dead_letters_are_listed_shown_redriven_and_discarded() {
    let harness = Harness::new();
    let hook = Hook::start(|request| response(if request.kind() == "poison" { 422 } else { 500 }, "", ""));
    let worker = harness.worker(&hook.url(), &[]);
    for (kind, id) in [("poison", "p-1"), ("poison", "p-2"), ("dead", "d-1"), ("dead", "d-2")] {
        harness.enqueue("q", kind, id, &["--max-attempts", "1"]);
        harness.wait_for_state("q", id, if kind == "poison" { "poisoned" } else { "dead" });
    }
    drop(worker);
    let ids = |objects: Vec<Value>| {
        let mut ids: Vec<_> = objects.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    harness.enqueue("q", "k", "waiting", &[]);
    assert_eq!(ids(harness.json(&["dead", "list", "q"])), ["d-1", "d-2", "p-1", "p-2"]);
    assert_eq!(ids(harness.json(&["dead", "list", "q", "--code", "INVALID_JOB_DATA"])), ["p-1", "p-2"]);
    assert_eq!(harness.one(&["dead", "show", "q", "--id", "d-1"])["last_error"]["code"], json!("SERVICE_UNAVAILABLE"));
    let redriven = harness.one(&["dead", "redrive", "q", "d-1"]);
    assert_eq!(redriven, json!({"id": "d-1", "queue": "q", "result": "moved", "from": "dead", "state": "pending"}));
    assert_eq!(harness.one(&["job", "show", "q", "d-1"])["failures"], json!(0));
    assert_eq!(ids(harness.json(&["dead", "redrive", "q", "--code", "INVALID_JOB_DATA"])), ["p-1", "p-2"]);

    let refused = harness.run(&["dead", "discard", "q", "--id", "waiting", "--id", "nope", "--json"]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    let results: Vec<_> = objects(&refused.stdout).iter().map(|job| job["result"].clone()).collect();
    assert_eq!(results, [json!("refused"), json!("not_found")]);

    let discarded = harness.one(&["dead", "discard", "q", "--all"]);
    assert_eq!(discarded, json!({"id": "d-2", "queue": "q", "result": "removed", "from": "dead", "state": null}));
    let stats = harness.one(&["queue", "stats", "q"]);
    assert_eq!((&stats["pending"], &stats["dead"], &stats["poisoned"]), (&json!(4), &json!(0), &json!(0)));
}

/// A webhook that responds only when the test allows it.
fn held_hook() -> (Hook, Arc<(Mutex<bool>, Condvar)>) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let held = gate.clone();
    let hook = Hook::start(move |_| {
        let open = held.1.wait_timeout_while(held.0.lock().unwrap(), EVENT_MAX, |open| !*open).unwrap();
        drop(open);
        response(200, "", "{\"success\":true}")
    });
    (hook, gate)
}

fn wait_for_request(hook: &Hook) {
    let deadline = Instant::now() + EVENT_MAX;
    while hook.requests().is_empty() {
        assert!(Instant::now() < deadline, "the webhook was not called");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_job_that_a_worker_holds_is_shown_with_its_holder_and_cancellation_is_requested_of_it() {
    let harness = Harness::new();
    let (hook, _gate) = held_hook();
    let worker = harness.worker(&hook.url(), &["--timeout", "60s"]);
    harness.enqueue("q", "k", "a-1", &[]);
    wait_for_request(&hook);
    let holder = harness.one(&["job", "show", "q", "a-1"])["held_by"].clone();
    let held = format!("worker {} as attempt 1", holder["worker"].as_str().unwrap());
    assert_eq!((&holder["attempt"], &holder["cancel_asked"]), (&json!(1), &json!(false)));
    let line = |name: &str, lines: &str| {
        let found = lines.lines().find_map(|line| line.trim().strip_prefix(name)).map(|value| value.trim().to_owned());
        found.unwrap_or_else(|| panic!("no {name:?} in {lines}"))
    };
    assert_eq!(line("held by", &harness.run(&["job", "show", "q", "a-1"]).stdout), held);
    // A frozen worker does not learn of the cancellation.
    worker.signal("-STOP");
    let cancelled = harness.run(&["job", "cancel", "q", "a-1"]);
    assert_eq!(
        (cancelled.status, line("a-1", &cancelled.stdout).as_str()),
        (Some(0), "is processing; cancellation requested")
    );
    let shown = harness.run(&["job", "show", "q", "a-1"]).stdout;
    assert_eq!(line("held by", &shown), format!("{held}, cancellation requested"));
    worker.signal("-CONT");
    harness.wait_for_state("q", "a-1", "cancelled");
}

/// Reports, and runs until its worker shuts down.
async fn import(_: RawJob, ctx: Context) -> Result<(), Failure> {
    ctx.progress(40, "40 of 100\u{1b}");
    ctx.stop_requested().await;
    Err(Failure::temporary(Code::Interrupted, "asked to stop"))
}

#[test]
fn a_running_job_never_hides_how_far_it_has_come() {
    let harness = Harness::new();
    harness.enqueue("q", "k", "a-1", &[]);
    let url = harness.redis.url();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let queue = Queue::new("q").unwrap().any_handler(import);
        let store = RedisStore::connect(&url).await.unwrap();
        let runtime = Runtime::builder().store(store).queue(queue).shutdown_grace(Duration::from_secs(1));
        let runtime = runtime.start().await.unwrap();
        let (operator, name, id) = (runtime.operator(), "q".parse().unwrap(), "a-1".parse().unwrap());
        eventually("the first report", EVENT_MAX, || async {
            let view = operator.job(&name, &id).await.unwrap();
            view.is_some_and(|view| view.running_progress().is_some())
        })
        .await;
        let listed = harness.one(&["jobs", "q", "--state", "processing"]);
        assert_eq!(
            (&listed["progress"]["percent"], &listed["progress"]["note"]),
            (&json!(40), &json!("40 of 100\u{1b}"))
        );
        let holder = &listed["held_by"];
        let (worker, claimed_at) = (holder["worker"].as_str().unwrap(), holder["claimed_at"].as_str().unwrap());
        assert!(listed["enqueued_at"].as_str().unwrap() <= claimed_at, "{listed}");
        let table = harness.run(&["jobs", "q", "--state", "processing"]).stdout;
        assert!(table.contains("PROGRESS") && table.contains("40 %: 40 of 100\\u{1b}"), "{table}");
        assert!(table.contains(claimed_at) && table.contains(&worker[worker.len() - 8..]), "{table}");
        let shown = harness.run(&["job", "show", "q", "a-1"]).stdout;
        assert!(shown.contains("40 %: 40 of 100\\u{1b} at "), "{shown}");
        let is_claim = |line: &str| line.trim().starts_with("claimed ") && line.ends_with(claimed_at);
        assert!(shown.lines().any(is_claim), "{shown}");
        let trace = harness.run(&["trace", "q", "a-1"]).stdout;
        assert!(trace.contains("it had reached 40 %: 40 of 100\\u{1b}"), "{trace}");
        runtime.shutdown().await.unwrap();
    });
    let pending = harness.run(&["jobs", "q", "--state", "pending"]).stdout;
    assert!(!pending.contains("PROGRESS"), "{pending}");
    let trace = harness.run(&["trace", "q", "a-1"]).stdout;
    assert!(trace.contains("    it reached 40 %: 40 of 100\\u{1b}"), "{trace}");
}

#[test]
fn a_first_signal_lets_running_jobs_finish() {
    for signal in ["-TERM", "-INT"] {
        let harness = Harness::new();
        let (hook, gate) = held_hook();
        let worker = harness.worker(&hook.url(), &["--timeout", "60s", "--shutdown-grace", "60s"]);
        harness.enqueue("q", "k", "a-1", &[]);
        wait_for_request(&hook);
        worker.signal(signal);
        worker.wait_for("draining: 1 job running");
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        worker.wait_for("drained: 1 of 1 job ended");
        assert_eq!(worker.ended(), Some(0));
        assert_eq!(harness.state("q", "a-1"), "completed");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, status) in [("-TERM", 143), ("-INT", 130)] {
        let harness = Harness::new();
        let (hook, _gate) = held_hook();
        let worker = harness.worker(&hook.url(), &["--timeout", "60s", "--shutdown-grace", "60s"]);
        harness.enqueue("q", "k", "a-1", &[]);
        wait_for_request(&hook);
        worker.signal(signal);
        worker.wait_for("draining");
        // An earlier one is taken for a repetition of the first.
        std::thread::sleep(Duration::from_millis(1_100));
        worker.signal(signal);
        worker.wait_for("stopped at once");
        assert_eq!(worker.ended(), Some(status));
        assert_eq!(harness.state("q", "a-1"), "processing");
    }
}

#[test]
fn a_pipe_that_closes_is_no_panic_and_stops_no_work() {
    let harness = Harness::new();
    let many: String = (1..=2_000).map(|n| format!("{{\"kind\":\"k\",\"payload\":{n}}}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.jsonl");
    std::fs::write(&path, many).unwrap();
    for arguments in [
        &["enqueue", "q", "--from", path.to_str().unwrap()][..],
        &["jobs", "q", "--state", "pending", "--limit", "2000"],
        &["--help"],
    ] {
        let mut child = harness.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Nobody reads the output.
        drop(child.stdout.replace(std::process::ChildStdout::from(closed_pipe())));
        let finished = finished(child, COMMAND_MAX);
        assert_eq!(finished.status, Some(0), "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    }
    assert_eq!(harness.one(&["queue", "stats", "q"])["pending"], json!(2_000));
}

/// An empty pipe for the helper that reads a child's output.
fn closed_pipe() -> std::os::fd::OwnedFd {
    let (reader, _) = std::io::pipe().unwrap();
    reader.into()
}

#[test]
fn an_address_in_the_environment_is_never_ignored() {
    let queues = |url: &str, more: &[&str]| {
        let mut command = retraced();
        command.arg("queues").args(more).env("RETRACED_REDIS_URL", url);
        finish(command, COMMAND_MAX)
    };
    let redis = RedisServer::start();
    assert_eq!(queues(&redis.url(), &[]).status, Some(0));
    let nobody = queues("redis://127.0.0.1:1", &[]);
    assert_eq!(nobody.status, Some(1));
    assert!(nobody.stderr.contains("127.0.0.1:1"), "{nobody:?}");
    let flag = queues("redis://127.0.0.1:1", &["--redis", &redis.url()]);
    assert_eq!(flag.status, Some(0), "a flag takes precedence over the environment: {flag:?}");
}

/// Goal: commands with different prefixes do not see each other's queues, wherever the prefix comes from.
#[test]
fn two_prefixes_on_one_server_share_no_queue() {
    let harness = Harness::new();
    harness.enqueue("email", "send", "a", &["--prefix", "shop"]);
    assert_eq!(harness.json(&["queues"]), [] as [Value; 0]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("retraced.toml"), "prefix = \"shop\"\n").unwrap();
    let mut of_file = harness.command(&["queues", "--json"]);
    of_file.current_dir(folder.path());
    let mut of_variable = harness.command(&["queues", "--json"]);
    of_variable.env("RETRACED_PREFIX", "shop");
    for command in [of_file, of_variable, harness.command(&["queues", "--json", "--prefix", "shop"])] {
        let finished = finish(command, COMMAND_MAX);
        assert_eq!(finished.status, Some(0), "{finished:?}");
        assert!(finished.stdout.contains("email"), "{finished:?}");
    }
}

/// Goal: a prefix or a parameter of the URL that cannot be honoured is refused by name, before anything is done, and quotes no secret.
#[test]
fn a_bad_prefix_or_url_parameter_is_never_ignored() {
    for (prefix, redis, told) in [
        ("", "redis://127.0.0.1:1", "invalid key prefix"),
        ("a b", "redis://127.0.0.1:1", "character 2 is ' '"),
        ("retraced:*", "redis://127.0.0.1:1", "character 9 is ':'"),
        ("a{b}", "redis://127.0.0.1:1", "character 2 is '{'"),
        ("shop", "redis://:sesame@127.0.0.1:1?db=5", "unknown parameter db; write the database behind the host"),
        ("shop", "redis://:sesame@127.0.0.1:1/5?timeout=5", "unknown parameter timeout; known here: protocol"),
        ("shop", "redis://:sesame@127.0.0.1:1#sesame", "a part after #"),
    ] {
        let mut command = retraced();
        command.args(["queues", "--prefix", prefix]).env("RETRACED_REDIS_URL", redis);
        let finished = finish(command, COMMAND_MAX);
        assert_eq!(finished.status, Some(2), "{prefix} {redis}: {finished:?}");
        assert!(finished.stderr.contains(told) && !finished.stderr.contains("sesame"), "{finished:?}");
    }
}
