//! Text for terminals and logs.

use std::time::Duration;

/// Escapes every character that would control a terminal or not be seen at all: control characters, line separators, marks that change the direction of writing, and
/// the most common of the invisible characters that no script needs. Messages and payloads come from handlers, so print them through this function.
///
/// ```
/// assert_eq!(retraced::view::printable("no route\n\u{1b}[2J"), "no route\\n\\u{1b}[2J");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unseen(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

fn is_unseen(c: char) -> bool {
    // Not U+200C and U+200D, which some scripts and emoji need.
    let is_invisible = matches!(c, '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    let is_separator = matches!(c, '\u{2028}' | '\u{2029}');
    let is_direction_mark =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_separator || is_direction_mark || is_invisible
}

/// A number with its noun: `1 attempt`, `2 attempts`.
pub(crate) fn with_noun(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// A duration of `ms` milliseconds for people: up to a minute in ms or s, then in its two largest units, as in `193ms`, `5.044s`, `12.5s`, `5m`, `1m30s`, `2h05m`, `3d04h`. Below 10 s it
/// is exact; above, what is left is cut off.
///
/// ```
/// use retraced::view::duration_text;
/// assert_eq!([90_000, 300_000].map(duration_text), ["1m30s", "5m"]);
/// ```
#[must_use]
pub fn duration_text(ms: u64) -> String {
    const UNITS: [(u64, char, u64, char); 3] =
        [(86_400_000, 'd', 3_600_000, 'h'), (3_600_000, 'h', 60_000, 'm'), (60_000, 'm', 1_000, 's')];
    match UNITS.into_iter().find(|(length, ..)| ms >= *length) {
        Some((length, unit, lesser_length, lesser)) => match (ms / length, ms % length / lesser_length) {
            (count, 0) => format!("{count}{unit}"),
            (count, rest) => format!("{count}{unit}{rest:02}{lesser}"),
        },
        None if ms < 1_000 => format!("{ms}ms"),
        None if ms < 10_000 => format!("{:?}", Duration::from_millis(ms)),
        None => format!("{:?}", Duration::from_millis(ms - ms % 100)),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration_text, printable};

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\n{\"level\":1}\u{1b}[2J"), "a\\n{\"level\":1}\\u{1b}[2J");
        assert_eq!(printable("evil\u{202e}txt.exe\u{2028}x"), "evil\\u{202e}txt.exe\\u{2028}x");
        assert_eq!(printable("ad\u{200b}min\u{feff}"), "ad\\u{200b}min\\u{feff}");
        let family = "\u{1f468}\u{200d}\u{1f469}";
        assert_eq!(printable(family), family);
    }

    #[test]
    fn no_duration_has_more_than_two_units() {
        for (ms, text) in [
            (0, "0ms"),
            (193, "193ms"),
            (5_044, "5.044s"),
            (12_000, "12s"),
            (12_599, "12.5s"),
            (59_999, "59.9s"),
            (60_000, "1m"),
            (90_500, "1m30s"),
            (3_599_999, "59m59s"),
            (7_500_000, "2h05m"),
            (86_400_000, "1d"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(duration_text(ms), text);
        }
    }
}
