//! The records of attempts, supervision events, and the findings of repairs, as data.

mod attempt;
mod event;
mod finding;
mod last_error;

pub use attempt::{
    AttemptLog, AttemptRecord, Ended, ExecutorId, LogLine, Progress, Released, StoredAttempt, UnreadableAttempt,
    evicted_by,
};
pub use event::{DropReason, EventKind, SupervisionEvent};
pub use finding::{Finding, FindingKind};
pub use last_error::LastError;

pub use crate::limits::{
    BACKTRACE_BYTES_MAX, FINDING_EXAMPLES_MAX, HISTORY_FIRST, HISTORY_LAST, LOG_LINE_BYTES_MAX, LOG_LINES_MAX,
    OUTPUT_BYTES_MAX,
};
