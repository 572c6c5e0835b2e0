//! The summary at the end: every incident and its result, the counts, and the trace of one job.

use retraced::view::QueueRow;
use retraced::{JobId, Operator, Trace};

use super::handlers::EXAMPLE_JOB;
use super::page::Page;
use super::run::{End, SHOP};
use super::timeline::{Incident, IncidentKind, Timeline, restart_time};
use crate::error::CliError;
use crate::output::{Column, Output, job_count, printable};

/// Prints what went wrong and what followed, and unless the user quit, the counts and the trace of [`EXAMPLE_JOB`].
pub(super) async fn conclude(out: &Output, operator: &Operator, timeline: &Timeline, end: End) -> Result<(), CliError> {
    let page = Page::new(out);
    let (at, all) = (timeline.done.unwrap_or(timeline.now).as_secs_f64(), job_count(timeline.jobs));
    if end == End::Quit {
        page.print(&format!("Quit after {at:.1}s: {} of {all} had ended.", timeline.ended()))?;
    }
    page.print("")?;
    page.table(["WHAT WENT WRONG", "WHAT HAPPENED NEXT"], &incidents(timeline))?;
    if end == End::Quit {
        return Ok(());
    }
    page.print("")?;
    counts(out, timeline)?;
    let shop = timeline.queues.iter().map(|(queue, _)| queue).find(|queue| queue.as_str() == SHOP);
    if let (Some(queue), Ok(id)) = (shop, JobId::parse(EXAMPLE_JOB))
        && let Some(view) = operator.job(queue, &id).await?
    {
        page.print("")?;
        page.print("The history of one job, as `retraced trace` prints it:")?;
        page.print("")?;
        let trace = Trace::from(view);
        if out.is_json() {
            out.result(&trace, String::new)?;
        } else {
            page.print(&trace.to_string())?;
        }
    }
    let (enqueued, ended, open) = (timeline.enqueued(), timeline.ended(), timeline.open());
    if ended + open != enqueued {
        return Err(CliError::Failed(format!(
            "{ended} of {} ended, but {open} are open: the counts disagree",
            job_count(enqueued)
        )));
    }
    page.print("")?;
    match end {
        End::TimeUp => {
            page.print(&format!("The time is up: {ended} of {all} ended within {at:.0}s; none was lost."))?
        }
        End::Done | End::Quit => page.print(&format!("All {all} ended within {at:.1}s; none was lost."))?,
    }
    Ok(())
}

/// Prints the counts of each queue.
fn counts(out: &Output, timeline: &Timeline) -> std::io::Result<()> {
    let rows: Vec<_> = timeline.queues.iter().map(|(queue, stats)| QueueRow::new(queue, stats)).collect();
    let columns = [
        Column::new("QUEUE"),
        Column::new("ENQUEUED").drop_rank(1),
        Column::new("COMPLETED"),
        Column::new("DEAD"),
        Column::new("POISONED"),
        Column::new("FAILURES").drop_rank(2),
        Column::new("RELEASES").drop_rank(3),
    ];
    // Columns that do not fit are left out without a message.
    out.rows(&mut out.table(&columns), &rows, |row| {
        let counts = [row.enqueued, row.completed, row.dead, row.poisoned, row.failures, row.releases];
        std::iter::once(row.queue.to_string()).chain(counts.map(|count| count.to_string())).collect()
    })
}

/// What went wrong, and what followed: a row for each incident, one for all retries, and one for all jobs that asked to run later.
pub(super) fn incidents(timeline: &Timeline) -> Vec<[String; 2]> {
    let mut rows: Vec<[String; 2]> = timeline.incidents.iter().map(row).collect();
    let shown = |kind: &IncidentKind| match kind {
        IncidentKind::Panicked { job, .. }
        | IncidentKind::Hung { job }
        | IncidentKind::Poisoned { job }
        | IncidentKind::Died { job } => Some(job.clone()),
        IncidentKind::Killed { .. } | IncidentKind::Crashed { .. } => None,
    };
    let shown: Vec<_> = timeline.incidents.iter().filter_map(|incident| shown(&incident.kind)).collect();
    let retried = timeline.retried.iter().filter(|job| !shown.contains(job)).count() as u64;
    if retried > 0 {
        rows.push([format!("{} failed once", job_count(retried)), "retried after a delay".into()]);
    }
    if timeline.snoozed > 0 {
        rows.push([format!("{} asked to run later", job_count(timeline.snoozed)), "delayed, not counted".into()]);
    }
    rows
}

fn row(Incident { kind, recovered_ms }: &Incident) -> [String; 2] {
    let replaced =
        recovered_ms.map_or_else(|| "not replaced yet".to_owned(), |ms| format!("replaced {}", restart_time(ms)));
    match kind {
        IncidentKind::Panicked { job, message, executor } => [
            format!("{job} panicked: {}", printable(message)),
            format!("{executor} ended with it: {replaced}; the job was retried"),
        ],
        IncidentKind::Hung { job } => [format!("{job} hung"), "stopped at its timeout, and retried".into()],
        IncidentKind::Killed { path, below: 0, running } => match &running[..] {
            [] => [format!("{path} was killed"), format!("{replaced}; running jobs were not affected")],
            [job, ..] => [
                format!("{path} was killed in the middle of {job}"),
                format!("{replaced}; the job went back to the front of its queue, not counted"),
            ],
        },
        IncidentKind::Killed { path, below, running } => [
            format!("all of {path} was killed: {} actors, {} running", below + 1, job_count(running.len() as u64)),
            match recovered_ms {
                Some(ms) => format!("all were back {}; the jobs ran again, not counted", restart_time(*ms)),
                None => replaced,
            },
        ],
        IncidentKind::Crashed { path, reason } => [format!("{path} crashed: {}", printable(reason)), replaced],
        IncidentKind::Poisoned { job } => {
            [format!("{job} can never succeed"), "poisoned at once; no retry was wasted on it".into()]
        }
        IncidentKind::Died { job } => [
            format!("{job} failed in every attempt"),
            "kept in the dead letter queue: inspect it, fix the cause, redrive it".into(),
        ],
    }
}
