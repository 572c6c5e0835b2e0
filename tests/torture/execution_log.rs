//! The execution log: handlers and producers append one line for everything they do. No fault is injected into this file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use retraced::Context;

use crate::support::unix_ms;

pub(crate) struct ExecutionLog {
    path: PathBuf,
    file: File,
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunEnd {
    Returned,
    Failed,
    /// The handler stopped because its lease was lost.
    LeaseLost,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Execution {
    pub(crate) job: u64,
    /// The attempt number of the fencing token.
    pub(crate) grant: u32,
    /// The failures that were counted before this execution.
    pub(crate) failures: u32,
    pub(crate) pid: u64,
    /// [`Work::mark`](crate::worker::Work::mark).
    pub(crate) mark: u64,
    pub(crate) start_ms: u64,
    /// `None` when the process died before the handler ended.
    pub(crate) end: Option<(u64, RunEnd)>,
}

/// Everything in the log.
#[derive(Default)]
pub(crate) struct Records {
    /// The executions of each job, in the order in which they started.
    pub(crate) executions: BTreeMap<u64, Vec<Execution>>,
    /// Jobs whose enqueue was acknowledged.
    pub(crate) acknowledged: Vec<u64>,
    /// How long producers waited for each enqueue that returned an error.
    pub(crate) refusals: Vec<Duration>,
    /// Executions that started although another one had started under the same grant.
    pub(crate) twice: u64,
}

impl Records {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Execution> {
        self.executions.values().flatten()
    }

    pub(crate) fn of(&self, job: u64) -> &[Execution] {
        self.executions.get(&job).map_or(&[], Vec::as_slice)
    }
}

impl ExecutionLog {
    pub(crate) fn open(path: &Path) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        Self { path: path.to_owned(), file }
    }

    pub(crate) fn began(&self, job: u64, mark: u64, ctx: &Context) {
        let counters = ctx.counters();
        self.write(&format!("S {job} {} {} {mark}", counters.attempts, counters.failures));
    }

    pub(crate) fn ended(&self, job: u64, ctx: &Context, end: RunEnd) {
        let end = match end {
            RunEnd::Returned => 'r',
            RunEnd::Failed => 'f',
            RunEnd::LeaseLost => 'g',
        };
        self.write(&format!("E {job} {} {end}", ctx.counters().attempts));
    }

    pub(crate) fn acknowledged(&self, job: u64) {
        self.write(&format!("A {job}"));
    }

    pub(crate) fn refused(&self, job: u64, after: Duration) {
        self.write(&format!("R {job} {}", after.as_millis()));
    }

    fn write(&self, what: &str) {
        let line = format!("{what} {} {}\n", std::process::id(), unix_ms());
        (&self.file).write_all(line.as_bytes()).unwrap();
    }

    pub(crate) fn read(&self) -> Records {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let mut records = Records::default();
        for line in text.lines() {
            records.add(line).unwrap_or_else(|| panic!("incomplete line in the log: {line}"));
        }
        records
    }
}

impl Records {
    /// Adds a line: `S` for a start, `E` for an end, `A` for an acknowledged enqueue, `R` for a refused one. Each line ends with the process id and the time.
    fn add(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        let (job, pid, at_ms) = (number(1)?, number(words.len() - 2)?, number(words.len() - 1)?);
        match words[0] {
            "S" => {
                let grant = number(2)? as u32;
                let runs = self.executions.entry(job).or_default();
                self.twice += u64::from(runs.iter().any(|run| run.grant == grant));
                let (failures, mark) = (number(3)? as u32, number(4)?);
                runs.push(Execution { job, grant, failures, pid, mark, start_ms: at_ms, end: None });
            }
            "E" => {
                let grant = number(2)? as u32;
                let end = match *words.get(3)? {
                    "r" => RunEnd::Returned,
                    "f" => RunEnd::Failed,
                    _ => RunEnd::LeaseLost,
                };
                let runs = self.executions.get_mut(&job)?;
                let run = runs.iter_mut().rev().find(|run| run.grant == grant && run.pid == pid)?;
                run.end = Some((at_ms, end));
            }
            "A" => self.acknowledged.push(job),
            "R" => self.refusals.push(Duration::from_millis(number(2)?)),
            _ => return None,
        }
        Some(())
    }
}
