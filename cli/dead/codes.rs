//! `retraced dead list --by-code`: how many dead and poisoned jobs failed with which code.

use std::collections::BTreeMap;

use retraced::store::BATCH_MAX;
use retraced::view::Timestamp;
use retraced::{Code, JobId, Operator, QueueName};
use serde::Serialize;

use crate::context::CommandContext;
use crate::error::CliError;
use crate::listing::Listing;
use crate::output::{Cell, Column, NOTHING};

/// The jobs of one code.
#[derive(Serialize)]
struct CodeRow<'a> {
    queue: &'a QueueName,
    /// The code of their last failure; `None` if none is known.
    code: Option<Code>,
    jobs: u64,
    /// When the latest of them ended.
    latest_at: Option<Timestamp>,
    /// The latest of them.
    example: JobId,
}

/// Reads all jobs of the listing, of which retention bounds the number, and prints one row for each code.
pub(super) async fn count(
    context: &CommandContext,
    operator: &Operator,
    listing: &Listing<'_>,
) -> Result<(), CliError> {
    let mut search = operator.search(listing.queue, listing.filter, None)?;
    let mut by_code: BTreeMap<Option<&'static str>, CodeRow<'_>> = BTreeMap::new();
    loop {
        let jobs = search.take(BATCH_MAX, u64::MAX).await?;
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            let code = job.last_error.as_ref().map(|error| error.code);
            let at = job.at_ms.map(Timestamp::from_ms);
            let row = by_code.entry(code.map(Code::as_str)).or_insert_with(|| CodeRow {
                queue: listing.queue,
                code,
                jobs: 0,
                latest_at: at,
                example: job.id.clone(),
            });
            row.jobs += 1;
            if at > row.latest_at {
                (row.latest_at, row.example) = (at, job.id.clone());
            }
        }
    }
    let mut rows: Vec<CodeRow<'_>> = by_code.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.jobs));
    if rows.is_empty() {
        listing.note_none(false, false);
        return Ok(());
    }
    let columns = [
        Column::new("CODE"),
        Column::new("JOBS"),
        Column::new("LATEST").drop_rank(1),
        Column::new("EXAMPLE").drop_rank(2),
    ];
    context.out.results(&rows, &columns, |row| {
        let latest = row.latest_at.map_or_else(|| NOTHING.to_owned(), |at| context.out.when(at));
        vec![
            Cell::from(row.code.map_or_else(|| NOTHING.to_owned(), |code| code.to_string())),
            row.jobs.to_string().into(),
            latest.into(),
            row.example.to_string().into(),
        ]
    })?;
    Ok(())
}
