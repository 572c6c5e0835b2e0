//! Encoding and decoding: the envelope that a producer seals, the payload inside of it, and the log of an attempt.

mod attempt;
mod deserializer;
mod envelope;
mod fault;
mod json;
mod json_text;
mod number;
mod payload;
mod scan;
mod serializer;
#[cfg(test)]
mod tests;

pub use attempt::{decode_attempt, encode_attempt};
pub use envelope::{ENVELOPE_VERSION, Envelope, open, seal};
pub use json::{from_json, from_json_text, to_json, to_json_text};
pub use json_text::JsonText;
pub use payload::{from_payload, to_output, to_payload};

pub use crate::limits::{DEPTH_MAX, ENVELOPE_OVERHEAD_MAX, PAYLOAD_BYTES_CEILING, PAYLOAD_BYTES_MAX};

use std::fmt;

/// Bytes that cannot be decoded, or a value that cannot be encoded; the text says why.
///
/// ```
/// use retraced_jobs::codec;
/// let refused = codec::open(&bytes::Bytes::from_static(&[9, 0x80])).unwrap_err();
/// assert_eq!(refused.to_string(), "envelope has version 9, this build reads version 1; deploy a newer worker");
/// assert!(refused.is_newer_version());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError {
    text: String,
    newer: bool,
}

impl CodecError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), newer: false }
    }

    pub(crate) fn newer(text: impl Into<String>) -> Self {
        Self { text: text.into(), newer: true }
    }

    /// Whether a newer version seems to have written the bytes: a newer worker may read what this one cannot.
    #[must_use]
    pub fn is_newer_version(&self) -> bool {
        self.newer
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CodecError {}
