//! How long ended jobs are kept.

use std::time::Duration;

/// How long jobs in final states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionRule {
    /// A job that ended longer ago than this is deleted.
    pub age_max: Duration,
    /// How many jobs are kept at most. If there are more, those that ended first are deleted.
    pub count_max: u64,
}

impl RetentionRule {
    /// Keeps jobs for at most `age_max`, and at most `count_max` of them.
    #[must_use]
    pub fn new(age_max: Duration, count_max: u64) -> Self {
        Self { age_max, count_max }
    }
}

/// Retention of a queue, state by state.
///
/// ```
/// use retraced_jobs::store::{Retention, RetentionRule};
/// use std::time::Duration;
/// let week = RetentionRule::new(Duration::from_secs(7 * 24 * 60 * 60), 1_000);
/// let retention = Retention::default().without_completed().dead(week);
/// assert_eq!(retention.poisoned.count_max, 10_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Completed jobs; `None` keeps none. Default 24 h and 10,000 jobs.
    pub completed: Option<RetentionRule>,
    /// Dead jobs. Default 30 days and 10,000 jobs.
    pub dead: RetentionRule,
    /// Poisoned jobs. Default 30 days and 10,000 jobs.
    pub poisoned: RetentionRule,
    /// Cancelled jobs. Default 24 h and 10,000 jobs.
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
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let rule = |days: u32| RetentionRule { age_max: DAY * days, count_max: 10_000 };
        Self { completed: Some(rule(1)), dead: rule(30), poisoned: rule(30), cancelled: rule(1) }
    }
}
