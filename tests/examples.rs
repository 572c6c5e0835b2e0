//! Every example runs, ends by itself, and prints what it promises.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::redis_server::RedisServer;
use support::{Finished, finish};

/// An example may take this long on a busy machine; it needs a second.
const LASTS_MAX: Duration = Duration::from_secs(60);

/// Runs an example that `cargo` built beside this test.
fn run(example: &str, arguments: &[&str], redis: Option<&RedisServer>) -> Finished {
    let test = std::env::current_exe().unwrap();
    let binary: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(example);
    assert!(
        binary.exists(),
        "{} is missing; `cargo build --examples` builds it, as `cargo test` does",
        binary.display()
    );
    let mut command = Command::new(&binary);
    command.args(arguments).env_remove("RETRACED_REDIS_URL").stdin(Stdio::null());
    if let Some(redis) = redis {
        command.env("RETRACED_REDIS_URL", redis.url());
    }
    finish(command, LASTS_MAX)
}

fn assert_lines(finished: &Finished, expected: &[&str]) {
    assert_eq!(finished.status, Some(0), "{finished:?}");
    for expected in expected {
        assert!(finished.stdout.contains(expected), "{expected:?} is missing in {finished:?}");
    }
}

#[test]
fn hello_greets_and_tells_the_story() {
    let finished = run("hello", &[], None);
    assert_lines(&finished, &["hello world, from job ", "queue greetings · completed", "attempt 1 succeeded after "]);
}

#[test]
fn crash_shows_the_panic_the_restart_and_the_retry() {
    let finished = run("crash", &[], None);
    let panicked = "kitchen/executor-0: attempt 1 panicked at examples/crash.rs:";
    let restarted = "kitchen/executor-0: started again, generation 1";
    let traced = [
        "attempt 1 panicked after ",
        "attempt to divide by zero",
        "→ due again in 100ms",
        "attempt 2 succeeded after ",
    ];
    assert_lines(&finished, &[panicked, restarted]);
    assert_lines(&finished, &traced);
}

#[test]
fn enqueue_message_runs_what_was_cast_and_what_was_asked() {
    let finished = run("enqueue_message", &[], None);
    assert_lines(&finished, &["stored: true, pending", "bells rung: [1, 2]"]);
}

#[test]
fn redis_worker_runs_all_its_jobs_and_drains() {
    let redis = RedisServer::start();
    let finished = run("redis_worker", &["--jobs", "30"], Some(&redis));
    assert_lines(&finished, &["30 jobs enqueued", "30 jobs run, 0 outcomes unsettled"]);
}
