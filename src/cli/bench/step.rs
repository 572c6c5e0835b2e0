//! One measurement of one side, in a process of its own: so its processor time and memory are its alone.

use std::process::Stdio;

use retraced_jobs::job::QueueName;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::figures::Record;
use super::floor::Floor;
use super::measurement::Measurement;
use super::retraced::Retraced;
use super::server::Server;
use super::side::Peer;
use crate::cli::error::CliError;
use crate::cli::output::one_line;

/// What a process is to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) peer: Peer,
    pub(super) measurement: Measurement,
    pub(super) jobs: u64,
    pub(super) queue: String,
    /// Completed jobs are kept.
    pub(super) keep: bool,
}

impl Step {
    /// Measures in a process of its own, which is ended when it lasts too long, or when nobody waits any more.
    pub(super) async fn measure(&self, redis: &str) -> Result<Vec<Record>, CliError> {
        let order = serde_json::to_string(self).map_err(|error| self.failed(&error))?;
        // The URL goes through the environment, where other users do not see it.
        let child = Command::new(std::env::current_exe()?)
            .args(["bench", "--step", &order, "--json", "--color", "never"])
            .env("RETRACED_REDIS_URL", redis)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lasts_max = self.measurement.lasts_max(self.jobs);
        let ended = tokio::time::timeout(lasts_max, child.wait_with_output()).await;
        let ended = ended.map_err(|_| self.failed(&format_args!("it did not end within {lasts_max:?}")))??;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr);
            let said = said.trim().trim_start_matches("error: ");
            return Err(self.failed(&if said.is_empty() { ended.status.to_string() } else { said.to_owned() }));
        }
        let records: Result<_, _> = String::from_utf8_lossy(&ended.stdout).lines().map(serde_json::from_str).collect();
        records.map_err(|error| self.failed(&error))
    }

    /// Measures in this process.
    pub(super) async fn run(&self, redis: &str) -> Result<Vec<Record>, CliError> {
        let Step { peer, measurement, jobs, keep, .. } = *self;
        let queue = QueueName::new(&self.queue).map_err(|error| self.failed(&error))?;
        let mut server = Server::open(redis).await?;
        let concurrency = measurement.concurrency(peer);
        let figures = match peer {
            Peer::Retraced => {
                let side = Retraced::open(redis, &queue, keep).await?;
                measurement.run(side, &mut server, jobs, concurrency).await?
            }
            Peer::Floor => {
                let side = Floor::open(redis, &queue, measurement.is_worked_meanwhile()).await?;
                measurement.run(side, &mut server, jobs, concurrency).await?
            }
        };
        Ok(figures.records(peer.as_str(), jobs, concurrency as u64))
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> CliError {
        CliError::Failed(format!("{} of {} failed: {}", self.measurement.name(), self.peer.as_str(), one_line(why)))
    }
}
