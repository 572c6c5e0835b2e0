//! `retraced queues` and `retraced queue …`: how full, how old, how fast, paused or not.

use std::time::Duration;

use clap::{Args, Subcommand};
use retraced_jobs::job::{JobState, QueueName};
use retraced_jobs::store::QueueStats;
use serde::Serialize;
use tokio::time::Instant;

use super::error::CliError;
use super::output::{Cell, Column, NOTHING, Style, jobs, span};
use super::shape::{AuditShape, Rates, StatsShape};
use super::{Admin, args};
use crate::Operator;

/// `retraced queues`
#[derive(Args)]
pub(super) struct Queues {
    #[command(flatten)]
    measure: Measure,
}

#[derive(Args)]
struct Measure {
    /// Look twice, this far apart, and show how many jobs were enqueued, completed and failed a second in between. Default: look once, show no rates.
    #[arg(long, value_name = "DURATION", value_parser = args::measured)]
    rates_over: Option<Duration>,
}

/// `retraced queue …`
#[derive(Subcommand)]
pub(super) enum Queue {
    /// Stop claiming jobs of this queue; those that run go on, and enqueueing is not affected.
    Pause(OneQueue),
    /// Claim jobs of this queue again.
    Resume(OneQueue),
    /// Show depths and counters of this queue.
    Stats(Stats),
    /// Look through the whole queue for damage that a foreign hand, an evicted key or a lost write has left: jobs in no container or in two, grants without a
    /// lease, entries of jobs that are not kept. Workers go on meanwhile.
    Audit(AuditQueue),
}

#[derive(Args)]
pub(super) struct OneQueue {
    /// The queue.
    queue: QueueName,
}

#[derive(Args)]
pub(super) struct Stats {
    /// The queue.
    queue: QueueName,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Args)]
pub(super) struct AuditQueue {
    /// The queue.
    queue: QueueName,
    /// Mend what is found. No job is deleted: what is in no container goes back where it was, or to the front of the queue.
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
struct Switched {
    queue: QueueName,
    paused: bool,
    /// Whether this command changed it.
    changed: bool,
}

impl Queues {
    pub(super) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let operator = admin.operator().await?;
        let names = operator.queues().await?;
        let rows = look(&operator, &names, self.measure.rates_over).await?;
        if rows.is_empty() && !admin.out.is_json() {
            return Ok(admin.out.line("no queue has been used yet; enqueue a job with `retraced enqueue`")?);
        }
        let mut headers = vec![
            Column::new("QUEUE").cut(12),
            Column::new("PENDING"),
            Column::new("PROCESSING").spare(3),
            Column::new("DELAYED").spare(1),
            Column::new("COMPLETED").spare(4),
            Column::new("DEAD"),
            Column::new("POISONED"),
            Column::new("CANCELLED").spare(5),
            Column::new("OLDEST").spare(2),
        ];
        if self.measure.rates_over.is_some() {
            headers.extend(["IN/S", "DONE/S", "FAILED/S"].map(Column::new));
        }
        headers.push(Column::new(""));
        admin.out.results(&rows, &headers, |row| {
            let mut cells = vec![Cell::from(row.queue.to_string())];
            cells.extend(
                [
                    (row.pending, JobState::Pending),
                    (row.processing, JobState::Processing),
                    (row.delayed, JobState::Delayed),
                    (row.completed, JobState::Completed),
                    (row.dead, JobState::Dead),
                    (row.poisoned, JobState::Poisoned),
                    (row.cancelled, JobState::Cancelled),
                ]
                .map(|(count, state)| count_of(count, state)),
            );
            cells.push(row.oldest_pending_ms.map_or_else(|| NOTHING.into(), span).into());
            if let Some(rates) = row.rates {
                let rates = [rates.enqueued_per_s, rates.completed_per_s, rates.failures_per_s];
                cells.extend(rates.map(|rate| Cell::from(format!("{rate:.1}"))));
            }
            cells.push(Cell::new(if row.paused { "paused" } else { "" }, Style::Warn));
            cells
        })?;
        Ok(())
    }
}

impl Queue {
    pub(super) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        match self {
            Queue::Pause(OneQueue { queue }) => switch(admin, queue, true).await,
            Queue::Resume(OneQueue { queue }) => switch(admin, queue, false).await,
            Queue::Stats(Stats { queue, measure }) => {
                let operator = admin.operator().await?;
                let rows = look(&operator, &[queue], measure.rates_over).await?;
                rows.iter().try_for_each(|row| admin.out.sheet(row, &title(row), &values(row)))?;
                Ok(())
            }
            Queue::Audit(audit) => audit.run(admin).await,
        }
    }
}

impl AuditQueue {
    async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let operator = admin.operator().await?;
        let audit = match self.repair {
            true => operator.repair(&self.queue).await?,
            false => operator.audit(&self.queue).await?,
        };
        let shape = AuditShape::of(self.queue, self.repair, audit);
        admin.out.sheet(&shape, &format!("queue {}", shape.queue), &audited(&shape))?;
        if shape.is_sound() {
            return Ok(());
        }
        Err(CliError::Failed(match self.repair {
            true => "the queue does not add up yet: run the command again".into(),
            false => "the queue is damaged: run the command again with --repair".into(),
        }))
    }
}

