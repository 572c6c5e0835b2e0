//! Printing: one JSON object per line, or text for people; results on stdout, messages on stderr.
//!
//! On a terminal text is laid out to fit, and coloured unless the user or the environment forbids it. In a pipe nothing is cut or wrapped to fit a width, no column is left out, and text is
//! coloured only with `--color always` or `CLICOLOR_FORCE`.

mod message;
mod progress;
mod style;
mod table;
mod text;
mod width;

use std::cell::Cell as StdCell;
use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ColorChoice;
use retraced::view::Timestamp;
use serde::Serialize;

pub(super) use self::message::{LogFormat, note, print_error, print_messages_as_log, warn};
pub(super) use self::progress::Progress;
pub(super) use self::style::Style;
use self::style::is_coloured;
pub(super) use self::table::{Cell, Column, Table};
pub(super) use self::text::{
    EMPTY_CELL, arguments, duration_text, job_count, millis, one_line, printable, printable_json, relative_time, short,
    with_noun,
};
pub(super) use self::width::width;

/// Where results go. After the reader has closed the pipe, printing does nothing, and the command continues unless it checks [`is_closed`](Output::is_closed).
#[derive(Default)]
pub(super) struct Output {
    json: bool,
    coloured: bool,
    /// The columns of the terminal; `None`: not a terminal.
    width: Option<usize>,
    closed: StdCell<bool>,
}

impl Output {
    /// Results as text or as JSON; coloured as set by [`choose_colour`].
    pub(super) fn new(json: bool) -> Self {
        Self { json, coloured: !json && is_coloured(&std::io::stdout()), width: width(), closed: StdCell::new(false) }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether the reader has closed the pipe. A command that changes nothing can then stop.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether results are printed as text on a terminal, where a summary is better than one line for each of many jobs.
    pub(super) fn is_text_on_terminal(&self) -> bool {
        self.width.is_some() && !self.json
    }

    /// Whether results are printed as JSON on a terminal, where a progress bar would be drawn between them.
    fn is_json_on_terminal(&self) -> bool {
        self.width.is_some() && self.json
    }

    /// Whether text is coloured.
    pub(super) fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// The text in this style.
    pub(super) fn paint(&self, style: Style, text: impl Display) -> String {
        style.paint(text, self.coloured)
    }

    /// An instant: relative to now on a terminal, in full elsewhere.
    pub(super) fn when(&self, at: Timestamp) -> String {
        if self.width.is_some() { relative_time(at.as_ms(), now_ms()) } else { at.to_string() }
    }

    /// Prints one result: as JSON, or as this text.
    pub(super) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> std::io::Result<()> {
        if self.json {
            return self.print_text(&serde_json::to_string(value)?);
        }
        self.print_text(&text())
    }

    /// Prints one result: as JSON, or as named values below a title.
    pub(super) fn details(&self, value: &impl Serialize, title: &str, values: &[(&str, Cell)]) -> std::io::Result<()> {
        self.result(value, || table::details(title, values, self.width, self.coloured))
    }

    /// Prints several results: one JSON object per line, or one table.
    pub(super) fn results<T: Serialize, H: Into<Column> + Copy, C: Into<Cell>>(
        &self,
        values: &[T],
        headers: &[H],
        row: impl Fn(&T) -> Vec<C>,
    ) -> std::io::Result<()> {
        let mut table = self.table(headers);
        self.rows(&mut table, values, row)?;
        self.note_left_out(&table);
        Ok(())
    }

    /// A table to be filled page by page with [`rows`](Self::rows).
    pub(super) fn table<H: Into<Column> + Copy>(&self, headers: &[H]) -> Table {
        Table::new(headers.iter().map(|head| (*head).into()).collect(), self.width, self.coloured)
    }

    /// Prints more results: one JSON object per line, or more rows of the table.
    pub(super) fn rows<T: Serialize, C: Into<Cell>>(
        &self,
        table: &mut Table,
        values: &[T],
        row: impl Fn(&T) -> Vec<C>,
    ) -> std::io::Result<()> {
        if self.json {
            return values.iter().try_for_each(|value| self.print_text(&serde_json::to_string(value)?));
        }
        let rows: Vec<Vec<Cell>> =
            values.iter().map(|value| row(value).into_iter().map(Into::into).collect()).collect();
        self.print_text(&table.render(&rows))
    }

    /// Says which columns do not fit the terminal.
    pub(super) fn note_left_out(&self, table: &Table) {
        let left_out = table.left_out();
        if !left_out.is_empty() && !self.json {
            note(format_args!("too narrow for {}; a wider terminal or --json shows them", left_out.join(", ")));
        }
    }

    /// Clears the terminal, so that the next text begins at its top.
    pub(super) fn clear(&self) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(b"\x1b[H\x1b[2J").and_then(|()| stdout.flush())
    }

    /// The text; on a terminal with long lines wrapped between words. Continuation lines are indented, past the instant if the line begins with one.
    pub(super) fn flowed(&self, text: &str) -> String {
        match self.width {
            Some(width) => text.lines().map(|line| text::flowed(line, width) + "\n").collect(),
            None => text.to_owned(),
        }
    }

    /// Prints text on stdout, and ends it with one line break.
    pub(super) fn print_text(&self, text: &str) -> std::io::Result<()> {
        if self.closed.get() {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        match writeln!(stdout, "{}", text.trim_end_matches('\n')).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.set(true);
                Ok(())
            }
            Err(error) => Err(std::io::Error::new(error.kind(), format!("the output cannot be written: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

/// Sets when this process writes in colour: results, help and errors, but not the log of `work`. `Auto`: on terminals, unless the environment says otherwise (`NO_COLOR`,
/// `CLICOLOR`, `CLICOLOR_FORCE`, `TERM=dumb`).
pub(super) fn choose_colour(choice: ColorChoice) {
    match choice {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// This machine's clock, in ms since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
