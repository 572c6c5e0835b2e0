//! The dead and poisoned jobs of one queue that retention removed and that were not reported yet.

use std::mem;
use std::sync::{Mutex, PoisonError};

use retraced_jobs::job::JobState;
use retraced_jobs::store::TrimmedJobs;
use tokio::time::Instant;

use crate::limits::TRIM_REPORT_INTERVAL;

/// Sums up trims, so that a queue that is trimmed every second reports this once a minute. It outlives the janitor, so that no restart loses a count.
#[derive(Default)]
pub(crate) struct TrimReport(Mutex<Sums>);

#[derive(Default)]
struct Sums {
    reported: Option<Instant>,
    /// One entry for each state and reason.
    unreported: Vec<TrimmedJobs>,
}

impl TrimReport {
    /// Adds what a trim removed. Only dead and poisoned jobs are reported: the others ended as somebody wanted.
    pub(crate) fn add(&self, trimmed: &[TrimmedJobs]) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for jobs in trimmed.iter().filter(|jobs| matches!(jobs.state, JobState::Dead | JobState::Poisoned)) {
            let same = |sum: &&mut TrimmedJobs| (sum.state, sum.reason) == (jobs.state, jobs.reason);
            match sums.unreported.iter_mut().find(same) {
                Some(sum) => {
                    sum.count += jobs.count;
                    sum.oldest_ms = sum.oldest_ms.min(jobs.oldest_ms);
                }
                None => sums.unreported.push(*jobs),
            }
        }
    }

    /// Takes what is to be reported now: the first trim at once, what follows after [`TRIM_REPORT_INTERVAL`].
    pub(crate) fn take_due(&self) -> Vec<TrimmedJobs> {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = sums.reported.is_none_or(|reported| reported.elapsed() >= TRIM_REPORT_INTERVAL);
        if sums.unreported.is_empty() || !is_due {
            return Vec::new();
        }
        sums.reported = Some(Instant::now());
        mem::take(&mut sums.unreported)
    }

    /// Takes everything that was not reported, because the runtime ends.
    pub(crate) fn take_all(&self) -> Vec<TrimmedJobs> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).unreported)
    }
}
