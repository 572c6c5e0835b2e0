//! Why a call to the store returned no reply.

use std::error::Error;
use std::fmt;

use retraced_jobs::store::StoreError;

/// A call to the store returned no reply.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The store answered with an error. Sending the same call again would not help. The call was not applied, except perhaps after [`StoreError::Corrupt`].
    Refused(StoreError),
    /// The store answered that it does not do this now (a [`StoreError::Blocked`]). The call was not applied. Sending it again may help later.
    Blocked(StoreError),
    /// The call may have been applied: no answer came in time, or the store panicked, or one sending had no answer and a later one was refused, because a right or a
    /// password is missing, for example, or because another process had used the id of the call, or a later one of the replay slot
    /// ([`StoreError::is_call_id_conflict`]). It is also the error if each id the call was sent under met this refusal (`CALL_IDS_MAX` of them). Holds the last error, if
    /// there was one.
    OutcomeUnknown(Option<StoreError>),
    /// No replay slot became free by the deadline, because too many calls were under way. Nothing was sent.
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
            CallError::Refused(error) | CallError::Blocked(error) | CallError::OutcomeUnknown(Some(error)) => {
                error.fmt(f)
            }
            CallError::OutcomeUnknown(None) => f.write_str("the store did not answer in time"),
            CallError::NoReplaySlot => f.write_str("too many calls to the store were under way; nothing was sent"),
            CallError::RuntimeEnded { .. } => f.write_str("the tokio runtime that calls to the store run on has ended"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CallError::Refused(error) | CallError::Blocked(error) | CallError::OutcomeUnknown(Some(error)) => {
                error.source()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of a driver, with the error of the system as its source.
    #[derive(Debug)]
    struct Driver(std::io::Error);

    impl fmt::Display for Driver {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the connection was lost")
        }
    }

    impl Error for Driver {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_source_of_an_error_of_the_store_is_not_lost() {
        let driver = || Driver(std::io::Error::other("connection reset"));
        let lost = || StoreError::Unavailable { operation: "test", cause: driver().into() };
        for error in [CallError::Refused(lost()), CallError::Blocked(lost()), CallError::OutcomeUnknown(Some(lost()))] {
            let source = error.source().map(ToString::to_string);
            assert_eq!(source.as_deref(), Some("connection reset"), "{error:?}");
            assert_eq!(error.to_string(), lost().to_string());
        }
        assert!(CallError::NoReplaySlot.source().is_none());
    }
}
