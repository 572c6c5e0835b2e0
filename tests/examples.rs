//! Every example is short, runs and ends by itself, and prints what its documentation shows.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use support::redis_server::RedisServer;
use support::{Finished, finish};

/// An example may take this long on a busy machine. Normally it takes a second.
const RUNTIME_MAX: Duration = Duration::from_secs(60);

/// Nobody reads an example that is longer than a screen.
const EXAMPLE_LINES_MAX: usize = 60;

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
fn run(example: &str, redis: Option<&RedisServer>) -> Finished {
    let mut command = command(example);
    if let Some(redis) = redis {
        command.env("RETRACED_REDIS_URL", redis.url());
    }
    finish(command, RUNTIME_MAX)
}

/// An example that runs until it gets a signal. It is killed when this value is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for the next line, which must begin like this. Returns the rest of the line.
    fn wait_for(&self, beginning: &str) -> String {
        let line =
            self.lines.recv_timeout(RUNTIME_MAX).unwrap_or_else(|_| panic!("the example did not print {beginning:?}"));
        line.strip_prefix(beginning)
            .unwrap_or_else(|| panic!("the example printed {line:?}, not {beginning:?}"))
            .to_owned()
    }

    /// The remaining lines of its output.
    fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the end of the example and returns its exit status.
    fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + RUNTIME_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the example did not end within {RUNTIME_MAX:?}");
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

/// Sends a request such as `GET /jobs/1`. Returns the status and the body of the response.
fn http(address: &str, request: &str, json: &str) -> (u16, String) {
    let mut server = TcpStream::connect(address).unwrap();
    server.set_read_timeout(Some(RUNTIME_MAX)).unwrap();
    let headers = format!("host: {address}\r\nconnection: close\r\ncontent-type: application/json");
    write!(server, "{request} HTTP/1.1\r\n{headers}\r\ncontent-length: {}\r\n\r\n{json}", json.len()).unwrap();
    let mut response = String::new();
    server.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The source of an example.
fn source(example: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example).with_extension("rs");
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The lines that an example prints according to its documentation.
fn documented(example: &str) -> Vec<String> {
    let source = source(example);
    let lines = source.lines().skip_while(|line| *line != "//! ```text").skip(1);
    let block = lines.take_while(|line| *line != "//! ```");
    block.map(|line| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or_default().to_owned()).collect()
}

/// A line in which everything that differs from run to run is masked: instants, durations, ids, workers, executors and random jitter.
fn masked(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let next = |n: usize| words.get(n + 1).copied().unwrap_or_default();
    let before = |n: usize| n.checked_sub(1).map_or("", |n| words[n]);
    let masked: Vec<_> = words.iter().enumerate().map(|(n, word)| mask(before(n), word, next(n))).collect();
    masked.join(" ").replace("less than TIME", "TIME")
}

fn mask(before: &str, word: &str, next: &str) -> String {
    let bare = word.trim_end_matches([',', ':', '.']);
    let end = &word[bare.len()..];
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    let duration = ["ms", "µs", "ns", "s"].iter().find_map(|unit| bare.strip_suffix(unit));
    let masked = match bare {
        _ if matches!(before, "worker" | "producer") && bare.chars().all(|c| c.is_ascii_hexdigit()) => "PROCESS",
        _ if duration.is_some_and(is_number) => "TIME",
        _ if is_number(bare) && next.trim_end_matches(':') == "ms" => "NUMBER",
        _ if is_number(bare) && bare.starts_with(['+', '-']) => "DRAWN",
        _ if bare.starts_with("executor-") && bare.contains('#') => "EXECUTOR",
        _ if bare.len() == 24 && bare.contains('T') && bare.ends_with('Z') => "INSTANT",
        _ if bare.len() == 36 && bare.matches('-').count() == 4 => "ID",
        _ => bare,
    };
    format!("{masked}{end}")
}

fn assert_prints(example: &str, printed: impl IntoIterator<Item = impl AsRef<str>>) {
    let masked_all = |lines: Vec<String>| -> Vec<String> { lines.iter().map(|line| masked(line)).collect() };
    let printed: Vec<String> = printed.into_iter().map(|line| line.as_ref().to_owned()).collect();
    let shown = documented(example);
    assert_eq!(
        masked_all(printed.clone()),
        masked_all(shown),
        "{example} does not print what its documentation shows; it printed\n{}",
        printed.join("\n")
    );
}

/// Runs an example to its end, and compares its output with its documentation.
fn run_as_documented(example: &str, redis: Option<&RedisServer>) -> Finished {
    let finished = run(example, redis);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_prints(example, finished.stdout.lines());
    finished
}

#[test]
fn every_example_has_fewer_than_sixty_lines_and_shows_what_it_prints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let example = file.file_stem().unwrap().to_str().unwrap();
        let lines = source(example).lines().count();
        assert!(lines < EXAMPLE_LINES_MAX, "{example} has {lines} lines");
        assert!(!documented(example).is_empty(), "{example} documents no output");
        let tests = include_str!("examples.rs");
        assert!(tests.contains(&format!("(\"{example}\"")), "no test runs {example}");
    }
}

#[test]
fn only_what_differs_from_run_to_run_is_masked() {
    let line =
        "2026-11-28T20:58:14.781Z  attempt 1 failed after less than 1ms · TIMEOUT · worker 37e73f17 executor-8#0";
    assert_eq!(masked(line), "INSTANT attempt 1 failed after TIME · TIMEOUT · worker PROCESS EXECUTOR");
    assert_eq!(masked("after  11 ms: job 42, 20 % drawn -8.1 %"), "after NUMBER ms: job 42, 20 % drawn DRAWN %");
    assert_eq!(masked("job 01a223f3-917c-779c-a010-b26ed85d0be2 · queue a"), "job ID · queue a");
}

