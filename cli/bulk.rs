//! Acts on many jobs: those given by id, or those that a filter finds, step by step with progress on a terminal.

use clap::Args;
use retraced::find::{BulkAction, JobFilter};
use retraced::store::{BATCH_MAX, Moved, Target};
use retraced::view::{ActionResult, ActionRow, JobRow};
use retraced::{JobId, JobState, Operator, QueueName};

use crate::by::By;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::listing::Listing;
use crate::output::{EMPTY_CELL, Output, Progress, Style, job_count, note, with_noun};

/// Whether a command acts, on how many jobs, and who is recorded. A command with these options puts its arguments for ids into the group `by_id`, which excludes `--limit`.
#[derive(Args)]
pub(crate) struct BulkOptions {
    /// List the jobs that the command would act on, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Act on at most this many of the jobs that match, the first that a list of them shows. Default: on all.
    #[arg(long, value_name = "N", conflicts_with = "by_id", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    pub(crate) by: By,
}

/// What is done to the jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Redrive,
    /// A redrive of one job by its id. The job may also be cancelled or delayed.
    Retry,
    Discard,
    Cancel,
}

impl Verb {
    fn doing(self) -> &'static str {
        match self {
            Verb::Redrive => "redriving",
            Verb::Retry => "retrying",
            Verb::Discard => "discarding",
            Verb::Cancel => "cancelling",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Redrive => "redriven",
            Verb::Retry => "retried",
            Verb::Discard => "discarded",
            Verb::Cancel => "cancelled",
        }
    }

    /// Whether jobs in this state may be acted on.
    fn allows(self, state: JobState) -> bool {
        match self {
            Verb::Redrive | Verb::Discard => matches!(state, JobState::Dead | JobState::Poisoned),
            Verb::Retry => !matches!(state, JobState::Pending | JobState::Processing | JobState::Completed),
            Verb::Cancel => !state.is_final(),
        }
    }

    /// Why a job was left alone although its state allows the action.
    fn why_left_alone(self) -> &'static str {
        match self {
            Verb::Redrive => {
                "moved by others first, or cut off in the store (`retraced dead discard` deletes such jobs)"
            }
            Verb::Retry => "cut off in the store, so that it cannot run again",
            Verb::Discard | Verb::Cancel => "moved by others first",
        }
    }

    fn bulk(self, operator: &Operator, queue: &QueueName, filter: &JobFilter) -> BulkAction {
        match self {
            Verb::Redrive | Verb::Retry => operator.redrive_matching(queue, filter),
            Verb::Discard => operator.discard_matching(queue, filter),
            Verb::Cancel => operator.cancel_matching(queue, filter),
        }
    }

    async fn act(self, operator: &Operator, queue: &QueueName, jobs: Vec<Target>) -> Result<Vec<Moved>, CliError> {
        Ok(match self {
            Verb::Redrive | Verb::Retry => operator.redrive(queue, jobs).await?,
            Verb::Discard => operator.discard(queue, jobs).await?,
            Verb::Cancel => operator.cancel(queue, jobs).await?,
        })
    }
}

/// What an action did, or would do, in numbers of jobs.
#[derive(Default, Clone, Copy)]
pub(crate) struct Tally {
    done: u64,
    /// Running jobs whose handler was asked to stop.
    asked: u64,
    pub(crate) unchanged: u64,
}

/// An action on many jobs of a queue.
pub(crate) struct Bulk<'a> {
    pub(crate) verb: Verb,
    pub(crate) queue: &'a QueueName,
    pub(crate) options: &'a BulkOptions,
}

