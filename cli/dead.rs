//! `retraced dead …`: dead and poisoned jobs, one, some or all.

use clap::{ArgGroup, Args, Subcommand};
use retraced::job::{JobId, JobState, JobView, QueueName};
use retraced::store::{BATCH_MAX, Moved, Target};

use crate::admin::Admin;
use crate::error::CliError;
use crate::filter::Filter;
use crate::jobs::{Listing, Paging, acted, show};
use crate::output::{Progress, jobs, note};
use retraced::find::BulkAction;
use retraced::{JobFilter, Operator};

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
    /// Run dead and poisoned jobs again, with failures and crashes reset to zero.
    #[command(
        after_help = "Many jobs are taken in steps of 100, latest first. A job that dies again meanwhile is not redriven twice, and one that somebody else moves is left alone.",
        override_usage = "retraced dead redrive [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>>"
    )]
    Redrive(Selection),
    /// Remove dead and poisoned jobs permanently, with their history.
    #[command(
        after_help = "Many jobs are taken in steps of 100, latest first. A job that dies meanwhile is not discarded, and one that somebody else moves is left alone. This cannot be undone: `retraced dead list` with the same options shows the jobs first.",
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

/// Which dead and poisoned jobs.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "more_ids", "all", "code", "kind", "since"]))]
pub(crate) struct Selection {
    /// The queue.
    queue: QueueName,
    /// These jobs.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "code", "kind", "since"])]
    ids: Vec<JobId>,
    /// This job; may be repeated.
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["all", "code", "kind", "since"])]
    more_ids: Vec<JobId>,
    /// All dead and poisoned jobs of the queue.
    #[arg(long, conflicts_with_all = ["code", "kind", "since"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Dead {
    pub(crate) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let operator = admin.operator().await?;
        match self {
            Dead::List(List { queue, filter, paging }) => {
                let filter = filter.of(JobFilter::failed());
                let listing = Listing { queue: &queue, filter: &filter, what: "dead or poisoned" };
                listing.run(admin, &operator, paging).await
            }
            Dead::Show(which) => which.show(admin, &operator).await,
            Dead::Redrive(which) => which.act(admin, &operator, Verb::Redrive).await,
            Dead::Discard(which) => which.act(admin, &operator, Verb::Discard).await,
        }
    }
}

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

    fn on_matching(self, operator: &Operator, queue: &QueueName, filter: &JobFilter) -> BulkAction {
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
    async fn show(self, admin: &Admin, operator: &Operator) -> Result<(), CliError> {
        if !self.is_by_name() {
            return self.show_matching(admin, operator).await;
        }
        let ids = self.named();
        let mut missing = 0;
        for id in &ids {
            if admin.out.is_closed() {
                break;
            }
            match operator.job(&self.queue, id).await?.filter(is_given_up) {
                Some(view) => show(&admin.out, &view)?,
                None => {
                    note(format_args!("job {id} is neither dead nor poisoned in queue {}", self.queue));
                    missing += 1;
                }
            }
        }
        if missing > 0 {
            let all = jobs(ids.len() as u64);
            return Err(CliError::Failed(format!("{missing} of {all} could not be shown")));
        }
        Ok(())
    }

    async fn show_matching(&self, admin: &Admin, operator: &Operator) -> Result<(), CliError> {
        let mut search = operator.search(&self.queue, &self.matching(), None)?;
        let mut shown = 0;
        while !admin.out.is_closed() {
            let jobs = search.take(BATCH_MAX, u64::MAX).await?;
            if jobs.is_empty() {
                break;
            }
            for job in jobs {
                // One that was redriven since the page was read is not a dead letter any more.
                if let Some(view) = operator.job(&self.queue, &job.id).await?.filter(is_given_up) {
                    show(&admin.out, &view)?;
                    shown += 1;
                }
            }
        }
        if shown == 0 && !admin.out.is_closed() {
            self.note_none();
        }
        Ok(())
    }

    async fn act(self, admin: &Admin, operator: &Operator, verb: Verb) -> Result<(), CliError> {
        if !self.is_by_name() {
            return self.act_on_many(admin, operator, verb).await;
        }
        let ids = self.named();
        let mut unchanged = 0;
        for slice in ids.chunks(BATCH_MAX) {
            let moved = self.act_on_named(operator, slice, verb).await?;
            unchanged += acted(&admin.out, &self.queue, slice.iter().cloned().zip(moved))?;
        }
        if unchanged > 0 {
            let all = jobs(ids.len() as u64);
            return Err(CliError::Failed(format!("{unchanged} of {all} could not be {}", verb.done())));
        }
        note(format_args!("{} {}", jobs(ids.len() as u64), verb.done()));
        Ok(())
    }

    /// Acts only on jobs that are dead or poisoned; those that somebody else moves meanwhile are left alone.
    async fn act_on_named(&self, operator: &Operator, ids: &[JobId], verb: Verb) -> Result<Vec<Moved>, CliError> {
        let mut results = Vec::with_capacity(ids.len());
        let mut chosen = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(match operator.job(&self.queue, id).await? {
                Some(view) if is_given_up(&view) => {
                    chosen.push((results.len(), Target::from(&view)));
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

    async fn act_on_many(&self, admin: &Admin, operator: &Operator, verb: Verb) -> Result<(), CliError> {
        let stats = operator.stats(&self.queue).await?;
        let progress = Progress::new(&admin.out, verb.doing(), Some(stats.dead + stats.poisoned));
        let mut action = verb.on_matching(operator, &self.queue, &self.matching());
        let ended = self.each_step(admin, &progress, &mut action).await;
        drop(progress);
        let done = format!("{} {}", jobs(action.changed()), verb.done());
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

    async fn each_step(&self, admin: &Admin, progress: &Progress, action: &mut BulkAction) -> Result<(), CliError> {
        while let Some(step) = action.step().await? {
            progress.advance(step.examined);
            // On a terminal the sum is enough; for a program each job is a line.
            if !admin.out.is_for_a_reader() {
                acted(&admin.out, &self.queue, step.results)?;
            }
        }
        Ok(())
    }

    /// The dead and poisoned jobs that match.
    fn matching(&self) -> JobFilter {
        self.filter.of(JobFilter::failed())
    }

    fn note_none(&self) {
        let which = if self.all { "" } else { " that match" };
        note(format_args!("no dead or poisoned jobs{which} in queue {}", self.queue));
    }

    fn is_by_name(&self) -> bool {
        !self.all && self.filter.is_open()
    }

    fn named(&self) -> Vec<JobId> {
        self.ids.iter().chain(&self.more_ids).cloned().collect()
    }
}

fn is_given_up(view: &JobView) -> bool {
    matches!(view.state, JobState::Dead | JobState::Poisoned)
}
