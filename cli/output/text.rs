//! Text and numbers for people, safe for a terminal.

use std::fmt::Display;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(crate) use retraced::view::{duration_text, printable};

/// Shown in a table cell without a value.
pub(crate) const EMPTY_CELL: &str = "-";

/// `1 job`, `2 jobs`.
pub(crate) fn job_count(count: impl Into<u64>) -> String {
    with_noun(count, "job")
}

/// `1 crash`, `2 crashes`.
pub(crate) fn with_noun(count: impl Into<u64>, noun: &str) -> String {
    let plural = if noun.ends_with("sh") { "es" } else { "s" };
    match count.into() {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}{plural}"),
    }
}

/// The arguments of a command that is printed to be copied, after `--` if one of them would be taken for an option.
pub(crate) fn arguments(words: &[&dyn Display]) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let separator = if words.iter().any(|word| word.starts_with('-')) { "-- " } else { "" };
    format!("{separator}{}", words.join(" "))
}

/// A message in one line, with control characters escaped: the errors of some libraries have several lines.
pub(crate) fn one_line(error: &dyn Display) -> String {
    printable(&error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// JSON text in which what would not be seen is escaped as JSON does, so that it can be read as JSON again.
pub(crate) fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        match printable(c.encode_utf8(&mut [0; 4])).starts_with('\\') && c != '\\' {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown += &format!("\\u{unit:04x}")),
            false => shown.push(c),
        }
    }
    shown
}

/// The first `most` characters of the text, with control characters escaped, and `…` where it was cut.
pub(crate) fn short(text: &str, most: usize) -> String {
    let mut cut: String = text.chars().take(most).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut)
}

/// How many columns of a terminal the text takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// The text in at most this many columns, with `…` where it was cut.
pub(super) fn fitted(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let mut cut: String = text.chars().take_while(|c| take(&mut left, *c)).collect();
    cut.push('…');
    cut
}

/// The text in at most this many columns, with `…` in its middle where it was cut.
pub(super) fn fitted_in_the_middle(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1) / 2;
    let mut right = most.saturating_sub(1) - left;
    let mut end: Vec<char> = text.chars().rev().take_while(|c| take(&mut right, *c)).collect();
    end.reverse();
    let start: String = text.chars().take_while(|c| take(&mut left, *c)).collect();
    format!("{start}…{}", end.into_iter().collect::<String>())
}

/// The text in lines of at most this many columns. A line has at least one character, even if that is too wide.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut left = most;
    for c in text.chars() {
        if !take(&mut left, c) && lines.last().is_some_and(|line| !line.is_empty()) {
            lines.push(String::new());
            left = most.saturating_sub(c.width().unwrap_or(0));
        }
        lines.last_mut().into_iter().for_each(|line| line.push(c));
    }
    lines
}

/// A line wrapped between words. Further lines begin below the text after an instant, or a little to the right of where the line begins; in a narrow terminal further left.
/// A command in backticks and a long word, such as a cursor, are never broken, so that they can be copied: the terminal wraps them.
pub(super) fn flowed(line: &str, width: usize) -> String {
    const INSTANT: &str = "2030-01-31T08:00:00.000Z  ";
    let words = line.trim_start();
    let indent = line.len() - words.len();
    let has_instant = indent == 0 && words.starts_with(|c: char| c.is_ascii_digit());
    let hang = if has_instant { INSTANT.len() } else { indent + 2 };
    let (first, rest) = (" ".repeat(indent.min(width / 3)), " ".repeat(hang.min(width / 3)));
    let options = textwrap::Options::new(width).initial_indent(&first).subsequent_indent(&rest);
    let options = options.word_splitter(textwrap::WordSplitter::NoHyphenation).break_words(false);
    textwrap::fill(&with_bound_commands(words), options).replace(BOUND_SPACE, " ")
}

/// Stands for a space at which a line is not broken. A character for private use, which texts hardly ever have.
const BOUND_SPACE: char = '\u{e000}';

/// The text with a [`BOUND_SPACE`] for each space between two backticks.
fn with_bound_commands(text: &str) -> String {
    let mut in_command = false;
    let bound = |c: char| {
        in_command ^= c == '`';
        if in_command && c == ' ' { BOUND_SPACE } else { c }
    };
    if text.matches('`').count().is_multiple_of(2) { text.chars().map(bound).collect() } else { text.to_owned() }
}

