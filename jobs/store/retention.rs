//! How long ended jobs are kept.

use std::time::Duration;

use crate::limits::{COMPLETED_AGE_MAX, COMPLETED_COUNT_MAX, DEAD_AGE_MAX, RETENTION_BYTES_MAX};

/// How long the jobs in one final state are kept, how many, and how many bytes of them. What exceeds any of the three bounds is deleted, those that ended first before
/// the others.
///
/// ```
/// use std::time::Duration;
/// use retraced_jobs::store::RetentionRule;
/// let week = RetentionRule::by_age(Duration::from_secs(7 * 24 * 60 * 60));
/// assert_eq!((week.count_max, week.bytes_max), (u64::MAX, 256 * 1024 * 1024));
/// assert_eq!(week.bytes_max(1 << 30).bytes_max, 1 << 30);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RetentionRule {
    /// A job that ended longer ago than this is deleted.
    pub age_max: Duration,
    /// How many jobs are kept at most. If there are more, those that ended first are deleted. `u64::MAX`: any number.
    pub count_max: u64,
    /// How many bytes the kept jobs may have together. If there are more, the jobs that ended first are deleted. Each job counts what is stored of its envelope, at least
    /// [`KEPT_BYTES_MIN`](crate::limits::KEPT_BYTES_MIN). `u64::MAX`: any number.
    pub bytes_max: u64,
}

impl RetentionRule {
    /// Keeps jobs for at most `age_max`, at most `count_max` of them, and at most 256 MiB.
    #[must_use]
    pub fn new(age_max: Duration, count_max: u64) -> Self {
        Self { age_max, count_max, bytes_max: RETENTION_BYTES_MAX }
    }

    /// Keeps jobs for at most `age_max`, any number of them, but at most 256 MiB.
    #[must_use]
    pub fn by_age(age_max: Duration) -> Self {
        Self::new(age_max, u64::MAX)
    }

    /// Keeps at most this many bytes of jobs.
    #[must_use]
    pub fn bytes_max(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }
}

/// Retention of a queue, state by state.
///
/// ```
/// use retraced_jobs::store::{Retention, RetentionRule};
/// use std::time::Duration;
/// let week = RetentionRule::new(Duration::from_secs(7 * 24 * 60 * 60), 1_000);
/// let retention = Retention::default().without_completed().dead(week);
/// assert_eq!(retention.poisoned.count_max, u64::MAX, "a bound by number would drop the failures of a large incident");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Retention {
    /// Completed jobs; `None` keeps none. Default 24 h, 10,000 jobs and 256 MiB.
    pub completed: Option<RetentionRule>,
    /// Dead jobs. Default 90 days and 256 MiB, whatever their number.
    pub dead: RetentionRule,
    /// Poisoned jobs. Default 90 days and 256 MiB, whatever their number.
    pub poisoned: RetentionRule,
    /// Cancelled jobs. Default 24 h, 10,000 jobs and 256 MiB.
    pub cancelled: RetentionRule,
}

impl Retention {
    /// Keeps completed jobs by this rule.
    #[must_use]
    pub fn completed(self, rule: RetentionRule) -> Self {
        Self { completed: Some(rule), ..self }
    }

    /// Keeps no completed jobs: they are deleted as they complete, with their outputs.
    #[must_use]
    pub fn without_completed(self) -> Self {
        Self { completed: None, ..self }
    }

    /// Keeps dead jobs by this rule.
    #[must_use]
    pub fn dead(self, rule: RetentionRule) -> Self {
        Self { dead: rule, ..self }
    }

    /// Keeps poisoned jobs by this rule.
    #[must_use]
    pub fn poisoned(self, rule: RetentionRule) -> Self {
        Self { poisoned: rule, ..self }
    }

    /// Keeps cancelled jobs by this rule.
    #[must_use]
    pub fn cancelled(self, rule: RetentionRule) -> Self {
        Self { cancelled: rule, ..self }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let short = RetentionRule::new(COMPLETED_AGE_MAX, COMPLETED_COUNT_MAX);
        // A bound by number would drop the failures of a large incident.
        let long = RetentionRule::by_age(DEAD_AGE_MAX);
        Self { completed: Some(short), dead: long, poisoned: long, cancelled: short }
    }
}
