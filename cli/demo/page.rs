//! Prints text on the normal screen or into a pipe, laid out for the available width.

use std::io;

use super::timeline::{Line, Mark};
use crate::limits::{PAGE_COLUMNS_MAX, PAGE_COLUMNS_MIN, PAGE_LEFT_COLUMNS_MAX};
use crate::output::{Output, Style, width};

/// Columns of a table if there is no terminal.
const WIDTH_DEFAULT: usize = 100;
/// Columns of a terminal below which the two cells of a row stand below each other.
const NARROW: usize = 60;

/// Text for people; with JSON nothing is printed.
pub(super) struct Page<'a> {
    out: &'a Output,
    /// The terminal's columns; `None`: a pipe, where text is not wrapped, and tables take [`WIDTH_DEFAULT`].
    width: Option<usize>,
}

impl<'a> Page<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        Self { out, width: width() }
    }

    /// Prints one or several lines.
    pub(super) fn print(&self, text: &str) -> io::Result<()> {
        if self.out.is_json() { Ok(()) } else { self.out.print_text(&self.fitted(text)) }
    }

    /// Prints a line of the timeline, with its mark coloured if colours are on.
    pub(super) fn print_line(&self, line: &Line) -> io::Result<()> {
        let style = match line.mark {
            Mark::Failed => Style::Bad,
            Mark::Recovered => Style::Good,
            Mark::Later => Style::Warn,
            Mark::Note => Style::Dim,
        };
        let glyph = line.mark.glyph();
        // Coloured after the layout, because escape sequences take no columns.
        self.out.print_text(&self.fitted(&line.plain()).replacen(glyph, &self.out.paint(style, glyph), 1))
    }

    /// Prints rows of two cells, if there are any.
    pub(super) fn table(&self, headers: [&str; 2], rows: &[[String; 2]]) -> io::Result<()> {
        if self.out.is_json() || rows.is_empty() {
            return Ok(());
        }
        let text = two_columns(headers, rows, self.width.unwrap_or(WIDTH_DEFAULT));
        let painted = |text: String, header: &str| text.replacen(header, &self.out.paint(Style::Head, header), 1);
        self.out.print_text(&headers.into_iter().fold(text, painted))
    }

    fn fitted(&self, text: &str) -> String {
        self.width.map_or_else(|| text.to_owned(), |width| fitted(text, width))
    }
}

/// Rows of two cells in two columns, each wrapped between words. In a narrow terminal the cells stand below each other, without the headers.
fn two_columns(headers: [&str; 2], rows: &[[String; 2]], width: usize) -> String {
    let width = width.clamp(PAGE_COLUMNS_MIN, PAGE_COLUMNS_MAX);
    if width < NARROW {
        let stacked = rows.iter().flat_map(|[first, second]| {
            let second = wrapped(second, width - 2, 2).into_iter().map(|line| format!("  {line}"));
            wrapped(first, width, 2).into_iter().chain(second)
        });
        return stacked.collect::<Vec<_>>().join("\n") + "\n";
    }
    let widest = rows.iter().map(|[left, _]| left.chars().count()).chain([headers[0].len()]).max().unwrap_or(0);
    let left = widest.min(PAGE_LEFT_COLUMNS_MAX).min(width / 2);
    let right = width - left - 2;
    let mut text = String::new();
    let headers = headers.map(str::to_owned);
    for [first, second] in std::iter::once(&headers).chain(rows) {
        let (first, second) = (wrapped(first, left, 2), wrapped(second, right, 2));
        for n in 0..first.len().max(second.len()) {
            let cell = |column: &[String]| column.get(n).cloned().unwrap_or_default();
            text += format!("{:<left$}  {}", cell(&first), cell(&second)).trim_end();
            text.push('\n');
        }
    }
    text
}

