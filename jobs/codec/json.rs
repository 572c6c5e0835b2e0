//! Payloads as JSON and back without loss of values; the order of keys and the width of numbers are not kept.
//!
//! JSON has no binary data, so it is written as `{"$base64": "…"}`. An object whose only key is `$base64` is therefore always read as binary. A payload with a
//! value that JSON cannot express is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmp::encode;
use serde_json::{Map, Number, Value};

use super::scan::{Reader, Token, too_deep};
use super::{CodecError, DEPTH_MAX};

const BINARY_KEY: &str = "$base64";

/// A payload as JSON. Binary data becomes `{"$base64": "…"}` (standard alphabet, padded), 64-bit integers stay exact.
///
/// ```
/// use retraced_jobs::codec;
/// #[derive(serde::Serialize)]
/// struct SendEmail { to: &'static str, retries: u64 }
/// let payload = codec::to_payload(&SendEmail { to: "ada@example.org", retries: u64::MAX }).unwrap();
/// let json = codec::to_json(&payload).unwrap();
/// assert_eq!(json.to_string(), r#"{"retries":18446744073709551615,"to":"ada@example.org"}"#);
/// assert_eq!(codec::to_json(&[0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]).unwrap_err().to_string(),
///     "payload holds the number NaN, which JSON cannot express (at byte 0)");
/// ```
///
/// # Errors
/// [`CodecError`] when the payload is not one MessagePack value, nests deeper than [`DEPTH_MAX`], or holds what JSON cannot express: a number that is not finite, a
/// map key that is not text or occurs twice, a text that is not UTF-8, an extension type, or a map whose only key is `$base64`.
pub fn to_json(payload: &[u8]) -> Result<Value, CodecError> {
    let mut reader = Reader::new("payload", payload);
    let value = read(&mut reader, 0)?;
    reader.end()?;
    Ok(value)
}

/// Encodes JSON as a payload. For JSON made by [`to_json`], the values are those of the original payload. Integers are written in their shortest form, other
/// numbers as 64-bit floats.
///
/// An integer of more than 64 bits has become a float before it gets here: `serde_json` reads it as one.
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
    let mut payload = Vec::new();
    write(&mut payload, value, 0)?;
    Ok(payload)
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
        Token::Float(n) => Value::Number(
            Number::from_f64(n)
                .ok_or_else(|| reader.refuse(at, format_args!("holds the number {n}, which JSON cannot express")))?,
        ),
        Token::Text(text) => Value::from(utf8(reader, at, text)?),
        Token::Binary(binary) => {
            Value::Object(Map::from_iter([(BINARY_KEY.to_owned(), STANDARD.encode(binary).into())]))
        }
        Token::Array(count) => Value::Array((0..count).map(|_| read(reader, depth + 1)).collect::<Result<_, _>>()?),
        Token::Map(count) => {
            let mut map = Map::new();
            for _ in 0..count {
                let key_at = reader.at();
                let Token::Text(key) = reader.next()? else {
                    return Err(reader.refuse(key_at, "has a map key that is not text, which JSON cannot express"));
                };
                let key = utf8(reader, key_at, key)?.to_owned();
                let value = read(reader, depth + 1)?;
                if map.insert(key, value).is_some() {
                    return Err(reader.refuse(key_at, "has the same map key twice, which JSON cannot express"));
                }
            }
            if binary_value(&map).is_some() {
                return Err(reader.refuse(
                    at,
                    format_args!("has a map whose only key is \"{BINARY_KEY}\", which in JSON means binary"),
                ));
            }
            Value::Object(map)
        }
    })
}

fn utf8<'a>(reader: &Reader<'_>, at: usize, text: &'a [u8]) -> Result<&'a str, CodecError> {
    std::str::from_utf8(text).map_err(|error| reader.refuse(at, format_args!("has a text that is not UTF-8: {error}")))
}

/// The value of `$base64` in an object that has no other key; `None` for any other object.
fn binary_value(map: &Map<String, Value>) -> Option<&Value> {
    map.get(BINARY_KEY).filter(|_| map.len() == 1)
}

fn write(payload: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), CodecError> {
    let container = match value {
        Value::Array(_) => true,
        Value::Object(map) => binary_value(map).is_none(),
        _ => false,
    };
    if container && depth == DEPTH_MAX {
        return Err(CodecError::new(format!("payload nests deeper than {DEPTH_MAX} levels")));
    }
    match value {
        Value::Null => encode::write_nil(payload).map_err(unwritable),
        Value::Bool(is) => encode::write_bool(payload, *is).map_err(unwritable),
        Value::Number(number) => write_number(payload, number),
        Value::String(text) => encode::write_str(payload, text).map_err(unwritable),
        Value::Array(values) => {
            encode::write_array_len(payload, length(values.len())?).map_err(unwritable)?;
            values.iter().try_for_each(|value| write(payload, value, depth + 1))
        }
        Value::Object(map) => match binary_value(map) {
            Some(text) => encode::write_bin(payload, &decode_base64(text)?).map_err(unwritable),
            None => {
                encode::write_map_len(payload, length(map.len())?).map_err(unwritable)?;
                map.iter().try_for_each(|(key, value)| {
                    encode::write_str(payload, key).map_err(unwritable)?;
                    write(payload, value, depth + 1)
                })
            }
        },
    }
}

fn write_number(payload: &mut Vec<u8>, number: &Number) -> Result<(), CodecError> {
    if let Some(n) = number.as_u64() {
        encode::write_uint(payload, n).map(drop).map_err(unwritable)
    } else if let Some(n) = number.as_i64() {
        encode::write_sint(payload, n).map(drop).map_err(unwritable)
    } else {
        let n = number.as_f64().filter(|n| n.is_finite());
        let n =
            n.ok_or_else(|| CodecError::new(format!("payload holds the number {number}, which has no 64-bit form")))?;
        encode::write_f64(payload, n).map_err(unwritable)
    }
}

fn decode_base64(text: &Value) -> Result<Vec<u8>, CodecError> {
    let text = text.as_str().ok_or_else(|| {
        CodecError::new(format!(
            "payload has an object whose only key is \"{BINARY_KEY}\" but whose value is not text; that key means binary"
        ))
    })?;
    STANDARD.decode(text).map_err(|error| {
        CodecError::new(format!(
            "payload has a \"{BINARY_KEY}\" that is not base64 (standard alphabet, padded): {error}"
        ))
    })
}

fn length(count: usize) -> Result<u32, CodecError> {
    u32::try_from(count).map_err(|_| {
        CodecError::new(format!("payload has {count} elements in one place, at most {} are allowed", u32::MAX))
    })
}

fn unwritable(error: impl std::fmt::Display) -> CodecError {
    CodecError::new(format!("payload cannot be written as MessagePack: {error}"))
}
