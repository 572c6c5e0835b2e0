//! Text for terminals and logs.

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
