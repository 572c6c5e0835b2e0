//! Several workers on one queue, each a process of its own, as in production.
//!
//! A worker process writes one line for each report: that it is ready, how many jobs it has handled and when, and finally what it spent. It reads two orders, each an empty
//! line: start and stop. If its parent is gone, it ends with an error.

use std::io::BufRead;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::cost::{Cost, memory_peak_mib, processor_time};
use super::figures::Figures;
use super::job::now_us;
use super::job_queue::JobQueue;
use super::recorder::Recorder;
use super::server::Server;
use crate::error::CliError;
use crate::limits::{TIMED_MIN, WARM_UP_ONE_IN, WORKER_MESSAGES_MAX, WORKER_REPORT_INTERVAL};
use crate::output::Output;

/// A line that a worker writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Message {
    Ready,
    Handled { jobs: u64, at_us: u64 },
    Ended { jobs: u64, cpu_s: f64, memory_mib: Option<f64> },
}

/// Runs in each worker process.
pub(super) async fn work_as_one_of_several<Q: JobQueue>(
    side: Q,
    executors: usize,
    jobs: u64,
    out: &Output,
) -> Result<(), CliError> {
    let alone = || CliError::Failed("the parent of this worker is gone".into());
    let mut orders = orders();
    send(out, &Message::Ready)?;
    orders.recv().await.ok_or_else(alone)?;
    let before = processor_time();
    let recorder = Arc::new(Recorder::of(jobs));
    let worker = side.start_worker(executors, recorder.clone()).await?;
    let mut ticks = interval(WORKER_REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = 0;
    loop {
        tokio::select! {
            message = orders.recv() => {
                message.ok_or_else(alone)?;
                break;
            }
            _ = ticks.tick() => {
                let jobs = recorder.count();
                if jobs > reported {
                    send(out, &Message::Handled { jobs, at_us: now_us() })?;
                    reported = jobs;
                }
            }
        }
    }
    Q::end(worker).await?;
    let cpu_s = processor_time().saturating_sub(before).as_secs_f64();
    send(out, &Message::Ended { jobs: recorder.count(), cpu_s, memory_mib: memory_peak_mib() })
}

fn send(out: &Output, message: &Message) -> Result<(), CliError> {
    Ok(out.print_text(&serde_json::to_string(message).map_err(|error| CliError::Failed(error.to_string()))?)?)
}

/// One item for each line on standard input. A plain thread reads them, because it does not keep the process alive.
fn orders() -> mpsc::Receiver<()> {
    let (sender, orders) = mpsc::channel(1);
    thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines();
        while lines.next().is_some_and(|line| line.is_ok()) && sender.blocking_send(()).is_ok() {}
    });
    orders
}

/// The worker processes, seen from their parent.
pub(super) struct WorkerProcesses {
    jobs: u64,
    processes: Vec<WorkerProcess>,
    messages: mpsc::Receiver<(usize, Option<Message>)>,
    /// The tasks that read the messages; they end when this is dropped.
    _listeners: JoinSet<()>,
}

/// A worker process, and what it has reported.
struct WorkerProcess {
    child: Child,
    orders: ChildStdin,
    handled: u64,
    cpu_s: f64,
    memory_mib: Option<f64>,
}

impl WorkerProcesses {
    /// Starts a worker by each of these commands, and returns when all are ready and wait for the order to start. Together they will handle this many jobs.
    pub(super) async fn start(jobs: u64, commands: Vec<Command>) -> Result<Self, CliError> {
        let count = commands.len();
        let (sender, messages) = mpsc::channel(WORKER_MESSAGES_MAX);
        let (mut processes, mut listeners) = (Vec::new(), JoinSet::new());
        for (number, mut command) in commands.into_iter().enumerate() {
            let mut child = command.stdin(Stdio::piped()).spawn()?;
            let (Some(orders), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(CliError::Failed("a worker's standard input or output is missing".into()));
            };
            let (mut lines, sender) = (BufReader::new(stdout).lines(), sender.clone());
            listeners.spawn(async move {
                loop {
                    let line = lines.next_line().await.ok().flatten();
                    let message = line.and_then(|line| serde_json::from_str(&line).ok());
                    let is_last = matches!(message, None | Some(Message::Ended { .. }));
                    if sender.send((number, message)).await.is_err() || is_last {
                        return;
                    }
                }
            });
            processes.push(WorkerProcess { child, orders, handled: 0, cpu_s: 0.0, memory_mib: None });
        }
        let mut workers = Self { jobs, processes, messages, _listeners: listeners };
        for _ in 0..count {
            workers.next().await?;
        }
        Ok(workers)
    }

