//! Numbers that MessagePack has no form for: they are kept as their JSON text, in an extension type.

use serde_json::Number;

/// The extension type of a number as text.
pub(super) const NUMBER_EXTENSION: i8 = 1;

/// How a number of this text is kept.
#[derive(Debug, PartialEq)]
pub(super) enum Form {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// As its text, because each other form would be written as another text.
    Text,
}

/// The form from which exactly this text is written again. `text` is a JSON number.
pub(super) fn form(text: &str) -> Form {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // "-0" is kept as text: an integer would lose its sign.
        return match (text.parse::<u64>(), text.parse::<i64>()) {
            (Ok(n), _) => Form::Unsigned(n),
            (_, Ok(n)) if n != 0 => Form::Signed(n),
            _ => Form::Text,
        };
    }
    match text.parse::<f64>() {
        Ok(n) if float_text(n).as_deref() == Some(text) => Form::Float(n),
        _ => Form::Text,
    }
}

/// The shortest text of a number that is not mistaken for another; `None` unless it is finite.
pub(super) fn float_text(n: f64) -> Option<String> {
    Number::from_f64(n).map(|number| number.to_string())
}

/// [`float_text`] of a 32-bit float: its own shortest text, not that of the same number as a 64-bit float.
pub(super) fn single_text(n: f32) -> Option<String> {
    // Only finite floats have a text; `serde_json` writes the others as null.
    n.is_finite().then(|| serde_json::to_string(&n).ok()).flatten()
}

/// Whether these bytes are a number as JSON writes it, with nothing before or after it.
pub(super) fn is_number(bytes: &[u8]) -> bool {
    let begins = matches!(bytes.first(), Some(b'-' | b'0'..=b'9'));
    let ends = bytes.last().is_some_and(u8::is_ascii_digit);
    begins && ends && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// An integer of at most 128 bits.
pub(super) enum Integer {
    Unsigned(u128),
    Signed(i128),
}

/// The integer that this text writes without a fraction or an exponent; `None` if it has more than 128 bits, or is no such text.
pub(super) fn integer(text: &str) -> Option<Integer> {
    match (text.parse::<u128>(), text.parse::<i128>()) {
        (Ok(n), _) => Some(Integer::Unsigned(n)),
        (_, Ok(n)) => Some(Integer::Signed(n)),
        _ => None,
    }
}
