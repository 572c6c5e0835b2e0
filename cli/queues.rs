//! `retraced queues` and `retraced queue …`: counts, ages and rates of queues, once or again and again; pause, resume, audit and delete.

use std::time::Duration;

use clap::{Args, Subcommand};
use retraced::store::LiveJobs;
use retraced::view::{AuditRow, QueueRow, Rates};
use retraced::{JobState, Operator, OperatorError, QueueName};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::args;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::WATCH_INTERVAL;
use crate::output::{Cell, Column, NOTHING, Style, job_count, note, short_duration};

/// `retraced queues`
#[derive(Args)]
pub(crate) struct Queues {
    /// Show the queues again and again, this far apart (100ms to 1h), until Ctrl-C. Without a duration: every 2 s.
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
    Resume(OneQueue),
    /// Show how many jobs of this queue are in each state, and its counters.
    Stats(Stats),
    /// Check the whole queue for damage caused by manual edits, evicted keys or lost writes: jobs that are in no state or in two, records of a lease without the lease,
    /// and records that belong to no job. Workers continue during the check.
    Audit(AuditQueue),
    /// Delete a queue: its jobs, counters and name. A queue that a live worker processes is always refused; one with live jobs (pending, processing, delayed) unless
    /// --force is given.
    Delete(DeleteQueue),
}

#[derive(Args)]
pub(crate) struct OneQueue {
    /// The queue.
    queue: QueueName,
}

#[derive(Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    queue: OneQueue,
    /// Pause a queue that does not exist yet, so that none of its jobs runs before it is resumed.
    #[arg(long)]
    create: bool,
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
    /// Delete live jobs as well, and a queue whose keys have a wrong type. They cannot be restored.
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

/// What `queue pause` and `queue resume` print.
#[derive(Serialize)]
struct PauseResult {
    queue: QueueName,
    paused: bool,
    /// Whether the queue was in the other state before.
    changed: bool,
}

impl Queues {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator().await?;
        let Some(every) = self.watch else {
            let unread = self.print(context, &operator).await?;
            return if unread.is_empty() { Ok(()) } else { Err(CliError::Failed(unread.join("; "))) };
        };
        // From here on, Ctrl-C ends the loop.
        let mut interrupts = signal(SignalKind::interrupt())?;
        while !context.out.is_closed() {
            let shown = async {
                self.print(context, &operator).await?.iter().for_each(note);
                tokio::time::sleep(every).await;
                Ok::<_, CliError>(())
            };
            tokio::select! {
                shown = shown => shown?,
                _ = interrupts.recv() => break,
            }
        }
        Ok(())
    }

    /// Prints all queues. A queue with an error of its own does not hide the others: the error is returned. If the store cannot be reached, nothing is printed.
    async fn print(&self, context: &CommandContext, operator: &Operator) -> Result<Vec<String>, CliError> {
        let names = operator.queues().await?;
        let (mut rows, mut unread) = (Vec::new(), Vec::new());
        for (name, row) in read_rows(operator, &names, self.measure.rates_over).await {
            match row {
                Ok(row) => rows.push(row),
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) => unread.push(format!("queue {name} cannot be shown: {error}")),
            }
        }
        if self.watch.is_some() && context.out.is_text_on_terminal() {
            context.out.clear()?;
        }
        match names.is_empty() && !context.out.is_json() {
            true => context.out.line("no queue has been used yet; enqueue a job with `retraced enqueue`")?,
            false => {
                let any_trimmed = rows.iter().any(|row| failed_and_trimmed(row) > 0);
                context.out.results(&rows, &self.columns(any_trimmed), |row| self.cells(row, any_trimmed))?;
            }
        }
        Ok(unread)
    }

    /// The column TRIMMED is a warning: it is shown only if dead or poisoned jobs of a queue were trimmed.
    fn columns(&self, any_trimmed: bool) -> Vec<Column> {
        let mut columns = vec![
            Column::new("QUEUE").cut(12),
            Column::new("PENDING"),
            Column::new("PROCESSING").drop_rank(4),
            Column::new("DELAYED").drop_rank(2),
            Column::new("COMPLETED").drop_rank(5),
            Column::new("DEAD"),
            Column::new("POISONED"),
            Column::new("CANCELLED").drop_rank(6),
            Column::new("OLDEST").drop_rank(3),
        ];
        if any_trimmed {
            columns.push(Column::new("TRIMMED").drop_rank(1));
        }
        if self.measure.rates_over.is_some() {
            columns.extend(["IN/S", "DONE/S", "FAILED/S"].map(Column::new));
        }
        columns.push(Column::new(""));
        columns
    }

    fn cells(&self, row: &QueueRow, any_trimmed: bool) -> Vec<Cell> {
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
        cells.push(row.oldest_pending_ms.map_or_else(|| NOTHING.into(), short_duration).into());
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
                cells.extend([NOTHING; 3].map(|none| Cell::from(none.to_owned())))
            }
            None => {}
        }
        cells.push(Cell::new(if row.paused { "paused" } else { "" }, Style::Warn));
        cells
    }
}

