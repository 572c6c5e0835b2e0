//! A queue: depths, counters and rates.

use std::time::Duration;

use retraced_jobs::job::QueueName;
use retraced_jobs::store::QueueStats;
use retraced_jobs::units::millis;
use serde::Serialize;

use super::Timestamp;

/// Depths and counters of a queue. `completed`, `enqueued`, `failures`, `crashes`, `releases`, `stale_settlements`, `trimmed`, `trimmed_dead`, `trimmed_poisoned` and
/// `garbage` count since the queue was first used; the other numbers describe the jobs stored now. In JSON the fields of `rates` stand beside the others.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use retraced::{MemoryStore, Operator, QueueName};
/// # let (operator, queue) = (Operator::new(MemoryStore::new()), QueueName::new("email")?);
/// use retraced::view::{QueueRow, Rates};
/// let before = operator.stats(&queue).await?;
/// let after = operator.stats(&queue).await?;
/// let rates = Rates::between(&before, &after, Duration::from_secs(1));
/// let row = QueueRow::new(&queue, &after).with_rates(rates);
/// assert_eq!(serde_json::to_value(&row)?["completed_per_s"], 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueueRow {
    /// The queue.
    pub queue: QueueName,
    /// Whether claiming is paused.
    pub paused: bool,
    /// Since when; `None` if the queue is not paused.
    pub paused_since: Option<Timestamp>,
    /// Who paused it; `None` if the queue is not paused. It comes from outside: print it through [`printable`](super::printable).
    pub paused_by: Option<String>,
    /// Jobs that wait to be claimed.
    pub pending: u64,
    /// Jobs that workers hold: running, prefetched, or waiting to be settled.
    pub processing: u64,
    /// Jobs that wait for their due time.
    pub delayed: u64,
    /// Jobs that ever completed.
    pub completed: u64,
    /// Completed jobs that are still kept.
    pub completed_kept: u64,
    /// Jobs in the dead letter queue.
    pub dead: u64,
    /// Poisoned jobs.
    pub poisoned: u64,
    /// Cancelled jobs that are still kept.
    pub cancelled: u64,
    /// How long ago the job at the front of the queue was enqueued, in ms.
    pub oldest_pending_ms: Option<u64>,
    /// How long the first delayed job has been overdue, in ms; negative while it is not due yet.
    pub delayed_overdue_ms: Option<i64>,
    /// Jobs ever enqueued.
    pub enqueued: u64,
    /// Failures ever counted.
    pub failures: u64,
    /// Crashes ever counted.
    pub crashes: u64,
    /// Attempts that were ever released or lost, without counting a failure or a crash.
    pub releases: u64,
    /// Settlements that came too late, because the lease had been reclaimed, and had no effect.
    pub stale_settlements: u64,
    /// Jobs ever removed by retention.
    pub trimmed: u64,
    /// Dead jobs among them. They can no longer be redriven.
    pub trimmed_dead: u64,
    /// Poisoned jobs among them. They can no longer be redriven.
    pub trimmed_poisoned: u64,
    /// Damaged entries ever found. They were deleted, or their jobs poisoned.
    pub garbage: u64,
    /// Jobs and failures per second, if they were measured.
    #[serde(flatten)]
    pub rates: Option<Rates>,
}

/// Jobs and failures per second of a queue, measured between two readings of its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rates {
    /// Time between the two readings, in ms.
    pub measured_ms: u64,
    /// Jobs enqueued per second.
    pub enqueued_per_s: f64,
    /// Jobs completed per second.
    pub completed_per_s: f64,
    /// Attempts failed per second.
    pub failures_per_s: f64,
}

impl QueueRow {
    /// The row for a queue's statistics, without rates.
    #[must_use]
    pub fn new(queue: &QueueName, stats: &QueueStats) -> Self {
        Self {
            queue: queue.clone(),
            paused: stats.paused,
            paused_since: stats.paused_since_ms.map(Timestamp::from_ms),
            paused_by: stats.paused_by.as_ref().map(|by| by.as_str().to_owned()),
            pending: stats.pending,
            processing: stats.processing,
            delayed: stats.delayed,
            completed: stats.completed_total,
            completed_kept: stats.completed_kept,
            dead: stats.dead,
            poisoned: stats.poisoned,
            cancelled: stats.cancelled,
            oldest_pending_ms: stats.oldest_pending_ms,
            delayed_overdue_ms: stats.delayed_overdue_ms,
            enqueued: stats.enqueued_total,
            failures: stats.failures_total,
            crashes: stats.crashes_total,
            releases: stats.releases_total,
            stale_settlements: stats.stale_settlements_total,
            trimmed: stats.trimmed_total,
            trimmed_dead: stats.trimmed_dead_total,
            trimmed_poisoned: stats.trimmed_poisoned_total,
            garbage: stats.garbage_total,
            rates: None,
        }
    }

    /// Adds rates to the row.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        Self { rates: Some(rates), ..self }
    }
}

impl Rates {
    /// The rates between two readings that were `apart` from each other, rounded to a tenth.
    #[must_use]
    pub fn between(before: &QueueStats, after: &QueueStats, apart: Duration) -> Self {
        let per_second = |before: u64, after: u64| {
            let exact = after.saturating_sub(before) as f64 / apart.as_secs_f64().max(f64::EPSILON);
            (exact * 10.0).round() / 10.0
        };
        Self {
            measured_ms: millis(apart),
            enqueued_per_s: per_second(before.enqueued_total, after.enqueued_total),
            completed_per_s: per_second(before.completed_total, after.completed_total),
            failures_per_s: per_second(before.failures_total, after.failures_total),
        }
    }
}
