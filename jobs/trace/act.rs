//! What an operator did to a job, as it is kept.

use super::OperatorName;
use crate::job::JobState;

/// What an operator did to a job. The latest [`ACTS_MAX`](super::ACTS_MAX) are kept with the job and are deleted with it. A discard is not recorded as an act,
/// because it deletes the job.
///
/// ```
/// use retraced_jobs::job::JobState;
/// use retraced_jobs::trace::{Act, ActKind};
/// let act = Act::new(ActKind::Redrive, 1_750_000_000_000, JobState::Dead, 3, "ada@laptop".into());
/// assert_eq!((act.from, act.by.as_str()), (JobState::Dead, "ada@laptop"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Act {
    /// What was done.
    pub kind: ActKind,
    /// When, by the store's clock, in ms since the Unix epoch.
    pub at_ms: u64,
    /// The state of the job before.
    pub from: JobState,
    /// The attempts that the job had begun by then. They order acts and attempts, whose times may come from different clocks.
    pub attempts: u32,
    /// Who did it.
    pub by: OperatorName,
}

/// What an operator does to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ActKind {
    /// A dead, poisoned or cancelled job got a fresh start; a delayed one was made pending.
    Redrive,
    /// A pending or delayed job was cancelled; the cancellation of a processing one was requested.
    Cancel,
}

impl Act {
    /// An act, for those who write a store.
    #[must_use]
    pub fn new(kind: ActKind, at_ms: u64, from: JobState, attempts: u32, by: OperatorName) -> Self {
        Self { kind, at_ms, from, attempts, by }
    }
}
