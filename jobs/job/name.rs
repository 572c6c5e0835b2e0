//! Names that end up in keys, logs and metrics. Each kind of name has a type whose constructor checks it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{NAME_LENGTH_MAX, QUOTED_CHARS_MAX};

/// A name was refused: it is empty, too long, or has a character outside its alphabet.
///
/// ```
/// use retraced_jobs::job::{InvalidName, Kind};
/// let refused: InvalidName = Kind::new("send email").unwrap_err();
/// assert_eq!(refused.to_string(), "invalid kind \"send email\": character 5 is ' ', allowed are letters, digits, '.', '_', '-'");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName {
    what: &'static str,
    shown: String,
    reason: String,
}

impl InvalidName {
    pub(crate) fn check(what: &'static str, text: &str, also_allowed: &[u8]) -> Result<(), InvalidName> {
        let refuse = |reason: String| {
            let shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
            Err(InvalidName { what, shown, reason })
        };
        if text.is_empty() {
            return refuse("it is empty".into());
        }
        if text.len() > NAME_LENGTH_MAX {
            return refuse(format!("it has {} bytes, at most {NAME_LENGTH_MAX} are allowed", text.len()));
        }
        let bad = text.chars().enumerate().find(|(_, c)| {
            !(c.is_ascii_alphanumeric()
                || matches!(c, '.' | '_' | '-')
                || (c.is_ascii() && also_allowed.contains(&(*c as u8))))
        });
        match bad {
            Some((at, c)) => refuse(format!(
                "character {} is {c:?}, allowed are letters, digits, '.', '_', '-'{}",
                at + 1,
                also_allowed.iter().map(|b| format!(", {:?}", char::from(*b))).collect::<String>()
            )),
            None => Ok(()),
        }
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} \"{}\": {}", self.what, self.shown, self.reason)
    }
}

impl std::error::Error for InvalidName {}

/// Name of a queue: 1 to 128 characters of `A-Z a-z 0-9 . _ -`. The Redis keys of a queue contain its name in braces and followed by a colon, so a name has
/// neither.
///
/// In the crate `retraced`, `Queue::new` and the methods `queue` of clients and runtimes also take the name as text, and check it.
///
/// ```
/// use retraced_jobs::job::QueueName;
/// assert_eq!(QueueName::new("email").unwrap().as_str(), "email");
/// let refused = QueueName::new("email:processing").unwrap_err();
/// assert!(refused.to_string().starts_with("invalid queue name \"email:processing\": character 6 is ':'"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

/// What sort of work a job is, as in `email.send`: 1 to 128 characters of `A-Z a-z 0-9 . _ -`. Workers choose the handler by the kind.
///
/// ```
/// use retraced_jobs::job::Kind;
/// assert!(Kind::new("email.send").is_ok());
/// assert!(Kind::new("").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(Arc<str>);

macro_rules! name {
    ($type:ident, $what:literal) => {
        impl $type {
            #[doc = concat!("A ", $what, ", checked.\n\n# Errors\n[`InvalidName`] when it is empty, too long or outside the alphabet.")]
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
                let text = text.as_ref();
                InvalidName::check($what, text, &[])?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(QueueName, "queue name");
name!(Kind, "kind");
