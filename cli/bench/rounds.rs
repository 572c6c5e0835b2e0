//! All rounds of a benchmark: each measurement on both sides in turns.

use std::time::Duration;

use retraced::QueueName;

use super::measurement::Measurement;
use super::product::Completed;
use super::relay::Relay;
use super::report::Report;
use super::selection::Selection;
use super::server::Server;
use super::side::Side;
use super::step::Step;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::output::Progress;

/// What the rounds of a benchmark need, and what they have measured so far.
pub(super) struct Rounds<'a> {
    pub(super) context: &'a CommandContext,
    pub(super) rounds: u64,
    /// Whether the floor is measured too.
    pub(super) floor: bool,
    /// The jobs of each measurement; `None`: its default.
    pub(super) jobs: Option<u64>,
    /// What is added to the round trip to the server.
    pub(super) round_trip: Duration,
    /// What becomes of completed jobs.
    pub(super) completed: Completed,
    pub(super) server: Server,
    /// The queue of all measurements; it is removed after each.
    pub(super) queue: QueueName,
    pub(super) measurements: Vec<Measurement>,
    /// The metrics that are reported.
    pub(super) selection: Selection,
    pub(super) report: Report,
}

impl Rounds<'_> {
    pub(super) async fn run(&mut self) -> Result<(), CliError> {
        let relay = match self.round_trip {
            Duration::ZERO => None,
            round_trip => Some(Relay::open(&self.context.redis, round_trip)?),
        };
        let redis = relay.as_ref().map_or(self.context.redis.as_str(), Relay::url);
        let progress = Progress::new(&self.context.out, "measuring", Some(self.steps()));
        for round in 0..self.rounds {
            for at in 0..self.measurements.len() {
                let measurement = self.measurements[at];
                let sides = self.sides(measurement);
                for turn in 0..sides.len() {
                    // The sides take turns at going first.
                    let side = sides[(turn + round as usize) % sides.len()];
                    progress.set_message(format!("round {} · {} · {}", round + 1, measurement.name(), side.as_str()));
                    let records = self.step(side, measurement).measure(redis, self.round_trip).await?;
                    self.server.remove_queue(&self.queue).await?;
                    for record in records.iter().filter(|record| self.selection.has(&record.metric)) {
                        // As JSON, each figure is printed as soon as it is known.
                        if self.context.out.is_json() {
                            self.context.out.result(record, String::new)?;
                        }
                        self.report.add(at, side, record);
                    }
                    progress.advance(1);
                }
            }
        }
        Ok(())
    }

    fn sides(&self, measurement: Measurement) -> &'static [Side] {
        if self.floor && measurement.has_a_floor() { &[Side::Floor, Side::Retraced] } else { &[Side::Retraced] }
    }

    /// How many steps all rounds have.
    fn steps(&self) -> u64 {
        let sides = self.measurements.iter().map(|measurement| self.sides(*measurement).len() as u64);
        sides.sum::<u64>() * self.rounds
    }

    fn step(&self, side: Side, measurement: Measurement) -> Step {
        let (jobs, queue) = (measurement.jobs(self.jobs), self.queue.to_string());
        let prefix = self.context.prefix.to_string();
        Step { side, measurement, jobs, prefix, queue, completed: self.completed, is_one_of_several_workers: false }
    }
}
