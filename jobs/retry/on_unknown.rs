//! What a queue does with failures whose class is unknown.

use crate::failure::Class;

/// What becomes of a job whose handler failed without saying whether a retry helps, as `?` on an error does.
///
/// ```
/// use retraced_jobs::failure::Class;
/// use retraced_jobs::retry::OnUnknown;
/// assert_eq!(OnUnknown::default().treats(Class::Unknown), Class::Temporary);
/// assert_eq!(OnUnknown::DeadLetter.treats(Class::Unknown), Class::Unknown);
/// assert_eq!(OnUnknown::Retry.treats(Class::Permanent), Class::Permanent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnUnknown {
    /// Retried by policy, as a temporary failure. The default.
    #[default]
    Retry,
    /// Moved to the dead letter queue at the first failure: for handlers that must not run twice unless they ask for it.
    DeadLetter,
}

impl OnUnknown {
    /// The class by which [`decide`](super::decide) treats a failure of this class. [`AttemptOutcome`](crate::execution::AttemptOutcome) still
    /// reports the failure's own class.
    #[must_use]
    pub fn treats(self, class: Class) -> Class {
        match (self, class) {
            (OnUnknown::Retry, Class::Unknown) => Class::Temporary,
            (_, class) => class,
        }
    }
}
