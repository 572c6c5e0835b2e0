//! How a command ends: 0 done, 1 failed, 2 used wrongly; 128 + n when a second signal n ended it.

use std::fmt;
use std::process::ExitCode;

use crate::{BuildError, EnqueueAllError, OperatorError, RuntimeError, TraceError};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum CliError {
    /// It was tried, and failed: status 1.
    Failed(String),
    /// It was asked for in a way that makes no sense: status 2, as with the argument parser's own errors.
    Usage(String),
}

impl CliError {
    pub(super) fn status(&self) -> ExitCode {
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

failed!(BuildError, EnqueueAllError, OperatorError, RuntimeError, TraceError, std::io::Error);
