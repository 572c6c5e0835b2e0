//! `retraced bench` as its users run it: the built binary on a Redis of its own. Tests check that each figure is there, not its value.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::redis_server::RedisServer;
use support::{Finished, finish, finished, without_settings};

/// Longest any run may take on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(300);
const COSTS: [&str; 4] = ["worker_cpu", "redis_cpu", "redis_calls", "redis_reads"];

fn bench(redis: &str, arguments: &[&str]) -> Command {
    let mut command = without_settings(env!("CARGO_BIN_EXE_retraced"));
    command.arg("bench").args(arguments).env("RETRACED_REDIS_URL", redis).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn run(server: &RedisServer, arguments: &[&str]) -> Finished {
    finish(bench(&server.url(), arguments), RUN_MAX)
}

fn keys(server: &RedisServer) -> BTreeSet<String> {
    redis::cmd("KEYS").arg("*").query(&mut server.connection()).unwrap()
}

/// The records of a run with `--json`, after their shape was checked.
fn records(server: &RedisServer, arguments: &[&str]) -> Vec<Value> {
    let finished = run(server, &[arguments, &["--json"]].concat());
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let records: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for record in &records {
        let fields: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["concurrency", "jobs", "metric", "peer", "unit", "value"], "{record}");
        assert!(["retraced", "floor"].contains(&record["peer"].as_str().unwrap()), "{record}");
        assert!(record["value"].as_f64().is_some_and(|value| value >= 0.0 && value.is_finite()), "{record}");
        assert!(record["jobs"].is_u64() && record["concurrency"].is_u64(), "{record}");
    }
    records
}

fn value(records: &[Value], peer: &str, metric: &str) -> f64 {
    let found = records.iter().find(|record| record["peer"] == peer && record["metric"] == metric);
    found.unwrap_or_else(|| panic!("no {metric} of {peer}: {records:?}"))["value"].as_f64().unwrap()
}

/// Metric, concurrency and unit of each record of one side, in order.
fn listed(records: &[Value], peer: &str) -> Vec<(String, u64, String)> {
    let of = records.iter().filter(|record| record["peer"] == peer);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    of.map(|r| (text(&r["metric"]), r["concurrency"].as_u64().unwrap(), text(&r["unit"]))).collect()
}

fn with_costs(expected: &mut Vec<(String, u64, String)>, name: &str, concurrency: u64, metrics: &[(&str, &str)]) {
    expected.push((name.into(), concurrency, metrics[0].1.into()));
    let units = ["s/100k jobs", "s/100k jobs", "calls/job", "socket reads/job"];
    let prefix = name.trim_end_matches("_total");
    let more = metrics[1..].iter().filter(|(_, unit)| *unit == "attempts/s");
    expected.extend(more.map(|(metric, unit)| ((*metric).into(), concurrency, (*unit).into())));
    expected.extend(COSTS.iter().zip(units).map(|(cost, unit)| (format!("{prefix}_{cost}"), concurrency, unit.into())));
    let more = metrics[1..].iter().filter(|(_, unit)| *unit != "attempts/s");
    expected.extend(more.map(|(metric, unit)| ((*metric).into(), concurrency, (*unit).into())));
}

#[test]
fn enqueue_drain_and_retry_are_measured_on_both_sides_and_the_database_is_empty_again() {
    let server = RedisServer::start();
    let only = ["--only", "enqueue", "--only", "redis_memory", "--only", "drain", "--only", "retry"];
    let records = records(&server, &[&["--floor", "--jobs", "500", "--rounds", "1"], &only[..]].concat());
    for (peer, drains) in [("retraced", [1, 10, 100]), ("floor", [4, 4, 4])] {
        let mut expected = Vec::new();
        with_costs(&mut expected, "enqueue_one", 1, &[("", "jobs/s")]);
        with_costs(&mut expected, "enqueue_inflight10", 10, &[("", "jobs/s")]);
        with_costs(&mut expected, "enqueue_inflight100", 100, &[("", "jobs/s")]);
        with_costs(&mut expected, "enqueue_bulk100", 1, &[("", "jobs/s"), ("redis_memory", "bytes/job")]);
        for executors in drains {
            let peak: &[_] = if cfg!(target_os = "linux") { &[("drain_rss_peak", "MiB")] } else { &[] };
            with_costs(&mut expected, "drain", executors, &[&[("", "jobs/s")], peak].concat());
        }
        let busy = if peer == "retraced" { 100 } else { 4 };
        with_costs(&mut expected, "retry_total", busy, &[("", "s"), ("retry_attempts", "attempts/s")]);
        assert_eq!(listed(&records, peer), expected);
    }
    assert!(records.iter().all(|record| record["jobs"] == 500));
    // The floor sends two commands per job, which checks the counters.
    let floor_calls =
        records.iter().find(|r| r["peer"] == "floor" && r["metric"] == "enqueue_one_redis_calls").unwrap();
    assert!((2.0..2.1).contains(&floor_calls["value"].as_f64().unwrap()), "{floor_calls}");
    assert_eq!(keys(&server), BTreeSet::new());
}

