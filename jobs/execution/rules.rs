//! A queue's rules for its attempts.

use std::time::Duration;

use crate::codec::PAYLOAD_BYTES_MAX;
use crate::handler::JobDefaults;
use crate::retry::{OnUnknown, Retry};

/// What holds for the jobs of a queue unless they say otherwise themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How failed jobs are retried. Default: exponential, 5 attempts.
    pub retry: Retry,
    /// How long a handler may run. After that it is dropped, and the attempt fails with `TIMEOUT`. Default 5 min.
    pub timeout: Duration,
    /// Whether completed jobs are kept for a while. Default: they are.
    pub keep_completed: bool,
    /// Which of the three rules above the queue was given explicitly. In place of the others, a kind's own defaults apply. Default: none.
    pub explicit: Explicit,
    /// What becomes of failures of unknown class. Default: retried.
    pub on_unknown: OnUnknown,
    /// How long a job is delayed when no handler here knows its kind, or a newer version sealed its envelope: a rolling deploy may bring a worker that can run it.
    /// Default 30 s.
    pub unknown_kind_delay: Duration,
    /// After how many releases such a job is moved to the dead letter queue; releases for other reasons count too. Default 20, which takes about 10 min.
    pub unknown_kind_releases_max: u32,
    /// Largest payload a handler is given, in bytes; a job with a larger one is poisoned as `DECODE_FAILED`. Default 1 MiB.
    pub payload_bytes_max: usize,
}

/// Which rules a queue was given explicitly, so that a kind's own defaults do not apply.
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
    /// Each rule as the queue was given it explicitly; otherwise the kind's default; otherwise the queue's default.
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
