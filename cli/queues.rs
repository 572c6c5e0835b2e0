//! `retraced queues` and `retraced queue …`: counts, ages and rates of queues, once or again and again; pause, resume, audit and delete.

mod pause;
mod reading;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use retraced::limits::WORKER_STALE_AFTER;
use retraced::store::{FindingKind, UnfinishedJobs};
use retraced::view::{AuditRow, QueueRow, Timestamp};
use retraced::{JobState, Operator, OperatorError, QueueName};
use serde::Serialize;

use self::pause::{Pause, Resume};
use self::reading::{Reading, ShownQueue, read_rows};
use crate::args;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::{REMARKS_COLUMNS_MIN, WATCH_INTERVAL};
use crate::live_workers::{LiveWorkers, WithWorkers, workers_of};
use crate::output::{Cell, Column, EMPTY_CELL, Style, arguments, duration_text, job_count, millis, printable};
use crate::paused::paused;

/// `retraced queues`
#[derive(Args)]
pub(crate) struct Queues {
    /// Show the queues again and again, this far apart (100ms to 1h), until Ctrl-C. Without a duration: every 2 s. During an outage the last numbers stay, marked as old.
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = args::shown(WATCH_INTERVAL), require_equals = true, value_parser = args::rates_over)]
    watch: Option<Duration>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Args)]
struct Measure {
    /// Read the counters twice, this far apart (100ms to 1h), and show how many jobs were enqueued and completed and how many attempts failed, per second. Default: no rates.
    #[arg(long, value_name = "DURATION", value_parser = args::rates_over)]
    rates_over: Option<Duration>,
}

/// `retraced queue …`
#[derive(Subcommand)]
pub(crate) enum Queue {
    /// Stop claiming jobs of this queue. Jobs that workers have claimed already still run, and enqueueing is not affected.
    Pause(Pause),
    /// Resume claiming jobs of this queue.
    Resume(Resume),
    /// Show how many jobs of this queue are in each state, and its counters.
    Stats(Stats),
    /// Check the whole queue for damage caused by manual edits, evicted keys or lost writes: jobs that are in no state or in two, records of a lease without the lease,
    /// and records that belong to no job. Workers continue during the check.
    Audit(AuditQueue),
    /// Delete a queue: its jobs, counters and name. A queue that a live worker processes is always refused; one with jobs that have not ended (pending, processing, delayed),
    /// or that keeps dead or poisoned ones, unless --force is given.
    Delete(DeleteQueue),
}

#[derive(Args)]
pub(crate) struct Stats {
    /// The queue.
    queue: QueueName,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Args)]
pub(crate) struct AuditQueue {
    /// The queue.
    queue: QueueName,
    /// Repair what is found. No job is deleted: a job in no state goes back among the jobs that ended as it did or, if it
    /// has not ended, to the front of the queue; it is poisoned if it cannot be read.
    #[arg(long)]
    repair: bool,
}

#[derive(Args)]
pub(crate) struct DeleteQueue {
    /// The queue.
    queue: QueueName,
    /// Also delete jobs that have not ended, dead and poisoned ones, and a queue whose keys have a wrong type. They cannot be restored.
    #[arg(long)]
    force: bool,
}

/// What `queue delete` prints.
#[derive(Serialize)]
struct Deleted {
    queue: QueueName,
    deleted: bool,
    /// How many jobs were kept in it.
    jobs: u64,
}

