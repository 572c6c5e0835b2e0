//! The records of attempts, as data.

mod attempt;
mod last_error;

pub use attempt::{
    AttemptLog, AttemptRecord, Ended, ExecutorId, LogLine, Progress, Released, StoredAttempt, UnreadableAttempt,
    evicted_by,
};
pub use last_error::LastError;

pub use crate::limits::{
    BACKTRACE_BYTES_MAX, HISTORY_FIRST, HISTORY_LAST, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, OUTPUT_BYTES_MAX,
};
