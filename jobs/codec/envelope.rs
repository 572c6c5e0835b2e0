//! The envelope: a version byte and a named map with short names; the payload inside is opaque.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::CodecError;
use super::payload::{decode_bounded, encode_named};
use crate::job::Kind;
use crate::retry::RetryOverrides;

/// The version this build writes and reads.
pub const ENVELOPE_VERSION: u8 = 1;
/// Default limit of a payload, in bytes: 1 MiB. A larger one is refused by the producer.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// What an envelope may have beyond its payload, in bytes.
pub const ENVELOPE_OVERHEAD_MAX: usize = 4 * 1024;

/// What a producer seals and a worker opens. Options that are absent come from the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What sort of work it is.
    #[serde(rename = "k")]
    pub kind: Kind,
    /// The job's data.
    #[serde(rename = "p", with = "payload_bytes")]
    pub payload: Bytes,
    /// The job's own retry numbers.
    #[serde(rename = "r", default, skip_serializing_if = "RetryOverrides::is_empty")]
    pub retry: RetryOverrides,
    /// The job's own timeout, in ms.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

mod payload_bytes {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let bytes: serde_bytes::ByteBuf = serde::Deserialize::deserialize(deserializer)?;
        Ok(Bytes::from(bytes.into_vec()))
    }
}

/// The envelope as bytes.
///
/// # Errors
/// [`CodecError`] when it cannot be written.
pub fn seal(envelope: &Envelope) -> Result<Bytes, CodecError> {
    let mut sealed = vec![ENVELOPE_VERSION];
    sealed.extend(encode_named("envelope", envelope)?);
    Ok(Bytes::from(sealed))
}

/// The envelope of these bytes.
///
/// # Errors
/// [`CodecError`] when the version is unknown, bytes are missing or left over, or a field does not fit.
pub fn open(sealed: &[u8]) -> Result<Envelope, CodecError> {
    match sealed.split_first() {
        Some((&ENVELOPE_VERSION, map)) => decode_bounded("envelope", map),
        Some((&version, _)) => Err(CodecError::new(format!(
            "envelope has version {version}, this build reads version {ENVELOPE_VERSION}; deploy a newer worker"
        ))),
        None => Err(CodecError::new("envelope is empty")),
    }
}
