//! The envelope: a version byte and a MessagePack map with short field names. The payload inside is a string of bytes.
//!
//! A build ignores fields it does not know, so later builds may add optional fields under the same version. A new required field needs a new version.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::CodecError;
use super::payload::{decode_bounded, encode_named};
use crate::job::Kind;
use crate::limits::PAYLOAD_BYTES_CEILING;
use crate::retry::{RetryOverrides, Strategy};

/// The version this build writes and reads.
pub const ENVELOPE_VERSION: u8 = 1;

/// Highest version that will ever be used. Printable text such as JSON begins with a higher byte, so it is not mistaken for an envelope of a newer version.
const VERSION_LAST: u8 = 0x1f;

/// What a producer seals and a worker opens. Retry settings and a timeout that are absent come from the queue, or else from the kind, or else from the library's defaults.
///
/// ```
/// use retraced_jobs::{codec::{self, Envelope}, job::Kind};
/// let envelope = Envelope::new(Kind::new("email.send").unwrap(), vec![0xc0].into());
/// let sealed = codec::seal(&envelope).unwrap();
/// assert_eq!(codec::open(&sealed).unwrap(), envelope);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The kind of work, which selects the handler.
    pub kind: Kind,
    /// The job's data.
    pub payload: Bytes,
    /// The job's own retry settings.
    pub retry: RetryOverrides,
    /// The job's own timeout, in ms.
    pub timeout_ms: Option<u64>,
}

impl Envelope {
    /// A job of this kind with this payload, without settings of its own.
    #[must_use]
    pub fn new(kind: Kind, payload: Bytes) -> Self {
        Self { kind, payload, retry: RetryOverrides::default(), timeout_ms: None }
    }
}

/// The map after the version byte.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(rename = "k")]
    kind: Kind,
    #[serde(rename = "p", borrow)]
    payload: &'a serde_bytes::Bytes,
    #[serde(rename = "r", default, with = "WireRetry", skip_serializing_if = "RetryOverrides::is_empty")]
    retry: RetryOverrides,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

/// [`RetryOverrides`] with short field names. In the JSON that people write, an unknown field is refused, because its name may be misspelt. Here an unknown field
/// comes from a newer producer, and is ignored.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RetryOverrides")]
struct WireRetry {
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    strategy: Option<Strategy>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    base_ms: Option<u64>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    factor: Option<u32>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    max_ms: Option<u64>,
    #[serde(rename = "j", default, skip_serializing_if = "Option::is_none")]
    jitter: Option<u8>,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    immediate_tries: Option<u32>,
}

/// The envelope as bytes.
///
/// # Errors
/// [`CodecError`] when the payload is larger than [`PAYLOAD_BYTES_CEILING`].
pub fn seal(envelope: &Envelope) -> Result<Bytes, CodecError> {
    let size = envelope.payload.len();
    if size > PAYLOAD_BYTES_CEILING {
        return Err(CodecError::new(format!(
            "payload has {size} bytes, no job may have more than {PAYLOAD_BYTES_CEILING}; keep large data elsewhere and enqueue where it is"
        )));
    }
    let wire = Wire {
        kind: envelope.kind.clone(),
        payload: serde_bytes::Bytes::new(&envelope.payload),
        retry: envelope.retry,
        timeout_ms: envelope.timeout_ms,
    };
    let mut sealed = Vec::with_capacity(size + 64 + envelope.kind.as_str().len());
    sealed.push(ENVELOPE_VERSION);
    encode_named("envelope", &wire, &mut sealed)?;
    Ok(Bytes::from(sealed))
}

/// The envelope that is stored as these bytes. Its payload shares them: nothing is copied.
///
/// # Errors
/// [`CodecError`] when the version is unknown, bytes are missing or left over, or a field has the wrong type or an invalid value.
pub fn open(sealed: &Bytes) -> Result<Envelope, CodecError> {
    match sealed.split_first() {
        Some((&ENVELOPE_VERSION, map)) => {
            let Wire { kind, payload, retry, timeout_ms } = decode_bounded("envelope", map)?;
            Ok(Envelope { kind, payload: sealed.slice_ref(payload), retry, timeout_ms })
        }
        Some((&version @ ..=VERSION_LAST, _)) if version > ENVELOPE_VERSION => Err(CodecError::newer(format!(
            "envelope has version {version}, this build reads version {ENVELOPE_VERSION}; deploy a newer worker"
        ))),
        Some((&byte, _)) => Err(CodecError::new(format!(
            "envelope begins with byte {byte:#04x}, which is not a version; these bytes are not an envelope"
        ))),
        None => Err(CodecError::new("envelope is empty")),
    }
}