#[test]
fn latency_and_lateness_are_measured_on_both_sides() {
    let server = RedisServer::start();
    let only = ["--only", "latency", "--only", "delayed_lateness"];
    let records = records(&server, &[&["--floor", "--jobs", "100", "--rounds", "1"], &only[..]].concat());
    for (peer, idle, busy) in [("retraced", 10, 100), ("floor", 4, 4)] {
        let ranks = |name: &str, at: u64| {
            ["p50", "p95", "p99", "max"].map(|rank| (format!("{name}_{rank}"), at, "ms".to_owned()))
        };
        assert_eq!(listed(&records, peer), [ranks("latency", idle), ranks("delayed_lateness", busy)].concat());
        let values: Vec<_> =
            records.iter().filter(|r| r["peer"] == peer).map(|r| r["value"].as_f64().unwrap()).collect();
        assert!(values.chunks(4).all(<[f64]>::is_sorted), "{values:?}");
    }
    assert_eq!(keys(&server), BTreeSet::new());
}

#[test]
fn workers_that_drain_one_queue_together_are_measured_together() {
    let server = RedisServer::start();
    let only = ["--only", "drain", "--concurrency", "10", "--workers", "2", "--round-trip-ms", "1"];
    let records = records(&server, &[&["--floor", "--jobs", "10000", "--rounds", "1"], &only[..]].concat());
    for (peer, executors) in [("retraced", 10), ("floor", 4)] {
        let units = [
            ("drain", "jobs/s"),
            ("drain_share_min", "of even"),
            ("drain_worker_cpu", "s/100k jobs"),
            ("drain_redis_cpu", "s/100k jobs"),
            ("drain_redis_calls", "calls/job"),
            ("drain_redis_reads", "socket reads/job"),
            ("drain_rss_peak", "MiB"),
        ];
        let is_reported = |metric: &str| cfg!(target_os = "linux") || metric != "drain_rss_peak";
        let expected = units.iter().filter(|(metric, _)| is_reported(metric));
        let expected: Vec<_> = expected.map(|(metric, unit)| ((*metric).into(), executors, (*unit).into())).collect();
        assert_eq!(listed(&records, peer), expected);
        // The drain ends when the counts of both workers add up to all jobs. If both worked, the smaller share is above 0 and at most even.
        let share = value(&records, peer, "drain_share_min");
        assert!(share > 0.0 && share <= 1.0, "{share}");
        assert!(value(&records, peer, "drain_worker_cpu") > 0.0);
    }
    assert_eq!(keys(&server), BTreeSet::new());
}

#[test]
fn an_added_round_trip_applies_to_the_measured_processes() {
    let server = RedisServer::start();
    let only = ["--only", "latency_p50", "--only", "enqueue_one", "--round-trip-ms", "20"];
    let records = records(&server, &[&["--floor", "--jobs", "100", "--rounds", "1"], &only[..]].concat());
    for peer in ["retraced", "floor"] {
        let (latency, enqueued) = (value(&records, peer, "latency_p50"), value(&records, peer, "enqueue_one"));
        assert!(latency >= 20.0, "{peer}: {latency} ms");
        assert!(enqueued <= 50.0, "{peer}: {enqueued} jobs/s");
    }
    assert_eq!(keys(&server), BTreeSet::new());
}

#[test]
fn an_idle_worker_is_measured_and_has_no_floor() {
    let server = RedisServer::start();
    let records = records(&server, &["--floor", "--rounds", "1", "--only", "idle"]);
    let units = [("idle_worker_cpu", "% of a core"), ("idle_redis_calls", "calls/s")];
    let expected: Vec<_> = units.iter().map(|(metric, unit)| ((*metric).into(), 10, (*unit).into())).collect();
    assert_eq!(listed(&records, "retraced"), expected);
    assert_eq!(records.len(), 2);
    // Each of the hundred queues is polled from time to time, and those calls are counted.
    assert!(value(&records, "retraced", "idle_redis_calls") > 10.0);
    assert_eq!(keys(&server), BTreeSet::new());
}

