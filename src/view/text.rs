//! Text for terminals and logs.

use std::time::Duration;

/// Returns the text with everything escaped that a terminal would obey instead of showing: control characters, line separators and marks that turn the
/// direction of reading. Messages and payloads come from handlers, so print them through this.
///
/// ```
/// assert_eq!(retraced::view::printable("no route\n\u{1b}[2J"), "no route\\n\\u{1b}[2J");
/// ```
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_obeyed(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

fn is_obeyed(c: char) -> bool {
    let separates = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || separates || turns
}

/// `1 attempt`, `2 attempts`.
pub(crate) fn counted(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        n => format!("{n} {noun}s"),
    }
}

/// A duration, as a sentence has it.
pub(crate) fn span(ms: u64) -> String {
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
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(printable("a\n{\"level\":1}\u{1b}[2J"), "a\\n{\"level\":1}\\u{1b}[2J");
        assert_eq!(printable("evil\u{202e}txt.exe\u{2028}x"), "evil\\u{202e}txt.exe\\u{2028}x");
    }
}
