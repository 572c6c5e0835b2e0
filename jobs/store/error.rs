//! What can go wrong with a store.

use std::error::Error as StdError;
use std::fmt;

/// A call to the store failed. Credentials never appear in the text.
///
/// ```
/// use retraced_jobs::store::StoreError;
/// let away = StoreError::Unavailable { operation: "claim", cause: "connection refused".into() };
/// assert!(away.is_retryable());
/// assert_eq!(away.to_string(), "the store did not answer to claim: connection refused");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// No usable reply: unreachable, timed out, connection lost, still loading, out of memory for writes. Whether the call was applied is **unknown**. Send the
    /// same call again, with the same [`CallId`](super::CallId).
    Unavailable {
        /// The verb.
        operation: &'static str,
        /// What the connection said.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// The replay slot has seen a later call, so this one was not applied. This happens only to a late copy of an old call.
    Superseded {
        /// The verb.
        operation: &'static str,
    },
    /// The store refuses: wrong password, missing permission, a policy that would lose jobs, a batch too large. Waiting does not help; the text says what to
    /// change.
    Refused {
        /// The verb.
        operation: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// A key or a reply has a shape that no version of this library writes. Nothing was changed.
    Corrupt {
        /// The verb.
        operation: &'static str,
        /// The key, and what is wrong with it.
        what: String,
    },
}

impl StoreError {
    /// Whether sending the same call again may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. })
    }

    /// The verb that failed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            StoreError::Unavailable { operation, .. }
            | StoreError::Superseded { operation }
            | StoreError::Refused { operation, .. }
            | StoreError::Corrupt { operation, .. } => operation,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unavailable { operation, cause } => {
                write!(f, "the store did not answer to {operation}: {cause}")
            }
            StoreError::Superseded { operation } => {
                write!(f, "this {operation} was sent before a later call of its replay slot and was not applied")
            }
            StoreError::Refused { operation, reason } => write!(f, "the store refused {operation}: {reason}"),
            StoreError::Corrupt { operation, what } => {
                write!(f, "the store's data is damaged, {operation} failed: {what}")
            }
        }
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            StoreError::Unavailable { cause, .. } => Some(cause.as_ref()),
            _ => None,
        }
    }
}
