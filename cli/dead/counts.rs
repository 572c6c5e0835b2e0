//! `retraced dead list --count-by …`: how many dead and poisoned jobs there are of each code, kind or message.

use std::collections::BTreeMap;

use clap::ValueEnum;
use retraced::job::JobSummary;
use retraced::store::BATCH_MAX;
use retraced::view::{JobRow, Timestamp};
use retraced::{Code, JobId, Operator, QueueName};
use serde::Serialize;

use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::{COUNTED_GROUPS_MAX, COUNTED_MESSAGE_CHARS};
use crate::listing::Listing;
use crate::output::{Cell, Column, EMPTY_CELL, note, printable};

/// By what jobs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CountBy {
    /// The code of the last failure.
    Code,
    /// The kind of job.
    Kind,
    /// The first line of the message of the last failure, with a # for each word that has a digit in it, such as a number, an id or an IPv4 address; the status after HTTP stays.
    Message,
}

/// The value that the jobs of one row have in common; `None` if it is not known.
#[derive(Serialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Group {
    Code(Option<&'static str>),
    Kind(Option<String>),
    Message(Option<String>),
}

/// One row: a group, with its number of jobs.
#[derive(Serialize)]
struct Row<'a> {
    queue: &'a QueueName,
    #[serde(flatten)]
    group: Group,
    jobs: u64,
    /// When the first of them ended, of those that are kept.
    first_at: Option<Timestamp>,
    /// When the latest of them ended.
    latest_at: Option<Timestamp>,
    /// The latest of them.
    example: JobId,
}

/// Reads all jobs of the listing, page by page, and prints one row for each group. Only the groups are bounded, by [`COUNTED_GROUPS_MAX`].
pub(super) async fn count(
    context: &CommandContext,
    operator: &Operator,
    listing: &Listing<'_>,
    by: CountBy,
) -> Result<(), CliError> {
    let mut search = operator.search(listing.queue, listing.filter, None)?;
    let mut groups: BTreeMap<Group, Row<'_>> = BTreeMap::new();
    let mut uncounted = 0_u64;
    loop {
        let jobs = search.take(BATCH_MAX, u64::MAX).await?;
        if jobs.is_empty() {
            break;
        }
        for job in jobs {
            let group = by.group_of(listing.queue, &job);
            if groups.len() == COUNTED_GROUPS_MAX && !groups.contains_key(&group) {
                uncounted += 1;
                continue;
            }
            let at = job.at_ms.map(Timestamp::from_ms);
            let row = groups.entry(group).or_insert_with_key(|group| Row {
                queue: listing.queue,
                group: group.clone(),
                jobs: 0,
                first_at: at,
                latest_at: at,
                example: job.id.clone(),
            });
            row.jobs += 1;
            row.first_at = [row.first_at, at].into_iter().flatten().min();
            if at > row.latest_at {
                (row.latest_at, row.example) = (at, job.id);
            }
        }
    }
    let mut rows: Vec<Row<'_>> = groups.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.jobs));
    if rows.is_empty() {
        listing.note_none(false, false);
        return Ok(());
    }
    print(context, by, &rows)?;
    if uncounted > 0 {
        note(format_args!(
            "only the first {COUNTED_GROUPS_MAX} different values have a row; {uncounted} more jobs have others"
        ));
    }
    Ok(())
}

fn print(context: &CommandContext, by: CountBy, rows: &[Row<'_>]) -> Result<(), CliError> {
    let columns = [
        Column::new("JOBS"),
        Column::new("FIRST").drop_rank(1),
        Column::new("LATEST").drop_rank(2),
        Column::new("EXAMPLE").drop_rank(3),
        Column::new(by.heading()),
    ];
    context.out.results(rows, &columns, |row| {
        let when = |at: Option<Timestamp>| at.map_or_else(|| EMPTY_CELL.to_owned(), |at| context.out.when(at));
        let (first, latest) = (when(row.first_at), when(row.latest_at));
        let common = row.group.text().map_or_else(|| EMPTY_CELL.to_owned(), printable);
        vec![
            row.jobs.to_string().into(),
            first.into(),
            latest.into(),
            row.example.to_string().into(),
            Cell::from(common),
        ]
    })?;
    Ok(())
}

impl CountBy {
    fn heading(self) -> &'static str {
        match self {
            CountBy::Code => "CODE",
            CountBy::Kind => "KIND",
            CountBy::Message => "MESSAGE",
        }
    }

    fn group_of(self, queue: &QueueName, job: &JobSummary) -> Group {
        let last_error = job.last_error.as_ref();
        match self {
            CountBy::Code => Group::Code(last_error.map(|error| Code::as_str(error.code))),
            CountBy::Kind => Group::Kind(JobRow::new(queue, job).kind.map(|kind| kind.to_string())),
            CountBy::Message => Group::Message(last_error.map(|error| shape_of(&error.message))),
        }
    }
}

impl Group {
    fn text(&self) -> Option<&str> {
        match self {
            Group::Code(code) => *code,
            Group::Kind(text) | Group::Message(text) => text.as_deref(),
        }
    }
}

/// The first line of a message, in which each word of letters, digits, hyphens and underscores that has a digit in it is a `#`, except the status after `HTTP`. So messages
/// that differ only in numbers, ids or IPv4 addresses become equal.
fn shape_of(message: &str) -> String {
    let is_between = |c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_'));
    let (mut shape, mut before) = (String::new(), "");
    for piece in message.lines().next().unwrap_or_default().split_inclusive(is_between) {
        let word = piece.trim_end_matches(is_between);
        let is_status = before == "HTTP" && word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        let differs = !is_status && word.contains(char::is_numeric);
        shape.push_str(if differs { "#" } else { word });
        before = word;
        shape.push_str(&piece[word.len()..]);
    }
    shape.chars().take(COUNTED_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_by_numbers_and_ids_have_one_shape() {
        for (message, shape) in [
            ("connection to 10.0.0.7:5432 refused (id 8f3e-11)", "connection to #.#.#.#:# refused (id #)"),
            ("no user 42\nat line 3", "no user #"),
            ("HTTP 522 <unknown status code>: try 17", "HTTP 522 <unknown status code>: try #"),
            ("HTTP 10.0.0.7 by HTTP/1.1, id HTTP 8f3e", "HTTP #.#.#.# by HTTP/#.#, id HTTP #"),
            ("größe: Übermaß", "größe: Übermaß"),
            ("", ""),
            ("...", "..."),
        ] {
            assert_eq!(shape_of(message), shape);
        }
        assert_eq!(shape_of(&"a ".repeat(1_000)).chars().count(), COUNTED_MESSAGE_CHARS);
    }
}
