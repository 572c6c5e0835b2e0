//! The one table of legal transitions. Both stores follow it, and the contract suite checks every pair of state and transition.

use std::fmt;

/// The state of a job: the container of its queue that it is in, exactly one. No states will be added: programs may match them exhaustively.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Ready to be claimed. A fetcher moves it next.
    Pending,
    /// Leased to an executor. The settler moves it next, or the reclaimer when the lease has expired.
    Processing,
    /// Waits for its due time. The retry scheduler moves it next.
    Delayed,
    /// Done; kept for some time. Retention removes it.
    Completed,
    /// In the dead letter queue: out of attempts, or failed in a way that is not retried. An operator moves it next, or retention removes it.
    Dead,
    /// Poisoned: it would fail again or kill its worker. Bad data, missing permission, crash loop. An operator moves it next, or retention removes it.
    Poisoned,
    /// Cancelled. An operator may redrive it; retention removes it.
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
    /// A fetcher leases it.
    Claim,
    /// Its handler returned `Ok`.
    Complete,
    /// It waits for a retry, for the end of a snooze, or for a worker that knows its kind.
    Delay,
    /// It goes back to the queue: an immediate retry, an interruption, an expired lease.
    Requeue,
    /// It is moved to the dead letter queue.
    DeadLetter,
    /// It is poisoned: it would fail again, or it crashed its workers.
    Poison,
    /// It is due, or an operator runs it before that.
    Promote,
    /// It is cancelled.
    Cancel,
    /// An operator gives it a fresh start: failures and crashes begin again at zero.
    Redrive,
}

/// A transition that is not in the table.
///
/// ```
/// use retraced_jobs::job::{Illegal, JobState, Transition};
/// let illegal: Illegal = JobState::Completed.after(Transition::Redrive).unwrap_err();
/// assert_eq!(illegal.to_string(), "a completed job cannot Redrive");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Illegal {
    /// Where the job is.
    pub from: JobState,
    /// What was tried.
    pub transition: Transition,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} job cannot {:?}", self.from, self.transition)
    }
}

impl std::error::Error for Illegal {}

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
    /// [`Illegal`] when the table has no such transition; the job stays where it is.
    ///
    /// ```
    /// use retraced_jobs::job::{JobState, Transition};
    /// assert_eq!(JobState::Pending.after(Transition::Claim), Ok(JobState::Processing));
    /// assert!(JobState::Completed.after(Transition::Claim).is_err());
    /// ```
    pub fn after(self, transition: Transition) -> Result<JobState, Illegal> {
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
            (from, transition) => Err(Illegal { from, transition }),
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
            .ok_or_else(|| UnknownState(text.chars().take(40).collect()))
    }
}

/// A state was named that does not exist.
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

    /// The whole table, written a second time by hand, row by row: every pair that is not named here is illegal.
    #[test]
    fn every_pair_of_state_and_transition_is_decided() {
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
}
