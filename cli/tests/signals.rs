//! How a worker process obeys signals, also when nobody reads what it prints: the built binary, a Redis of its own, and receivers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gate::Gate;
use harness::{EVENT_MAX, Harness, Worker};
use hook::{Hook, response};
use support::without_settings;

/// Longer than the time for which a second signal to stop has no effect.
const PAST_THE_PAUSE: Duration = Duration::from_millis(1_100);

/// A receiver that answers jobs of kind `slow` when the gate opens, and refuses those of kind `bad`.
fn receiver(gate: &Gate) -> Hook {
    let gate = gate.clone();
    Hook::start(move |request| match request.kind() {
        "slow" => {
            gate.wait();
            response(200, "", "")
        }
        "bad" => response(422, "", ""),
        _ => response(200, "", ""),
    })
}

/// A worker whose job of kind `slow` is under way until the gate opens.
fn busy_worker(harness: &Harness, hook: &Hook, more: &[&str]) -> Worker {
    let worker = harness.worker(&hook.url(), more);
    harness.enqueue("q", "slow", "a-1", &[]);
    hook.wait_for_requests(1);
    worker
}

#[test]
fn two_signals_within_a_second_do_not_stop_running_jobs() {
    let (harness, gate) = (Harness::new(), Gate::default());
    let hook = receiver(&gate);
    let worker = busy_worker(&harness, &hook, &[]);
    worker.signal("-TERM");
    worker.signal("-INT");
    worker.signal("-TERM");
    worker.wait_for("draining: 1 job running");
    // Proves that the signals before it were read.
    worker.signal("-USR1");
    worker.wait_for("running: 1 job");
    gate.open();
    assert_eq!(worker.ended(), Some(0));
    assert_eq!(harness.state("q", "a-1"), "completed");
}

#[test]
fn a_second_signal_after_a_second_stops_at_once() {
    let (harness, gate) = (Harness::new(), Gate::default());
    let hook = receiver(&gate);
    let worker = busy_worker(&harness, &hook, &[]);
    worker.signal("-TERM");
    worker.wait_for("draining: 1 job running");
    std::thread::sleep(PAST_THE_PAUSE);
    worker.signal("-INT");
    worker.wait_for("stopped at once");
    assert_eq!(worker.ended(), Some(130));
    gate.open();
}

#[test]
fn hup_and_quit_do_not_kill_running_jobs() {
    for signal in ["-HUP", "-QUIT", "-INT"] {
        let (harness, gate) = (Harness::new(), Gate::default());
        let hook = receiver(&gate);
        let worker = busy_worker(&harness, &hook, &[]);
        worker.signal(signal);
        worker.wait_for("draining: 1 job running");
        gate.open();
        assert_eq!(worker.ended(), Some(0), "{signal}");
        assert_eq!(harness.state("q", "a-1"), "completed", "{signal}");
    }
}

#[test]
fn a_worker_started_by_nohup_does_not_stop_when_its_terminal_goes() {
    let harness = Harness::new();
    let hook = receiver(&Gate::default());
    let mut command = without_settings("nohup");
    let retraced = harness.command(&["work", "q", "--allow-private", "--webhook", &hook.url()]);
    command.arg(retraced.get_program()).args(retraced.get_args()).env("RETRACED_REDIS_URL", harness.redis.url());
    let worker = Worker::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    worker.signal("-HUP");
    worker.signal("-USR1");
    worker.wait_for("running: 0 jobs");
    harness.enqueue("q", "k", "a-1", &[]);
    harness.wait_for_state("q", "a-1", "completed");
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));
}

#[test]
fn usr1_does_not_kill_and_prints_what_runs() {
    let (harness, gate) = (Harness::new(), Gate::default());
    let hook = receiver(&gate);
    let worker = busy_worker(&harness, &hook, &[]);
    worker.signal("-USR1");
    worker.wait_for("running: 1 job");
    let line = worker.wait_for("a-1 (slow), attempt 1, for ");
    assert!(line.contains("q/workers/pool/executor-") || line.contains("q/executor-"), "{line}");
    worker.signal("-TERM");
    worker.wait_for("draining");
    worker.signal("-USR1");
    worker.wait_for("a-1 (slow), attempt 1");
    gate.open();
    assert_eq!(worker.ended(), Some(0));
}

