//! Seals a job: makes the [`NewJob`] that a store takes from the job's data and options.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::Job;
use crate::codec::{self, CodecError, Envelope, PAYLOAD_BYTES_MAX};
use crate::job::{JobId, Kind, NewJob, RunAt};
use crate::retry::RetryOverrides;
use crate::units::millis;

/// What a producer may set for one job.
///
/// ```
/// use retraced_jobs::typed_job::{Job, JobOptions, seal_job};
/// use retraced_jobs::job::JobId;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
///
/// let job = SendEmail { to: "ada@example.com".into() };
/// let options = JobOptions::default().id(JobId::parse("welcome-42").unwrap()).payload_bytes_max(100);
/// assert_eq!(seal_job(&job, &options).unwrap().id.to_string(), "welcome-42");
/// let refused = seal_job(&SendEmail { to: "x".repeat(200) }, &options).unwrap_err();
/// assert!(refused.to_string().starts_with("has a payload of "));
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct JobOptions {
    /// The job's id; `None`: a new UUID (version 7).
    pub id: Option<JobId>,
    /// When the job may run.
    pub run_at: RunAt,
    /// The job's own retry settings; the others come from its queue or its kind. The job's own are not checked here: a worker ignores all of them if one is out of bounds.
    pub retry: RetryOverrides,
    /// The job's own timeout, in whole milliseconds and at least 1 ms; it has no upper limit. `None`: that of its kind or queue.
    pub timeout: Option<Duration>,
    /// Largest payload that is sealed, in bytes; at most 64 MiB. `None`: that of its kind ([`JobDefaults`](super::JobDefaults)), or else 1 MiB. Workers have a limit of
    /// their own ([`Rules`](crate::execution::Rules)).
    pub payload_bytes_max: Option<usize>,
}

impl JobOptions {
    /// Gives the job this id.
    #[must_use]
    pub fn id(self, id: JobId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets when the job may run.
    #[must_use]
    pub fn run_at(self, run_at: RunAt) -> Self {
        Self { run_at, ..self }
    }

    /// Sets the job's own retry settings.
    #[must_use]
    pub fn retry(self, retry: RetryOverrides) -> Self {
        Self { retry, ..self }
    }

    /// Sets the job's own timeout.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets the largest payload that is sealed, in bytes.
    #[must_use]
    pub fn payload_bytes_max(self, bytes: usize) -> Self {
        Self { payload_bytes_max: Some(bytes), ..self }
    }

    /// A job of any kind, from its encoded payload, sealed with these options. The defaults of the kind are not known here: without `payload_bytes_max` the limit is 1 MiB.
    ///
    /// # Errors
    /// [`CodecError`] when the payload is larger than allowed.
    pub fn seal(&self, kind: Kind, payload: Bytes) -> Result<NewJob, CodecError> {
        self.seal_within(self.payload_bytes_max.unwrap_or(PAYLOAD_BYTES_MAX), kind, payload)
    }

    fn seal_within(&self, payload_bytes_max: usize, kind: Kind, payload: Bytes) -> Result<NewJob, CodecError> {
        if payload.len() > payload_bytes_max {
            return Err(CodecError::new(format!(
                "has a payload of {} bytes, payload_bytes_max allows {payload_bytes_max}; keep large data elsewhere and enqueue where it is",
                payload.len(),
            )));
        }
        let timeout_ms = self.timeout.map(|timeout| millis(timeout).max(1));
        let envelope = codec::seal(&Envelope { kind, payload, retry: self.retry, timeout_ms })?;
        let id = self.id.clone().unwrap_or_else(|| JobId::from_uuid(Uuid::now_v7()));
        Ok(NewJob { id, run_at: self.run_at, envelope })
    }
}

/// A typed job, sealed. Each call makes a new id unless the options have one: to send the job again, keep the sealed job.
///
/// # Errors
/// [`CodecError`] when the kind is not allowed, or the job cannot be serialized or is too large.
pub fn seal_job<J: Job>(job: &J, options: &JobOptions) -> Result<NewJob, CodecError> {
    let kind = Kind::new(J::KIND).map_err(|invalid| CodecError::new(format!("has an {invalid}")))?;
    let most = options.payload_bytes_max.or_else(|| J::defaults().payload_bytes_max_of_kind());
    options.seal_within(most.unwrap_or(PAYLOAD_BYTES_MAX), kind, codec::to_payload(job)?.into())
}
