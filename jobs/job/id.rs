//! The identities of jobs and of process instances.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::{Uuid, Variant};

use super::name::InvalidName;

/// Identity of a job within its queue: a UUID made by the producer, or the caller's own text.
///
/// Text is 1 to 128 characters of `A-Z a-z 0-9 . _ - :`, and comes back as it was given. Stores keep a UUID of the usual variant (RFC 9562), written with hyphens
/// and lower-case digits, as its 16 bytes, and any other text as ASCII. The two forms cannot be equal: the ninth byte of the UUID is above 127, so it is not ASCII. Another
/// spelling of a UUID, such as a hex digest or upper-case digits, is another id.
///
/// ```
/// use retraced_jobs::job::JobId;
/// let own = JobId::parse("welcome-42").unwrap();
/// assert_eq!(JobId::from_wire(&own.to_wire()), Some(own));
/// let made: JobId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
/// assert_eq!(made.to_wire().len(), 16);
/// assert!(JobId::parse("two words").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid(Uuid),
    Own(Arc<str>),
}

impl JobId {
    /// An id from text: a UUID as [`Display`](fmt::Display) writes it, or the caller's own.
    ///
    /// # Errors
    /// [`InvalidName`] when the text is empty, too long or outside the alphabet.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        InvalidName::check("job id", text, b":")?;
        let uuid = Uuid::try_parse(text).ok().filter(|uuid| uuid.get_variant() == Variant::RFC4122);
        // Only the spelling that `Display` writes, so that every id comes back byte for byte.
        let as_shown = |uuid: &Uuid| uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text;
        Ok(Self(uuid.filter(as_shown).map_or_else(|| Repr::Own(text.into()), Repr::Uuid)))
    }

    /// The id that a UUID stands for. A UUID of another variant than the usual one (RFC 9562) becomes its text; versions 4 and 7 always have the usual variant.
    #[must_use]
    pub fn from_uuid(uuid: Uuid) -> Self {
        if uuid.get_variant() == Variant::RFC4122 {
            Self(Repr::Uuid(uuid))
        } else {
            Self(Repr::Own(uuid.hyphenated().to_string().into()))
        }
    }

    /// The bytes stores keep: 16 for a UUID, ASCII otherwise.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        self.as_wire().to_vec()
    }

    /// [`to_wire`](Self::to_wire) without the copy.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        match &self.0 {
            Repr::Uuid(uuid) => uuid.as_bytes(),
            Repr::Own(text) => text.as_bytes(),
        }
    }

    /// The id that is stored as these bytes; `None` if they are not an id.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        if let Ok(raw) = <[u8; 16]>::try_from(bytes) {
            let uuid = Uuid::from_bytes(raw);
            if uuid.get_variant() == Variant::RFC4122 {
                return Some(Self(Repr::Uuid(uuid)));
            }
        }
        let text = std::str::from_utf8(bytes).ok()?;
        InvalidName::check("job id", text, b":").ok()?;
        Some(Self(Repr::Own(text.into())))
    }
}

impl From<Uuid> for JobId {
    fn from(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}

impl FromStr for JobId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Uuid(uuid) => fmt::Display::fmt(&uuid.hyphenated(), f),
            Repr::Own(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl serde::Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// One process instance: a random UUID that each worker and each client draws when it starts.
///
/// ```
/// use retraced_jobs::job::InstanceId;
/// let one = InstanceId::from(uuid::Uuid::from_u128(7));
/// assert_eq!(one.short(), "00000007");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// The 16 bytes stores keep.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The instance that is stored as these bytes; `None` unless there are 16.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    /// The last eight hex digits, for logs and tables.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.0.simple().to_string();
        text[text.len() - 8..].to_owned()
    }
}

impl From<Uuid> for InstanceId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.simple(), f)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_instance_is_written_as_hex_digits_and_in_short_as_its_last_eight() {
        let instance = InstanceId::from(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));
        assert_eq!(instance.to_string(), "0123456789abcdef0123456789abcdef");
        assert_eq!(instance.short(), "89abcdef");
    }

    #[test]
    fn a_process_instance_reads_back_from_its_bytes_and_from_no_others() {
        let instance = InstanceId::from(Uuid::from_u128(7));
        assert_eq!(InstanceId::from_slice(instance.as_bytes()), Some(instance));
        assert_eq!(InstanceId::from_slice(&instance.as_bytes()[1..]), None);
    }
}