#[test]
fn a_worker_whose_output_nobody_reads_does_not_ignore_signals() {
    let (harness, gate) = (Harness::new(), Gate::default());
    let hook = receiver(&gate);
    let worker = busy_worker(&harness, &hook, &["--json"]);
    // Each is an event; together they are more than a pipe holds.
    let lines: Vec<_> =
        (0..1_000).map(|n| format!("{{\"kind\":\"bad\",\"payload\":null,\"id\":\"bad-{n}\"}}")).collect();
    harness.enqueue_lines("q", &lines);
    harness.wait_for_count("q", "poisoned", 1_000);
    worker.signal("-USR1");
    worker.wait_for("running: 1 job");
    worker.signal("-TERM");
    worker.wait_for("draining: 1 job running");
    gate.open();
    assert_eq!(worker.ended(), Some(0));
    assert_eq!(harness.state("q", "a-1"), "completed");
}

#[test]
fn a_worker_whose_output_cannot_be_written_does_not_abandon_its_jobs() {
    let (harness, gate) = (Harness::new(), Gate::default());
    let hook = receiver(&gate);
    let mut command = harness.command(&["work", "q=8", "--allow-private", "--json", "--webhook", &hook.url()]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    // The start of an executor may be printed before the line with which `spawn` would wait for the worker.
    let worker = Worker::launch(command.stdout(full).stderr(Stdio::piped()));
    harness.enqueue("q", "slow", "a-1", &[]);
    hook.wait_for_requests(1);
    harness.enqueue("q", "bad", "b-1", &[]);
    worker.wait_for("the output cannot be written");
    gate.open();
    harness.wait_for_state("q", "a-1", "completed");
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));
}

/// The pipe of its log is full from the start, so that everything that writes to it waits for ever.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_whose_log_nobody_reads_does_not_outlive_a_second_signal() {
    /// What a pipe of Linux holds.
    const PIPE_BYTES: usize = 64 * 1024;
    let harness = Harness::new();
    let (_nobody_reads, mut log) = std::io::pipe().unwrap();
    log.write_all(&vec![b'x'; PIPE_BYTES]).unwrap();
    let mut command = harness.command(&["work", "q", "--allow-private", "--webhook", "http://127.0.0.1:1/"]);
    #[allow(clippy::zombie_processes, reason = "only a test that fails leaves it to the end of this process")]
    let mut worker = command.stderr(log).stdout(Stdio::null()).spawn().unwrap();
    let id = worker.id().to_string();
    let deadline = Instant::now() + EVENT_MAX;
    let catches_signals = || {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        // USR1, the last signal that the worker begins to listen for.
        u64::from_str_radix(&caught, 16).unwrap() & (1 << 9) != 0
    };
    while !catches_signals() {
        assert!(Instant::now() < deadline, "the worker does not listen for signals");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut ended = None;
    while ended.is_none() {
        if Instant::now() >= deadline {
            worker.kill().unwrap();
            panic!("the worker did not end");
        }
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        std::thread::sleep(PAST_THE_PAUSE);
        ended = worker.try_wait().unwrap();
    }
    assert_eq!(ended.unwrap().code(), Some(143));
}

/// Goal: a signal to stop does not wait for the answers of a server about each queue. Method: the server freezes after the first of 300 queues was asked for.
#[test]
fn a_signal_to_stop_never_waits_for_notes_about_paused_queues() {
    let harness = Harness::new();
    let queues: Vec<String> = (0..300).map(|n| format!("q-{n}=1")).collect();
    harness.one(&["queue", "pause", "q-0", "--create"]);
    let mut work = vec!["work", "--allow-private", "--webhook", "http://127.0.0.1:1/"];
    work.extend(queues.iter().map(String::as_str));
    let worker = Worker::launch(harness.command(&work).stdout(Stdio::piped()).stderr(Stdio::piped()));
    worker.wait_for("queue q-0 is paused");
    harness.redis.freeze();
    worker.signal("-TERM");
    worker.wait_for("draining: no job is running");
    harness.redis.thaw();
    assert_eq!(worker.ended(), Some(0));
}