fn audited(shape: &AuditShape) -> Vec<(&'static str, Cell)> {
    let (sound, style) = match shape.adds_up {
        true => ("every one in one place", Style::Good),
        false => ("not every one in one place", Style::Bad),
    };
    let mut values = vec![("stored", Cell::new(format!("{}, {sound}", jobs(shape.jobs)), style))];
    values.extend(shape.findings.iter().map(|finding| {
        let example = finding.examples.first().map(|job| format!(", as of {job}")).unwrap_or_default();
        let found = format!("{} {}{example}", finding.count, finding.kind);
        (if shape.repaired { "mended" } else { "found" }, Cell::new(found, Style::Warn))
    }));
    values
}

async fn switch(admin: &Admin, queue: QueueName, paused: bool) -> Result<(), CliError> {
    let operator = admin.operator().await?;
    let was = match paused {
        true => operator.pause(&queue).await?,
        false => operator.resume(&queue).await?,
    };
    let switched = Switched { queue, paused, changed: was != paused };
    admin.out.result(&switched, || {
        let state = if paused { "paused" } else { "running" };
        let already = if switched.changed { "" } else { " already" };
        format!("queue {} is {state}{already}", switched.queue)
    })?;
    Ok(())
}

/// The queues as they are, and how fast they moved meanwhile.
async fn look(
    operator: &Operator,
    names: &[QueueName],
    rates_over: Option<Duration>,
) -> Result<Vec<StatsShape>, CliError> {
    let mut before = Vec::new();
    if let Some(wait) = rates_over {
        for name in names {
            before.push((operator.stats(name).await?, Instant::now()));
        }
        tokio::time::sleep(wait).await;
    }
    let mut rows = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let stats = operator.stats(name).await?;
        let rates = before.get(at).map(|(before, since)| rates(before, &stats, since.elapsed()));
        let mut row = StatsShape::of(name.clone(), stats);
        row.rates = rates;
        rows.push(row);
    }
    Ok(rows)
}

fn rates(before: &QueueStats, after: &QueueStats, apart: Duration) -> Rates {
    let per_second = |before: u64, after: u64| {
        let exact = after.saturating_sub(before) as f64 / apart.as_secs_f64().max(f64::EPSILON);
        (exact * 10.0).round() / 10.0
    };
    Rates {
        measured_ms: u64::try_from(apart.as_millis()).unwrap_or(u64::MAX),
        enqueued_per_s: per_second(before.enqueued_total, after.enqueued_total),
        completed_per_s: per_second(before.completed_total, after.completed_total),
        failures_per_s: per_second(before.failures_total, after.failures_total),
    }
}

/// None of them is nothing to look at.
fn count_of(count: u64, state: JobState) -> Cell {
    Cell::new(count.to_string(), if count == 0 { Style::Dim } else { Style::of(state) })
}

fn title(row: &StatsShape) -> String {
    format!("queue {}{}", row.queue, if row.paused { " (paused)" } else { "" })
}

fn values(row: &StatsShape) -> Vec<(&'static str, Cell)> {
    let ever = |count: u64| Cell::from(format!("{count} ever"));
    let mut values = vec![("pending", count_of(row.pending, JobState::Pending))];
    values.extend(row.oldest_pending_ms.map(|oldest| ("oldest pending", span(oldest).into())));
    values.push(("processing", count_of(row.processing, JobState::Processing)));
    values.push(("delayed", count_of(row.delayed, JobState::Delayed)));
    values.extend(row.delayed_overdue_ms.map(|overdue| {
        let name = if overdue < 0 { "next due in" } else { "overdue by" };
        (name, span(overdue.unsigned_abs()).into())
    }));
    values.extend([
        ("completed", format!("{} ever, {} kept", row.completed, row.completed_kept).into()),
        ("dead", count_of(row.dead, JobState::Dead)),
        ("poisoned", count_of(row.poisoned, JobState::Poisoned)),
        ("cancelled", count_of(row.cancelled, JobState::Cancelled)),
        ("enqueued", ever(row.enqueued)),
        ("failures", ever(row.failures)),
        ("crashes", ever(row.crashes)),
        ("releases", ever(row.releases)),
        ("stale settlements", ever(row.stale_settlements)),
        ("trimmed", ever(row.trimmed)),
    ]);
    if row.garbage > 0 {
        values.push(("garbage found", Cell::new(format!("{} ever", row.garbage), Style::Warn)));
    }
    values.extend(row.rates.into_iter().flat_map(|rates| {
        [
            ("enqueued a second", rates.enqueued_per_s),
            ("completed a second", rates.completed_per_s),
            ("failed a second", rates.failures_per_s),
        ]
        .map(|(name, rate)| (name, Cell::from(format!("{rate:.1}"))))
    }));
    values
}
