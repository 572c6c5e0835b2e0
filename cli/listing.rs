//! Lists of jobs, printed page by page.

use clap::Args;
use retraced::find::{JobCursor, JobFilter, JobSearch};
use retraced::job::JobSummary;
use retraced::store::BATCH_MAX;
use retraced::view::{JobRow, Timestamp};
use retraced::{JobState, Operator, QueueName};

use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::{LIST_EXAMINED_MAX, LISTED_MESSAGE_COLUMNS_MIN};
use crate::output::{Cell, Column, EMPTY_CELL, Output, Style, Table, job_count, note, printable};

/// Which part of a list is printed.
#[derive(Args)]
pub(crate) struct Paging {
    /// Maximum jobs to list. If there are more, or if 100000 jobs were searched before that many matched, a message on stderr ends with the cursor to continue from.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Continue where an earlier list ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<JobCursor>,
}

/// A list of jobs to print.
pub(crate) struct Listing<'a> {
    pub(crate) queue: &'a QueueName,
    pub(crate) filter: &'a JobFilter,
    /// The states of the jobs, as messages name them, such as `delayed` or `dead or poisoned`.
    pub(crate) state_names: &'a str,
}

impl Listing<'_> {
    /// Prints one part of the list.
    pub(crate) async fn run(
        &self,
        context: &CommandContext,
        operator: &Operator,
        paging: Paging,
    ) -> Result<(), CliError> {
        let Paging { limit, cursor } = paging;
        let resumed = cursor.is_some();
        let mut search = operator.search(self.queue, self.filter, cursor)?;
        let listed = self.print(context, &mut search, limit.into(), LIST_EXAMINED_MAX).await?;
        if context.out.is_closed() {
            return Ok(());
        }
        let next = search.cursor().await?;
        if listed == 0 {
            self.note_none(resumed, next.is_some());
        }
        if let Some(next) = next {
            match u64::from(limit) - listed {
                0 if self.filter.is_unconditional() => note(format_args!("there are more: --cursor {next}")),
                0 => note(format_args!("there may be more: --cursor {next}")),
                _ => note(format_args!(
                    "{} searched, and there are more to search: --cursor {next}",
                    job_count(search.examined())
                )),
            }
        }
        Ok(())
    }

    /// Prints at most `limit` jobs of a search that examines at most `examined_max`, and returns how many were printed.
    pub(crate) async fn print(
        &self,
        context: &CommandContext,
        search: &mut JobSearch,
        limit: u64,
        examined_max: u64,
    ) -> Result<u64, CliError> {
        let mut table = context.out.table(&self.columns());
        let mut listed = 0;
        while listed < limit && !context.out.is_closed() {
            let most = usize::try_from(limit - listed).unwrap_or(BATCH_MAX).min(BATCH_MAX);
            let jobs = search.take(most, examined_max.saturating_sub(search.examined())).await?;
            if jobs.is_empty() {
                break;
            }
            listed += jobs.len() as u64;
            self.print_rows(&context.out, &mut table, &jobs)?;
        }
        context.out.note_left_out(&table);
        Ok(listed)
    }

    fn print_rows(&self, out: &Output, table: &mut Table, jobs: &[JobSummary]) -> Result<(), CliError> {
        let rows: Vec<JobRow> = jobs.iter().map(|job| JobRow::new(self.queue, job)).collect();
        Ok(out.rows(table, &rows, |job| self.row(out, job))?)
    }

    /// Reports that no job was found.
    pub(crate) fn note_none(&self, resumed: bool, unfinished: bool) {
        let which = if self.filter.is_unconditional() { "" } else { " that match" };
        let more = if resumed { "more " } else { "" };
        let so_far = if unfinished { " so far" } else { "" };
        note(format_args!("no {more}{} jobs{which} in queue {}{so_far}", self.state_names, self.queue));
    }

    fn columns(&self) -> Vec<Column> {
        // In a list of one state the column STATE is the same in every row, so it is left out first. In a list of several states it tells them apart, so it is left out last.
        let state = Column::new("STATE").drop_rank(if self.filter.states().len() == 1 { 8 } else { 1 });
        // `cut` has a width, `drop_rank` a rank.
        let mut columns = vec![
            Column::new("ID"),
            Column::new("KIND").cut(8),
            state,
            Column::new("FAILURES").drop_rank(5),
            Column::new("ENQUEUED").drop_rank(6),
        ];
        if let Some(when) = self.instant() {
            // `WHEN` heads lists with pending jobs among others. These have no due time, lease or end, so the column tells little there and is left out sooner.
            columns.push(Column::new(when).drop_rank(if when == "WHEN" { 7 } else { 3 }));
        }
        columns.extend([
            // By the code of the failure an operator decides what to do: it is shown at every width, and never cut.
            Column::new("CODE"),
            Column::new("MESSAGE").cut(LISTED_MESSAGE_COLUMNS_MIN).drop_rank(4),
        ]);
        if self.lists_processing() {
            columns.extend([
                Column::new("CLAIMED"),
                Column::new("WORKER").drop_rank(2),
                Column::new("PROGRESS").cut(8),
            ]);
        }
        columns
    }

    /// What the instant of each job is; `None` if these jobs have none.
    fn instant(&self) -> Option<&'static str> {
        match self.filter.states() {
            [JobState::Pending] => None,
            [JobState::Delayed] => Some("DUE"),
            [JobState::Processing] => Some("LEASE ENDS"),
            states if states.iter().any(|state| !state.is_final()) => Some("WHEN"),
            _ => Some("ENDED"),
        }
    }

    /// Whether there are columns for the running attempt: only in a list of processing jobs. Ended attempts are in the trace.
    fn lists_processing(&self) -> bool {
        matches!(self.filter.states(), [JobState::Processing])
    }

    /// The cells of one job.
    fn row(&self, out: &Output, job: &JobRow) -> Vec<Cell> {
        let message = job.last_error.as_ref().map(|error| printable(&error.message));
        let running = self.lists_processing().then(|| running_cells(out, job));
        let instant = self.instant().map(|_| instant_cell(out, job.state_instant()));
        let [kind, state, enqueued, code] = common_cells(out, job);
        let mut cells = vec![job.id.to_string().into(), kind, state, job.failures.to_string().into(), enqueued];
        cells.extend(instant);
        cells.extend([code, message.unwrap_or_else(|| EMPTY_CELL.to_owned()).into()]);
        cells.extend(running.into_iter().flatten());
        cells
    }
}

