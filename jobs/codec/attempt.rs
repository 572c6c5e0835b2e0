//! The log of an attempt, as stores keep it: MessagePack, named.

use bytes::Bytes;

use super::CodecError;
use super::payload::{decode_bounded, encode_named};
use crate::trace::AttemptLog;

/// The log as bytes. Empty when it cannot be written, which no log that this library builds can cause.
#[must_use]
pub fn encode_attempt(log: &AttemptLog) -> Bytes {
    encode_named("attempt log", log).map(Bytes::from).unwrap_or_default()
}

/// The log kept as these bytes.
///
/// # Errors
/// [`CodecError`] when a newer version wrote it, or it is damaged.
pub fn decode_attempt(bytes: &[u8]) -> Result<AttemptLog, CodecError> {
    decode_bounded("attempt log", bytes)
}
