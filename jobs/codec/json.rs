//! Payloads as JSON and back.
//!
//! [`to_json_text`] and [`from_json_text`] lose nothing but spaces and the spelling of escapes: numbers keep their text, and keys their order, also if two are equal.
//! JSON has no binary data, so it is written as `{"$base64": "…"}`. An object whose only key is `$base64` is therefore always read as binary. A payload with a
//! value that JSON cannot express is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::fault::Fault;
use super::json_text::{BINARY_KEY, Json, JsonText};
use super::number::{float_text, single_text};
use super::scan::{Reader, Token, too_deep};
use super::serializer::Serializer;
use super::{CodecError, DEPTH_MAX};

/// A payload as JSON text. A payload made by [`from_json_text`] comes back with the same numbers, keys, order and texts. Numbers and booleans that are keys of a map
/// become text, as `serde_json` writes them; binary data becomes `{"$base64": "…"}` (standard alphabet, padded).
///
/// ```
/// use retraced_jobs::codec;
/// let payload = codec::to_payload(&std::collections::BTreeMap::from([(7, u128::MAX)])).unwrap();
/// let json = codec::to_json_text(&payload).unwrap();
/// assert_eq!(json.as_str(), r#"{"7":340282366920938463463374607431768211455}"#);
/// ```
///
/// # Errors
/// [`CodecError`] when the payload is not one MessagePack value, nests deeper than [`DEPTH_MAX`], or holds what JSON cannot express: a number that is not finite, a
/// map key that is an array, a map, binary or nothing, a text that is not UTF-8, an extension type, or a map whose only key is `$base64`.
pub fn to_json_text(payload: &[u8]) -> Result<JsonText, CodecError> {
    let mut reader = Reader::new("payload", payload);
    let text = next_as_text(&mut reader, 0)?;
    reader.end()?;
    JsonText::new(text)
}

/// The next value as JSON text, `depth` levels deep.
pub(super) fn next_as_text(reader: &mut Reader<'_>, depth: usize) -> Result<String, CodecError> {
    let mut text = String::new();
    write(reader, depth, &mut text)?;
    Ok(text)
}

/// Encodes JSON text as a payload, from which [`to_json_text`] makes the same JSON again. A number that no 64-bit form writes as the same text is kept as its text,
/// and is a number again for the worker's type: 128-bit integers are exact, and a float gets the nearest value.
///
/// ```
/// use retraced_jobs::codec;
/// let payload = codec::from_json_text(r#"{"picture": {"$base64": "iVBORw=="}, "n": 9007199254740991.0}"#).unwrap();
/// assert_eq!(codec::to_json_text(&payload).unwrap().as_str(), r#"{"picture":{"$base64":"iVBORw=="},"n":9007199254740991.0}"#);
/// assert_eq!(codec::from_json_text("[1,").unwrap_err().to_string(), "payload is not JSON: it ends too early");
/// ```
///
/// # Errors
/// [`CodecError`] when the text is not JSON (RFC 8259) or begins with a byte order mark, nests deeper than [`DEPTH_MAX`], has half of a surrogate pair (`\ud800` alone),
/// or has an object whose only key is `$base64` and which does not hold base64.
pub fn from_json_text(text: &str) -> Result<Vec<u8>, CodecError> {
    let mut payload = Vec::with_capacity(text.len());
    match Json::new(text)?.serialize(Serializer::new("payload", &mut payload)) {
        Ok(()) => Ok(payload),
        Err(Fault::Codec(error)) => Err(error),
        Err(Fault::Type(why)) => Err(CodecError::new(format!("payload {why}"))),
    }
}

/// A payload as a value of `serde_json`, to look into. Such a value has no order of keys, and a number of more than 64 bits is the nearest float; [`to_json_text`] loses
/// neither.
///
/// ```
/// use retraced_jobs::codec;
/// #[derive(serde::Serialize)]
/// struct SendEmail { to: &'static str, retries: u64 }
/// let payload = codec::to_payload(&SendEmail { to: "ada@example.org", retries: u64::MAX }).unwrap();
/// let json = codec::to_json(&payload).unwrap();
/// assert_eq!(json["retries"], u64::MAX);
/// assert_eq!(codec::to_json(&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]).unwrap_err().to_string(),
///     "payload holds the number NaN, which JSON cannot express (at byte 0)");
/// ```
///
/// # Errors
/// [`CodecError`] as for [`to_json_text`], and when a map key occurs twice or a number is out of the range of floats.
pub fn to_json(payload: &[u8]) -> Result<Value, CodecError> {
    let mut reader = Reader::new("payload", payload);
    let value = read(&mut reader, 0)?;
    reader.end()?;
    Ok(value)
}

/// Encodes a value of `serde_json` as a payload. For one made by [`to_json`], the values are those of the original payload. Use [`from_json_text`] for text: a
/// `serde_json` value has lost the digits of large numbers and the order of keys.
///
/// ```
/// use retraced_jobs::codec;
/// let json = serde_json::json!({ "picture": { "$base64": "iVBORw==" } });
/// let payload = codec::from_json(&json).unwrap();
/// assert_eq!(codec::to_json(&payload).unwrap(), json);
/// ```
///
/// # Errors
/// [`CodecError`] when the value nests deeper than [`DEPTH_MAX`], or an object whose only key is `$base64` does not hold base64.
pub fn from_json(value: &Value) -> Result<Vec<u8>, CodecError> {
    from_json_text(&value.to_string())
}