#[test]
fn a_database_that_is_not_empty_is_refused_and_left_alone_unless_that_is_allowed() {
    let server = RedisServer::start();
    let mut connection = server.connection();
    redis::cmd("SADD").arg("retraced:queues").arg("email").exec(&mut connection).unwrap();
    redis::cmd("SET").arg("mine").arg("1").exec(&mut connection).unwrap();
    let arguments = ["--jobs", "500", "--rounds", "1", "--only", "drain", "--concurrency", "10"];
    let refused = run(&server, &arguments);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    for phrase in ["not empty", "2 keys", "--allow-nonempty"] {
        assert!(refused.stderr.contains(phrase), "{phrase} is not in {refused:?}");
    }
    assert_eq!(keys(&server), ["mine", "retraced:queues"].map(str::to_owned).into());

    let done = run(&server, &[&arguments[..], &["--allow-nonempty", "--retention"]].concat());
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(keys(&server), ["mine", "retraced:ledger", "retraced:queues"].map(str::to_owned).into());
    let queues: Vec<String> = redis::cmd("SMEMBERS").arg("retraced:queues").query(&mut connection).unwrap();
    assert_eq!(queues, ["email"]);
}

#[test]
fn people_get_a_table_with_the_ratio_and_documents_get_markdown() {
    let server = RedisServer::start();
    let only = ["--jobs", "500", "--rounds", "2", "--only", "enqueue_one_redis_calls", "--only", "redis_memory"];
    let table = run(&server, &[&only[..], &["--floor", "--workers", "2", "--round-trip-ms", "1"]].concat());
    assert_eq!(table.status, Some(0), "{table:?}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = table.stdout.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines[0].starts_with("ReTraced ") && lines[0].ends_with("median of rounds: 2"), "{}", lines[0]);
    assert!(lines[0].contains(" · 2 workers drain · Redis 1 ms away · "), "{}", lines[0]);
    assert_eq!(lines[1].trim_end(), lines[1]);
    assert_eq!(words(lines[1]).join(" "), "METRIC CONCURRENCY JOBS RETRACED SPREAD % FLOOR RATIO UNIT");
    assert_eq!(words(lines[2])[..3], ["enqueue_one_redis_calls", "1", "500"]);
    assert_eq!(words(lines[3])[..3], ["redis_memory", "1", "500"]);
    let cells = words(lines[2]);
    let number = |at: usize| cells[at].parse::<f64>().unwrap();
    assert!((number(3) / number(5) - number(6)).abs() < 0.02 * number(6), "{cells:?}");
    assert_eq!(lines.len(), 4);

    let document = run(&server, &[&only[..], &["--markdown"]].concat());
    let lines: Vec<_> = document.stdout.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        lines[1..3],
        ["| metric | concurrency | jobs | retraced | spread % | unit |", "|---|--:|--:|--:|--:|---|"]
    );
    assert!(lines[3].starts_with("| `enqueue_one_redis_calls` | 1 | 500 | "), "{document:?}");
}

#[test]
fn invalid_options_are_refused_before_redis_is_asked() {
    for (arguments, phrase) in [
        (&["--only", "throughput"][..], "enqueue_one"),
        (&["--jobs", "1"], "100..=10000000"),
        (&["--rounds", "0"], "1..=100"),
        (&["--concurrency", "0"], "1..=10000"),
        (&["--workers", "0"], "1..=16"),
        (&["--workers", "17"], "1..=16"),
        (&["--round-trip-ms", "1001"], "0..=1000"),
        (&["--only", "drain_share_min"], "drain_share_min"),
        (&["--json", "--markdown"], "--markdown"),
    ] {
        let refused = finish(bench("redis://127.0.0.1:1", arguments), RUN_MAX);
        assert_eq!(refused.status, Some(2), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains(phrase), "{phrase} is not in {refused:?}");
    }
}

/// Stops a long run after its first figure, and checks that its keys are removed.
#[test]
fn a_run_that_is_stopped_leaves_the_database_empty() {
    let several_workers = ["--only", "drain", "--concurrency", "10", "--workers", "2"];
    for (signal, only, metric) in [
        ("-INT", &["--only", "retry_total"][..], "retry_total"),
        ("-TERM", &["--only", "retry_total"], "retry_total"),
        ("-TERM", &several_workers, "drain"),
    ] {
        let server = RedisServer::start();
        let mut command = bench(&server.url(), &[&["--json", "--rounds", "100", "--jobs", "2000"], only].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        assert!(first.contains(metric), "{first}");
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        child.stdout = Some(stdout.into_inner());
        let ended = finished(child, RUN_MAX);
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("stopped before everything was measured"), "{ended:?}");
        assert_eq!(keys(&server), BTreeSet::new());
    }
}
