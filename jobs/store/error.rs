//! The errors of calls to a store.

use std::error::Error as StdError;
use std::fmt;

/// A call to the store failed. The texts of the stores of this crate never show the password of a Redis URL.
///
/// ```
/// use retraced_jobs::store::StoreError;
/// let unavailable = StoreError::Unavailable { operation: "claim", cause: "connection refused".into() };
/// assert!(unavailable.is_retryable());
/// assert_eq!(unavailable.to_string(), "the store did not answer to claim: connection refused");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be used now: the server is unreachable, still loading, or out of memory for writes; or the call timed out, or the connection was lost.
    /// Whether the call was applied is **unknown**. Send the same call again, with the same [`CallId`](super::CallId) if it has one.
    Unavailable {
        /// The verb (the name of the store's method).
        operation: &'static str,
        /// The error of the connection or of the server.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// The queue has already seen a later call of the same replay slot, so this call, a late copy of an old one, was not applied. Redis also returns this for a
    /// call sent again when the stored reply cannot be read.
    Superseded {
        /// The verb.
        operation: &'static str,
    },
    /// The store refused the call, for example because of a wrong password, a missing permission, an eviction policy that would lose jobs, or a batch that is too
    /// large. Sending the call again does not help until somebody changes what the text names.
    Refused {
        /// The verb.
        operation: &'static str,
        /// Why it was refused, and what to do.
        reason: String,
    },
    /// A key has the wrong type, so nothing was changed; or the reply cannot be read, so it is unknown whether the call was applied.
    Corrupt {
        /// The verb.
        operation: &'static str,
        /// What is wrong with the key or the reply.
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
            StoreError::Unavailable { cause, .. } => cause.source(),
            _ => None,
        }
    }
}