/// The JSON text of a scalar, without quotes. An error for what cannot be a key.
fn key(reader: &Reader<'_>, at: usize, token: Token<'_>) -> Result<String, CodecError> {
    Ok(match token {
        Token::Text(text) => utf8(reader, at, text)?.to_owned(),
        Token::Bool(is) => is.to_string(),
        Token::Unsigned(n) => n.to_string(),
        Token::Signed(n) => n.to_string(),
        Token::Single(n) => finite(reader, at, n, single_text(n))?,
        Token::Float(n) => finite(reader, at, n, float_text(n))?,
        Token::Number(text) => text.to_owned(),
        Token::Nil | Token::Binary(_) | Token::Array(_) | Token::Map(_) => {
            return Err(reader.refuse(at, "has a map key that is not text or a number, which JSON cannot express"));
        }
    })
}

fn finite(
    reader: &Reader<'_>,
    at: usize,
    n: impl std::fmt::Display,
    text: Option<String>,
) -> Result<String, CodecError> {
    text.ok_or_else(|| reader.refuse(at, format_args!("holds the number {n}, which JSON cannot express")))
}

fn write(reader: &mut Reader<'_>, depth: usize, json: &mut String) -> Result<(), CodecError> {
    let at = reader.at();
    let token = reader.next()?;
    if depth == DEPTH_MAX && matches!(token, Token::Array(_) | Token::Map(_)) {
        return Err(too_deep(reader, at));
    }
    match token {
        Token::Nil => json.push_str("null"),
        Token::Text(text) => quote(utf8(reader, at, text)?, json),
        Token::Binary(binary) => {
            json.push_str("{\"$base64\":\"");
            STANDARD.encode_string(binary, json);
            json.push_str("\"}");
        }
        Token::Array(count) => {
            json.push('[');
            for n in 0..count {
                json.push_str(if n == 0 { "" } else { "," });
                write(reader, depth + 1, json)?;
            }
            json.push(']');
        }
        Token::Map(count) => {
            json.push('{');
            for n in 0..count {
                json.push_str(if n == 0 { "" } else { "," });
                let key_at = reader.at();
                let token = reader.next()?;
                let key = key(reader, key_at, token)?;
                if count == 1 && key == BINARY_KEY {
                    return Err(means_binary(reader, at));
                }
                quote(&key, json);
                json.push(':');
                write(reader, depth + 1, json)?;
            }
            json.push('}');
        }
        // The same as a key, but without quotes.
        scalar => json.push_str(&key(reader, at, scalar)?),
    }
    Ok(())
}

/// Appends a text with its quotes and escapes.
fn quote(text: &str, json: &mut String) {
    json.push_str(&Value::from(text).to_string());
}

fn means_binary(reader: &Reader<'_>, at: usize) -> CodecError {
    reader.refuse(at, format_args!("has a map whose only key is \"{BINARY_KEY}\", which in JSON means binary"))
}

fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Value, CodecError> {
    let at = reader.at();
    let token = reader.next()?;
    if depth == DEPTH_MAX && matches!(token, Token::Array(_) | Token::Map(_)) {
        return Err(too_deep(reader, at));
    }
    Ok(match token {
        Token::Nil => Value::Null,
        Token::Bool(is) => Value::Bool(is),
        Token::Unsigned(n) => Value::from(n),
        Token::Signed(n) => Value::from(n),
        Token::Single(n) => number(reader, at, &finite(reader, at, n, single_text(n))?)?,
        Token::Float(n) => number(reader, at, &finite(reader, at, n, float_text(n))?)?,
        Token::Number(text) => number(reader, at, text)?,
        Token::Text(text) => Value::from(utf8(reader, at, text)?),
        Token::Binary(binary) => {
            Value::Object(Map::from_iter([(BINARY_KEY.to_owned(), STANDARD.encode(binary).into())]))
        }
        Token::Array(count) => Value::Array((0..count).map(|_| read(reader, depth + 1)).collect::<Result<_, _>>()?),
        Token::Map(count) => {
            let mut map = Map::new();
            for _ in 0..count {
                let key_at = reader.at();
                let token = reader.next()?;
                let key = key(reader, key_at, token)?;
                let value = read(reader, depth + 1)?;
                if map.insert(key, value).is_some() {
                    return Err(reader.refuse(
                        key_at,
                        "has the same map key twice, which a `serde_json::Value` cannot hold; use `to_json_text`",
                    ));
                }
            }
            if map.len() == 1 && map.contains_key(BINARY_KEY) {
                return Err(means_binary(reader, at));
            }
            Value::Object(map)
        }
    })
}

/// A number as `serde_json` has it, from its text.
fn number(reader: &Reader<'_>, at: usize, text: &str) -> Result<Value, CodecError> {
    let n = text.parse::<f64>().ok().and_then(Number::from_f64);
    n.map(Value::Number).ok_or_else(|| {
        reader.refuse(at, format_args!("holds the number {text}, which no float is large enough for; read it as text"))
    })
}

fn utf8<'a>(reader: &Reader<'_>, at: usize, text: &'a [u8]) -> Result<&'a str, CodecError> {
    std::str::from_utf8(text).map_err(|error| reader.refuse(at, format_args!("has a text that is not UTF-8: {error}")))
}
