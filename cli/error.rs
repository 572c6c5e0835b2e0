//! Why a command failed, and its exit status: 1 for a failure, 2 for a usage error.

use std::fmt;
use std::process::ExitCode;

use retraced::find::FindError;
use retraced::{BuildError, EnqueueAllError, EnqueueError, OperatorError, RuntimeError, TraceError};

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The command was run and failed: status 1.
    Failed(String),
    /// A usage error: status 2, as for errors of the argument parser.
    Usage(String),
}

impl CliError {
    pub(crate) fn status(&self) -> ExitCode {
        match self {
            CliError::Failed(_) => ExitCode::from(1),
            CliError::Usage(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Failed(text) | CliError::Usage(text) => f.write_str(text),
        }
    }
}

macro_rules! failed {
    ($($error:ty),*) => { $(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                CliError::Failed(error.to_string())
            }
        }
    )* };
}

impl From<FindError> for CliError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::OtherList => CliError::Usage(error.to_string()),
            error => CliError::Failed(error.to_string()),
        }
    }
}

failed!(BuildError, EnqueueAllError, EnqueueError, OperatorError, RuntimeError, TraceError, std::io::Error);