#[test]
fn hello_shows_a_retry_and_its_reason() {
    let finished = run_as_documented("hello", None);
    assert!(finished.stdout.contains("→ due again in "), "{finished:?}");
}

#[test]
fn own_error_retries_one_value_and_poisons_the_other() {
    run_as_documented("own_error", None);
}

#[test]
fn shared_state_reaches_the_handler_with_an_extractor_of_its_own() {
    run_as_documented("shared_state", None);
}

#[test]
fn outcome_reads_what_the_handler_returned() {
    run_as_documented("outcome", None);
}

#[test]
fn progress_is_seen_while_a_job_runs_and_stays_with_a_failed_attempt() {
    run_as_documented("progress", None);
}

#[test]
fn follow_up_jobs_are_stored_once_although_the_attempt_is_repeated() {
    // The invoice may be sent before the handler has printed that it is stored.
    let finished = run("follow_up", None);
    let (mut printed, mut shown) =
        (finished.stdout.lines().map(str::to_owned).collect::<Vec<_>>(), documented("follow_up"));
    printed.sort();
    shown.sort();
    assert_eq!((finished.status, printed), (Some(0), shown), "{finished:?}");
}

#[test]
fn bulk_stores_again_only_what_is_new() {
    run_as_documented("bulk", None);
}

#[test]
fn delayed_jobs_start_in_the_order_of_their_times_and_a_cancelled_one_never() {
    let finished = run_as_documented("delayed", None);
    for (of, not_before_ms) in [("what is due now", 0), ("the tea", 200), ("the cake in the oven", 400)] {
        let line = finished.stdout.lines().find(|line| line.ends_with(of)).unwrap();
        let after_ms: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        // The store counts in whole milliseconds and drops a fraction.
        assert!(after_ms + 1 >= not_before_ms, "{line} in {finished:?}");
    }
}

#[test]
fn retries_shows_what_was_decided_by_each_strategy() {
    // The example prints the delays that were decided, not measured ones, so nothing is masked.
    let finished = run("retries", None);
    assert_eq!(finished.status, Some(0), "{finished:?}");
    assert_eq!(finished.stdout.lines().collect::<Vec<_>>(), documented("retries"));
}

#[test]
fn kind_defaults_hold_unless_the_queue_or_the_call_says_otherwise() {
    run_as_documented("kind_defaults", None);
}

#[test]
fn layers_run_around_the_handler_and_can_reject_its_job() {
    run_as_documented("layers", None);
}

#[test]
fn panic_shows_the_line_the_restart_and_the_retry() {
    let finished = run_as_documented("panic", None);
    // The example has no tracing subscriber, so the runtime prints the panic itself.
    let printed = "of queue kitchen panicked at examples/panic.rs:";
    assert_eq!(finished.stderr.matches(printed).count(), 1, "{finished:?}");
}

#[cfg(feature = "testing")]
#[test]
fn testing_jumps_over_a_day_of_retries() {
    run_as_documented("testing", None);
}

#[test]
fn graceful_shutdown_finishes_stops_and_kills_without_losing_a_job() {
    run_as_documented("graceful_shutdown", None);
}

#[test]
fn observer_counts_attempts_and_failures() {
    run_as_documented("observer", None);
}

#[test]
fn messages_are_run_with_and_without_a_receipt() {
    run_as_documented("messages", None);
}

#[test]
fn own_store_prints_what_is_enqueued_and_refuses_a_queue() {
    run_as_documented("own_store", None);
}

#[test]
fn axum_app_enqueues_jobs_shows_their_traces_and_ends_requests_before_jobs() {
    let mut app = Running::start(command("axum_app").env("ADDRESS", "127.0.0.1:0"));
    let address = app.wait_for("listening on http://");

    let (status, id) = http(&address, "POST /welcome", r#"{"to":"ada"}"#);
    assert_eq!(status, 202);
    app.wait_for("welcome, ada!");
    let (status, trace) = http(&address, &format!("GET /jobs/{}", id.trim()), "");
    assert!(status == 200 && trace.contains("email.welcome · queue email"), "{status} {trace}");
    assert_eq!(http(&address, "GET /jobs/nobody", "").0, 404);
    assert_eq!(http(&address, "GET /jobs/no%20id", "").0, 400);
    assert_eq!(http(&address, "POST /welcome", "{}").0, 422);

    app.terminate();
    let mut printed = vec!["listening on http://127.0.0.1:3000".to_owned(), "welcome, ada!".to_owned()];
    printed.extend(app.rest());
    assert_prints("axum_app", printed);
    assert_eq!(app.ended(), Some(0));
}

#[cfg(feature = "redis")]
#[test]
fn redis_worker_runs_all_its_jobs_and_drains() {
    run_as_documented("redis_worker", Some(&RedisServer::start()));
}

#[cfg(feature = "redis")]
#[test]
fn two_processes_share_the_work_through_redis() {
    let finished = run_as_documented("two_processes", Some(&RedisServer::start()));
    let pids = finished.stdout.lines().map(|line| line.split_once(':').unwrap().0);
    assert_eq!(pids.collect::<std::collections::BTreeSet<_>>().len(), 2, "{finished:?}");
}