impl Queues {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator().await?;
        if let Some(every) = self.watch {
            let (read, reads_for) = (async || self.read(&operator).await, self.measure.rates_over.unwrap_or_default());
            let print = |reading: &Reading, read_at| self.print(context, reading, read_at);
            return watch::run(context, every, reads_for, read, print).await;
        }
        let reading = self.read(&operator).await?;
        self.print(context, &reading, None)?;
        if reading.unread.is_empty() { Ok(()) } else { Err(CliError::Failed(reading.unread.join("; "))) }
    }

    /// Reads all queues. An error that concerns one queue hides no other; one that may pass ends the reading.
    async fn read(&self, operator: &Operator) -> Result<Reading, OperatorError> {
        let names = operator.queues().await?;
        let mut reading = Reading { any_queue: !names.is_empty(), ..Reading::default() };
        for (name, row) in read_rows(operator, &names, self.measure.rates_over).await? {
            match row {
                Ok(row) => reading.rows.push(row),
                Err(error) => reading.unread.push(format!("queue {name} cannot be shown: {error}")),
            }
        }
        // Without the right to read the list of workers the numbers are of use all the same.
        if let Ok(workers) = LiveWorkers::read(operator).await {
            reading.workers = reading.rows.iter().map(|row| workers.of(&row.queue)).collect();
        }
        Ok(reading)
    }

    fn print(&self, context: &CommandContext, reading: &Reading, read_at: Option<Timestamp>) -> Result<(), CliError> {
        if !reading.any_queue && !context.out.is_json() {
            return Ok(context.out.print_text(&format!(
                "no queue is known here under the prefix {}: none was used yet, another server, database or prefix is meant, or Redis has lost its data; `retraced enqueue` adds a job",
                context.prefix
            ))?);
        }
        let any_trimmed = reading.rows.iter().any(|row| failed_and_trimmed(row) > 0);
        let columns = self.columns(any_trimmed);
        Ok(context.out.results(&reading.shown(read_at), &columns, |row| self.cells(row, any_trimmed))?)
    }

    /// The column TRIMMED is a warning: it is shown only if dead or poisoned jobs of a queue were trimmed.
    fn columns(&self, any_trimmed: bool) -> Vec<Column> {
        let mut columns = vec![
            Column::new("QUEUE").cut_in_the_middle(12),
            Column::new("PENDING"),
            Column::new("PROCESSING").drop_rank(1),
            Column::new("DELAYED").drop_rank(2),
            Column::new("DEAD"),
            Column::new("POISONED"),
            Column::new("CANCELLED").drop_rank(6),
            Column::new("OLDEST").drop_rank(3),
            Column::new("TOTAL DONE").drop_rank(5),
        ];
        if any_trimmed {
            columns.push(Column::new("TRIMMED").drop_rank(4));
        }
        if self.measure.rates_over.is_some() {
            columns.extend(["IN/S", "DONE/S", "FAILED/S"].map(Column::new));
        }
        columns.push(Column::new("").cut(REMARKS_COLUMNS_MIN));
        columns
    }

    fn cells(&self, shown: &ShownQueue<'_>, any_trimmed: bool) -> Vec<Cell> {
        let row = shown.row.of;
        let mut cells = vec![Cell::from(row.queue.to_string())];
        cells.extend(
            [
                (row.pending, JobState::Pending),
                (row.processing, JobState::Processing),
                (row.delayed, JobState::Delayed),
                (row.dead, JobState::Dead),
                (row.poisoned, JobState::Poisoned),
                (row.cancelled, JobState::Cancelled),
            ]
            .map(|(count, state)| count_of(count, state)),
        );
        cells.push(row.oldest_pending_ms.map_or_else(|| EMPTY_CELL.into(), duration_text).into());
        cells.push(count_of(row.completed, JobState::Completed));
        if any_trimmed {
            let trimmed = failed_and_trimmed(row);
            cells.push(Cell::new(trimmed.to_string(), if trimmed == 0 { Style::Dim } else { Style::Warn }));
        }
        match row.rates {
            Some(rates) => {
                let rates = [rates.enqueued_per_s, rates.completed_per_s, rates.failures_per_s];
                cells.extend(rates.map(|rate| Cell::from(format!("{rate:.1}"))));
            }
            None if self.measure.rates_over.is_some() => {
                cells.extend([EMPTY_CELL; 3].map(|none| Cell::from(none.to_owned())))
            }
            None => {}
        }
        let no_worker = (shown.row.workers == Some(0)).then(|| "no worker".to_owned());
        let remarks: Vec<_> = paused(row).into_iter().chain(no_worker).collect();
        cells.push(Cell::new(remarks.join(", "), Style::Warn));
        cells
    }
}

