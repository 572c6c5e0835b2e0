//! `retraced jobs` and `retraced job …`: list jobs, show one, act on one.

use clap::{ArgGroup, Args, Subcommand};
use retraced::find::JobFilter;
use retraced::job::JobView;
use retraced::view::{JobDetail, JobRow};
use retraced::{JobId, JobState, Operator, OperatorError, QueueName, TraceError};

use crate::args;
use crate::bulk::{Bulk, BulkOptions, Tally, Verb, distinct, print_results};
use crate::by::By;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::filter::Filter;
use crate::limits::SHOWN_CHARS_MAX;
use crate::listing::{Listing, Paging, common_cells};
use crate::output::{
    Cell, Column, Output, Style, arguments, duration_text, printable, printable_json, short, with_noun,
};

/// `retraced jobs`
#[derive(Args)]
#[command(override_usage = "retraced jobs [OPTIONS] --state <STATE> <QUEUE>")]
pub(crate) struct Jobs {
    /// The queue.
    queue: QueueName,
    /// The state, which must be given. Pending jobs are listed from the front of the queue, delayed ones by due time, processing ones by the end of their lease, and ended ones latest first.
    #[arg(long, ignore_case = true, value_parser = args::state())]
    state: Option<JobState>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
}

/// `retraced job …`
#[derive(Subcommand)]
pub(crate) enum Job {
    /// Show everything that is known about a job.
    Show(OneJob),
    /// Find a job of which only the id is known: show each queue that keeps a job of this id, and its state there.
    Find(FindJob),
    /// Cancel jobs. A pending or delayed job is cancelled at once. The handler of a running job is asked to stop; if the handler succeeds anyway, the job is completed.
    #[command(
        after_help = "Jobs of a filter are cancelled 100 at a time. Jobs that are enqueued after the command began are not cancelled, and a job that a worker claims first runs. Cancelled jobs are kept for a while: `retraced job retry` runs one again.",
        override_usage = "retraced job cancel [OPTIONS] <QUEUE> <ID...|--all|--state <STATE>|--code <CODE>|--kind <KIND>|--since <WHEN>|--until <WHEN>>"
    )]
    Cancel(Cancel),
    /// Run a job again: a dead, poisoned or cancelled job becomes pending, with failures, crashes and releases reset to zero; a delayed job becomes pending now.
    Retry(Retry),
}

/// Selects jobs to cancel: by id, all that wait, or those that match a filter.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "all", "state", "code", "kind", "since", "until"]))]
#[command(group = ArgGroup::new("by_id").multiple(true).args(["ids"]))]
pub(crate) struct Cancel {
    /// The queue.
    queue: QueueName,
    /// The ids of the jobs.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "state", "code", "kind", "since", "until"])]
    ids: Vec<JobId>,
    /// All pending and delayed jobs of the queue.
    #[arg(long, conflicts_with_all = ["state", "code", "kind", "since", "until"])]
    all: bool,
    /// Only jobs in this state. Default: pending and delayed.
    #[arg(long, ignore_case = true, value_parser = args::unfinished_state())]
    state: Option<JobState>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    options: BulkOptions,
}

/// `retraced job find`
#[derive(Args)]
pub(crate) struct FindJob {
    /// The job's id.
    id: JobId,
}

/// `retraced job retry`
#[derive(Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    job: OneJob,
    #[command(flatten)]
    by: By,
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
        let Some(state) = self.state else {
            let states = JobState::ALL.map(JobState::as_str).join(", ");
            return Err(CliError::Usage(format!("a state is needed: --state with one of {states}")));
        };
        self.filter.check()?;
        let operator = context.operator_of(&self.queue).await?;
        let filter = self.filter.of(JobFilter::in_state(state));
        let listing = Listing { queue: &self.queue, filter: &filter, state_names: state.as_str() };
        listing.run(context, &operator, self.paging).await?;
        if !state.is_final() {
            context.note_if_paused(&operator, &self.queue).await?;
        }
        Ok(())
    }
}

impl Job {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        match self {
            Job::Show(job) => {
                let operator = context.operator_of(&job.queue).await?;
                let view = job.view(&operator).await?;
                show(&context.out, &view)?;
                if !view.state.is_final() {
                    context.note_if_paused(&operator, &job.queue).await?;
                }
                Ok(())
            }
            Job::Find(find) => find.run(context).await,
            Job::Cancel(cancel) => cancel.run(context).await,
            Job::Retry(Retry { job: OneJob { queue, id }, by }) => {
                let operator = context.operator_of(&queue).await?.named(by.name());
                let moved = operator.redrive(&queue, [&id]).await?;
                let mut tally = Tally::default();
                print_results(&context.out, Verb::Retry, &queue, std::iter::once(id).zip(moved), &mut tally)?;
                match tally.unchanged {
                    0 => {
                        context.note_why_jobs_wait(&operator, &queue).await;
                        Ok(())
                    }
                    _ => Err(CliError::Failed("nothing was changed".into())),
                }
            }
        }
    }
}

