//! `retraced dead …`: lists, shows, redrives and discards dead and poisoned jobs.

use clap::{ArgGroup, Args, Subcommand};
use retraced::find::{BulkAction, JobFilter};
use retraced::job::JobView;
use retraced::store::{BATCH_MAX, Moved, Target};
use retraced::{JobId, JobState, Operator, QueueName};

use crate::context::CommandContext;
use crate::error::CliError;
use crate::filter::Filter;
use crate::jobs::{Listing, Paging, print_results, show};
use crate::output::{Progress, job_count, note};

/// `retraced dead …`
#[derive(Subcommand)]
pub(crate) enum Dead {
    /// List dead and poisoned jobs, latest first.
    List(List),
    /// Show everything that is known about dead and poisoned jobs; `retraced trace` shows the history of one.
    #[command(
        override_usage = "retraced dead show [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>>"
    )]
    Show(Selection),
    /// Run dead and poisoned jobs again, from the back of their queue, with failures and crashes reset to zero.
    #[command(
        after_help = "Jobs are redriven in steps: those of a filter 100 at a time, latest first; those given by id 200 at a time, in the order given. A job that fails again and returns to the dead letter queue while the command runs is not redriven a second time. A job that somebody else moves first is left alone.",
        override_usage = "retraced dead redrive [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>>"
    )]
    Redrive(Selection),
    /// Remove dead and poisoned jobs permanently, with their history.
    #[command(
        after_help = "Jobs are discarded in steps: those of a filter 100 at a time, latest first; those given by id 200 at a time, in the order given. A job that becomes dead or poisoned after the first step is not discarded, and a job that somebody else moves first is left alone. Discarded jobs cannot be restored: use `retraced dead list` with the same options to see them first.",
        override_usage = "retraced dead discard [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>>"
    )]
    Discard(Selection),
}

#[derive(Args)]
pub(crate) struct List {
    /// The queue.
    queue: QueueName,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
}

/// Selects dead and poisoned jobs: by id, all of them, or those that match a filter.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "more_ids", "all", "code", "kind", "since"]))]
pub(crate) struct Selection {
    /// The queue.
    queue: QueueName,
    /// The ids of the jobs.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "code", "kind", "since"])]
    ids: Vec<JobId>,
    /// The id of a job; may be repeated.
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["all", "code", "kind", "since"])]
    more_ids: Vec<JobId>,
    /// All dead and poisoned jobs of the queue.
    #[arg(long, conflicts_with_all = ["code", "kind", "since"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Dead {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let queue = match &self {
            Dead::List(list) => &list.queue,
            Dead::Show(selection) | Dead::Redrive(selection) | Dead::Discard(selection) => &selection.queue,
        };
        let operator = context.operator_of(queue).await?;
        match self {
            Dead::List(List { queue, filter, paging }) => {
                let filter = filter.of(JobFilter::failed());
                let listing = Listing { queue: &queue, filter: &filter, what: "dead or poisoned" };
                listing.run(context, &operator, paging).await
            }
            Dead::Show(selection) => selection.show(context, &operator).await,
            Dead::Redrive(selection) => selection.act(context, &operator, Verb::Redrive).await,
            Dead::Discard(selection) => selection.act(context, &operator, Verb::Discard).await,
        }
    }
}

/// What to do with the selected jobs.
#[derive(Clone, Copy)]
enum Verb {
    Redrive,
    Discard,
}

impl Verb {
    fn doing(self) -> &'static str {
        match self {
            Verb::Redrive => "redriving",
            Verb::Discard => "discarding",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Redrive => "redriven",
            Verb::Discard => "discarded",
        }
    }

    fn bulk(self, operator: &Operator, queue: &QueueName, filter: &JobFilter) -> BulkAction {
        match self {
            Verb::Redrive => operator.redrive_matching(queue, filter),
            Verb::Discard => operator.discard_matching(queue, filter),
        }
    }

    async fn act(
        self,
        operator: &Operator,
        queue: &QueueName,
        targets: impl IntoIterator<Item = Target>,
    ) -> Result<Vec<Moved>, CliError> {
        Ok(match self {
            Verb::Redrive => operator.redrive(queue, targets).await?,
            Verb::Discard => operator.discard(queue, targets).await?,
        })
    }
}