impl Queue {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        match self {
            Queue::Pause(pause) => pause.run(context).await,
            Queue::Resume(resume) => resume.run(context).await,
            Queue::Stats(Stats { queue, measure }) => {
                let operator = context.operator_of(&queue).await?;
                for (_, row) in read_rows(&operator, &[queue], measure.rates_over).await? {
                    let row = row?;
                    let workers = workers_of(&operator, &row.queue).await;
                    let mut values = values(&row);
                    values.extend(workers.map(|n| ("live workers", Cell::new(n.to_string(), worked_style(n)))));
                    context.out.details(&WithWorkers::new(&row, workers), &title(&row), &values)?;
                }
                Ok(())
            }
            Queue::Audit(audit) => audit.run(context).await,
            Queue::Delete(delete) => delete.run(context).await,
        }
    }
}

impl AuditQueue {
    async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator_of(&self.queue).await?;
        let row = match self.repair {
            true => AuditRow::repaired(&self.queue, operator.repair(&self.queue).await?),
            false => AuditRow::found(&self.queue, operator.audit(&self.queue).await?),
        };
        context.out.details(&row, &format!("queue {}", row.queue), &audited(&row))?;
        if row.is_sound() {
            return Ok(());
        }
        Err(CliError::Failed(match self.repair {
            true => {
                "the queue is still not sound: a lease without a grant leaves when a worker reclaims it; run the command again then"
                    .into()
            }
            false => "the queue is damaged: run the command again with --repair".into(),
        }))
    }
}

impl DeleteQueue {
    async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let Self { queue, force } = self;
        let operator = context.operator_of(&queue).await?;
        let unfinished = if force { UnfinishedJobs::Delete } else { UnfinishedJobs::Refuse };
        let jobs = operator.delete_queue(&queue, unfinished).await.map_err(|error| match &error {
            OperatorError::QueueHasJobs { .. } => CliError::Failed(unfinished_jobs(&error)),
            OperatorError::QueueHasWorkers { .. } => {
                let after = duration_text(millis(WORKER_STALE_AFTER));
                CliError::Failed(format!("{error}; a worker that was killed counts as live for {after} after its last heartbeat, so try again then"))
            }
            _ => CliError::from(error),
        })?;
        let row = Deleted { queue, deleted: true, jobs };
        context.out.result(&row, || format!("queue {} is deleted, with {}", row.queue, job_count(row.jobs)))?;
        Ok(())
    }
}

/// Why a queue is not deleted, and how each of its jobs can be dealt with.
fn unfinished_jobs(error: &OperatorError) -> String {
    let OperatorError::QueueHasJobs { queue, pending, processing, delayed, dead, poisoned } = error else {
        return error.to_string();
    };
    let counts = [
        (pending, "pending"),
        (processing, "processing"),
        (delayed, "delayed"),
        (dead, "dead"),
        (poisoned, "poisoned"),
    ];
    let counts: Vec<_> = counts.iter().filter(|(n, _)| **n > 0).map(|(n, state)| format!("{n} {state}")).collect();
    let named = arguments(&[queue]);
    let mut said = format!("queue {queue} has jobs: {}", counts.join(", "));
    if pending + delayed > 0 {
        said.push_str(&format!("; `retraced job cancel --all {named}` cancels those that wait (if it finds fewer, `retraced queue audit --repair {named}` first)"));
    }
    if *processing > 0 {
        // No live worker processes the queue, or the deletion would have been refused for that.
        said.push_str("; the workers of the processing ones are gone, so they can be cancelled only when a worker runs and their leases expire");
    }
    if dead + poisoned > 0 {
        said.push_str(&format!("; `retraced dead list {named}` shows the dead and poisoned ones"));
    }
    said.push_str("; --force deletes the queue with all its jobs");
    said
}