/// The cells that all tables of jobs have: kind, state, when it was enqueued, and the code of its last error.
pub(crate) fn common_cells(out: &Output, job: &JobRow) -> [Cell; 4] {
    let code = job.last_error.as_ref().map(|error| error.code.to_string());
    [
        job.kind.as_ref().map_or_else(|| "unreadable".to_owned(), ToString::to_string).into(),
        Cell::new(job.state.as_str(), Style::of(job.state)),
        instant_cell(out, job.enqueued_at),
        code.unwrap_or_else(|| EMPTY_CELL.to_owned()).into(),
    ]
}

fn instant_cell(out: &Output, at: Option<Timestamp>) -> Cell {
    at.map_or_else(|| EMPTY_CELL.to_owned(), |at| out.when(at)).into()
}

/// The cells of the running attempt: when it was claimed, by which worker, and its progress.
fn running_cells(out: &Output, job: &JobRow) -> [Cell; 3] {
    let holder = job.held_by.as_ref();
    let worker = holder.map_or_else(|| EMPTY_CELL.to_owned(), |holder| holder.short_worker().to_owned());
    let progress = job.progress.as_ref().map(|progress| printable(&progress.to_string()));
    let progress = progress.unwrap_or_else(|| EMPTY_CELL.to_owned());
    [instant_cell(out, holder.map(|holder| holder.claimed_at)), worker.into(), progress.into()]
}