    /// Lets the workers work until all jobs are handled, and stops them.
    pub(super) async fn drain(mut self, server: &mut Server, name: &str) -> Result<Figures, CliError> {
        let before = Cost::read(server).await?;
        let mut pace = Pace::since(self.jobs, now_us());
        self.order_all().await?;
        while !pace.is_over() {
            if let Message::Handled { at_us, .. } = self.next().await? {
                pace.record(self.processes.iter().map(|process| process.handled).sum(), at_us);
            }
        }
        self.order_all().await?;
        let mut ended = 0;
        while ended < self.processes.len() {
            ended += usize::from(matches!(self.next().await?, Message::Ended { .. }));
        }
        let mut figures = Figures::default();
        figures.put(name, pace.rate(), "jobs/s");
        let even = self.jobs as f64 / self.processes.len() as f64;
        let least = self.processes.iter().map(|process| process.handled).min().unwrap_or(0);
        let share = least as f64 / even;
        figures.put(format!("{name}_share_min"), share, "of even");
        let cpu_s = self.processes.iter().map(|process| process.cpu_s).sum();
        before.put_per_job_of_workers(cpu_s, server, self.jobs, name, &mut figures).await?;
        if let Some(mib) = self.processes.iter().map(|process| process.memory_mib).sum::<Option<f64>>() {
            figures.put(format!("{name}_rss_peak"), mib, "MiB");
        }
        Ok(figures)
    }

    async fn order_all(&mut self) -> Result<(), CliError> {
        for process in &mut self.processes {
            process.orders.write_all(b"\n").await?;
        }
        Ok(())
    }

    /// Waits for the next message of any worker, and keeps what it reports with the worker.
    async fn next(&mut self) -> Result<Message, CliError> {
        let (number, message) = self.messages.recv().await.unwrap_or((0, None));
        let Some(message) = message else { return Err(self.processes.swap_remove(number).gone().await) };
        let process = &mut self.processes[number];
        match message {
            Message::Ready => {}
            Message::Handled { jobs, .. } => process.handled = jobs,
            Message::Ended { jobs, cpu_s, memory_mib } => {
                (process.handled, process.cpu_s, process.memory_mib) = (jobs, cpu_s, memory_mib);
            }
        }
        Ok(message)
    }
}

impl WorkerProcess {
    /// The error for a worker that ended too early.
    async fn gone(self) -> CliError {
        drop(self.orders);
        match self.child.wait_with_output().await {
            Err(error) => error.into(),
            Ok(ended) => {
                let stderr = String::from_utf8_lossy(&ended.stderr);
                CliError::Failed(format!("a worker ended too early, {}: {}", ended.status, stderr.trim()))
            }
        }
    }
}

/// Measures the jobs per second of all workers together, without those of the warm-up. If less than [`TIMED_MIN`] is left after that,
/// the whole run counts.
struct Pace {
    jobs: u64,
    /// When the workers were ordered to start.
    begun_us: u64,
    /// How many jobs had been handled, and when, at the first report after the warm-up had ended.
    first: (u64, u64),
    /// How many jobs had been handled at the latest report, and when.
    last: (u64, u64),
}

impl Pace {
    fn since(jobs: u64, at_us: u64) -> Self {
        Self { jobs, begun_us: at_us, first: (0, at_us), last: (0, at_us) }
    }

    fn record(&mut self, handled: u64, at_us: u64) {
        let warm = self.jobs / WARM_UP_ONE_IN;
        if self.last.0 < warm && handled >= warm {
            self.first = (handled, at_us);
        }
        self.last = (handled, at_us);
    }

    fn is_over(&self) -> bool {
        self.last.0 >= self.jobs
    }

    fn rate(&self) -> f64 {
        let (handled, now_us) = self.last;
        let took = |since_us: u64| Duration::from_micros(now_us.saturating_sub(since_us).max(1));
        let timed = took(self.first.1);
        if timed < TIMED_MIN {
            return handled as f64 / took(self.begun_us).as_secs_f64();
        }
        (handled - self.first.0) as f64 / timed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(seen: &[(u64, u64)]) -> f64 {
        let mut pace = Pace::since(1_000, 500_000);
        for (handled, at_us) in seen {
            assert!(!pace.is_over());
            pace.record(*handled, *at_us);
        }
        assert!(pace.is_over());
        pace.rate()
    }

    #[test]
    fn the_first_twentieth_does_not_count() {
        assert_eq!(rate(&[(49, 900_000), (100, 1_000_000), (500, 1_100_000), (1_000, 2_000_000)]), 900.0);
    }

    #[test]
    fn a_short_run_is_measured_from_its_start() {
        assert_eq!(rate(&[(1_000, 1_000_000)]), 2_000.0);
        assert_eq!(rate(&[(600, 999_900), (1_000, 1_000_000)]), 2_000.0);
    }
}
