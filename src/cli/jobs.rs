//! `retraced jobs` and `retraced job …`: list jobs, look at one, act on one.

use clap::{Args, Subcommand};
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{BATCH_MAX, Cursor, Moved};
use retraced_jobs::trace::JobView;

use super::Desk;
use super::error::CliError;
use super::output::{NOTHING, Output, note, printable, short, span};
use super::shape::{ActedShape, JobLine, JobShape};
use crate::Operator;

/// Characters of an error's message shown in a list; `job show` has the rest.
const LISTED_MESSAGE_MAX: usize = 60;

/// `retraced jobs`
#[derive(Args)]
pub(super) struct Jobs {
    /// The queue.
    #[arg(long, value_name = "QUEUE")]
    queue: QueueName,
    /// Which jobs: pending, processing, delayed, completed, dead, poisoned or cancelled. Pending ones are listed from the front of the queue, delayed and
    /// processing ones by due time and lease, ended ones latest first.
    #[arg(long)]
    state: JobState,
    /// Most jobs listed. When there are more, a message on stderr gives the cursor to go on with.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on where an earlier list ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// `retraced job …`
#[derive(Subcommand)]
pub(super) enum Job {
    /// Show everything that is known of a job.
    Show(OneJob),
    /// Call a job off. A job that waits is cancelled at once; one that runs is asked to stop, and completes if its handler completes anyway.
    Cancel(OneJob),
    /// Run a job again: a dead, poisoned or cancelled one gets a fresh start with all its attempts, a delayed one its turn now.
    Retry(OneJob),
}

#[derive(Args)]
pub(super) struct OneJob {
    /// Its queue.
    pub(super) queue: QueueName,
    /// Its id.
    pub(super) id: JobId,
}

impl Jobs {
    pub(super) async fn run(self, desk: &Desk) -> Result<(), CliError> {
        let operator = desk.operator().await?;
        let mut lister = Lister::new(&operator, &self.queue, self.state, self.cursor.map(Cursor::from));
        let mut left = self.limit as usize;
        let mut listed = 0;
        while left > 0 && !desk.out.is_closed() {
            let Some(page) = lister.page(left).await? else { break };
            left -= page.len().min(left);
            listed += page.len();
            list(&desk.out, &page)?;
        }
        if listed == 0 {
            note(format_args!("no {} jobs in queue {}", self.state, self.queue));
        }
        if let Some(next) = lister.next().filter(|_| !desk.out.is_closed()) {
            note(format_args!("there are more: --cursor {}", next.as_str()));
        }
        Ok(())
    }
}

impl Job {
    pub(super) async fn run(self, desk: &Desk) -> Result<(), CliError> {
        let operator = desk.operator().await?;
        match self {
            Job::Show(job) => show(&desk.out, &job.find(&operator).await?),
            Job::Cancel(OneJob { queue, id }) => {
                let ids = [id];
                changed(acted(&desk.out, &queue, &ids, &operator.cancel(&queue, &ids).await?)?)
            }
            Job::Retry(OneJob { queue, id }) => {
                let ids = [id];
                changed(acted(&desk.out, &queue, &ids, &operator.redrive(&queue, &ids).await?)?)
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
    pub(super) async fn find(&self, operator: &Operator) -> Result<JobView, CliError> {
        operator.job(&self.queue, &self.id).await?.ok_or_else(|| {
            CliError::Failed(format!(
                "no job {} is kept in queue {}: it never was, it completed and is not kept any more, or it was discarded",
                self.id, self.queue
            ))
        })
    }
}

/// Reads the jobs of one state, page by page.
pub(super) struct Lister<'a> {
    operator: &'a Operator,
    queue: &'a QueueName,
    state: JobState,
    from: Option<Cursor>,
    ended: bool,
}

impl<'a> Lister<'a> {
    pub(super) fn new(operator: &'a Operator, queue: &'a QueueName, state: JobState, from: Option<Cursor>) -> Self {
        Self { operator, queue, state, from, ended: false }
    }

    /// The next page, of at most this many jobs; `None` after the last.
    pub(super) async fn page(&mut self, most: usize) -> Result<Option<Vec<JobLine>>, CliError> {
        if self.ended {
            return Ok(None);
        }
        let page = self.operator.jobs(self.queue, self.state, self.from.take(), most.min(BATCH_MAX)).await?;
        self.ended = page.next.is_none();
        self.from = page.next;
        Ok(Some(page.jobs.into_iter().map(|job| JobLine::of_summary(self.queue, job)).collect()))
    }

    /// Where the next page begins.
    pub(super) fn next(&self) -> Option<&Cursor> {
        self.from.as_ref()
    }
}

pub(super) fn list(out: &Output, jobs: &[JobLine]) -> Result<(), CliError> {
    if jobs.is_empty() {
        return Ok(());
    }
    let headers = ["ID", "KIND", "STATE", "FAILURES", "ENQUEUED", "WHEN", "LAST ERROR"];
    out.results(jobs, &headers, |job| {
        let blank = || NOTHING.to_owned();
        let when = job.due_at.as_ref().or(job.lease_expires_at.as_ref()).or(job.ended_at.as_ref());
        vec![
            job.id.to_string(),
            job.kind.as_ref().map_or_else(|| "unreadable".to_owned(), ToString::to_string),
            job.state.to_string(),
            job.counters.failures.to_string(),
            job.enqueued_at.clone().unwrap_or_else(blank),
            when.cloned().unwrap_or_else(blank),
            job.last_error
                .as_ref()
                .map_or_else(blank, |e| format!("{}: {}", e.code, short(&e.message, LISTED_MESSAGE_MAX))),
        ]
    })?;
    Ok(())
}

/// Prints what became of each job, and gives how many were left as they were.
pub(super) fn acted(out: &Output, queue: &QueueName, ids: &[JobId], moved: &[Moved]) -> Result<usize, CliError> {
    let mut unchanged = 0;
    for (id, moved) in ids.iter().zip(moved) {
        let shape = ActedShape::of(queue, id, *moved);
        unchanged += usize::from(shape.is_failure());
        out.result(&shape, || tell(&shape))?;
    }
    Ok(unchanged)
}

fn tell(shape: &ActedShape) -> String {
    let id = &shape.id;
    match (shape.result, shape.from, shape.state) {
        ("asked", ..) => format!("{id}  runs, and is asked to stop"),
        ("not_found", ..) => format!("{id}  is not kept in queue {}", shape.queue),
        ("refused", _, Some(state)) => format!("{id}  is {state}, which does not allow this"),
        ("removed", Some(from), _) => format!("{id}  {from} → removed"),
        (_, Some(from), Some(state)) => format!("{id}  {from} → {state}"),
        (result, ..) => format!("{id}  {result}"),
    }
}

pub(super) fn show(out: &Output, view: &JobView) -> Result<(), CliError> {
    let shape = JobShape::of(view);
    out.result(&shape, || sheet(view, &shape))?;
    Ok(())
}

fn sheet(view: &JobView, shape: &JobShape) -> String {
    let line = &shape.line;
    let mut text = format!("job {}\n", line.id);
    let mut say = |name: &str, value: &str| text += &format!("  {name:<13} {value}\n");
    say("queue", line.queue.as_str());
    say("kind", line.kind.as_ref().map_or("unreadable", |kind| kind.as_str()));
    say("state", line.state.as_str());
    let c = &line.counters;
    let counters =
        format!("{} attempts, {} failures, {} crashes, {} releases", c.attempts, c.failures, c.crashes, c.releases);
    say("counters", &counters);
    say("max attempts", &line.max_attempts.map_or_else(|| "as its queue has it".into(), |n| n.to_string()));
    if let Some(retry) = &shape.retry {
        say("own retry", &retry.to_string());
    }
    if let Some(timeout) = shape.timeout_ms {
        say("own timeout", &span(timeout));
    }
    for (name, at) in [
        ("enqueued", &line.enqueued_at),
        ("due", &line.due_at),
        ("leased until", &line.lease_expires_at),
        ("ended", &line.ended_at),
    ] {
        if let Some(at) = at {
            say(name, at);
        }
    }
    if let Some(running) = &shape.running {
        let asked = if running.cancel_asked { ", asked to stop" } else { "" };
        say("running", &format!("attempt {} in worker {}{asked}", running.attempt, running.worker));
    }
    if let Some(error) = &line.last_error {
        say("last error", &format!("{} at {}: {}", error.code, error.at, printable(&error.message)));
    }
    match (&shape.payload, &shape.unreadable) {
        (Some(payload), _) => say("payload", &printable(&payload.to_string())),
        (None, Some(why)) => say("payload", &format!("cannot be shown: {}", printable(why))),
        (None, None) => {}
    }
    if !shape.history.is_empty() {
        say("history", &format!("retraced trace {} {}", view.queue, view.id));
    }
    text
}
