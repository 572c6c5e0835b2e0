//! Payloads: named MessagePack, bounded in depth.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::CodecError;
use super::scan::scan;

/// A value as a payload.
///
/// ```
/// use retraced_jobs::codec;
/// let payload = codec::to_payload(&("ada@example.com", 42)).unwrap();
/// let (to, n): (String, u32) = codec::from_payload(&payload).unwrap();
/// assert_eq!((to.as_str(), n), ("ada@example.com", 42));
/// assert!(codec::from_payload::<String>(&payload).is_err());
/// ```
///
/// # Errors
/// [`CodecError`] when its `Serialize` refuses, or when no worker could read it: it nests deeper than [`DEPTH_MAX`], or holds an extension type.
pub fn to_payload<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut payload = Vec::new();
    encode_named("payload", value, &mut payload)?;
    scan("payload", &payload)?;
    Ok(payload)
}

/// A payload as a value. Every byte must be used.
///
/// Used in the example of [`to_payload`].
///
/// # Errors
/// [`CodecError`] names what does not fit.
pub fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    decode_bounded("payload", payload)
}

/// Appends a value, structs with the names of their fields.
pub(super) fn encode_named<T: Serialize>(what: &str, value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
    value
        .serialize(&mut rmp_serde::Serializer::new(bytes).with_struct_map())
        .map_err(|error| CodecError::new(format!("{what} cannot be written as MessagePack: {error}")))
}

/// Reads one value that may be anybody's bytes. It may borrow from them.
pub(super) fn decode_bounded<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, CodecError> {
    scan(what, bytes)?;
    rmp_serde::from_slice(bytes).map_err(|e| CodecError::new(format!("{what} cannot be read: {e}")))
}