fn audited(row: &AuditRow) -> Vec<(&'static str, Cell)> {
    use FindingKind::{GrantWithoutLease, LeaseWithoutGrant};
    let unrepaired =
        |is_such: fn(FindingKind) -> bool| !row.repaired && row.findings.iter().any(|finding| is_such(finding.kind));
    // The counts alone do not tell: a job in two containers makes up for one in none, and a lease without a grant for a grant without a lease.
    let misplaced = row.difference != 0 || unrepaired(FindingKind::misplaces_jobs);
    let unmatched =
        row.grant_difference != 0 || unrepaired(|kind| matches!(kind, GrantWithoutLease | LeaseWithoutGrant));
    let (stored, style) = match (misplaced, unmatched) {
        (true, _) => ("not each in exactly one container", Style::Bad),
        (false, true) => ("but leases and grants do not match", Style::Bad),
        (false, false) => ("each in exactly one container", Style::Good),
    };
    let mut values = vec![("stored", Cell::new(format!("{}, {stored}", job_count(row.jobs)), style))];
    if row.uncounted > 0 {
        let lost = format!("the bytes of {} are not counted, so retention keeps too many", job_count(row.uncounted));
        values.push(("found", Cell::new(lost, Style::Bad)));
    }
    values.extend(row.findings.iter().map(|finding| {
        let example = finding.examples.first().map(|job| format!(", for example {job}")).unwrap_or_default();
        let found = format!("{finding}{example}");
        (if row.repaired { "repaired" } else { "found" }, Cell::new(found, Style::Warn))
    }));
    values
}

/// A number of jobs, in the colour of their state; zero is dimmed.
fn count_of(count: u64, state: JobState) -> Cell {
    Cell::new(count.to_string(), if count == 0 { Style::Dim } else { Style::of(state) })
}

/// How many dead and poisoned jobs retention has removed since the queue was first used.
fn failed_and_trimmed(row: &QueueRow) -> u64 {
    row.trimmed_dead + row.trimmed_poisoned
}

/// A queue that no worker processes is worth a warning.
fn worked_style(workers: usize) -> Style {
    if workers == 0 { Style::Warn } else { Style::Plain }
}

fn title(row: &QueueRow) -> String {
    format!("queue {}{}", row.queue, if row.paused { " (paused)" } else { "" })
}

fn values(row: &QueueRow) -> Vec<(&'static str, Cell)> {
    let in_all = |count: u64| Cell::from(format!("{count} in all"));
    let mut values = Vec::new();
    let warned = |text: String| Cell::new(text, Style::Warn);
    values.extend(row.paused_by.as_deref().map(|by| ("paused by", warned(printable(by)))));
    values.extend(row.paused_since.map(|since| ("paused since", warned(since.to_string()))));
    values.push(("pending", count_of(row.pending, JobState::Pending)));
    values.extend(row.oldest_pending_ms.map(|oldest| ("oldest pending", duration_text(oldest).into())));
    values.push(("processing", count_of(row.processing, JobState::Processing)));
    values.push(("delayed", count_of(row.delayed, JobState::Delayed)));
    values.extend(row.delayed_overdue_ms.map(|overdue| {
        let name = if overdue < 0 { "next due in" } else { "overdue by" };
        (name, duration_text(overdue.unsigned_abs()).into())
    }));
    values.extend([
        ("completed", format!("{} in all, {} kept", row.completed, row.completed_kept).into()),
        ("dead", count_of(row.dead, JobState::Dead)),
        ("poisoned", count_of(row.poisoned, JobState::Poisoned)),
        ("cancelled", count_of(row.cancelled, JobState::Cancelled)),
        ("enqueued", in_all(row.enqueued)),
        ("failures", in_all(row.failures)),
        ("crashes", in_all(row.crashes)),
        ("releases", in_all(row.releases)),
        ("stale settlements", in_all(row.stale_settlements)),
        ("trimmed", in_all(row.trimmed)),
    ]);
    if failed_and_trimmed(row) > 0 {
        let failed = format!("{} dead, {} poisoned", row.trimmed_dead, row.trimmed_poisoned);
        values.push(("of these", Cell::new(failed, Style::Warn)));
    }
    if row.garbage > 0 {
        values.push(("garbage found", Cell::new(format!("{} in all", row.garbage), Style::Warn)));
    }
    values.extend(row.rates.into_iter().flat_map(|rates| {
        [
            ("enqueued per second", rates.enqueued_per_s),
            ("completed per second", rates.completed_per_s),
            ("failed per second", rates.failures_per_s),
        ]
        .map(|(name, rate)| (name, Cell::from(format!("{rate:.1}"))))
    }));
    values
}
