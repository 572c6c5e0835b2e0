//! Why a call brought no reply.

use std::error::Error;
use std::fmt;

use retraced_jobs::store::StoreError;

/// A call to the store brought no reply.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The store answered, and did not do it.
    Refused(StoreError),
    /// No answer came in time: the call may have been applied. With the last error, if one came.
    OutcomeUnknown(Option<StoreError>),
    /// Too many calls were under way until the deadline. Nothing was sent.
    NoReplaySlot,
    /// The tokio runtime that calls run on has ended.
    RuntimeEnded {
        /// Whether the call had begun: then it may have been applied.
        begun: bool,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused(error) | CallError::OutcomeUnknown(Some(error)) => error.fmt(f),
            CallError::OutcomeUnknown(None) => f.write_str("the store did not answer in time"),
            CallError::NoReplaySlot => f.write_str("too many calls to the store were under way; nothing was sent"),
            CallError::RuntimeEnded { .. } => f.write_str("the tokio runtime that calls to the store run on has ended"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CallError::Refused(error) | CallError::OutcomeUnknown(Some(error)) => Some(error),
            _ => None,
        }
    }
}