impl FindJob {
    async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator().await?;
        let queues = operator.queues().await?;
        let (mut rows, mut unread) = (Vec::new(), Vec::new());
        for queue in &queues {
            match operator.job(queue, &self.id).await {
                Ok(view) => rows.extend(view.as_ref().map(JobRow::from)),
                // The other queues would wait for the same answer.
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) => unread.push(format!("queue {queue} cannot be searched: {error}")),
            }
        }
        if rows.is_empty() {
            let why = self.why_no_queue_keeps_it(&operator, &queues).await?;
            return Err(CliError::Failed(unread.into_iter().chain([why]).collect::<Vec<_>>().join("; ")));
        }
        let columns = [
            Column::new("QUEUE"),
            Column::new("KIND").cut(8),
            Column::new("STATE"),
            Column::new("ENQUEUED"),
            Column::new("CODE"),
        ];
        context.out.results(&rows, &columns, |row| {
            std::iter::once(row.queue.to_string().into()).chain(common_cells(&context.out, row)).collect()
        })?;
        if unread.is_empty() { Ok(()) } else { Err(CliError::Failed(unread.join("; "))) }
    }

    /// What the tombstones of the queues say about the job, or what may have become of it.
    async fn why_no_queue_keeps_it(&self, operator: &Operator, queues: &[QueueName]) -> Result<String, OperatorError> {
        let (mut said, mut unread) = (Vec::new(), Vec::new());
        for queue in queues {
            match operator.tombstone(queue, &self.id).await {
                Ok(tombstone) => said.extend(tombstone.map(|t| format!("queue {queue}: {}", TraceError::Removed(t)))),
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => {
                    unread.push(format!("the list of jobs removed from queue {queue} cannot be read: {error}"))
                }
            }
        }
        if said.is_empty() {
            said.push(TraceError::NotFound { id: self.id.clone() }.to_string());
        }
        said.extend(unread);
        Ok(said.join("; "))
    }
}

impl Cancel {
    async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        self.filter.check()?;
        let operator = context.operator_of(&self.queue).await?.named(self.options.by.name());
        let bulk = Bulk { verb: Verb::Cancel, queue: &self.queue, options: &self.options };
        if !self.ids.is_empty() {
            return bulk.on_ids(context, &operator, &distinct(self.ids)).await;
        }
        let filter = self.filter.of(self.state.map_or_else(JobFilter::waiting, JobFilter::in_state));
        let state_names = self.state.map_or("pending or delayed", JobState::as_str);
        let stats = operator.stats(&self.queue).await?;
        let total = match self.state {
            Some(JobState::Pending) => stats.pending,
            Some(JobState::Delayed) => stats.delayed,
            // The parser of --state accepts no other state.
            Some(_) => stats.processing,
            None => stats.pending + stats.delayed,
        };
        let listing = Listing { queue: &self.queue, filter: &filter, state_names };
        bulk.on_matching(context, &operator, &listing, total).await
    }
}

impl OneJob {
    pub(crate) async fn view(&self, operator: &Operator) -> Result<JobView, CliError> {
        match operator.job(&self.queue, &self.id).await? {
            Some(view) => Ok(view),
            None => Err(CliError::Failed(why_not_kept(operator, &self.queue, &self.id).await?)),
        }
    }

    /// Names the job in a command that is printed to be copied.
    pub(crate) fn arguments(&self) -> String {
        arguments(&[&self.queue, &self.id])
    }
}

/// Why this job is not kept, as far as it is known.
pub(crate) async fn why_not_kept(operator: &Operator, queue: &QueueName, id: &JobId) -> Result<String, CliError> {
    let why = match operator.tombstone(queue, id).await? {
        Some(tombstone) => TraceError::Removed(tombstone),
        None => TraceError::NotFound { id: id.clone() },
    };
    Ok(format!("queue {queue}: {why}"))
}

pub(crate) fn show(out: &Output, view: &JobView) -> Result<(), CliError> {
    let job = JobDetail::from(view);
    out.details(&job, &format!("job {}", view.id), &values(&job))?;
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
    say("counters", counters.map(|(count, noun)| with_noun(count, noun)).join(", "));
    say("max attempts", row.max_attempts.map_or_else(|| "as set for its queue".into(), |n| n.to_string()));
    if let Some(retry) = &job.retry {
        say("retry options", serde_json::to_string(retry).unwrap_or_default());
    }
    if let Some(timeout) = job.timeout_ms {
        say("timeout", duration_text(timeout));
    }
    for (name, at) in [
        ("enqueued", row.enqueued_at),
        ("due", row.due_at),
        ("claimed", row.held_by.as_ref().map(|holder| holder.claimed_at)),
        ("leased until", row.lease_expires_at),
        ("ended", row.ended_at),
    ] {
        if let Some(at) = at {
            say(name, at.to_string());
        }
    }
    if let Some(holder) = &row.held_by {
        let asked = if holder.cancel_asked { ", cancellation requested" } else { "" };
        say("held by", format!("worker {} as attempt {}{asked}", holder.worker, holder.attempt));
    }
    if let Some(progress) = &row.progress {
        let at = progress.at.map_or_else(String::new, |at| format!(" at {at}"));
        say("progress", format!("{}{at}", shown(&progress.to_string())));
    }
    if let Some(error) = &row.last_error {
        say("last error", format!("{} at {}: {}", error.code, error.at, shown(&error.message)));
    }
    match (&job.payload, &job.unreadable) {
        (Some(payload), _) => say("payload", shown(&printable_json(&payload.to_string()))),
        (None, Some(why)) => say("payload", format!("cannot be shown: {}", printable(why))),
        (None, None) => {}
    }
    if !job.history.is_empty() || !job.acts.is_empty() {
        say("history", format!("retraced trace {}", arguments(&[&row.queue, &row.id])));
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
