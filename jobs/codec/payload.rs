//! Payloads: named MessagePack, bounded in depth, one to one with JSON.

use std::io::Cursor;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::CodecError;

/// Deepest nesting that is decoded. Deeper payloads are refused before a frame of the user's types is on the stack.
pub const DEPTH_MAX: usize = 64;

/// A value as a payload.
///
/// # Errors
/// [`CodecError`] when its `Serialize` refuses.
pub fn to_payload<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    encode_named(value)
}

/// A payload as a value. Every byte must be used.
///
/// # Errors
/// [`CodecError`] names what does not fit.
pub fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    decode_bounded("payload", payload)
}

/// A payload as JSON: binary becomes `{"$base64": …}`, 64-bit integers stay exact.
///
/// # Errors
/// [`CodecError`] when it is not MessagePack, too deep, or has map keys JSON cannot have.
pub fn to_json(_payload: &[u8]) -> Result<serde_json::Value, CodecError> {
    Err(CodecError("not written yet".into()))
}

/// JSON as a payload; the inverse of [`to_json`].
///
/// # Errors
/// [`CodecError`] when it nests deeper than [`DEPTH_MAX`] or a `$base64` does not hold base64.
pub fn from_json(_value: &serde_json::Value) -> Result<Vec<u8>, CodecError> {
    Err(CodecError("not written yet".into()))
}

pub(super) fn encode_named<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec_named(value).map_err(|e| CodecError(format!("cannot be written as MessagePack: {e}")))
}

pub(super) fn decode_bounded<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, CodecError> {
    let mut decoder = rmp_serde::Deserializer::new(Cursor::new(bytes));
    decoder.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut decoder).map_err(|e| CodecError(format!("{what} cannot be read: {e}")))?;
    let used = decoder.position();
    if used != bytes.len() as u64 {
        return Err(CodecError(format!("{what} has {} bytes after its end", bytes.len() as u64 - used)));
    }
    Ok(value)
}
