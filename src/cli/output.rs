//! Printing: one JSON object a line, or tables for people; results on stdout, messages on stderr.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// Where results go. When nobody reads them any more (a pipe that closed) printing becomes silent, and what the command does goes on.
#[derive(Default)]
pub(super) struct Output {
    json: bool,
    closed: Cell<bool>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, closed: Cell::new(false) }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nobody reads any more, so that a command that only reads can stop.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// One result: as JSON, or as the text.
    pub(super) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> std::io::Result<()> {
        if self.json {
            return self.line(&serde_json::to_string(value)?);
        }
        self.line(&text())
    }

    /// Several results: one JSON object a line, or one table.
    pub(super) fn results<T: Serialize>(
        &self,
        values: &[T],
        headers: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> std::io::Result<()> {
        if self.json {
            return values.iter().try_for_each(|value| self.line(&serde_json::to_string(value)?));
        }
        self.line(&table(headers, &values.iter().map(row).collect::<Vec<_>>()))
    }

    /// A line of text on stdout.
    pub(super) fn line(&self, text: &str) -> std::io::Result<()> {
        if self.closed.get() {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.set(true);
                Ok(())
            }
            written => written,
        }
    }
}

/// A message for people on stderr. Nobody listening is no error.
pub(super) fn note(message: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}

/// What stands in a table where there is nothing to say.
pub(super) const NOTHING: &str = "-";

/// Columns as wide as they need to be, two spaces apart; numbers to the right.
fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let is_number = |cell: &String| !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || c == '.');
    let numeric: Vec<bool> = (0..headers.len())
        .map(|c| cells(c).any(is_number) && cells(c).all(|cell| is_number(cell) || cell == NOTHING))
        .collect();
    let widths: Vec<usize> = headers
        .iter()
        .enumerate()
        .map(|(c, header)| cells(c).map(|cell| cell.chars().count()).max().unwrap_or(0).max(header.chars().count()))
        .collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(widths.iter().zip(&numeric)).map(|(cell, (&width, &numeric))| {
            if numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(headers.to_vec());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

/// The text with control characters escaped: what a job says cannot move the reader's cursor or begin a line of its own.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// `1 job`, `2 jobs`.
pub(super) fn jobs(count: impl Into<u64>) -> String {
    match count.into() {
        1 => "1 job".into(),
        n => format!("{n} jobs"),
    }
}

/// What an error says, in one line: some libraries write several.
pub(super) fn one_line(error: &dyn Display) -> String {
    printable(&error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The first `most` characters of the text, printable, with a mark where it was cut.
pub(super) fn short(text: &str, most: usize) -> String {
    let mut cut: String = text.chars().take(most).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut)
}

/// Milliseconds since the Unix epoch in RFC 3339.
pub(super) fn instant(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| format!("{ms} ms"), |at| format!("{at:.3}"))
}

/// A duration at a glance.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        1_000..60_000 => format!("{:.1}s", Duration::from_millis(ms).as_secs_f64()),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1_000),
        3_600_000..86_400_000 => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{}d{:02}h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_puts_numbers_to_the_right() {
        let rows = [vec!["email".to_owned(), "7".to_owned()], vec!["sms".to_owned(), "1200".to_owned()]];
        assert_eq!(table(&["QUEUE", "N"], &rows), "QUEUE     N\nemail     7\nsms    1200\n");
    }

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("a\n{\"level\":1}\u{1b}[2J"), "a\\n{\"level\":1}\\u{1b}[2J");
        assert_eq!(short("abc\n", 3), "abc…");
    }

    #[test]
    fn spans_read_at_a_glance() {
        let cases = [
            (7, "7ms"),
            (1_500, "1.5s"),
            (25_000, "25s"),
            (61_000, "1m01s"),
            (3_600_000, "1h00m"),
            (90_000_000, "1d01h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
    }
}