/// Subtracts the columns of a character from those that are left; returns whether there were enough.
fn take(left: &mut usize, c: char) -> bool {
    match left.checked_sub(c.width().unwrap_or(0)) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => false,
    }
}

/// An instant relative to now, as in `12s ago` or `in 1m30s`.
pub(crate) fn relative_time(ms: u64, now_ms: u64) -> String {
    match ms.checked_sub(now_ms) {
        None | Some(0) => format!("{} ago", duration_text(rounded(now_ms.saturating_sub(ms)))),
        Some(ahead) => format!("in {}", duration_text(rounded(ahead))),
    }
}

/// Rounds down to whole seconds from 10 s on.
fn rounded(ms: u64) -> u64 {
    if ms < 10_000 { ms } else { ms - ms % 1_000 }
}

/// Whole milliseconds; more than fits counts as the largest number.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(short("a\u{1b}[2J", 9), "a\\u{1b}[2J");
        assert_eq!(short("abc\n", 3), "abc…");
    }

    #[test]
    fn no_json_text_for_people_is_unreadable_as_json() {
        let value = serde_json::json!("\u{1b} \u{9b} \u{202e} \u{feff} \\ \u{1f468}");
        let shown = printable_json(&value.to_string());
        assert_eq!(shown, "\"\\u001b \\u009b \\u202e \\ufeff \\\\ \u{1f468}\"");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).ok(), Some(value));
    }

    #[test]
    fn an_argument_that_begins_like_an_option_is_separated_from_the_options() {
        assert_eq!(arguments(&[&"q", &"a-1"]), "q a-1");
        assert_eq!(arguments(&[&"q", &"-1"]), "-- q -1");
    }

    #[test]
    fn text_is_cut_and_wrapped_by_the_columns_it_takes() {
        assert_eq!(fitted("日本語", 6), "日本語");
        assert_eq!(fitted("日本語", 5), "日本…");
        assert_eq!(fitted("日本語", 4), "日…");
        assert_eq!(wrapped("日本語ab", 5), ["日本", "語ab"]);
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("日本", 1), ["日", "本"]);
    }

    #[test]
    fn a_line_is_wrapped_between_words_below_the_text_it_continues() {
        let line = "2030-01-31T08:00:00.000Z  attempt 1 failed after 12ms";
        let indent = " ".repeat(26);
        assert_eq!(flowed(line, 80), line);
        assert_eq!(flowed(line, 78 / 2 + 2), line.replace("1 failed", "1\n             failed"));
        let detail = format!("{indent}  caused by: no route to mail.example.com");
        assert_eq!(flowed(&detail, 90), detail);
        for width in [40, 50, 60] {
            assert!(flowed(&detail, width).lines().all(|line| columns(line) <= width), "{width}");
        }
    }

    #[test]
    fn what_is_to_be_copied_is_never_broken() {
        let line = "to run it again: `retraced dead redrive email o297`; there are more: --cursor W1sxNzk2MDQ4MDI1MTgxLCJkZWFkIiwibzE5MyJd";
        for width in [20, 40, 80] {
            let flowed = flowed(line, width);
            for copied in ["`retraced dead redrive email o297`;", "W1sxNzk2MDQ4MDI1MTgxLCJkZWFkIiwibzE5MyJd"] {
                assert!(flowed.contains(copied), "{width}: {flowed}");
            }
            assert_eq!(flowed.split_whitespace().collect::<Vec<_>>().join(" "), line, "{width}");
        }
        assert_eq!(flowed("an odd ` stays one of many words", 20), "an odd ` stays one\n  of many words");
    }

    #[test]
    fn instants_are_shown_relative_to_now() {
        assert_eq!(relative_time(1_000, 62_345), "1m01s ago");
        assert_eq!(relative_time(1_000, 13_345), "12s ago");
        assert_eq!(relative_time(5_000, 5_000), "0ms ago");
        assert_eq!(relative_time(95_300, 5_000), "in 1m30s");
    }
}
