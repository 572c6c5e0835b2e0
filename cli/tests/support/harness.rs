//! Runs the command line against a Redis of its own, and workers whose output is read.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::redis_server::RedisServer;
use crate::support::{Finished, finish, without_settings};

/// Longest any command may take on a busy machine.
pub(crate) const COMMAND_MAX: Duration = Duration::from_secs(60);
/// Longest anything a worker does may take on a busy machine.
pub(crate) const EVENT_MAX: Duration = Duration::from_secs(60);

pub(crate) fn retraced() -> Command {
    let mut command = without_settings(env!("CARGO_BIN_EXE_retraced"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// The command line against a Redis of its own.
pub(crate) struct Harness {
    pub(crate) redis: RedisServer,
}

impl Harness {
    pub(crate) fn new() -> Self {
        Self { redis: RedisServer::start() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = retraced();
        command.args(arguments).env("RETRACED_REDIS_URL", self.redis.url());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments), COMMAND_MAX)
    }

    /// The objects that a successful command prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let finished = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(finished.status, Some(0), "{arguments:?}: {finished:?}");
        objects(&finished.stdout)
    }

    /// The only object that a successful command prints.
    pub(crate) fn one(&self, arguments: &[&str]) -> Value {
        let mut objects = self.json(arguments);
        assert_eq!(objects.len(), 1, "{objects:?}");
        objects.remove(0)
    }

    pub(crate) fn enqueue(&self, queue: &str, kind: &str, id: &str, more: &[&str]) {
        let base = ["enqueue", queue, "--kind", kind, "--payload", "{\"n\":1}", "--id", id];
        self.one(&[&base, more].concat());
    }

    /// Enqueues one job for each line, as from a file.
    pub(crate) fn enqueue_lines(&self, queue: &str, lines: &[String]) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        self.json(&["enqueue", queue, "--from", path.to_str().unwrap()]);
    }

    /// Waits until `retraced queue stats` has this number in this field.
    pub(crate) fn wait_for_count(&self, queue: &str, field: &str, count: u64) {
        let deadline = Instant::now() + EVENT_MAX;
        loop {
            let shown = self.one(&["queue", "stats", queue]);
            if shown[field] == count {
                return;
            }
            assert!(Instant::now() < deadline, "{field} is not {count}: {shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn state(&self, queue: &str, id: &str) -> String {
        self.one(&["job", "show", queue, id])["state"].as_str().unwrap().to_owned()
    }

    pub(crate) fn wait_for_state(&self, queue: &str, id: &str, state: &str) {
        let deadline = Instant::now() + EVENT_MAX;
        while self.state(queue, id) != state {
            assert!(Instant::now() < deadline, "{id} is not {state}: {}", self.one(&["job", "show", queue, id]));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A worker whose webhook is on loopback.
    pub(crate) fn worker(&self, hook: &str, more: &[&str]) -> Worker {
        let work = ["work", "q=8", "--allow-private", "--webhook", hook];
        let mut command = self.command(&[&work, more].concat());
        Worker::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }
}

pub(crate) fn objects(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))).collect()
}

/// A running `retraced work`; killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
    stderr: Receiver<String>,
}

impl Worker {
    /// Starts a worker and waits until it works.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::spawn_saying(command).0
    }

    /// The worker, and the line that says that it works.
    pub(crate) fn spawn_saying(command: &mut Command) -> (Self, String) {
        let worker = Self::launch(command);
        let said = worker.wait_for("working ");
        (worker, said)
    }

    /// Starts a worker and does not wait.
    pub(crate) fn launch(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (sender, receiver): (Sender<String>, _) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, stderr: receiver }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on stderr that contains this.
    pub(crate) fn wait_for(&self, what: &str) -> String {
        let deadline = Instant::now() + EVENT_MAX;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.stderr.recv_timeout(left) else {
                panic!("the worker did not print {what:?}, but {lines:?}")
            };
            if line.contains(what) {
                return line;
            }
            lines.push(line);
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// The exit status and the lines on stderr that were not read yet, once it has ended.
    pub(crate) fn rest(mut self) -> (Option<i32>, Vec<String>) {
        let status = self.end();
        (status, self.stderr.iter().collect())
    }

    /// The exit status, once it has ended.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.end()
    }

    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + EVENT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the worker did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
