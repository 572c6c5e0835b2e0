//! The job that every measurement uses on both sides: about 200 bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use retraced::Job;
use serde::{Deserialize, Serialize};

const BODY: &str =
    "Hello there! This is the body of a letter that nobody will read. It is here for its bytes, as those of a job are.";

/// A job whose payload takes 196 to 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BenchJob {
    pub(super) number: u64,
    /// When the job was sent, or when it is due if it is delayed, by this machine's clock, in µs since the Unix epoch.
    pub(super) at_us: u64,
    to: String,
    template: String,
    body: String,
}

impl Job for BenchJob {
    const KIND: &'static str = "bench.letter";
}

impl BenchJob {
    /// A job sent now.
    pub(super) fn now(number: u64) -> Self {
        Self::at(number, now_us())
    }

    pub(super) fn at(number: u64, at_us: u64) -> Self {
        Self {
            number,
            at_us,
            to: format!("user-{number:08}@example.com"),
            template: "welcome_email".into(),
            body: BODY.into(),
        }
    }
}

/// This machine's clock, in µs since the Unix epoch.
pub(super) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_job_takes_about_200_bytes() {
        for number in [0, 1, 499, 199_999, 9_999_999] {
            let bytes = retraced::codec::to_payload(&BenchJob::now(number)).unwrap();
            assert!((196..=200).contains(&bytes.len()), "{} bytes", bytes.len());
        }
    }
}
