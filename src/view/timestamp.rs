//! Instants as text.

use std::fmt;

use serde::{Serialize, Serializer};

/// An instant, on the store's clock unless the field that holds it says otherwise. Shown and serialized as RFC 3339 in UTC with milliseconds, as in
/// `2030-01-31T08:00:00.000Z`.
///
/// ```
/// use retraced::view::Timestamp;
/// let at = Timestamp::from_ms(1_893_456_000_250);
/// assert_eq!(at.to_string(), "2030-01-01T00:00:00.250Z");
/// assert_eq!(at.as_ms(), 1_893_456_000_250);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    ms: u64,
}

impl Timestamp {
    /// The instant this many milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self { ms }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.ms
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = i64::try_from(self.ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match at {
            Some(at) => write!(f, "{at:.3}"),
            // Only damaged data has an instant beyond the year 9999.
            None => write!(f, "{} ms", self.ms),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