/// Wraps the long lines of a text. Their continuations are indented further.
fn fitted(text: &str, width: usize) -> String {
    let width = width.clamp(PAGE_COLUMNS_MIN, PAGE_COLUMNS_MAX);
    let fit = |line: &str| {
        let indent = line.chars().take_while(|c| *c == ' ').count();
        let body = line.trim_start();
        // The continuation of a line that begins with an instant stands below the text after it.
        let hang = match (indent, body.find("Z  ")) {
            (0, Some(at)) => at + 5,
            (0, None) => 2,
            _ => indent + 2,
        };
        // In a narrow terminal the indentation is reduced.
        let (indent, hang) = if hang > width / 2 { (indent.min(4), 6) } else { (indent, hang) };
        let lines = wrapped(body, width - indent, hang - indent);
        lines.into_iter().map(|line| " ".repeat(indent) + &line).collect::<Vec<_>>().join("\n")
    };
    text.lines().map(fit).collect::<Vec<_>>().join("\n")
}

/// Lines of at most this many characters, broken between words if possible; all but the first are indented by this many spaces.
pub(super) fn wrapped(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut words: Vec<&str> = text.split(' ').rev().collect();
    while let Some(word) = words.pop() {
        let begun = line.chars().any(|c| c != ' ');
        let gap = usize::from(begun);
        let (used, long) = (line.chars().count(), word.chars().count());
        if used + gap + long <= width {
            line += &" ".repeat(gap);
            line += word;
        } else if begun {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            words.push(word);
        } else {
            // A word longer than a line is cut.
            let cut = word.char_indices().nth(width.saturating_sub(used).max(1)).map_or(word.len(), |(at, _)| at);
            line += &word[..cut];
            if cut < word.len() {
                words.push(&word[cut..]);
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            }
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_long_ones_cut() {
        assert_eq!(wrapped("one two three", 8, 2), ["one two", "  three"]);
        assert_eq!(wrapped("abcdefghij", 4, 1), ["abcd", " efg", " hij"]);
        assert_eq!(wrapped("two  spaces", 20, 0), ["two  spaces"]);
        assert_eq!(wrapped("", 4, 0), [""]);
        for width in 1..30 {
            for line in wrapped("a bb ccc dddd eeeee ✗↻◔ ffffff", width, 0) {
                assert!(line.chars().count() <= width, "{line:?} at {width}");
            }
        }
    }

    #[test]
    fn a_table_of_two_columns_fits_any_width() {
        let rows = [["executor-1 was killed in the middle of email-83".into(), "the job went back, at no cost".into()]];
        assert_eq!(
            two_columns(["WRONG", "BECAME"], &rows, 62),
            "WRONG                            BECAME\n\
             executor-1 was killed in the     the job went back, at no cost\n\
             \u{20} middle of email-83\n"
        );
        assert_eq!(
            two_columns(["WRONG", "BECAME"], &rows, 40),
            "executor-1 was killed in the middle of\n  email-83\n  the job went back, at no cost\n"
        );
        for width in 0..200 {
            let text = two_columns(["WRONG", "BECAME"], &rows, width);
            assert!(text.lines().all(|line| line.chars().count() <= width.max(PAGE_COLUMNS_MIN)), "{text}");
        }
    }

    #[test]
    fn a_long_line_of_a_trace_continues_below_its_text() {
        let trace = "2026-11-25T16:07:53.773Z  attempt 1 panicked after 102ms · PANIC · worker 83980b3f executor-0#0\n\
                    \u{20}                         the image store hung up and it never came back, whatever we did";
        assert_eq!(
            fitted(trace, 80),
            "2026-11-25T16:07:53.773Z  attempt 1 panicked after 102ms · PANIC · worker\n\
             \u{20}                           83980b3f executor-0#0\n\
             \u{20}                         the image store hung up and it never came back,\n\
             \u{20}                           whatever we did"
        );
        assert!(fitted(trace, 20).lines().all(|line| line.chars().count() <= PAGE_COLUMNS_MIN));
    }
}
