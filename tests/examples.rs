//! Every example runs, ends by itself, and prints what it promises.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use support::redis_server::RedisServer;
use support::{Finished, finish};

/// An example may take this long on a busy machine; it needs a second.
const LASTS_MAX: Duration = Duration::from_secs(60);

/// An example that `cargo` built beside this test.
fn command(example: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let binary: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(example);
    assert!(
        binary.exists(),
        "{} is missing; `cargo build --examples` builds it, as `cargo test` does",
        binary.display()
    );
    let mut command = Command::new(&binary);
    command.env_remove("RETRACED_REDIS_URL").stdin(Stdio::null());
    command
}

/// Runs an example to its end.
fn run(example: &str, arguments: &[&str], redis: Option<&RedisServer>) -> Finished {
    let mut command = command(example);
    command.args(arguments);
    if let Some(redis) = redis {
        command.env("RETRACED_REDIS_URL", redis.url());
    }
    finish(command, LASTS_MAX)
}

/// An example that runs until it is asked to end; killed when it is dropped.
struct Running {
    child: Child,
    said: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (say, said) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { child, said }
    }

    /// Waits for the next line, which has to begin so; gives what follows.
    fn wait_for(&self, beginning: &str) -> String {
        let line = self.said.recv_timeout(LASTS_MAX).unwrap_or_else(|_| panic!("it did not say {beginning:?}"));
        line.strip_prefix(beginning).unwrap_or_else(|| panic!("it said {line:?}, not {beginning:?}")).to_owned()
    }

    fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }

    /// The exit status, once it has ended.
    fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + LASTS_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it did not end within {LASTS_MAX:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status and the body of a server's answer to a request such as `GET /jobs/1`.
fn http(address: &str, request: &str, json: &str) -> (u16, String) {
    let mut server = TcpStream::connect(address).unwrap();
    server.set_read_timeout(Some(LASTS_MAX)).unwrap();
    let about = format!("host: {address}\r\nconnection: close\r\ncontent-type: application/json");
    write!(server, "{request} HTTP/1.1\r\n{about}\r\ncontent-length: {}\r\n\r\n{json}", json.len()).unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn assert_lines(finished: &Finished, expected: &[&str]) {
    assert_eq!(finished.status, Some(0), "{finished:?}");
    for expected in expected {
        assert!(finished.stdout.contains(expected), "{expected:?} is missing in {finished:?}");
    }
}

#[test]
fn hello_shows_a_success_a_retry_and_the_trace_of_both() {
    let finished = run("hello", &[], None);
    let first = ["hello world, on attempt 1", "queue greetings · completed", "attempt 1 succeeded after "];
    let second = [
        "hello moon, on attempt 2",
        "SERVICE_UNAVAILABLE",
        "the moon has not risen yet",
        "→ due again in ",
        "attempt 2 succeeded after ",
    ];
    assert_lines(&finished, &[&first[..], &second].concat());
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
    // The example sets no tracing subscriber: nobody else would print the panic.
    let printed = "of queue kitchen panicked at examples/crash.rs:";
    assert_eq!(finished.stderr.matches(printed).count(), 1, "{finished:?}");
}

#[test]
fn enqueue_message_runs_what_was_cast_and_what_was_asked() {
    let finished = run("enqueue_message", &[], None);
    assert_lines(&finished, &["stored: true, pending", "bells rung: [1, 2]"]);
}

#[test]
fn retries_shows_what_was_decided_by_each_strategy() {
    let finished = run("retries", &[], None);
    let rows = [
        "strategy        try 1    try 2    try 3    try 4    try 5    try 6",
        "fixed           20 ms    20 ms    20 ms    20 ms    20 ms     dead",
        "linear          20 ms    40 ms    60 ms    80 ms   100 ms     dead",
        "exponential     20 ms    40 ms    80 ms   160 ms   320 ms     dead",
        "three-tier    at once  at once    20 ms    40 ms    80 ms     dead",
    ];
    assert_eq!(
        (finished.status, finished.stdout.lines().collect::<Vec<_>>()),
        (Some(0), rows.to_vec()),
        "{finished:?}"
    );
}

#[test]
fn delayed_jobs_come_in_order_of_their_time_and_what_is_called_off_does_not() {
    let finished = run("delayed", &[], None);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().collect();
    let [twice, now, tea, cake, cancelled] = lines[..] else { panic!("{finished:?}") };
    assert_eq!(twice, "party: created true, then false; it is delayed");
    assert_eq!(cancelled, "party: cancelled");
    for (line, of, not_before_ms) in
        [(now, "what is due now", 0), (tea, "the tea", 200), (cake, "the cake in the oven", 400)]
    {
        let after_ms = line.strip_prefix("after ").and_then(|line| line.trim().strip_suffix(&format!(" ms: {of}")));
        // The store counts in whole milliseconds and drops a fraction.
        assert!(after_ms.unwrap().trim().parse::<u64>().unwrap() + 1 >= not_before_ms, "{line} in {finished:?}");
    }
}

#[test]
fn graceful_shutdown_finishes_stops_and_kills_without_losing_a_job() {
    let finished = run("graceful_shutdown", &[], None);
    let told = ["time is up: shutting down", "quick is done", "polite stops, because of Shutdown"];
    let counted = "3 ran, 1 killed, 0 unsettled";
    let kept = [
        "quick: completed, 0 failures, 0 releases",
        "polite: pending, 0 failures, 1 releases",
        "deaf: pending, 0 failures, 1 releases",
    ];
    assert_lines(&finished, &[&told[..], &[counted], &kept].concat());
    assert!(!finished.stdout.contains("deaf is done"), "{finished:?}");
}

#[test]
fn own_store_tells_every_move_of_the_job() {
    let finished = run("own_store", &[], None);
    let moves = [
        "visitor-1 enqueued: Created { state: Pending }",
        "visitor-1 claimed: attempt 1",
        "visitor-1 settled: Retry { delay: 50ms }, Done { state: Delayed }",
        "visitor-1 claimed: attempt 2",
        "visitor-1 settled: Complete { keep: true }, Done { state: Completed }",
    ];
    assert_lines(&finished, &moves);
    assert_eq!(finished.stdout.lines().count(), moves.len(), "{finished:?}");
}

#[test]
fn two_processes_share_the_work_through_redis() {
    let redis = RedisServer::start();
    let finished = run("two_processes", &[], Some(&redis));
    assert_lines(&finished, &["3 jobs are stored, and nobody is there to run them", ": all are completed"]);
    let worker = |line: &str| {
        line.strip_prefix("worker ")?.split_once(": ").map(|(pid, said)| (pid.to_owned(), said.to_owned()))
    };
    let (pids, mut said): (HashSet<_>, Vec<_>) = finished.stdout.lines().filter_map(worker).unzip();
    said.sort();
    assert_eq!(
        (pids.len(), said),
        (1, ["cat.png", "dog.png", "ends", "owl.png"].map(str::to_owned).to_vec()),
        "{finished:?}"
    );
    let producer = finished.stdout.lines().find_map(|line| line.strip_prefix("producer ")?.split_once(':')).unwrap();
    assert!(!pids.contains(producer.0), "{finished:?}");
}

#[test]
fn axum_app_takes_jobs_tells_their_story_and_ends_requests_first() {
    let mut app = Running::start(command("axum_app").env("ADDRESS", "127.0.0.1:0"));
    let address = app.wait_for("listening on http://");

    let (status, id) = http(&address, "POST /welcome", r#"{"to":"ada@example.com"}"#);
    assert_eq!(status, 202);
    app.wait_for("from hello@example.com to ada@example.com: welcome!");
    let (status, story) = http(&address, &format!("GET /jobs/{}", id.trim()), "");
    assert!(status == 200 && story.contains("email.welcome · queue email"), "{status} {story}");
    assert_eq!(http(&address, "GET /jobs/nobody", "").0, 404);
    assert_eq!(http(&address, "POST /welcome", "{}").0, 422);

    app.terminate();
    for line in ["shutting down", "requests are done", "jobs are done, 0 killed"] {
        app.wait_for(line);
    }
    assert_eq!(app.ended(), Some(0));
}

#[test]
fn redis_worker_runs_all_its_jobs_and_drains() {
    let redis = RedisServer::start();
    let finished = run("redis_worker", &["--jobs", "30"], Some(&redis));
    assert_lines(&finished, &["30 jobs enqueued", "30 jobs run, 0 outcomes unsettled"]);
}
