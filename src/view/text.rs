//! Text for terminals and logs.

use std::time::Duration;

/// Escapes every character that would control a terminal instead of being shown: control characters, line separators and marks that change the direction of
/// writing. Messages and payloads come from handlers, so print them through this function.
///
/// ```
/// assert_eq!(retraced::view::printable("no route\n\u{1b}[2J"), "no route\\n\\u{1b}[2J");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_control(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

fn is_control(c: char) -> bool {
    let is_separator = matches!(c, '\u{2028}' | '\u{2029}');
    let is_direction_mark =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_separator || is_direction_mark
}

/// A number with its noun: `1 attempt`, `2 attempts`.
pub(crate) fn with_noun(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// A duration in the text of a trace: `193ms`, `12.5s`, `1 min 30 s`, `2 h 5 min`.
pub(crate) fn duration_text(ms: u64) -> String {
    let duration = Duration::from_millis(ms);
    match ms {
        0 => "less than 1ms".into(),
        1..10_000 => format!("{duration:?}"),
        10_000..60_000 => format!("{:.1}s", duration.as_secs_f64()),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\n{\"level\":1}\u{1b}[2J"), "a\\n{\"level\":1}\\u{1b}[2J");
        assert_eq!(printable("evil\u{202e}txt.exe\u{2028}x"), "evil\\u{202e}txt.exe\\u{2028}x");
    }
}
