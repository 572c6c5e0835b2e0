//! The jobs of one queue that a quarantine postponed and that were not reported yet.

use std::sync::{Mutex, PoisonError};

use retraced_jobs::job::JobId;
use tokio::time::Instant;

use crate::limits::POSTPONED_REPORT_INTERVAL;

/// Counts postponed jobs, so that a queue in quarantine reports them once a minute. It outlives the watchdog, so that no restart loses a count.
#[derive(Default)]
pub(crate) struct PostponedReport(Mutex<Unreported>);

#[derive(Default)]
struct Unreported {
    reported: Option<Instant>,
    count: u64,
    /// The first of them, as an example.
    job: Option<JobId>,
}

impl PostponedReport {
    /// Adds jobs that were postponed.
    pub(crate) fn add(&self, jobs: &[JobId]) {
        let mut unreported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unreported.count += jobs.len() as u64;
        unreported.job = unreported.job.take().or_else(|| jobs.first().cloned());
    }

    /// Takes what is to be reported now, as the first job and how many there are: the first ones at once, what follows after [`POSTPONED_REPORT_INTERVAL`].
    pub(crate) fn take_due(&self, now: Instant) -> Option<(JobId, u64)> {
        let mut unreported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unreported.reported.is_some_and(|at| now.duration_since(at) < POSTPONED_REPORT_INTERVAL) {
            return None;
        }
        let job = unreported.job.take()?;
        unreported.reported = Some(now);
        Some((job, std::mem::take(&mut unreported.count)))
    }
}