impl Queue {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        match self {
            Queue::Pause(pause) => pause.run(context).await,
            Queue::Resume(queue) => queue.resume(context).await,
            Queue::Stats(Stats { queue, measure }) => {
                let operator = context.operator_of(&queue).await?;
                for (_, row) in read_rows(&operator, &[queue], measure.rates_over).await {
                    let row = row?;
                    context.out.sheet(&row, &title(&row), &values(&row))?;
                }
                Ok(())
            }
            Queue::Audit(audit) => audit.run(context).await,
            Queue::Delete(delete) => delete.run(context).await,
        }
    }
}

impl Pause {
    async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let queue = self.queue.queue;
        let operator = match self.create {
            true => context.operator().await?,
            false => context.operator_of(&queue).await?,
        };
        // Paused first, so that no worker claims from the new queue in between.
        let was_paused = operator.pause(&queue).await?;
        if self.create {
            operator.create_queue(&queue).await?;
        }
        let row = PauseResult { queue, paused: true, changed: !was_paused };
        context.out.result(&row, || format!("queue {} is paused{}", row.queue, row.already()))?;
        Ok(())
    }
}

impl OneQueue {
    async fn resume(self, context: &CommandContext) -> Result<(), CliError> {
        let was_paused = context.operator_of(&self.queue).await?.resume(&self.queue).await?;
        let row = PauseResult { queue: self.queue, paused: false, changed: was_paused };
        context.out.result(&row, || format!("queue {} is running{}", row.queue, row.already()))?;
        Ok(())
    }
}

impl PauseResult {
    fn already(&self) -> &'static str {
        if self.changed { "" } else { " already" }
    }
}

impl AuditQueue {
    async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator_of(&self.queue).await?;
        let row = match self.repair {
            true => AuditRow::repaired(&self.queue, operator.repair(&self.queue).await?),
            false => AuditRow::found(&self.queue, operator.audit(&self.queue).await?),
        };
        context.out.sheet(&row, &format!("queue {}", row.queue), &audited(&row))?;
        if row.is_sound() {
            return Ok(());
        }
        Err(CliError::Failed(match self.repair {
            true => "the counts still disagree: run the command again".into(),
            false => "the queue is damaged: run the command again with --repair".into(),
        }))
    }
}

impl DeleteQueue {
    async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let Self { queue, force } = self;
        let operator = context.operator_of(&queue).await?;
        let live = if force { LiveJobs::Delete } else { LiveJobs::Refuse };
        let jobs = operator.delete_queue(&queue, live).await.map_err(|error| match &error {
            OperatorError::QueueHasJobs { queue, pending, processing, delayed, .. } => CliError::Failed(format!(
                "queue {queue} has live jobs: {pending} pending, {processing} processing, {delayed} delayed; cancel them with `retraced job cancel`, or give --force"
            )),
            _ => CliError::from(error),
        })?;
        let row = Deleted { queue, deleted: true, jobs };
        context.out.result(&row, || format!("queue {} is deleted, with {}", row.queue, job_count(row.jobs)))?;
        Ok(())
    }
}

fn audited(row: &AuditRow) -> Vec<(&'static str, Cell)> {
    let (sound, style) = match (row.difference, row.grant_difference) {
        (0, 0) => ("each in exactly one container", Style::Good),
        _ => ("not each in exactly one container", Style::Bad),
    };
    let mut values = vec![("stored", Cell::new(format!("{}, {sound}", job_count(row.jobs)), style))];
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

/// Reads the statistics of these queues, each with its own result, with rates if `rates_over` is given.
async fn read_rows<'a>(
    operator: &Operator,
    names: &'a [QueueName],
    rates_over: Option<Duration>,
) -> Vec<(&'a QueueName, Result<QueueRow, OperatorError>)> {
    let mut before = Vec::new();
    if let Some(wait) = rates_over {
        for name in names {
            before.push((operator.stats(name).await, Instant::now()));
        }
        tokio::time::sleep(wait).await;
    }
    let mut rows = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let row = operator.stats(name).await.map(|stats| {
            let row = QueueRow::new(name, &stats);
            match before.get(at) {
                Some((Ok(before), since)) => row.with_rates(Rates::between(before, &stats, since.elapsed())),
                _ => row,
            }
        });
        rows.push((name, row));
    }
    rows
}

/// The number of jobs in a state, in the colour of the state; zero is dimmed. For COMPLETED it is the number of all jobs that ever completed.
fn count_of(count: u64, state: JobState) -> Cell {
    Cell::new(count.to_string(), if count == 0 { Style::Dim } else { Style::of(state) })
}

/// How many dead and poisoned jobs retention has removed since the queue was first used.
fn failed_and_trimmed(row: &QueueRow) -> u64 {
    row.trimmed_dead + row.trimmed_poisoned
}

fn title(row: &QueueRow) -> String {
    format!("queue {}{}", row.queue, if row.paused { " (paused)" } else { "" })
}

fn values(row: &QueueRow) -> Vec<(&'static str, Cell)> {
    let in_all = |count: u64| Cell::from(format!("{count} in all"));
    let mut values = vec![("pending", count_of(row.pending, JobState::Pending))];
    values.extend(row.oldest_pending_ms.map(|oldest| ("oldest pending", short_duration(oldest).into())));
    values.push(("processing", count_of(row.processing, JobState::Processing)));
    values.push(("delayed", count_of(row.delayed, JobState::Delayed)));
    values.extend(row.delayed_overdue_ms.map(|overdue| {
        let name = if overdue < 0 { "next due in" } else { "overdue by" };
        (name, short_duration(overdue.unsigned_abs()).into())
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
