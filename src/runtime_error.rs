//! Why a runtime ends by itself.

use std::fmt;

use retraced_actors::Exhausted;

/// Why a runtime has ended by itself.
///
/// ```
/// use retraced::{Runtime, RuntimeError};
/// async fn run(runtime: Runtime) -> Result<(), RuntimeError> {
///     match runtime.wait().await {
///         // For the process manager to start the process again.
///         Err(RuntimeError::GaveUp(why)) => panic!("{} failed too often: {}", why.child, why.reason),
///         ended => ended,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The root supervisor gave up: its children failed more often than its restart budget allows, or there were too many zombies.
    GaveUp(Exhausted),
    /// The root supervisor was killed, or its threads ended.
    Lost,
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuntimeError::GaveUp(exhausted) => exhausted.fmt(f),
            RuntimeError::Lost => f.write_str(
                "the supervision tree ended unexpectedly: its root supervisor was killed or its threads ended",
            ),
        }
    }
}

impl std::error::Error for RuntimeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RuntimeError::GaveUp(exhausted) => Some(exhausted),
            RuntimeError::Lost => None,
        }
    }
}
