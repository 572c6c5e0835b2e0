//! Why a job failed last.

use crate::failure::Code;

/// The latest failure, crash or loss in the history of a job; a loss is a lease that expired before the handler is known to have started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// What went wrong; `LEASE_LOST` for a crash or a loss.
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
