//! The name under which an operator acts.

use std::fmt;
use std::sync::Arc;

use crate::failure::bounded;
use crate::limits::OPERATOR_NAME_BYTES_MAX;

/// The name under which an operator acts, as it is recorded with what was done: a person and a host, or a program. Any text is a name. One of more than
/// [`OPERATOR_NAME_BYTES_MAX`] bytes is cut between two characters and ends with `…`; an empty one counts as `operator`, the default.
///
/// It comes from outside and may hold control characters, so it has no `Display`: escape them when you print [`as_str`](Self::as_str).
///
/// ```
/// use retraced_jobs::trace::OperatorName;
/// assert_eq!(OperatorName::new("ada@laptop").as_str(), "ada@laptop");
/// assert_eq!(OperatorName::new("").as_str(), OperatorName::default().as_str());
/// assert!(OperatorName::new("é".repeat(100)).as_str().ends_with("é…"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OperatorName(Arc<str>);

impl OperatorName {
    /// This name, shortened if it is too long.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        match text.as_ref() {
            "" => Self::default(),
            text => Self(bounded(text, OPERATOR_NAME_BYTES_MAX).into()),
        }
    }

    /// The name, unescaped.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for OperatorName {
    fn default() -> Self {
        Self("operator".into())
    }
}

impl From<&str> for OperatorName {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for OperatorName {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl serde::Serialize for OperatorName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
