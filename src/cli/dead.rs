//! `retraced dead …`: dead letters and poison, one, some or all.

use clap::{ArgGroup, Args, Subcommand};
use retraced_jobs::failure::Code;
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{BATCH_MAX, Moved, Target};

use super::Desk;
use super::error::CliError;
use super::jobs::{Lister, acted, list, show};
use super::output::{jobs, note};
use super::shape::JobLine;
use crate::Operator;

/// The states of a job that was given up.
const GIVEN_UP: [JobState; 2] = [JobState::Dead, JobState::Poisoned];
/// Most jobs one command acts on; when there are more it says so, and the next run takes the rest.
const SELECTION_MAX: usize = 100_000;

/// `retraced dead …`
#[derive(Subcommand)]
pub(super) enum Dead {
    /// List dead and poisoned jobs, latest first.
    List(List),
    /// Show everything that is known of them.
    #[command(override_usage = "retraced dead show [OPTIONS] <QUEUE> <ID...|--id <ID>|--all|--code <CODE>>")]
    Show(Selection),
    /// Give them a fresh start: failures and crashes begin again at zero.
    #[command(override_usage = "retraced dead redrive [OPTIONS] <QUEUE> <ID...|--id <ID>|--all|--code <CODE>>")]
    Redrive(Selection),
    /// Remove them with their history, for good.
    #[command(override_usage = "retraced dead discard [OPTIONS] <QUEUE> <ID...|--id <ID>|--all|--code <CODE>>")]
    Discard(Selection),
}

#[derive(Args)]
pub(super) struct List {
    /// The queue.
    queue: QueueName,
    /// Only those whose latest failure has this code, as in TIMEOUT.
    #[arg(long)]
    code: Option<Code>,
    /// Most jobs listed.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Which of the jobs that were given up.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "more_ids", "all", "code"]))]
pub(super) struct Selection {
    /// The queue.
    queue: QueueName,
    /// These jobs.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "code"])]
    ids: Vec<JobId>,
    /// This job; may be repeated.
    #[arg(long = "id", value_name = "ID", conflicts_with_all = ["all", "code"])]
    more_ids: Vec<JobId>,
    /// All dead and poisoned jobs of the queue.
    #[arg(long, conflicts_with = "code")]
    all: bool,
    /// Those whose latest failure has this code, as in TIMEOUT.
    #[arg(long)]
    code: Option<Code>,
}

impl Dead {
    pub(super) async fn run(self, desk: &Desk) -> Result<(), CliError> {
        let operator = desk.operator().await?;
        match self {
            Dead::List(list) => list.run(desk, &operator).await,
            Dead::Show(which) => which.show(desk, &operator).await,
            Dead::Redrive(which) => which.act(desk, &operator, Verb::Redrive).await,
            Dead::Discard(which) => which.act(desk, &operator, Verb::Discard).await,
        }
    }
}

impl List {
    async fn run(self, desk: &Desk, operator: &Operator) -> Result<(), CliError> {
        let most = self.limit as usize;
        let mut found = Vec::new();
        let mut more = false;
        for state in GIVEN_UP {
            let mut lister = Lister::new(operator, &self.queue, state, None);
            while let Some(page) = lister.page(BATCH_MAX).await? {
                found.extend(page.into_iter().filter(|job| has_code(job, self.code)));
                if found.len() > most {
                    more = true;
                    found.truncate(most);
                    break;
                }
            }
        }
        if found.is_empty() {
            note(format_args!("no dead or poisoned jobs in queue {}", self.queue));
        }
        list(&desk.out, &found)?;
        if more {
            note(format_args!("there are more than {most}: raise --limit"));
        }
        Ok(())
    }
}

fn has_code(job: &JobLine, code: Option<Code>) -> bool {
    code.is_none_or(|code| job.last_error.as_ref().is_some_and(|error| error.code == code))
}

#[derive(Clone, Copy)]
enum Verb {
    Redrive,
    Discard,
}

impl Selection {
    async fn show(self, desk: &Desk, operator: &Operator) -> Result<(), CliError> {
        let ids = self.targets(operator).await?;
        let mut missing = 0;
        for Target { id, .. } in &ids {
            if desk.out.is_closed() {
                break;
            }
            match operator.job(&self.queue, id).await?.filter(|view| GIVEN_UP.contains(&view.state)) {
                Some(view) => show(&desk.out, &view)?,
                None => {
                    note(format_args!("job {id} is neither dead nor poisoned in queue {}", self.queue));
                    missing += 1;
                }
            }
        }
        if missing > 0 {
            return Err(CliError::Failed(format!("{missing} of {} jobs were not there to show", ids.len())));
        }
        Ok(())
    }

