//! Why a job failed last.

use crate::failure::Code;

/// The latest failure or crash of a job.
///
/// Used in the example of [`StoredAttempt`](super::StoredAttempt).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// Why.
    pub code: Code,
    /// The error's text.
    pub message: String,
    /// When the store recorded it, in ms since the Unix epoch.
    pub at_ms: u64,
}

impl LastError {
    /// An error that the store recorded at this instant, in ms since the Unix epoch.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>, at_ms: u64) -> Self {
        Self { code, message: message.into(), at_ms }
    }
}
