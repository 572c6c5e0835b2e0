//! `retraced dead …`: dead letters and poison, one, some or all.

use clap::{ArgGroup, Args, Subcommand};
use retraced::job::JobSummary;
use retraced::job::{JobId, JobState, QueueName};
use retraced::store::{BATCH_MAX, Moved, Target};

use crate::admin::Admin;
use crate::error::CliError;
use crate::filter::Filter;
use crate::jobs::{Listing, Paging, acted, show};
use crate::output::{Progress, jobs, note};
use crate::pages::Pages;
use retraced::Operator;

/// The states of a job that was given up.
pub(crate) const GIVEN_UP: [JobState; 2] = [JobState::Dead, JobState::Poisoned];
/// Jobs one call acts on where there are many: few enough that workers, who wait for its end, do not notice.
const SLICE: usize = 100;
/// Jobs looked at, in search of those that pass, between two moves of the bar.
const SEARCH_STEP: u64 = 2_000;

/// `retraced dead …`
#[derive(Subcommand)]
pub(crate) enum Dead {
    /// List dead and poisoned jobs, latest first.
    List(List),
    /// Show everything that is known of these dead letters; `retraced trace` tells the story of one.
    #[command(
        override_usage = "retraced dead show [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>>"
    )]
    Show(Selection),
    /// Give them a fresh start: failures and crashes begin again at zero.
    #[command(
        after_help = "Many are taken in slices, latest first. A job that dies again meanwhile is not taken twice, and one that somebody else moves is left alone.",
        override_usage = "retraced dead redrive [OPTIONS] <QUEUE> <ID...|--all|--code <CODE>|--kind <KIND>|--since <WHEN>>"
    )]
    Redrive(Selection),
    /// Remove them with their history, for good.
    #[command(
        after_help = "Many are taken in slices, latest first. A job that dies meanwhile is not taken, and one that somebody else moves is left alone. There is no way back: `retraced dead list` with the same options shows them first.",
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

/// Which of the jobs that were given up.
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
                let listing = Listing { queue: &queue, states: &GIVEN_UP, filter: &filter, what: "dead or poisoned" };
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
            let mut pages = self.pages(operator)?;
            let mut shown = 0;
            while let Some(JobSummary { id, .. }) = pages.next(u64::MAX).await?.filter(|_| !admin.out.is_closed()) {
                // One that was redriven since the page was read is no dead letter any more.
                if let Some(view) = operator.job(&self.queue, &id).await?.filter(|view| GIVEN_UP.contains(&view.state))
                {
                    show(&admin.out, &view)?;
                    shown += 1;
                }
            }
            if shown == 0 && !admin.out.is_closed() {
                self.note_none();
            }
            return Ok(());
        }
        let ids = self.named();
        let mut missing = 0;
        for id in &ids {
            if admin.out.is_closed() {
                break;
            }
            match operator.job(&self.queue, id).await?.filter(|view| GIVEN_UP.contains(&view.state)) {
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

    async fn act(self, admin: &Admin, operator: &Operator, verb: Verb) -> Result<(), CliError> {
        if !self.is_by_name() {
            return self.act_on_many(admin, operator, verb).await;
        }
        let ids = self.named();
        let mut unchanged = 0;
        for slice in ids.chunks(BATCH_MAX) {
            let moved = self.act_on_named(operator, slice, verb).await?;
            unchanged += acted(&admin.out, &self.queue, slice, &moved)?;
        }
        if unchanged > 0 {
            let all = jobs(ids.len() as u64);
            return Err(CliError::Failed(format!("{unchanged} of {all} could not be {}", verb.done())));
        }
        note(format_args!("{} {}", jobs(ids.len() as u64), verb.done()));
        Ok(())
    }

    /// Acts on those that are dead or poisoned, and on no others; what somebody else moves meanwhile is left alone.
    async fn act_on_named(&self, operator: &Operator, ids: &[JobId], verb: Verb) -> Result<Vec<Moved>, CliError> {
        let mut results = Vec::with_capacity(ids.len());
        let mut chosen = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(match operator.job(&self.queue, id).await? {
                Some(view) if GIVEN_UP.contains(&view.state) => {
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
        let mut many = Many::default();
        let ended = self.each_slice(admin, operator, verb, &progress, &mut many).await;
        drop(progress);
        let done = format!("{} {}", jobs(many.changed), verb.done());
        if let Err(error) = ended {
            return Err(CliError::Failed(format!("{error}; before that: {done}")));
        }
        match many {
            Many { changed: 0, unchanged: 0 } => self.note_none(),
            Many { unchanged: 0, .. } => note(done),
            Many { unchanged, .. } => {
                note(format_args!("{done}; {unchanged} left alone, because others moved them first"))
            }
        }
        Ok(())
    }

    async fn each_slice(
        &self,
        admin: &Admin,
        operator: &Operator,
        verb: Verb,
        progress: &Progress,
        many: &mut Many,
    ) -> Result<(), CliError> {
        let mut pages = self.pages(operator)?;
        loop {
            let begun = pages.looked_at();
            let mut slice = Vec::with_capacity(SLICE);
            while slice.len() < SLICE {
                let Some(job) = pages.next(begun + SEARCH_STEP).await? else { break };
                slice.push(job);
            }
            let moved = match slice.is_empty() {
                true => Vec::new(),
                false => verb.act(operator, &self.queue, slice.iter().map(Target::from)).await?,
            };
            // Counted before they are printed: a disk that is full changes nothing about them.
            let unchanged =
                moved.iter().filter(|moved| matches!(moved, Moved::Refused { .. } | Moved::NotFound)).count();
            many.unchanged += unchanged as u64;
            many.changed += (moved.len() - unchanged) as u64;
            let looked_at = pages.looked_at() - begun;
            progress.advance(looked_at);
            // A reader is told the sum; for a program each job is a line.
            if !admin.out.is_for_a_reader() {
                let ids: Vec<JobId> = slice.iter().map(|job| job.id.clone()).collect();
                acted(&admin.out, &self.queue, &ids, &moved)?;
            }
            if slice.len() < SLICE && looked_at < SEARCH_STEP {
                return Ok(());
            }
        }
    }

    /// The given-up jobs that pass the filter.
    fn pages<'a>(&'a self, operator: &'a Operator) -> Result<Pages<'a>, CliError> {
        Pages::new(operator, &self.queue, &GIVEN_UP, &self.filter, None, BATCH_MAX)
    }

    fn note_none(&self) {
        let which = if self.all { "" } else { " of this sort" };
        note(format_args!("no dead or poisoned jobs{which} in queue {}", self.queue));
    }

    fn is_by_name(&self) -> bool {
        !self.all && self.filter.is_open()
    }

    fn named(&self) -> Vec<JobId> {
        self.ids.iter().chain(&self.more_ids).cloned().collect()
    }
}

/// How many of many.
#[derive(Default)]
struct Many {
    changed: u64,
    unchanged: u64,
}
