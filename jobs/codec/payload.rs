//! Payloads: MessagePack in the shape that a value has in JSON, nested at most [`DEPTH_MAX`](super::DEPTH_MAX) deep.
//!
//! The envelope and the log of an attempt are compact instead: `encode_named` writes them and `decode_bounded` reads them, with types such as UUIDs as bytes.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::CodecError;
use super::deserializer::deserialize;
use super::scan::scan;
use super::serializer::Serializer;
use crate::limits::OUTPUT_BYTES_MAX;

/// A value as a payload, in the shape that it has in JSON: structs are maps with the names of their fields, and what serde writes as text (UUIDs, addresses, instants) is
/// text. So it makes no difference for a worker whether a job was enqueued by a program or as JSON. Binary data, map keys that are numbers, and numbers that are not finite are
/// kept as they are.
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
/// [`CodecError`] when the value cannot be serialized, or nests deeper than [`DEPTH_MAX`](super::DEPTH_MAX), so that no worker could read it.
pub fn to_payload<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut payload = Vec::new();
    serialize("payload", value, &mut payload)?;
    Ok(payload)
}

/// A handler's return value as the output that is kept with its attempt; [`from_payload`] reads it.
///
/// ```
/// use retraced_jobs::codec::{from_payload, to_output};
/// let output = to_output(&("invoice", 42)).unwrap();
/// assert_eq!(from_payload::<(String, u32)>(&output).unwrap(), ("invoice".to_owned(), 42));
/// let refused = to_output(&"x".repeat(100_000)).unwrap_err();
/// assert_eq!(refused.to_string(), "output has 100005 bytes, at most 65536 are kept; store large results elsewhere and return where they are");
/// ```
///
/// # Errors
/// [`CodecError`] as for [`to_payload`], and when the output is larger than [`OUTPUT_BYTES_MAX`].
pub fn to_output<T: Serialize>(value: &T) -> Result<Bytes, CodecError> {
    let mut output = Vec::new();
    serialize("output", value, &mut output)?;
    if output.len() > OUTPUT_BYTES_MAX {
        return Err(CodecError::new(format!(
            "output has {} bytes, at most {OUTPUT_BYTES_MAX} are kept; store large results elsewhere and return where they are",
            output.len()
        )));
    }
    Ok(output.into())
}

/// A payload as a value. Keys of maps that are numbers may be text, as JSON has them.
///
/// # Errors
/// [`CodecError`] when the payload does not fit the type, has bytes after its end, nests deeper than [`DEPTH_MAX`](super::DEPTH_MAX), or holds another extension
/// type than that for numbers.
pub fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    deserialize("payload", payload)
}

fn serialize<T: Serialize>(what: &'static str, value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
    let written = value.serialize(Serializer::new(what, bytes));
    written.map_err(|fault| fault.into_codec_error(&format!("{what} cannot be written as MessagePack")))
}

/// Appends a value to `bytes`, its structs as maps with the names of their fields.
pub(super) fn encode_named<T: Serialize>(what: &str, value: &T, bytes: &mut Vec<u8>) -> Result<(), CodecError> {
    value
        .serialize(&mut rmp_serde::Serializer::new(bytes).with_struct_map())
        .map_err(|error| CodecError::new(format!("{what} cannot be written as MessagePack: {error}")))
}

/// Reads one value from untrusted bytes. The value may borrow from them.
pub(super) fn decode_bounded<'a, T: Deserialize<'a>>(what: &'static str, bytes: &'a [u8]) -> Result<T, CodecError> {
    scan(what, bytes)?;
    rmp_serde::from_slice(bytes).map_err(|e| CodecError::new(format!("{what} cannot be read: {e}")))
}
