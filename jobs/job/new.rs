//! A new job, as a producer hands it to a store.

use std::time::Duration;

use bytes::Bytes;

use super::JobId;

/// When a new job may run.
/// Exhaustive, so that a store cannot overlook one.
///
/// ```
/// use retraced_jobs::job::RunAt;
/// use std::time::Duration;
/// let times = [RunAt::Now, RunAt::After(Duration::from_secs(60)), RunAt::At(4_102_444_800_000)];
/// assert_eq!(times[0], RunAt::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RunAt {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// This long after the store accepted it, by the store's clock.
    After(Duration),
    /// At this instant of the store's clock, in milliseconds since the Unix epoch; an instant that has passed means now.
    At(u64),
}

/// One new job with its sealed envelope, whose content no store reads.
/// Exhaustive, so that a caller has to decide about every part.
///
/// ```
/// use retraced_jobs::codec;
/// use retraced_jobs::typed_job::JobOptions;
/// use retraced_jobs::job::{Kind, NewJob};
/// let payload = codec::to_payload(&("ada@example.com",)).unwrap();
/// let job: NewJob = JobOptions::default().seal(Kind::new("email.send").unwrap(), payload.into()).unwrap();
/// assert_eq!(codec::open(&job.envelope).unwrap().kind.as_str(), "email.send");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewJob {
    /// Drawn by the producer, unless the caller chose it. While the queue keeps a job of this id, enqueueing one with the same id changes nothing.
    pub id: JobId,
    /// When it may run.
    pub run_at: RunAt,
    /// What [`codec::seal`](crate::codec::seal) made: the kind, the payload, and the retry settings ([`RetryOverrides`](crate::retry::RetryOverrides)) and timeout that the job sets for itself.
    pub envelope: Bytes,
}
