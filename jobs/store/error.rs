//! The errors of calls to a store.

use std::error::Error as StdError;
use std::fmt;

use super::block::{Block, BlockedStore};

/// A call to the store failed. The texts of the stores of this crate never show the password of a Redis URL.
///
/// ```
/// use retraced_jobs::store::StoreError;
/// let unavailable = StoreError::Unavailable { operation: "claim", cause: "connection refused".into() };
/// assert!(unavailable.is_retryable());
/// assert_eq!(unavailable.to_string(), "the store did not answer (claim): connection refused");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached now: no connection, the call timed out, or the connection was lost.
    /// Whether the call was applied is **unknown**. Send the same call again, with the same [`CallId`](super::CallId) if it has one.
    Unavailable {
        /// The verb (the name of the store's method).
        operation: &'static str,
        /// The error of the connection or of the server.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// The store answered, but does not do this now, for example because its memory is full. The call was **not** applied. Sending the same call again may help once
    /// the cause is gone. (If the call was sent before, and that sending had no answer, it is still unknown whether that one was applied.)
    Blocked {
        /// The verb.
        operation: &'static str,
        /// Why.
        by: Block,
        /// What the server said.
        said: String,
    },
    /// The queue has already seen a later call of the same replay slot, so this late copy of an old call was not applied now. The Redis store also returns this for a call
    /// sent again whose stored reply somebody damaged; that call was applied when it was sent first.
    Superseded {
        /// The verb.
        operation: &'static str,
    },
    /// The id of the call was used before for another call of the same queue, with another nonce, verb or arguments, so this one was not applied now. Either its caller gave
    /// one id to two calls, or another process uses this process instance, probably a copy of this process's memory (a fork, a restored snapshot of a virtual machine, CRIU).
    CallIdTaken {
        /// The verb.
        operation: &'static str,
    },
    /// The store refused the call, for example because of a wrong password, an eviction policy that would lose jobs, or a batch that is too
    /// large. Sending the call again does not help until somebody changes what the text names.
    Refused {
        /// The verb.
        operation: &'static str,
        /// Why it was refused, and what to do.
        reason: String,
    },
    /// A key has the wrong type, so nothing was changed; or the reply cannot be read, or is an error of the server that has no other variant here, so it is unknown whether
    /// the call was applied.
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
        matches!(self, StoreError::Unavailable { .. } | StoreError::Blocked { .. })
    }

    /// Whether another call used the id of this one, or a later one of its replay slot ([`CallIdTaken`](Self::CallIdTaken), [`Superseded`](Self::Superseded)). If the call was
    /// sent once, it was not applied: take another process instance and send it under a new id. If an earlier sending had no answer, it is unknown whether that one was
    /// applied.
    #[must_use]
    pub fn is_call_id_conflict(&self) -> bool {
        matches!(self, StoreError::CallIdTaken { .. } | StoreError::Superseded { .. })
    }

    /// The verb that failed.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            StoreError::Unavailable { operation, .. }
            | StoreError::Blocked { operation, .. }
            | StoreError::Superseded { operation }
            | StoreError::CallIdTaken { operation }
            | StoreError::Refused { operation, .. }
            | StoreError::Corrupt { operation, .. } => operation,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Unavailable { operation, cause } => {
                write!(f, "the store did not answer ({operation}): {cause}")
            }
            StoreError::Blocked { operation, by, said } => {
                write!(f, "the store refused {operation} for now, because {}", BlockedStore::new(*by, said.as_str()))
            }
            StoreError::Superseded { operation } => {
                write!(
                    f,
                    "this sending of {operation} was not applied, because its replay slot has seen a later call: it is a late copy of an old call, or another process calls under this process instance"
                )
            }
            StoreError::CallIdTaken { operation } => write!(
                f,
                "this sending of {operation} was not applied, because its call id was used for another call: another process calls under this process instance, probably a copy of this process's memory (a fork, a restored snapshot, CRIU); start runtimes and clients after the copy is made"
            ),
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
