//! The records of attempts and of what operators did, as data.

mod act;
mod attempt;
mod last_error;
mod operator_name;
mod progress;

pub use act::{Act, ActKind};
pub use attempt::{
    AttemptLog, AttemptRecord, Ended, ExecutorId, LogLine, Released, StoredAttempt, UnreadableAttempt, evicted_by,
};
pub use last_error::LastError;
pub use operator_name::OperatorName;
pub use progress::{Progress, StoredProgress};

pub use crate::limits::{
    ACTS_MAX, BACKTRACE_BYTES_MAX, HISTORY_FIRST, HISTORY_LAST, LOG_LINE_BYTES_MAX, LOG_LINES_MAX,
    OPERATOR_NAME_BYTES_MAX, OUTPUT_BYTES_MAX,
};
