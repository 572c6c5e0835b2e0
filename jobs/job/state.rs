//! The one table of legal transitions. Both stores follow it; `jobs/tests/contract/table.rs` tries the transitions on both. Only damaged data are moved in other ways: by
//! a repair, and by a claim on Redis, which poisons a pending job that it cannot read.

use std::fmt;

use crate::limits::QUOTED_CHARS_MAX;

/// The state of a job, which is the container that holds it. No states will be added: programs may match them exhaustively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Ready to be claimed by a worker.
    Pending,
    /// Leased to a worker, where it runs or waits for an executor. A settlement moves it next, or the reclaimer when the lease has expired.
    Processing,
    /// Waits for its due time. The retry scheduler then moves it to `pending`.
    Delayed,
    /// Its handler succeeded. Retention removes it.
    Completed,
    /// In the dead letter queue: its retries are exhausted, its last failure is not retried, or it was released too often because no worker could run it. An operator may
    /// redrive it; retention removes it.
    Dead,
    /// Put aside after a permanent failure (bad data, a missing permission), or because too many workers died while they held it. An operator may redrive it;
    /// retention removes it.
    Poisoned,
    /// Cancelled by an operator or a client. An operator may redrive it; retention removes it.
    Cancelled,
}

/// What may happen to a job that exists.
///
/// ```
/// use retraced_jobs::job::{JobState, Transition};
/// assert_eq!(JobState::Dead.after(Transition::Redrive), Ok(JobState::Pending));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// A worker claims it.
    Claim,
    /// Its handler returned `Ok`.
    Complete,
    /// It waits for a retry, for the end of a snooze, or for a worker that can run it: one that knows its kind, can decode its payload and has the resources.
    Delay,
    /// It goes back to `pending` at once: an immediate retry, an interruption, an expired lease.
    Requeue,
    /// It is moved to the dead letter queue.
    DeadLetter,
    /// It is poisoned: a permanent failure, or too many workers died while they held it.
    Poison,
    /// It is due, or an operator moves it to `pending` before that.
    Promote,
    /// It is cancelled.
    Cancel,
    /// An operator gives it a fresh start: failures, crashes and releases are set to 0.
    Redrive,
}

/// A transition that [`JobState::after`] does not allow.
///
/// ```
/// use retraced_jobs::job::{IllegalTransition, JobState, Transition};
/// let illegal: IllegalTransition = JobState::Completed.after(Transition::Redrive).unwrap_err();
/// assert_eq!(illegal.to_string(), "a completed job cannot Redrive");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IllegalTransition {
    /// The job's state.
    pub from: JobState,
    /// What was tried.
    pub transition: Transition,
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} job cannot {:?}", self.from, self.transition)
    }
}

impl std::error::Error for IllegalTransition {}

impl JobState {
    /// Every state.
    pub const ALL: [JobState; 7] = [
        JobState::Pending,
        JobState::Processing,
        JobState::Delayed,
        JobState::Completed,
        JobState::Dead,
        JobState::Poisoned,
        JobState::Cancelled,
    ];

    /// Where the transition leads from here.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the table has no such transition; the job stays where it is.
    ///
    /// ```
    /// use retraced_jobs::job::{JobState, Transition};
    /// assert_eq!(JobState::Pending.after(Transition::Claim), Ok(JobState::Processing));
    /// assert!(JobState::Completed.after(Transition::Claim).is_err());
    /// ```
    pub fn after(self, transition: Transition) -> Result<JobState, IllegalTransition> {
        use {JobState as S, Transition as T};
        match (self, transition) {
            (S::Pending, T::Claim) => Ok(S::Processing),
            (S::Processing, T::Complete) => Ok(S::Completed),
            (S::Processing, T::Delay) => Ok(S::Delayed),
            (S::Processing, T::Requeue) => Ok(S::Pending),
            (S::Processing, T::DeadLetter) => Ok(S::Dead),
            (S::Processing, T::Poison) => Ok(S::Poisoned),
            (S::Delayed, T::Promote) => Ok(S::Pending),
            (S::Pending | S::Processing | S::Delayed, T::Cancel) => Ok(S::Cancelled),
            (S::Dead | S::Poisoned | S::Cancelled, T::Redrive) => Ok(S::Pending),
            (from, transition) => Err(IllegalTransition { from, transition }),
        }
    }

    /// Whether the job has ended: only an operator or retention can still move or remove it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Completed | JobState::Dead | JobState::Poisoned | JobState::Cancelled)
    }

    /// The name used in commands, JSON and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Pending => "pending",
            JobState::Processing => "processing",
            JobState::Delayed => "delayed",
            JobState::Completed => "completed",
            JobState::Dead => "dead",
            JobState::Poisoned => "poisoned",
            JobState::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for JobState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        JobState::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| UnknownState(text.chars().take(QUOTED_CHARS_MAX).collect()))
    }
}

/// A text that is not the name of a [`JobState`].
///
/// ```
/// use retraced_jobs::job::{JobState, UnknownState};
/// let unknown: UnknownState = "zombie".parse::<JobState>().unwrap_err();
/// assert!(unknown.to_string().starts_with("unknown state \"zombie\", expected one of pending, processing,"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownState(String);

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = JobState::ALL.iter().map(|s| s.as_str()).collect();
        write!(f, "unknown state \"{}\", expected one of {}", self.0.escape_debug(), names.join(", "))
    }
}

impl std::error::Error for UnknownState {}

#[cfg(test)]
mod tests {
    use super::{JobState as S, Transition as T};

    /// The whole table, written a second time by hand: a row for each state, a column for each transition, `None` where it is illegal.
    #[test]
    fn the_table_is_the_same_written_twice() {
        let transitions =
            [T::Claim, T::Complete, T::Delay, T::Requeue, T::DeadLetter, T::Poison, T::Promote, T::Cancel, T::Redrive];
        let expected: [(S, [Option<S>; 9]); 7] = [
            (S::Pending, [Some(S::Processing), None, None, None, None, None, None, Some(S::Cancelled), None]),
            (
                S::Processing,
                [
                    None,
                    Some(S::Completed),
                    Some(S::Delayed),
                    Some(S::Pending),
                    Some(S::Dead),
                    Some(S::Poisoned),
                    None,
                    Some(S::Cancelled),
                    None,
                ],
            ),
            (S::Delayed, [None, None, None, None, None, None, Some(S::Pending), Some(S::Cancelled), None]),
            (S::Completed, [None; 9]),
            (S::Dead, [None, None, None, None, None, None, None, None, Some(S::Pending)]),
            (S::Poisoned, [None, None, None, None, None, None, None, None, Some(S::Pending)]),
            (S::Cancelled, [None, None, None, None, None, None, None, None, Some(S::Pending)]),
        ];
        for (from, row) in expected {
            for (transition, to) in transitions.into_iter().zip(row) {
                assert_eq!(from.after(transition).ok(), to, "{from} {transition:?}");
            }
        }
    }

    #[test]
    fn a_state_reads_back_from_its_name() {
        for state in S::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
    }
}
