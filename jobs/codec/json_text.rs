//! JSON as it was written: the order of its keys, equal keys and the text of its numbers are kept.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserializer as _};
use serde::ser::{Error as _, SerializeMap, SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::CodecError;
use crate::limits::QUOTED_CHARS_MAX;

/// The only key of an object that stands for binary data, which JSON does not have.
pub(super) const BINARY_KEY: &str = "$base64";

/// The names by which `serde_json` marks a number and a piece of JSON that are given as text.
pub(super) const SERDE_JSON_NUMBER: &str = "$serde_json::private::Number";
pub(super) const SERDE_JSON_RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A piece of JSON, whose syntax was checked. It serializes as what it means, and numbers as text.
pub(super) struct Json<'a>(pub(super) &'a str);

impl<'a> Json<'a> {
    /// The text without the spaces around it.
    ///
    /// # Errors
    /// The text is not JSON; the error says what and where, as in "is not JSON: expected value at line 1 column 5".
    pub(super) fn new(text: &'a str) -> Result<Self, CodecError> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Ok(Self(raw.get())),
            Err(error) => Err(CodecError::new(format!("payload {}", syntax(text, &error)))),
        }
    }
}

/// What is wrong with this text, without words that only programmers of the parser know.
fn syntax(text: &str, error: &serde_json::Error) -> String {
    if text.starts_with('\u{feff}') {
        return "begins with a byte order mark, which JSON does not allow; save it as UTF-8 without one".into();
    }
    if error.is_eof() {
        return if text.trim().is_empty() { "is empty, and not JSON" } else { "is not JSON: it ends too early" }.into();
    }
    let why = error.to_string();
    match why.strip_prefix("expected ident") {
        Some(place) => format!("is not JSON: a word that is not true, false or null{place}"),
        None => format!("is not JSON: {why}"),
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Json(text) = *self;
        let broken = |error: serde_json::Error| S::Error::custom(meaning(text, &error));
        match text.as_bytes().first() {
            Some(b'{') => match parts(text, Pairs(Vec::new())).map_err(broken)?.0.as_slice() {
                [(key, value)] if key == BINARY_KEY => {
                    serializer.serialize_bytes(&decode_base64(value.get()).map_err(S::Error::custom)?)
                }
                pairs => {
                    let mut map = serializer.serialize_map(Some(pairs.len()))?;
                    pairs.iter().try_for_each(|(key, value)| map.serialize_entry(key, &Json(value.get())))?;
                    map.end()
                }
            },
            Some(b'[') => {
                let values: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
                let mut array = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| array.serialize_element(&Json(value.get())))?;
                array.end()
            }
            Some(b'"') => serializer.serialize_str(&serde_json::from_str::<String>(text).map_err(broken)?),
            Some(b't' | b'f') => serializer.serialize_bool(text == "true"),
            Some(b'n') => serializer.serialize_unit(),
            _ => {
                let mut number = serializer.serialize_struct(SERDE_JSON_NUMBER, 1)?;
                number.serialize_field(SERDE_JSON_NUMBER, text)?;
                number.end()
            }
        }
    }
}

/// Why a piece of JSON whose syntax is right means nothing.
fn meaning(text: &str, error: &serde_json::Error) -> String {
    let why = error.to_string();
    if why.contains("surrogate") || why.contains("hex escape") {
        return "has a text with half of a surrogate pair, such as \\ud800 alone, which stands for no character".into();
    }
    let shown: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    format!("has a part that cannot be read, {shown:?}: {why}")
}

fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    let Ok(text) = serde_json::from_str::<String>(text) else {
        return Err(format!(
            "has an object whose only key is \"{BINARY_KEY}\" but whose value is not text; that key means binary"
        ));
    };
    STANDARD
        .decode(text)
        .map_err(|error| format!("has a \"{BINARY_KEY}\" that is not base64 (standard alphabet, padded): {error}"))
}

/// The pairs of an object in their order, equal keys included.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

fn parts<'a>(text: &'a str, pairs: Pairs<'a>) -> Result<Pairs<'a>, serde_json::Error> {
    serde_json::Deserializer::from_str(text).deserialize_map(pairs)
}

impl<'de> de::Visitor<'de> for Pairs<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: de::MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(pair) = map.next_entry()? {
            self.0.push(pair);
        }
        Ok(self)
    }
}

/// A payload as JSON text, exactly as [`to_json_text`](super::to_json_text) wrote it. With `serde_json` it serializes as the JSON that it is, not as a string.
///
/// ```
/// use retraced_jobs::codec::{self, JsonText};
/// let payload = codec::from_json_text(r#"{"b": 1.50, "a": 100000000000000000000}"#).unwrap();
/// let json: JsonText = codec::to_json_text(&payload).unwrap();
/// assert_eq!(json.as_str(), r#"{"b":1.50,"a":100000000000000000000}"#);
/// assert_eq!(serde_json::to_string(&[json]).unwrap(), r#"[{"b":1.50,"a":100000000000000000000}]"#);
/// ```
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    pub(super) fn new(text: String) -> Result<Self, CodecError> {
        let raw = RawValue::from_string(text);
        raw.map(Self).map_err(|error| CodecError::new(format!("payload cannot be written as JSON: {error}")))
    }

    /// The text: JSON without spaces or line ends between its parts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for JsonText {
    /// Whether the texts are the same, byte for byte.
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for JsonText {}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