impl Bulk<'_> {
    /// Acts on these jobs. Fails if one of them was left alone.
    pub(crate) async fn on_ids(
        &self,
        context: &CommandContext,
        operator: &Operator,
        ids: &[JobId],
    ) -> Result<(), CliError> {
        let mut tally = Tally::default();
        for slice in ids.chunks(BATCH_MAX) {
            match self.options.dry_run {
                true => self.show(context, operator, slice, &mut tally).await?,
                false => {
                    let moved = self.act(operator, slice).await?;
                    print_results(&context.out, self.verb, self.queue, slice.iter().cloned().zip(moved), &mut tally)?;
                }
            }
        }
        if tally.unchanged > 0 {
            self.note_why_jobs_wait(context, operator, tally).await;
            let (unchanged, all, done) = (tally.unchanged, job_count(ids.len() as u64), self.verb.done());
            return Err(CliError::Failed(format!("{unchanged} of {all} could not be {done}")));
        }
        self.note_done(tally);
        self.note_why_jobs_wait(context, operator, tally).await;
        Ok(())
    }

    /// If jobs were redriven, says why they do not run, if that is so.
    async fn note_why_jobs_wait(&self, context: &CommandContext, operator: &Operator, tally: Tally) {
        match self.verb {
            Verb::Redrive if tally.done > 0 && !self.options.dry_run => {
                context.note_why_jobs_wait(operator, self.queue).await;
            }
            _ => {}
        }
    }

    /// Prints the jobs that would be acted on.
    async fn show(
        &self,
        context: &CommandContext,
        operator: &Operator,
        ids: &[JobId],
        tally: &mut Tally,
    ) -> Result<(), CliError> {
        for id in ids {
            match operator.job(self.queue, id).await? {
                Some(view) if self.verb.allows(view.state) => {
                    let row = JobRow::from(&view);
                    context.out.result(&row, || format!("{id}  is {}", state(&context.out, Some(row.state))))?;
                    match row.state {
                        JobState::Processing => tally.asked += 1,
                        _ => tally.done += 1,
                    }
                }
                view => {
                    let moved = view.map_or(Moved::NotFound, |view| Moved::Refused { state: view.state });
                    note(sentence(&context.out, self.verb, &ActionRow::new(self.queue, id, moved)));
                    tally.unchanged += 1;
                }
            }
        }
        Ok(())
    }

    /// A redrive or discard reads each job first, and leaves alone one that changed since. A cancellation reads none: it applies to a job in any state but a final one.
    async fn act(&self, operator: &Operator, ids: &[JobId]) -> Result<Vec<Moved>, CliError> {
        if self.verb == Verb::Cancel {
            return self.verb.act(operator, self.queue, ids.iter().map(Target::from).collect()).await;
        }
        let mut results = Vec::with_capacity(ids.len());
        let mut chosen = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(match operator.job(self.queue, id).await? {
                Some(view) if self.verb.allows(view.state) => {
                    chosen.push((results.len(), Target::from(&view)));
                    // A placeholder: the result of the action replaces it below.
                    Moved::NotFound
                }
                Some(view) => Moved::Refused { state: view.state },
                None => Moved::NotFound,
            });
        }
        let targets = chosen.iter().map(|(_, target)| target.clone()).collect();
        let moved = self.verb.act(operator, self.queue, targets).await?;
        for ((at, _), moved) in chosen.into_iter().zip(moved) {
            results[at] = moved;
        }
        Ok(results)
    }

    /// Acts on the jobs of the listing, of which there are about `total`.
    pub(crate) async fn on_matching(
        &self,
        context: &CommandContext,
        operator: &Operator,
        listing: &Listing<'_>,
        total: u64,
    ) -> Result<(), CliError> {
        let limit = self.options.limit.unwrap_or(u64::MAX);
        if self.options.dry_run {
            let mut search = operator.search(self.queue, listing.filter, None)?;
            match listing.print(context, &mut search, limit, u64::MAX).await? {
                0 => listing.note_none(false, false),
                asked if listing.filter.states() == [JobState::Processing] => {
                    self.note_done(Tally { asked, ..Tally::default() });
                }
                done => self.note_done(Tally { done, ..Tally::default() }),
            }
            return Ok(());
        }
        let progress = Progress::new(&context.out, self.verb.doing(), Some(total));
        let mut action = self.verb.bulk(operator, self.queue, listing.filter).limit(limit);
        let ended = self.run_steps(context, &progress, &mut action).await;
        drop(progress);
        let tally = Tally { done: action.changed(), asked: action.asked(), unchanged: action.unchanged() };
        if let Err(error) = ended {
            self.note_why_jobs_wait(context, operator, tally).await;
            return Err(CliError::Failed(format!("{error}; before that: {}", self.summary(tally))));
        }
        match tally {
            Tally { done: 0, asked: 0, unchanged: 0 } => listing.note_none(false, false),
            Tally { unchanged: 0, .. } => self.note_done(tally),
            Tally { unchanged, .. } => {
                let summary = self.summary(tally);
                note(format_args!("{summary}; {unchanged} left alone: {}", self.verb.why_left_alone()));
            }
        }
        if action.newer() > 0 {
            note(format_args!("{} enqueued after the command began: left alone", job_count(action.newer())));
        }
        self.note_why_jobs_wait(context, operator, tally).await;
        Ok(())
    }

    /// Runs all steps of the action, and prints their results.
    async fn run_steps(
        &self,
        context: &CommandContext,
        progress: &Progress,
        action: &mut BulkAction,
    ) -> Result<(), CliError> {
        while let Some(step) = action.step().await? {
            progress.advance(step.examined);
            // On a terminal the total is enough; a program gets one line for each job.
            if !context.out.is_text_on_terminal() {
                print_results(&context.out, self.verb, self.queue, step.results, &mut Tally::default())?;
            }
        }
        Ok(())
    }

    fn note_done(&self, tally: Tally) {
        let summary = self.summary(tally);
        match self.options.dry_run {
            true => note(format_args!("{summary}; nothing was changed (--dry-run)")),
            false => note(summary),
        }
    }

    /// What was done, or would be done. A running job is only asked to stop: it may still complete.
    fn summary(&self, tally: Tally) -> String {
        let would_be = if self.options.dry_run { "would be " } else { "" };
        let done = format!("{} {would_be}{}", job_count(tally.done), self.verb.done());
        let asked = format!("{} {would_be}asked to stop", with_noun(tally.asked, "running job"));
        let summary = match (tally.done, tally.asked) {
            (_, 0) => done,
            (0, _) => asked,
            _ => format!("{done}; {asked}"),
        };
        match self.options.limit {
            Some(limit) if tally.done + tally.asked >= limit => {
                format!("{summary}, as many as --limit allows; more may match")
            }
            _ => summary,
        }
    }
}

