//! `retraced jobs` and `retraced job …`: list jobs, look at one, act on one.

use clap::{Args, Subcommand};
use retraced::job::JobView;
use retraced::job::{JobId, JobState, QueueName};
use retraced::store::{BATCH_MAX, Moved};

use crate::admin::Admin;
use crate::args;
use crate::error::CliError;
use crate::filter::Filter;
use crate::output::{Cell, Column, NOTHING, Output, Style, jobs, note, printable, short, span};
use crate::pages::{LOOKED_AT_MAX, Pages, Place};
use crate::shape::{ActedShape, JobLine, JobShape};
use retraced::Operator;

/// Characters of an error's message shown in a list; `job show` has the rest.
const LISTED_MESSAGE_MAX: usize = 60;
/// Characters of a message or a payload that text shows; `--json` shows all.
const SHOWN_CHARS_MAX: usize = 4_000;

/// `retraced jobs`
#[derive(Args)]
pub(crate) struct Jobs {
    /// The queue.
    #[arg(long, value_name = "QUEUE")]
    queue: QueueName,
    /// Which jobs. Pending ones are listed from the front of the queue, delayed and processing ones by due time and lease, ended ones latest first.
    #[arg(long, value_parser = args::state())]
    state: JobState,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
}

/// How much of a list.
#[derive(Args)]
pub(crate) struct Paging {
    /// Most jobs listed. When there are more, a message on stderr ends with the cursor to go on with; so it does when 100000 jobs were searched.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on where an earlier list ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<Place>,
}

/// `retraced job …`
#[derive(Subcommand)]
pub(crate) enum Job {
    /// Show everything that is known of a job.
    Show(OneJob),
    /// Call a job off. A job that waits is cancelled at once; one that runs is asked to stop, and completes if its handler completes anyway.
    Cancel(OneJob),
    /// Run a job again: a dead, poisoned or cancelled one gets a fresh start with all its attempts, a delayed one its turn now.
    Retry(OneJob),
}

#[derive(Args)]
pub(crate) struct OneJob {
    /// Its queue.
    pub(crate) queue: QueueName,
    /// Its id.
    pub(crate) id: JobId,
}

impl Jobs {
    pub(crate) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let operator = admin.operator().await?;
        let listing =
            Listing { queue: &self.queue, states: &[self.state], filter: &self.filter, what: self.state.as_str() };
        listing.run(admin, &operator, self.paging).await
    }
}

/// A list of jobs, to be printed.
pub(crate) struct Listing<'a> {
    pub(crate) queue: &'a QueueName,
    pub(crate) states: &'a [JobState],
    pub(crate) filter: &'a Filter,
    /// What these jobs are called.
    pub(crate) what: &'a str,
}

impl Listing<'_> {
    pub(crate) async fn run(&self, admin: &Admin, operator: &Operator, paging: Paging) -> Result<(), CliError> {
        let Paging { limit, cursor } = paging;
        let resumed = cursor.is_some();
        let mut left = limit as usize;
        let mut pages = Pages::new(operator, self.queue, self.states, self.filter, cursor, left)?;
        let mut table = admin.out.table(&self.columns());
        let mut listed = 0;
        while left > 0 && !admin.out.is_closed() {
            let mut lines = Vec::new();
            while lines.len() < left.min(BATCH_MAX) {
                let Some(job) = pages.next(LOOKED_AT_MAX).await? else { break };
                lines.push(JobLine::of_summary(self.queue, job));
            }
            if lines.is_empty() {
                break;
            }
            left -= lines.len();
            listed += lines.len();
            admin.out.rows(&mut table, &lines, |job| row(&admin.out, job))?;
        }
        if admin.out.is_closed() {
            return Ok(());
        }
        admin.out.tell_left_out(&table);
        let place = pages.place().await?;
        if listed == 0 {
            let which = if self.filter.is_open() { "" } else { " of this sort" };
            let more = if resumed { "more " } else { "" };
            let so_far = if place.is_some() { " so far" } else { "" };
            note(format_args!("no {more}{} jobs{which} in queue {}{so_far}", self.what, self.queue));
        }
        if let Some(place) = place {
            match left {
                0 if self.filter.is_open() => note(format_args!("there are more: --cursor {place}")),
                0 => note(format_args!("there may be more: --cursor {place}")),
                _ => note(format_args!(
                    "{} were searched, and there are more to search: --cursor {place}",
                    jobs(pages.looked_at())
                )),
            }
        }
        Ok(())
    }

    fn columns(&self) -> [Column; 7] {
        let when = match self.states {
            [JobState::Delayed] => "DUE",
            [JobState::Processing] => "LEASE ENDS",
            [state] if !state.is_final() => "WHEN",
            _ => "ENDED",
        };
        // Where all are in one state, the reader knows which.
        let state = Column::new("STATE").spare(if self.states.len() == 1 { 4 } else { 1 });
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

fn row(out: &Output, job: &JobLine) -> Vec<Cell> {
    let when = |ms: Option<u64>| Cell::from(ms.map_or_else(|| NOTHING.to_owned(), |ms| out.when(ms)));
    let error = job.last_error.as_ref().map(|e| format!("{}: {}", e.code, short(&e.message, LISTED_MESSAGE_MAX)));
    vec![
        job.id.to_string().into(),
        job.kind.as_ref().map_or_else(|| "unreadable".to_owned(), ToString::to_string).into(),
        Cell::new(job.state.as_str(), Style::of(job.state)),
        job.counters.failures.to_string().into(),
        when(job.enqueued_ms),
        when(job.at_ms),
        error.unwrap_or_else(|| NOTHING.to_owned()).into(),
    ]
}

impl Job {
    pub(crate) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let operator = admin.operator().await?;
        match self {
            Job::Show(job) => show(&admin.out, &job.find(&operator).await?),
            Job::Cancel(OneJob { queue, id }) => {
                let moved = operator.cancel(&queue, [&id]).await?;
                changed(acted(&admin.out, &queue, &[id], &moved)?)
            }
            Job::Retry(OneJob { queue, id }) => {
                let moved = operator.redrive(&queue, [&id]).await?;
                changed(acted(&admin.out, &queue, &[id], &moved)?)
            }
        }
    }
}

