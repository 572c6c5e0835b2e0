//! Why retention removed jobs.

use std::fmt;

/// Why retention removed jobs: the bound of their [`RetentionRule`](crate::store::RetentionRule) that they exceeded. If there are several, the first in this order counts.
///
/// ```
/// use retraced_jobs::events::TrimReason;
/// assert_eq!(TrimReason::Age.to_string(), "kept for long enough");
/// assert_eq!(serde_json::to_value(TrimReason::Bytes).unwrap(), "bytes");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrimReason {
    /// They had ended longer ago than `age_max`.
    Age,
    /// More than `count_max` jobs were kept in their state.
    Count,
    /// The jobs kept in their state had more than `bytes_max` bytes together.
    Bytes,
}

impl TrimReason {
    /// The reason, in a few words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TrimReason::Age => "kept for long enough",
            TrimReason::Count => "too many were kept",
            TrimReason::Bytes => "too many bytes were kept",
        }
    }
}

impl fmt::Display for TrimReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