/// Each id once, in the order given: a job that was moved for its first mention would be refused at the second.
pub(crate) fn distinct(ids: impl IntoIterator<Item = JobId>) -> Vec<JobId> {
    let mut seen = std::collections::HashSet::new();
    ids.into_iter().filter(|id| seen.insert(id.clone())).collect()
}

/// Prints and counts the result for each job.
pub(crate) fn print_results(
    out: &Output,
    verb: Verb,
    queue: &QueueName,
    results: impl IntoIterator<Item = (JobId, Moved)>,
    tally: &mut Tally,
) -> Result<(), CliError> {
    for (id, moved) in results {
        let row = ActionRow::new(queue, &id, moved);
        match row.result {
            ActionResult::Asked => tally.asked += 1,
            _ if row.is_changed() => tally.done += 1,
            _ => tally.unchanged += 1,
        }
        out.result(&row, || sentence(out, verb, &row))?;
    }
    Ok(())
}

fn sentence(out: &Output, verb: Verb, row: &ActionRow) -> String {
    let id = &row.id;
    match row.result {
        ActionResult::Asked => format!("{id}  is processing; cancellation requested"),
        ActionResult::NotFound => format!("{id}  is not kept in queue {}", row.queue),
        ActionResult::Refused if row.state.is_some_and(|state| verb.allows(state)) => {
            format!("{id}  is left alone: {}", verb.why_left_alone())
        }
        ActionResult::Refused => format!("{id}  is {}, so it cannot be {}", state(out, row.state), verb.done()),
        ActionResult::Removed => format!("{id}  {} → removed", state(out, row.from)),
        _ => format!("{id}  {} → {}", state(out, row.from), state(out, row.state)),
    }
}

fn state(out: &Output, state: Option<JobState>) -> String {
    state.map_or_else(|| EMPTY_CELL.to_owned(), |state| out.paint(Style::of(state), state))
}
