//! The rules of a queue for the attempts of its jobs.

use std::time::Duration;

use crate::codec::PAYLOAD_BYTES_MAX;
use crate::handler::JobDefaults;
use crate::retry::{OnUnknown, Retry};

/// The rules of a queue. A job may set its own retry numbers and timeout.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How failed jobs are retried. Default: exponential, 5 attempts.
    pub retry: Retry,
    /// How long a handler may run. Then an async handler is dropped and the attempt fails with `TIMEOUT`; a blocking one is asked to stop. Default 5 min.
    pub timeout: Duration,
    /// Whether completed jobs are kept for a while. Default: they are.
    pub keep_completed: bool,
    /// Which of the three rules above were set for the queue. In place of the others, a kind's own defaults apply. Default: none.
    pub explicit: Explicit,
    /// What becomes of failures of unknown class. Default: retried.
    pub on_unknown: OnUnknown,
    /// How long a job is delayed that this worker cannot run, because it has no handler for the kind or a newer version sealed the envelope: a rolling deploy may
    /// bring a worker that can run it. Default 30 s.
    pub unknown_kind_delay: Duration,
    /// After how many releases a job that this worker cannot run is moved to the dead letter queue; releases for other reasons count too. Default 20, which takes
    /// about 10 min.
    pub unknown_kind_releases_max: u32,
    /// Largest payload a handler is given, in bytes; a job with a larger one is poisoned as `DECODE_FAILED`. Default 1 MiB.
    pub payload_bytes_max: usize,
}

/// Which rules were set for a queue by its builder, so that a kind's own defaults do not apply.
///
/// Used in the example of [`JobDefaults`](crate::handler::JobDefaults).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Explicit {
    /// The retry policy.
    pub retry: bool,
    /// The timeout.
    pub timeout: bool,
    /// Whether completed jobs are kept.
    pub keep_completed: bool,
}

/// The rules for one kind of job, before those that a single job sets for itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct KindRules {
    pub(super) retry: Retry,
    pub(super) timeout: Duration,
    pub(super) keep_completed: bool,
}

impl Rules {
    /// Each rule as it was set for the queue; otherwise the kind's default; otherwise the library's default.
    pub(super) fn of_kind(&self, kind: &JobDefaults) -> KindRules {
        let Explicit { retry, timeout, keep_completed } = self.explicit;
        KindRules {
            retry: if retry { self.retry } else { kind.retry_or(self.retry) },
            timeout: kind.timeout_of_kind().filter(|_| !timeout).unwrap_or(self.timeout),
            keep_completed: self.keep_completed && (keep_completed || kind.keeps_completed()),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            timeout: Duration::from_secs(5 * 60),
            keep_completed: true,
            explicit: Explicit::default(),
            on_unknown: OnUnknown::default(),
            unknown_kind_delay: Duration::from_secs(30),
            unknown_kind_releases_max: 20,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
        }
    }
}
