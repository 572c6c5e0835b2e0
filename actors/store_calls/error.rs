//! Why a call with a deadline brought nothing.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use retraced_jobs::store::StoreError;

/// A call to the store with a deadline did not succeed.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The store refused, or its last answer before the deadline was that it is unavailable. In the latter case the outcome of a call that changes something is unknown.
    Store(StoreError),
    /// There was no answer before the deadline. The outcome of a call that changes something is unknown.
    TimedOut {
        /// How long the call was tried.
        limit: Duration,
    },
}

impl CallError {
    /// Whether the call may have been applied.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            CallError::Store(error) => error.is_retryable(),
            CallError::TimedOut { .. } => true,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Store(error) => error.fmt(f),
            CallError::TimedOut { limit } => write!(f, "the store did not answer within {limit:?}"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CallError::Store(error) => Some(error),
            CallError::TimedOut { .. } => None,
        }
    }
}
