//! A queue's rules for its attempts.

use std::time::Duration;

use crate::codec::PAYLOAD_BYTES_MAX;
use crate::retry::Retry;

/// What holds for the jobs of a queue unless they say otherwise themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How failed jobs are retried. Default: exponential, 5 attempts.
    pub retry: Retry,
    /// How long a handler may run; then it is dropped and the attempt failed with `TIMEOUT`. Default 5 min.
    pub timeout: Duration,
    /// Whether completed jobs are kept for a while. Default: they are.
    pub keep_completed: bool,
    /// How long a job waits whose kind no handler here knows, or whose envelope a newer version sealed: a rolling deploy may bring one that does. Default 30 s.
    pub unknown_kind_delay: Duration,
    /// How often that may happen to a job before it goes to the dead letter queue; its other releases count towards it too. Default 20, about ten minutes.
    pub unknown_kind_releases_max: u32,
    /// Largest payload a handler is given, in bytes; a larger one is poisoned as `DECODE_FAILED`. Default 1 MiB.
    pub payload_bytes_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            retry: Retry::default(),
            timeout: Duration::from_secs(5 * 60),
            keep_completed: true,
            unknown_kind_delay: Duration::from_secs(30),
            unknown_kind_releases_max: 20,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
        }
    }
}
