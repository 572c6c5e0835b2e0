//! `retraced jobs` and `retraced job …`: list jobs, show one, act on one.

use clap::{Args, Subcommand};
use retraced::find::{JobCursor, JobFilter};
use retraced::job::JobView;
use retraced::store::{BATCH_MAX, Moved};
use retraced::view::{ActionResult, ActionRow, JobDetail, JobRow, Timestamp};
use retraced::{JobId, JobState, Operator, QueueName};

use crate::args;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::filter::Filter;
use crate::limits::{LIST_EXAMINED_MAX, LISTED_MESSAGE_MAX, SHOWN_CHARS_MAX};
use crate::output::{Cell, Column, NOTHING, Output, Style, counted, job_count, note, printable, short, short_duration};

/// `retraced jobs`
#[derive(Args)]
pub(crate) struct Jobs {
    /// The queue.
    queue: QueueName,
    /// The state. Pending jobs are listed from the front of the queue, delayed ones by due time, processing ones by the end of their lease, and ended ones latest first.
    #[arg(long, value_parser = args::state())]
    state: JobState,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
}

/// Which part of a list is printed.
#[derive(Args)]
pub(crate) struct Paging {
    /// Maximum jobs to list. If there are more, or if 100000 jobs were searched before that many matched, a message on stderr ends with the cursor to continue from.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Continue where an earlier list ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<JobCursor>,
}

/// `retraced job …`
#[derive(Subcommand)]
pub(crate) enum Job {
    /// Show everything that is known about a job.
    Show(OneJob),
    /// Cancel a job. A pending or delayed job is cancelled at once. The handler of a running job is asked to stop; if the handler succeeds anyway, the job is completed.
    Cancel(OneJob),
    /// Run a job again: a dead, poisoned or cancelled job becomes pending, with failures and crashes reset to zero; a delayed job becomes pending now.
    Retry(OneJob),
}

#[derive(Args)]
pub(crate) struct OneJob {
    /// The job's queue.
    pub(crate) queue: QueueName,
    /// The job's id.
    pub(crate) id: JobId,
}

impl Jobs {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator_of(&self.queue).await?;
        let filter = self.filter.of(JobFilter::in_state(self.state));
        let listing = Listing { queue: &self.queue, filter: &filter, what: self.state.as_str() };
        listing.run(context, &operator, self.paging).await
    }
}

/// A list of jobs to print.
pub(crate) struct Listing<'a> {
    pub(crate) queue: &'a QueueName,
    pub(crate) filter: &'a JobFilter,
    /// What messages call the jobs: a state, or `dead or poisoned`.
    pub(crate) what: &'a str,
}

impl Listing<'_> {
    pub(crate) async fn run(
        &self,
        context: &CommandContext,
        operator: &Operator,
        paging: Paging,
    ) -> Result<(), CliError> {
        let Paging { limit, cursor } = paging;
        let resumed = cursor.is_some();
        let mut left = limit as usize;
        let mut search = operator.search(self.queue, self.filter, cursor)?;
        let mut table = context.out.table(&self.columns());
        let mut listed = 0;
        while left > 0 && !context.out.is_closed() {
            let may_examine = LIST_EXAMINED_MAX.saturating_sub(search.examined());
            let jobs = search.take(left.min(BATCH_MAX), may_examine).await?;
            if jobs.is_empty() {
                break;
            }
            let rows: Vec<JobRow> = jobs.iter().map(|job| JobRow::new(self.queue, job)).collect();
            left -= rows.len();
            listed += rows.len();
            context.out.rows(&mut table, &rows, |job| row(&context.out, job))?;
        }
        if context.out.is_closed() {
            return Ok(());
        }
        context.out.note_left_out(&table);
        let next = search.cursor().await?;
        if listed == 0 {
            self.note_none(resumed, next.is_some());
        }
        if let Some(next) = next {
            match left {
                0 if self.filter.is_unconditional() => note(format_args!("there are more: --cursor {next}")),
                0 => note(format_args!("there may be more: --cursor {next}")),
                _ => note(format_args!(
                    "{} were searched, and there are more to search: --cursor {next}",
                    job_count(search.examined())
                )),
            }
        }
        Ok(())
    }

    fn note_none(&self, resumed: bool, unfinished: bool) {
        let which = if self.filter.is_unconditional() { "" } else { " that match" };
        let more = if resumed { "more " } else { "" };
        let so_far = if unfinished { " so far" } else { "" };
        note(format_args!("no {more}{} jobs{which} in queue {}{so_far}", self.what, self.queue));
    }

    fn columns(&self) -> [Column; 7] {
        let when = match self.filter.states() {
            [JobState::Delayed] => "DUE",
            [JobState::Processing] => "LEASE ENDS",
            [state] if !state.is_final() => "WHEN",
            _ => "ENDED",
        };
        // In a list of one state the column STATE is the same in every row, so it is left out early.
        let state = Column::new("STATE").spare(if self.filter.states().len() == 1 { 4 } else { 1 });
        [
            Column::new("ID"),
            Column::new("KIND").cut(8),
            state,
            Column::new("FAILURES").spare(2),
            Column::new("ENQUEUED").spare(3),
            Column::new(when).spare(if when == "WHEN" { 5 } else { 0 }),
            Column::new("LAST ERROR").cut(20),
        ]
    }
}

