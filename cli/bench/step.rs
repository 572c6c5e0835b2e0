//! One measurement on one side. It runs in processes of its own, so that their processor time and memory are those of this measurement only.

use std::process::Stdio;
use std::time::Duration;

use retraced::QueueName;
use retraced::store::KeyPrefix;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::figures::{Figures, Record};
use super::floor::{Floor, Wakes};
use super::measurement::{Measurement, fill};
use super::product::{Completed, Retraced};
use super::server::Server;
use super::side::Side;
use super::workers::{WorkerProcesses, work_as_one_of_several};
use crate::error::CliError;
use crate::output::{Output, one_line};

/// What a process measures, passed to it as JSON by `--step`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) side: Side,
    pub(super) measurement: Measurement,
    pub(super) jobs: u64,
    /// What the names of the keys of ReTraced begin with.
    pub(super) prefix: String,
    pub(super) queue: String,
    pub(super) completed: Completed,
    /// Whether this process is one of several workers, and measures nothing itself.
    pub(super) is_one_of_several_workers: bool,
}

impl Step {
    /// Measures in new processes, which are killed at the timeout, or when this future is dropped.
    pub(super) async fn measure(&self, redis: &str, round_trip: Duration) -> Result<Vec<Record>, CliError> {
        let timeout = self.measurement.timeout(self.jobs, round_trip);
        let measured = tokio::time::timeout(timeout, async {
            match self.measurement.workers() {
                1 => self.measure_in_own_process(redis).await,
                workers => self.measure_with_workers(redis, workers).await,
            }
        });
        measured.await.map_err(|_| self.failed(&format_args!("it did not end within {timeout:?}")))?
    }

    /// The command that runs this step in a process.
    fn command(&self, redis: &str) -> Result<Command, CliError> {
        let step = serde_json::to_string(self).map_err(|error| self.failed(&error))?;
        let mut command = Command::new(std::env::current_exe()?);
        // The URL is passed in the environment, where other users do not see it.
        command.args(["bench", "--step", &step, "--json", "--color", "never"]).env("RETRACED_REDIS_URL", redis);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    fn as_worker(&self) -> Self {
        Self { is_one_of_several_workers: true, ..self.clone() }
    }

    async fn measure_in_own_process(&self, redis: &str) -> Result<Vec<Record>, CliError> {
        let ended = self.command(redis)?.spawn()?.wait_with_output().await?;
        if !ended.status.success() {
            let stderr = String::from_utf8_lossy(&ended.stderr);
            let stderr = stderr.trim().trim_start_matches("error: ");
            return Err(self.failed(&if stderr.is_empty() { ended.status.to_string() } else { stderr.to_owned() }));
        }
        let records: Result<_, _> = String::from_utf8_lossy(&ended.stdout).lines().map(serde_json::from_str).collect();
        records.map_err(|error| self.failed(&error))
    }

    /// Enqueues all jobs from this process, then lets several worker processes drain them.
    async fn measure_with_workers(&self, redis: &str, workers: usize) -> Result<Vec<Record>, CliError> {
        match self.side {
            Side::Retraced => fill(&self.retraced(redis).await?, self.jobs).await?,
            Side::Floor => fill(&self.floor(redis).await?, self.jobs).await?,
        }
        let mut server = Server::open(redis).await?;
        let commands: Result<Vec<_>, _> = (0..workers).map(|_| self.as_worker().command(redis)).collect();
        let workers = WorkerProcesses::start(self.jobs, commands?).await;
        let figures = match workers {
            Ok(workers) => workers.drain(&mut server, &self.measurement.name()).await,
            Err(error) => Err(error),
        };
        Ok(self.records(figures.map_err(|error| self.failed(&error))?))
    }

    /// Runs the step in this process.
    pub(super) async fn run(&self, redis: &str, out: &Output) -> Result<(), CliError> {
        let Step { side, measurement, jobs, .. } = *self;
        let concurrency = measurement.concurrency(side);
        if self.is_one_of_several_workers {
            return match side {
                Side::Retraced => work_as_one_of_several(self.retraced(redis).await?, concurrency, jobs, out).await,
                Side::Floor => work_as_one_of_several(self.floor(redis).await?, concurrency, jobs, out).await,
            };
        }
        let mut server = Server::open(redis).await?;
        let figures = match side {
            Side::Retraced => measurement.run(self.retraced(redis).await?, &mut server, jobs, concurrency).await?,
            Side::Floor => measurement.run(self.floor(redis).await?, &mut server, jobs, concurrency).await?,
        };
        self.records(figures).iter().try_for_each(|record| Ok(out.result(record, String::new)?))
    }

    async fn retraced(&self, redis: &str) -> Result<Retraced, CliError> {
        let prefix = KeyPrefix::new(&self.prefix).map_err(|error| self.failed(&error))?;
        Retraced::open(redis, prefix, &self.queue()?, self.completed).await
    }

    async fn floor(&self, redis: &str) -> Result<Floor, CliError> {
        let wakes = match self.measurement.has_a_worker_while_enqueueing() {
            true => Wakes::OneCycle,
            false => Wakes::Nobody,
        };
        Floor::open(redis, &self.queue()?, wakes).await
    }

    fn queue(&self) -> Result<QueueName, CliError> {
        QueueName::new(&self.queue).map_err(|error| self.failed(&error))
    }

    fn records(&self, figures: Figures) -> Vec<Record> {
        figures.records(self.side.as_str(), self.jobs, self.measurement.concurrency(self.side) as u64)
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> CliError {
        CliError::Failed(format!("{} of {} failed: {}", self.measurement.name(), self.side.as_str(), one_line(why)))
    }
}
