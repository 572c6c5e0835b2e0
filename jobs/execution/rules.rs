//! The rules of a queue for the attempts of its jobs.

use std::time::Duration;

use crate::codec::{Envelope, PAYLOAD_BYTES_MAX};
use crate::limits::HANDLER_TIMEOUT;
use crate::retry::{InvalidRetry, OnUndecodable, OnUnknown, Retry, RetryOverrides};
use crate::store::Retention;
use crate::typed_job::JobDefaults;

/// The rules of a queue. What is `None` here was not set for the queue: the kind's own default applies, or else the library's. A job may set its own retry settings
/// and timeout.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    /// How failed jobs are retried. The library's default: exponential, 5 attempts.
    pub retry: Option<Retry>,
    /// How long a handler may run. Past it an async handler is dropped and the attempt fails with `TIMEOUT`; a blocking one is asked to stop. The library's default:
    /// 5 min.
    pub timeout: Option<Duration>,
    /// Which ended jobs are kept; attempts only need to know whether completed jobs are kept. The library's default: they are kept.
    pub retention: Option<Retention>,
    /// Largest payload a handler is given, in bytes; a larger one counts as one that cannot be decoded. The library's default: 1 MiB.
    pub payload_bytes_max: Option<usize>,
    /// What becomes of failures of unknown class. Default: retried.
    pub on_unknown: OnUnknown,
    /// What becomes of payloads that cannot be decoded. Default: released, and poisoned after 20 releases.
    pub on_undecodable: OnUndecodable,
}

/// The rules for one kind of job, before those that a single job sets for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct KindRules {
    pub(super) retry: Retry,
    pub(super) timeout: Duration,
    pub(super) keep_completed: bool,
    pub(super) payload_bytes_max: usize,
}

/// The rules for one job: those of its queue and kind, overridden by what the job sets for itself.
pub(super) struct JobRules {
    pub(super) retry: Retry,
    pub(super) timeout: Duration,
    pub(super) keep_completed: bool,
    /// Why the job's own retry settings are not used; `None` when they are used, or when the job has none.
    pub(super) refused: Option<InvalidRetry>,
}

impl Rules {
    /// Each rule as it was set for the queue; otherwise the kind's default; otherwise the library's default.
    pub(super) fn of_kind(&self, kind: &JobDefaults) -> KindRules {
        let of_kind = kind.payload_bytes_max_of_kind();
        KindRules {
            retry: self.retry.unwrap_or_else(|| kind.retry_or(Retry::default())),
            timeout: self.timeout.or(kind.timeout_of_kind()).unwrap_or(HANDLER_TIMEOUT),
            keep_completed: self.retention.map_or(kind.keeps_completed(), |kept| kept.completed.is_some()),
            payload_bytes_max: self.payload_bytes_max.or(of_kind).unwrap_or(PAYLOAD_BYTES_MAX),
        }
    }
}

impl KindRules {
    /// The rules of the job's queue and kind, overridden by what the job sets. If one of the job's own retry settings is out of bounds, all of them are ignored.
    pub(super) fn of_job(self, envelope: &Envelope) -> JobRules {
        let Self { retry, timeout, keep_completed, .. } = self;
        let timeout = envelope.timeout_ms.filter(|ms| *ms > 0).map_or(timeout, Duration::from_millis);
        let rules = |retry, refused| JobRules { retry, timeout, keep_completed, refused };
        if envelope.retry == RetryOverrides::default() {
            return rules(retry, None);
        }
        match retry.overridden_by(&envelope.retry).validate() {
            Ok(own) => rules(own, None),
            Err(refused) => rules(retry, Some(refused)),
        }
    }
}