fn row(out: &Output, job: &JobRow) -> Vec<Cell> {
    let when = |at: Option<Timestamp>| Cell::from(at.map_or_else(|| NOTHING.to_owned(), |at| out.when(at)));
    let error = job.last_error.as_ref().map(|e| format!("{}: {}", e.code, short(&e.message, LISTED_MESSAGE_MAX)));
    vec![
        job.id.to_string().into(),
        job.kind.as_ref().map_or_else(|| "unreadable".to_owned(), ToString::to_string).into(),
        Cell::new(job.state.as_str(), Style::of(job.state)),
        job.failures.to_string().into(),
        when(job.enqueued_at),
        when(job.at()),
        error.unwrap_or_else(|| NOTHING.to_owned()).into(),
    ]
}

impl Job {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let (Job::Show(job) | Job::Cancel(job) | Job::Retry(job)) = &self;
        let operator = context.operator_of(&job.queue).await?;
        match self {
            Job::Show(job) => show(&context.out, &job.find(&operator).await?),
            Job::Cancel(OneJob { queue, id }) => {
                let moved = operator.cancel(&queue, [&id]).await?;
                require_change(print_results(&context.out, &queue, std::iter::once(id).zip(moved))?)
            }
            Job::Retry(OneJob { queue, id }) => {
                let moved = operator.redrive(&queue, [&id]).await?;
                require_change(print_results(&context.out, &queue, std::iter::once(id).zip(moved))?)
            }
        }
    }
}

/// Fails if the job was not changed.
fn require_change(unchanged: usize) -> Result<(), CliError> {
    if unchanged > 0 {
        return Err(CliError::Failed("nothing was changed".into()));
    }
    Ok(())
}

impl OneJob {
    pub(crate) async fn find(&self, operator: &Operator) -> Result<JobView, CliError> {
        operator.job(&self.queue, &self.id).await?.ok_or_else(|| {
            CliError::Failed(format!(
                "no job {} is kept in queue {}: it was never enqueued, it ended and is no longer kept, or it was discarded",
                self.id, self.queue
            ))
        })
    }
}

/// Prints the result for each job, and returns how many jobs were not changed.
pub(crate) fn print_results(
    out: &Output,
    queue: &QueueName,
    results: impl IntoIterator<Item = (JobId, Moved)>,
) -> Result<usize, CliError> {
    let mut unchanged = 0;
    for (id, moved) in results {
        let row = ActionRow::new(queue, &id, moved);
        unchanged += usize::from(!row.is_changed());
        out.result(&row, || sentence(out, &row))?;
    }
    Ok(unchanged)
}

fn sentence(out: &Output, row: &ActionRow) -> String {
    let id = &row.id;
    let state =
        |state: Option<JobState>| state.map_or_else(|| NOTHING.to_owned(), |state| out.paint(Style::of(state), state));
    match row.result {
        ActionResult::Asked => format!("{id}  is processing; cancellation requested"),
        ActionResult::NotFound => format!("{id}  is not kept in queue {}", row.queue),
        ActionResult::Refused => format!("{id}  is {}, which does not allow this", state(row.state)),
        ActionResult::Removed => format!("{id}  {} → removed", state(row.from)),
        _ => format!("{id}  {} → {}", state(row.from), state(row.state)),
    }
}

pub(crate) fn show(out: &Output, view: &JobView) -> Result<(), CliError> {
    let job = JobDetail::from(view);
    out.sheet(&job, &format!("job {}", view.id), &values(&job))?;
    Ok(())
}

fn values(job: &JobDetail) -> Vec<(&'static str, Cell)> {
    let row = &job.row;
    let mut values = vec![
        ("queue", row.queue.to_string().into()),
        ("kind", row.kind.as_ref().map_or_else(|| "unreadable".to_owned(), ToString::to_string).into()),
        ("state", Cell::new(row.state.as_str(), Style::of(row.state))),
    ];
    let mut say = |name: &'static str, value: String| values.push((name, Cell::from(value)));
    let counters =
        [(row.attempts, "attempt"), (row.failures, "failure"), (row.crashes, "crash"), (row.releases, "release")];
    say("counters", counters.map(|(count, noun)| counted(count, noun)).join(", "));
    say("max attempts", row.max_attempts.map_or_else(|| "as set for its queue".into(), |n| n.to_string()));
    if let Some(retry) = &job.retry {
        say("retry options", serde_json::to_string(retry).unwrap_or_default());
    }
    if let Some(timeout) = job.timeout_ms {
        say("timeout", short_duration(timeout));
    }
    for (name, at) in [
        ("enqueued", &row.enqueued_at),
        ("due", &row.due_at),
        ("leased until", &row.lease_expires_at),
        ("ended", &row.ended_at),
    ] {
        if let Some(at) = at {
            say(name, at.to_string());
        }
    }
    if let Some(holder) = &job.held_by {
        let asked = if holder.cancel_asked { ", cancellation requested" } else { "" };
        say("held by", format!("worker {} as attempt {}{asked}", holder.worker, holder.attempt));
    }
    if let Some(error) = &row.last_error {
        say("last error", format!("{} at {}: {}", error.code, error.at, shown(&error.message)));
    }
    match (&job.payload, &job.unreadable) {
        (Some(payload), _) => say("payload", shown(&payload.to_string())),
        (None, Some(why)) => say("payload", format!("cannot be shown: {}", printable(why))),
        (None, None) => {}
    }
    if !job.history.is_empty() {
        say("history", format!("retraced trace {} {}", row.queue, row.id));
    }
    values
}

/// The text with control characters escaped. Of a long text only the beginning is shown, and its length.
fn shown(text: &str) -> String {
    let short = short(text, SHOWN_CHARS_MAX);
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        return format!("{short} ({} bytes; --json shows all)", text.len());
    }
    short
}
