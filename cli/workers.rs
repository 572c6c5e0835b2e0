//! `retraced workers`: which workers process which queues, where they run, and when each was last seen.

use clap::Args;
use retraced::limits::WORKER_STALE_AFTER;
use retraced::store::WORKER_ROW_AGE_MAX;
use retraced::view::WorkerDetail;

use crate::context::CommandContext;
use crate::error::CliError;
use crate::output::{Cell, Column, EMPTY_CELL, Style, duration_text, millis, note, now_ms, printable};

/// `retraced workers`
#[derive(Args)]
pub(crate) struct Workers {}

impl Workers {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator().await?;
        let rows = operator.workers().await?;
        let now_ms = operator.probe().await?.now_ms.unwrap_or_else(now_ms);
        let mut workers: Vec<WorkerDetail> = rows.iter().map(|row| WorkerDetail::new(row, now_ms)).collect();
        workers.sort_by_key(|worker| worker.seen_ago_ms);
        if workers.is_empty() && !context.out.is_json() {
            return Ok(context.out.print_text("no worker is listed: none runs, or Redis has just lost its data and those that run are listed again within 10s. `retraced work` starts one, and so does your application")?);
        }
        let columns = [
            Column::new("WORKER"),
            Column::new("HOST").cut(8),
            Column::new("PID").drop_rank(2),
            Column::new("BUILD").cut(8).drop_rank(5),
            Column::new("QUEUES").cut(8),
            Column::new("KINDS").cut(8).drop_rank(4),
            Column::new("RUNNING").drop_rank(1),
            Column::new("UP").drop_rank(3),
            Column::new("SEEN"),
            Column::new(""),
        ];
        context.out.results(&workers, &columns, |worker| cells(worker, now_ms))?;
        let stale = workers.iter().filter(|worker| worker.stale).count();
        if stale > 0 && !context.out.is_json() {
            let [after, kept] = [WORKER_STALE_AFTER, WORKER_ROW_AGE_MAX].map(|time| duration_text(millis(time)));
            note(format_args!(
                "stale: no heartbeat for more than {after}; the worker was killed, or cannot reach the server. Its line is removed {kept} after its last heartbeat"
            ));
        }
        if workers.iter().any(|worker| worker.unreadable) && !context.out.is_json() {
            note("unreadable: the worker has a newer version than this command; it may process any queue");
        }
        Ok(())
    }
}

fn cells(worker: &WorkerDetail, now_ms: u64) -> Vec<Cell> {
    let seen = format!("{} ago", duration_text(worker.seen_ago_ms));
    let seen = Cell::new(seen, if worker.stale { Style::Warn } else { Style::Plain });
    if worker.unreadable {
        let remark = if worker.stale { "unreadable, stale" } else { "unreadable" };
        let mut cells = vec![Cell::from(worker.worker.clone())];
        cells.extend((0..7).map(|_| Cell::from(EMPTY_CELL.to_owned())));
        cells.extend([seen, Cell::new(remark, Style::Warn)]);
        return cells;
    }
    let list = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(", ");
    let mut kinds = list(&mut worker.kinds.iter().map(ToString::to_string));
    let listed = u32::try_from(worker.kinds.len()).unwrap_or(u32::MAX);
    if worker.kinds_total > listed {
        kinds += &format!(" and {} more", worker.kinds_total - listed);
    }
    if worker.every_kind {
        kinds = if kinds.is_empty() { "every kind".to_owned() } else { format!("{kinds} and every other") };
    }
    // Nobody knows what a stale worker runs, if it lives at all. It was up at its last heartbeat.
    let (running, alive_until) = match worker.stale {
        true => (format!("{EMPTY_CELL} of {}", worker.concurrency), worker.seen_at.as_ms()),
        false => (format!("{} of {}", worker.running, worker.concurrency), now_ms),
    };
    vec![
        worker.worker.clone().into(),
        printable(&worker.host).into(),
        worker.pid.to_string().into(),
        printable(&worker.build).into(),
        list(&mut worker.queues.iter().map(ToString::to_string)).into(),
        kinds.into(),
        running.into(),
        duration_text(alive_until.saturating_sub(worker.started_at.as_ms())).into(),
        seen,
        Cell::new(if worker.stale { "stale" } else { "" }, Style::Warn),
    ]
}
