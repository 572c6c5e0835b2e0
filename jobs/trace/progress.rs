//! How far a handler has come.

/// The progress a handler reported.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// 0 to 100.
    #[serde(rename = "p")]
    pub percent: u8,
    /// What the handler was doing; at most [`LOG_LINE_BYTES_MAX`](super::LOG_LINE_BYTES_MAX).
    #[serde(rename = "m", default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Progress {
    /// This many percent done, and a note.
    #[must_use]
    pub fn new(percent: u8, note: impl Into<String>) -> Self {
        Self { percent, note: note.into() }
    }
}

/// The latest progress that a store was told of a job, by a worker that held its lease. It stays when the attempt ends, until a later attempt reports or the job is
/// deleted.
///
/// ```
/// use retraced_jobs::trace::{Progress, StoredProgress};
/// let stored = StoredProgress::new(2, 1_750_000_000_000, Progress::new(40, "40 of 100 rows"));
/// assert_eq!((stored.attempt, stored.progress.percent), (2, 40));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredProgress {
    /// The attempt that reported it: which grant of the job, from 1.
    pub attempt: u32,
    /// When the store was told, in ms since the Unix epoch.
    pub at_ms: u64,
    /// What was reported.
    pub progress: Progress,
}

impl StoredProgress {
    /// The progress of an attempt, for those who write a store.
    #[must_use]
    pub fn new(attempt: u32, at_ms: u64, progress: Progress) -> Self {
        Self { attempt, at_ms, progress }
    }
}