impl Selection {
    /// Shows each selected job. Fails if a job that was given by id is neither dead nor poisoned.
    async fn show(self, context: &CommandContext, operator: &Operator) -> Result<(), CliError> {
        if !self.is_by_id() {
            return self.show_matching(context, operator).await;
        }
        let ids = self.given_ids();
        let mut missing = 0;
        for id in &ids {
            if context.out.is_closed() {
                break;
            }
            match operator.job(&self.queue, id).await?.filter(is_dead_or_poisoned) {
                Some(view) => show(&context.out, &view)?,
                None => {
                    note(format_args!("job {id} is neither dead nor poisoned in queue {}", self.queue));
                    missing += 1;
                }
            }
        }
        if missing > 0 {
            let all = job_count(ids.len() as u64);
            return Err(CliError::Failed(format!("{missing} of {all} could not be shown")));
        }
        Ok(())
    }

    async fn show_matching(&self, context: &CommandContext, operator: &Operator) -> Result<(), CliError> {
        let mut search = operator.search(&self.queue, &self.matching(), None)?;
        let mut shown = 0;
        while !context.out.is_closed() {
            let jobs = search.take(BATCH_MAX, u64::MAX).await?;
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                // A job that was redriven after the page was read is no longer dead.
                if let Some(view) = operator.job(&self.queue, &job.id).await?.filter(is_dead_or_poisoned) {
                    show(&context.out, &view)?;
                    shown += 1;
                }
            }
        }
        if shown == 0 && !context.out.is_closed() {
            self.note_none();
        }
        Ok(())
    }

    async fn act(self, context: &CommandContext, operator: &Operator, verb: Verb) -> Result<(), CliError> {
        if !self.is_by_id() {
            return self.act_on_matching(context, operator, verb).await;
        }
        let ids = self.given_ids();
        let mut unchanged = 0;
        for slice in ids.chunks(BATCH_MAX) {
            let moved = self.act_on_ids(operator, slice, verb).await?;
            unchanged += print_results(&context.out, &self.queue, slice.iter().cloned().zip(moved))?;
        }
        if unchanged > 0 {
            let all = job_count(ids.len() as u64);
            return Err(CliError::Failed(format!("{unchanged} of {all} could not be {}", verb.done())));
        }
        note(format_args!("{} {}", job_count(ids.len() as u64), verb.done()));
        Ok(())
    }

    /// Acts only on jobs that are dead or poisoned. Jobs that somebody else moves meanwhile are left alone.
    async fn act_on_ids(&self, operator: &Operator, ids: &[JobId], verb: Verb) -> Result<Vec<Moved>, CliError> {
        let mut results = Vec::with_capacity(ids.len());
        let mut chosen = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(match operator.job(&self.queue, id).await? {
                Some(view) if is_dead_or_poisoned(&view) => {
                    chosen.push((results.len(), Target::from(&view)));
                    // A placeholder: the result of the action replaces it below.
                    Moved::NotFound
                }
                Some(view) => Moved::Refused { state: view.state },
                None => Moved::NotFound,
            });
        }
        let moved = verb.act(operator, &self.queue, chosen.iter().map(|(_, target)| target.clone())).await?;
        for ((at, _), moved) in chosen.into_iter().zip(moved) {
            results[at] = moved;
        }
        Ok(results)
    }

    async fn act_on_matching(&self, context: &CommandContext, operator: &Operator, verb: Verb) -> Result<(), CliError> {
        let stats = operator.stats(&self.queue).await?;
        let progress = Progress::new(&context.out, verb.doing(), Some(stats.dead + stats.poisoned));
        let mut action = verb.bulk(operator, &self.queue, &self.matching());
        let ended = self.run_steps(context, &progress, &mut action).await;
        drop(progress);
        let done = format!("{} {}", job_count(action.changed()), verb.done());
        if let Err(error) = ended {
            return Err(CliError::Failed(format!("{error}; before that: {done}")));
        }
        match (action.changed(), action.unchanged()) {
            (0, 0) => self.note_none(),
            (_, 0) => note(done),
            (_, unchanged) => note(format_args!("{done}; {unchanged} left alone, because others moved them first")),
        }
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
                print_results(&context.out, &self.queue, step.results)?;
            }
        }
        Ok(())
    }

    /// The filter for the dead and poisoned jobs that match.
    fn matching(&self) -> JobFilter {
        self.filter.of(JobFilter::failed())
    }

    /// Reports that no job was found.
    fn note_none(&self) {
        let which = if self.all { "" } else { " that match" };
        note(format_args!("no dead or poisoned jobs{which} in queue {}", self.queue));
    }

    fn is_by_id(&self) -> bool {
        !self.all && self.filter.is_empty()
    }

    fn given_ids(&self) -> Vec<JobId> {
        self.ids.iter().chain(&self.more_ids).cloned().collect()
    }
}

fn is_dead_or_poisoned(view: &JobView) -> bool {
    matches!(view.state, JobState::Dead | JobState::Poisoned)
}