    async fn act(self, desk: &Desk, operator: &Operator, verb: Verb) -> Result<(), CliError> {
        let ids = self.targets(operator).await?;
        if ids.is_empty() {
            note(format_args!("no such dead or poisoned jobs in queue {}", self.queue));
        }
        let mut unchanged = 0;
        for slice in ids.chunks(BATCH_MAX) {
            let moved = self.act_on(operator, slice, verb).await?;
            let ids: Vec<JobId> = slice.iter().map(|target| target.id.clone()).collect();
            unchanged += acted(&desk.out, &self.queue, &ids, &moved)?;
        }
        if unchanged > 0 {
            return Err(CliError::Failed(format!("{unchanged} of {} jobs were not changed", ids.len())));
        }
        let done = match verb {
            Verb::Redrive => "redriven",
            Verb::Discard => "discarded",
        };
        note(format_args!("{} {done}", jobs(ids.len() as u64)));
        Ok(())
    }

    /// Acts on those of the slice that are dead or poisoned, and on no others; what somebody else moved since it was seen is left alone.
    async fn act_on(&self, operator: &Operator, slice: &[Target], verb: Verb) -> Result<Vec<Moved>, CliError> {
        let mut results = Vec::with_capacity(slice.len());
        let mut chosen = Vec::with_capacity(slice.len());
        for target in slice {
            // Those of a listing were seen; those named on the command line may be anything.
            let target = match target.seen {
                Some(_) => Some(target.clone()),
                None => operator.job(&self.queue, &target.id).await?.as_ref().map(Target::from),
            };
            results.push(match target {
                Some(Target { seen: Some(seen), .. }) if !GIVEN_UP.contains(&seen.state) => {
                    Moved::Refused { state: seen.state }
                }
                Some(target) => {
                    chosen.push((results.len(), target));
                    Moved::NotFound
                }
                None => Moved::NotFound,
            });
        }
        let targets = chosen.iter().map(|(_, target)| target);
        let moved = match verb {
            Verb::Redrive => operator.redrive(&self.queue, targets).await?,
            Verb::Discard => operator.discard(&self.queue, targets).await?,
        };
        for ((at, _), moved) in chosen.into_iter().zip(moved) {
            results[at] = moved;
        }
        Ok(results)
    }

    fn by_name(&self) -> bool {
        !self.all && self.code.is_none()
    }

    /// The jobs meant. Those of a listing are collected first, so that a job which dies again meanwhile is not taken twice.
    async fn targets(&self, operator: &Operator) -> Result<Vec<Target>, CliError> {
        if self.by_name() {
            return Ok(self.ids.iter().chain(&self.more_ids).map(Target::from).collect());
        }
        let mut ids = Vec::new();
        for state in GIVEN_UP {
            let mut lister = Lister::new(operator, &self.queue, state, None);
            while let Some(page) = lister.page(BATCH_MAX).await? {
                ids.extend(page.into_iter().filter(|job| has_code(job, self.code)).map(|job| job.target()));
                if ids.len() >= SELECTION_MAX {
                    ids.truncate(SELECTION_MAX);
                    note(format_args!(
                        "only the first {SELECTION_MAX} jobs are taken; run the command again for the rest"
                    ));
                    return Ok(ids);
                }
            }
        }
        Ok(ids)
    }
}
