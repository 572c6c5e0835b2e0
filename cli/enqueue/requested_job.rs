//! A job before it is sealed.

use bytes::Bytes;
use retraced::job::{NewJob, RunAt};
use retraced::retry::RetryOverrides;
use retraced::{JobId, JobOptions, Kind, Retry};

/// A job as requested by the options or by one line of the input.
pub(super) struct RequestedJob {
    pub(super) kind: Kind,
    pub(super) payload: Bytes,
    pub(super) id: Option<JobId>,
    pub(super) run_at: RunAt,
    pub(super) retry: RetryOverrides,
}

impl RequestedJob {
    /// The job as it is stored. The error says which option is wrong.
    pub(super) fn seal(self) -> Result<NewJob, String> {
        Retry::default().overridden_by(&self.retry).validate().map_err(|e| e.to_string())?;
        let mut options = JobOptions::default().run_at(self.run_at).retry(self.retry);
        options.id = self.id;
        options.seal(self.kind, self.payload).map_err(|e| format!("the job {e}"))
    }
}
