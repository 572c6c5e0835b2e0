//! What the tests of the whole system share: a Redis server per test, an execution log in a file, and helpers that wait.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../jobs/tests/support/redis_server.rs"]
pub mod redis_server;

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Whether the scenarios run at their full size (`RETRACED_SCALE=full`) or in the quick form of `make test`.
pub fn full_scale() -> bool {
    std::env::var("RETRACED_SCALE").is_ok_and(|scale| scale == "full")
}

pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// The execution log: handlers append one short line when they start and one when they end. A kill of their process loses no line that was written.
pub struct Executions {
    path: PathBuf,
    file: File,
}

impl Executions {
    pub fn at(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self { path: path.to_owned(), file }
    }

    pub fn began(&self, job: u64) {
        self.write('S', job);
    }

    pub fn ended(&self, job: u64) {
        self.write('E', job);
    }

    fn write(&self, what: char, job: u64) {
        let line = format!("{what} {job} {} {}\n", std::process::id(), unix_ms());
        (&self.file).write_all(line.as_bytes()).unwrap();
    }

    pub fn read(&self) -> Vec<Execution> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let parse = |line: &str| {
            let mut words = line.split(' ');
            let began = words.next()? == "S";
            let mut number = || words.next()?.parse().ok();
            Some(Execution { began, job: number()?, pid: number()?, at_ms: number()? })
        };
        text.lines().map(|line| parse(line).expect("a complete line")).collect()
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Execution {
    pub began: bool,
    pub job: u64,
    pub pid: u64,
    pub at_ms: u64,
}

/// A summary of the execution log: how many jobs never ended, and how often jobs ran more than once.
pub struct ExecutionSummary {
    pub lost: usize,
    pub starts: usize,
    pub extra_starts: usize,
}

pub fn summarize(executions: &[Execution], jobs: u64) -> ExecutionSummary {
    let mut ended = HashSet::new();
    let mut starts: HashMap<u64, usize> = HashMap::new();
    for execution in executions {
        if execution.began {
            *starts.entry(execution.job).or_default() += 1;
        } else {
            ended.insert(execution.job);
        }
    }
    let lost = (0..jobs).filter(|job| !ended.contains(job)).count();
    let all: usize = starts.values().sum();
    ExecutionSummary { lost, starts: all, extra_starts: all - starts.len() }
}

/// Polls until the condition holds. Panics when it does not hold within this time.
pub async fn eventually<F: Future<Output = bool>>(what: &str, within: Duration, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} did not happen within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process that ended.
#[derive(Debug)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command whose environment holds none of this program's settings, whatever the tests were started with.
pub fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RETRACED_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command until it ends; panics when that takes longer than `within`.
pub fn finish(mut command: Command, within: Duration) -> Finished {
    finished(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), within)
}

/// Waits until a process whose output is piped has ended; panics when that takes longer than `within`.
pub fn finished(mut child: Child, within: Duration) -> Finished {
    let stdout = read_all(child.stdout.take().unwrap());
    let stderr = read_all(child.stderr.take().unwrap());
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the process did not end within {within:?}: {} {}", stdout.join().unwrap(), stderr.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Finished { status: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn read_all(mut source: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = source.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
