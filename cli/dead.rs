//! `retraced dead …`: lists, shows, redrives and discards dead and poisoned jobs.

mod counts;

use clap::{ArgGroup, Args, Subcommand};
use retraced::find::JobFilter;
use retraced::job::JobView;
use retraced::store::BATCH_MAX;
use retraced::{JobId, JobState, Operator, QueueName};

use self::counts::CountBy;
use crate::bulk::{Bulk, BulkOptions, Verb, distinct};
use crate::context::CommandContext;
use crate::error::CliError;
use crate::filter::Filter;
use crate::jobs::{show, why_not_kept};
use crate::listing::{Listing, Paging};
use crate::output::{job_count, note};

/// `retraced dead …`
#[derive(Subcommand)]
pub(crate) enum Dead {
    /// List dead and poisoned jobs, latest first.
    List(List),
    /// Show everything that is known about dead and poisoned jobs; `retraced trace` shows the history of one.
    #[command(
        override_usage = "retraced dead show [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>|--until <WHEN>>"
    )]
    Show(Selection),
    /// Run dead and poisoned jobs again, from the back of their queue, with failures, crashes and releases reset to zero.
    #[command(
        after_help = "Jobs are redriven in steps: those of a filter 100 at a time, latest first; those given by id 200 at a time, in the order given. A job that fails again and returns to the dead letter queue while the command runs is not redriven a second time. A job that somebody else moves first is left alone.",
        override_usage = "retraced dead redrive [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>|--until <WHEN>>"
    )]
    Redrive(Act),
    /// Remove dead and poisoned jobs permanently, with their history.
    #[command(
        after_help = "Jobs are discarded in steps: those of a filter 100 at a time, latest first; those given by id 200 at a time, in the order given. A job that becomes dead or poisoned after the first step is not discarded, and a job that somebody else moves first is left alone. Discarded jobs cannot be restored: use `retraced dead list` with the same options to see them first.",
        override_usage = "retraced dead discard [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>|--until <WHEN>>"
    )]
    Discard(Act),
}

#[derive(Args)]
pub(crate) struct List {
    /// The queue.
    queue: QueueName,
    /// Count the jobs that have this in common instead of listing them, most frequent first.
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["limit", "cursor"])]
    count_by: Option<CountBy>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
}

/// Selects dead and poisoned jobs: by id, all of them, or those that match a filter.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "more_ids", "all", "code", "kind", "since", "until"]))]
#[command(group = ArgGroup::new("by_id").multiple(true).args(["ids", "more_ids"]))]
pub(crate) struct Selection {
    /// The queue.
    queue: QueueName,
    /// The ids of the jobs.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "code", "kind", "since", "until"])]
    ids: Vec<JobId>,
    /// The id of a job; may be repeated.
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["all", "code", "kind", "since", "until"])]
    more_ids: Vec<JobId>,
    /// All dead and poisoned jobs of the queue.
    #[arg(long, conflicts_with_all = ["code", "kind", "since", "until"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Selects dead and poisoned jobs to act on.
#[derive(Args)]
pub(crate) struct Act {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    options: BulkOptions,
}

impl Dead {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let (queue, filter) = match &self {
            Dead::List(list) => (&list.queue, &list.filter),
            Dead::Show(selection) => (&selection.queue, &selection.filter),
            Dead::Redrive(act) | Dead::Discard(act) => (&act.selection.queue, &act.selection.filter),
        };
        filter.check()?;
        let operator = context.operator_of(queue).await?;
        match self {
            Dead::List(List { queue, count_by: Some(by), filter, .. }) => {
                counts::count(context, &operator, &listing(&queue, &filter.of(JobFilter::failed())), by).await
            }
            Dead::List(List { queue, filter, paging, .. }) => {
                listing(&queue, &filter.of(JobFilter::failed())).run(context, &operator, paging).await
            }
            Dead::Show(selection) => selection.show(context, &operator).await,
            Dead::Redrive(act) => act.run(context, &operator, Verb::Redrive).await,
            Dead::Discard(act) => act.run(context, &operator, Verb::Discard).await,
        }
    }
}

fn listing<'a>(queue: &'a QueueName, filter: &'a JobFilter) -> Listing<'a> {
    Listing { queue, filter, state_names: "dead or poisoned" }
}

impl Act {
    async fn run(self, context: &CommandContext, operator: &Operator, verb: Verb) -> Result<(), CliError> {
        let Act { selection, options } = self;
        let operator = &operator.named(options.by.name());
        let queue = &selection.queue;
        let bulk = Bulk { verb, queue, options: &options };
        if selection.is_by_id() {
            return bulk.on_ids(context, operator, &selection.given_ids()).await;
        }
        let stats = operator.stats(queue).await?;
        let filter = selection.matching();
        bulk.on_matching(context, operator, &listing(queue, &filter), stats.dead + stats.poisoned).await
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
            match operator.job(&self.queue, id).await? {
                Some(view) if is_dead_or_poisoned(&view) => show(&context.out, &view)?,
                other => {
                    note(match other {
                        Some(_) => format!("job {id} is neither dead nor poisoned in queue {}", self.queue),
                        None => why_not_kept(operator, &self.queue, id).await?,
                    });
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
            listing(&self.queue, &self.matching()).note_none(false, false);
        }
        Ok(())
    }

    /// The filter for the dead and poisoned jobs that match.
    fn matching(&self) -> JobFilter {
        self.filter.of(JobFilter::failed())
    }

    fn is_by_id(&self) -> bool {
        !self.all && self.filter.is_empty()
    }

    fn given_ids(&self) -> Vec<JobId> {
        distinct(self.ids.iter().chain(&self.more_ids).cloned())
    }
}

fn is_dead_or_poisoned(view: &JobView) -> bool {
    matches!(view.state, JobState::Dead | JobState::Poisoned)
}
