//! The prefix of a store: what the names of all its keys and channels begin with.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::job::InvalidName;

/// What the names of all keys and channels of a store begin with, before a colon: 1 to 128 characters of `A-Z a-z 0-9 . _ -`. The default is `retraced`.
/// Stores with two prefixes share nothing, so two applications can use one database of a server. A user's rights can be limited to one prefix
/// (`~PREFIX:*` and `&PREFIX:*`), because a prefix has no colon and no character of a pattern.
///
/// Every process of an application needs the same prefix: a worker with another one finds no jobs. Each call names up to 15 keys, so prefer a short prefix.
///
/// ```
/// use retraced_jobs::store::redis::{KeyPrefix, RedisOptions, RedisStore};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let options = RedisOptions::default().prefix(KeyPrefix::new("shop")?);
/// let store = RedisStore::open("redis://127.0.0.1:6379", options)?;
/// # Ok(()) }
/// # example().unwrap();
/// assert_eq!(KeyPrefix::default().as_str(), "retraced");
/// let refused = KeyPrefix::new("shop:*").unwrap_err();
/// assert!(refused.to_string().starts_with("invalid key prefix \"shop:*\": character 5 is ':'"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyPrefix(Arc<str>);

impl KeyPrefix {
    /// A prefix, checked.
    ///
    /// # Errors
    /// [`InvalidName`] when it is empty, longer than 128 bytes, or has another character.
    pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
        let text = text.as_ref();
        InvalidName::check("key prefix", text, &[])?;
        Ok(Self(text.into()))
    }

    /// The prefix as text, without the colon.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("retraced".into())
    }
}

impl FromStr for KeyPrefix {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
