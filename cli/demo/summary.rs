//! What is told at the end: every mishap beside what became of it, the counts, and the story of one job.

use retraced::job::JobId;

use super::handlers::HERO;
use super::page::Page;
use super::play::{End, SHOP};
use super::story::{Mishap, Story, Trouble, soon};
use crate::error::CliError;
use crate::output::{Column, Output, jobs, printable};
use retraced::view::QueueRow;
use retraced::{Operator, Trace};

/// Tells the end: what went wrong and what became of it, the counts, and the story of the most interesting job.
pub(super) async fn conclude(out: &Output, operator: &Operator, story: &Story, end: End) -> Result<(), CliError> {
    let page = Page::new(out);
    let (at, all) = (story.done.unwrap_or(story.now).as_secs_f64(), jobs(story.jobs));
    if end == End::Quit {
        page.say(&format!("Ended after {at:.1}s, as asked: {} of {all} had come to an end.", story.ended()))?;
    }
    page.say("")?;
    page.table(["WHAT WENT WRONG", "WHAT BECAME OF IT"], &mishaps(story))?;
    if end == End::Quit {
        return Ok(());
    }
    page.say("")?;
    counts(out, story)?;
    let told = story.queues.iter().map(|(queue, _)| queue).find(|queue| queue.as_str() == SHOP);
    if let (Some(queue), Ok(id)) = (told, JobId::parse(HERO))
        && let Some(view) = operator.job(queue, &id).await?
    {
        page.say("")?;
        page.say("The story of one job, as `retraced trace` tells it of any:")?;
        page.say("")?;
        let trace = Trace::from(view);
        if out.is_json() {
            out.result(&trace, String::new)?;
        } else {
            page.say(&trace.to_string())?;
        }
    }
    let (taken, ended, open) = (story.taken(), story.ended(), story.open());
    if ended + open != taken {
        return Err(CliError::Failed(format!(
            "{ended} of {} ended, {open} are open: that does not add up",
            jobs(taken)
        )));
    }
    page.say("")?;
    match end {
        End::TimeUp => {
            page.say(&format!("The time is up: {ended} of {all} came to an end within {at:.0}s; none was lost."))?
        }
        End::Done | End::Quit => page.say(&format!("All {all} came to an end within {at:.1}s; none was lost."))?,
    }
    Ok(())
}

/// How many jobs ended how, by queue.
fn counts(out: &Output, story: &Story) -> std::io::Result<()> {
    let rows: Vec<_> = story.queues.iter().map(|(queue, stats)| QueueRow::new(queue, stats)).collect();
    let columns = [
        Column::new("QUEUE"),
        Column::new("ENQUEUED").spare(1),
        Column::new("COMPLETED"),
        Column::new("DEAD"),
        Column::new("POISONED"),
        Column::new("FAILED TRIES").spare(2),
        Column::new("HANDED BACK").spare(3),
    ];
    // Columns that find no room are no loss here.
    out.rows(&mut out.table(&columns), &rows, |row| {
        let counts = [row.enqueued, row.completed, row.dead, row.poisoned, row.failures, row.releases];
        std::iter::once(row.queue.to_string()).chain(counts.map(|count| count.to_string())).collect()
    })
}

/// What went wrong, and what became of it: a row for each mishap, and for the small ones together.
pub(super) fn mishaps(story: &Story) -> Vec<[String; 2]> {
    let mut rows: Vec<[String; 2]> = story.mishaps.iter().map(row).collect();
    let told = |trouble: &Trouble| match trouble {
        Trouble::Panicked { job, .. } | Trouble::Hung { job } | Trouble::Poisoned { job } | Trouble::Died { job } => {
            Some(job.clone())
        }
        Trouble::Killed { .. } | Trouble::Crashed { .. } => None,
    };
    let told: Vec<_> = story.mishaps.iter().filter_map(|mishap| told(&mishap.trouble)).collect();
    let retried = story.retried.iter().filter(|job| !told.contains(job)).count() as u64;
    if retried > 0 {
        rows.push([format!("{} failed once", jobs(retried)), "tried again after a wait".into()]);
    }
    if story.put_off > 0 {
        rows.push([format!("{} asked for later", jobs(story.put_off)), "put off, at no cost".into()]);
    }
    rows
}

fn row(Mishap { trouble, mended_ms }: &Mishap) -> [String; 2] {
    let back = mended_ms.map_or_else(|| "not replaced yet".to_owned(), |ms| format!("replaced {}", soon(ms)));
    match trouble {
        Trouble::Panicked { job, message, executor } => [
            format!("{job} panicked: {}", printable(message)),
            format!("{executor} ended with it: {back}; the job was tried again"),
        ],
        Trouble::Hung { job } => [format!("{job} hung"), "stopped when its time was up, and tried again".into()],
        Trouble::Killed { path, below: 0, running } => match &running[..] {
            [] => [format!("{path} was killed"), format!("{back}; the jobs that ran noticed nothing")],
            [job, ..] => [
                format!("{path} was killed in the middle of {job}"),
                format!("{back}; the job went back to the front of its queue, at no cost"),
            ],
        },
        Trouble::Killed { path, below, running } => [
            format!("all of {path} was killed: {} actors, {} running", below + 1, jobs(running.len() as u64)),
            match mended_ms {
                Some(ms) => format!("all were back {}; the jobs ran again, at no cost", soon(*ms)),
                None => back,
            },
        ],
        Trouble::Crashed { path, reason } => [format!("{path} crashed: {}", printable(reason)), back],
        Trouble::Poisoned { job } => {
            [format!("{job} can never work"), "set aside at once as poison; no retry was wasted on it".into()]
        }
        Trouble::Died { job } => [
            format!("{job} failed in every try"),
            "kept in the dead letter queue: look at it, mend the cause, redrive it".into(),
        ],
    }
}