fn changed(unchanged: usize) -> Result<(), CliError> {
    if unchanged > 0 {
        return Err(CliError::Failed("nothing was changed".into()));
    }
    Ok(())
}

impl OneJob {
    pub(crate) async fn find(&self, operator: &Operator) -> Result<JobView, CliError> {
        operator.job(&self.queue, &self.id).await?.ok_or_else(|| {
            CliError::Failed(format!(
                "no job {} is kept in queue {}: it never was, it completed and is not kept any more, or it was discarded",
                self.id, self.queue
            ))
        })
    }
}

/// Prints what became of each job, and gives how many were left as they were.
pub(crate) fn acted(out: &Output, queue: &QueueName, ids: &[JobId], moved: &[Moved]) -> Result<usize, CliError> {
    let mut unchanged = 0;
    for (id, moved) in ids.iter().zip(moved) {
        let shape = ActedShape::of(queue, id, *moved);
        unchanged += usize::from(shape.is_failure());
        out.result(&shape, || tell(out, &shape))?;
    }
    Ok(unchanged)
}

fn tell(out: &Output, shape: &ActedShape) -> String {
    let id = &shape.id;
    let state = |state: JobState| out.paint(Style::of(state), state);
    match (shape.result, shape.from, shape.state) {
        ("asked", ..) => format!("{id}  runs, and is asked to stop"),
        ("not_found", ..) => format!("{id}  is not kept in queue {}", shape.queue),
        ("refused", _, Some(now)) => format!("{id}  is {}, which does not allow this", state(now)),
        ("removed", Some(from), _) => format!("{id}  {} → removed", state(from)),
        (_, Some(from), Some(to)) => format!("{id}  {} → {}", state(from), state(to)),
        (result, ..) => format!("{id}  {result}"),
    }
}

pub(crate) fn show(out: &Output, view: &JobView) -> Result<(), CliError> {
    let shape = JobShape::of(view);
    out.sheet(&shape, &format!("job {}", view.id), &values(view, &shape))?;
    Ok(())
}

fn values(view: &JobView, shape: &JobShape) -> Vec<(&'static str, Cell)> {
    let line = &shape.line;
    let mut values = Vec::new();
    let mut say = |name: &'static str, value: String| values.push((name, Cell::from(value)));
    say("queue", line.queue.to_string());
    say("kind", line.kind.as_ref().map_or_else(|| "unreadable".into(), ToString::to_string));
    values.push(("state", Cell::new(line.state.as_str(), Style::of(line.state))));
    let mut say = |name: &'static str, value: String| values.push((name, Cell::from(value)));
    let c = &line.counters;
    let counters =
        format!("{} attempts, {} failures, {} crashes, {} releases", c.attempts, c.failures, c.crashes, c.releases);
    say("counters", counters);
    say("max attempts", line.max_attempts.map_or_else(|| "as its queue has it".into(), |n| n.to_string()));
    if let Some(retry) = &shape.retry {
        say("own retry", retry.to_string());
    }
    if let Some(timeout) = shape.timeout_ms {
        say("own timeout", span(timeout));
    }
    for (name, at) in [
        ("enqueued", &line.enqueued_at),
        ("due", &line.due_at),
        ("leased until", &line.lease_expires_at),
        ("ended", &line.ended_at),
    ] {
        if let Some(at) = at {
            say(name, at.clone());
        }
    }
    if let Some(running) = &shape.running {
        let asked = if running.cancel_asked { ", asked to stop" } else { "" };
        say("running", format!("attempt {} in worker {}{asked}", running.attempt, running.worker));
    }
    if let Some(error) = &line.last_error {
        say("last error", format!("{} at {}: {}", error.code, error.at, shown(&error.message)));
    }
    match (&shape.payload, &shape.unreadable) {
        (Some(payload), _) => say("payload", shown(&payload.to_string())),
        (None, Some(why)) => say("payload", format!("cannot be shown: {}", printable(why))),
        (None, None) => {}
    }
    if !shape.history.is_empty() {
        say("history", format!("retraced trace {} {}", view.queue, view.id));
    }
    values
}

/// The text, printable; of a long one the beginning, and how long it is.
fn shown(text: &str) -> String {
    let short = short(text, SHOWN_CHARS_MAX);
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        return format!("{short} ({} bytes; --json shows all)", text.len());
    }
    short
}
