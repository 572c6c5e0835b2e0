//! A worker process.

use retraced_jobs::job::{Kind, QueueName};
use retraced_jobs::store::WorkerRow;
use serde::Serialize;

use super::Timestamp;

/// A worker process, as its last heartbeat described it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{MemoryStore, Operator};
/// # let operator = Operator::new(MemoryStore::new());
/// use retraced::view::WorkerDetail;
/// let now_ms = operator.probe().await?.now_ms.unwrap_or_default();
/// for worker in operator.workers().await?.iter().map(|row| WorkerDetail::new(row, now_ms)) {
///     println!("{} on {}: {} of {} executors are busy", worker.worker, worker.host, worker.running, worker.concurrency);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerDetail {
    /// The id of its process instance.
    pub worker: String,
    /// The name of its host.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Its version of ReTraced.
    pub version: String,
    /// The build of its application, as the application names it.
    pub build: String,
    /// The queues it processes.
    pub queues: Vec<QueueName>,
    /// The kinds it has handlers for; at most 200 are listed.
    pub kinds: Vec<Kind>,
    /// How many kinds it has handlers for.
    pub kinds_total: u32,
    /// Whether one of its queues has a handler for every kind.
    pub every_kind: bool,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When the store received its last heartbeat.
    pub seen_at: Timestamp,
    /// How long ago that was, in ms, by the store's clock.
    pub seen_ago_ms: u64,
    /// Whether that is longer ago than [`WORKER_STALE_AFTER`](crate::limits::WORKER_STALE_AFTER): the worker was killed, or cannot reach the store. Also if it is
    /// further in the future than that, because the store's clock was set back.
    pub stale: bool,
    /// The number of its executors.
    pub concurrency: u32,
    /// How many jobs ran in it at that heartbeat.
    pub running: u32,
    /// Whether its row cannot be read, because it has a newer version: then only `worker`, `seen_at`, `seen_ago_ms` and `stale` are known.
    pub unreadable: bool,
}

impl WorkerDetail {
    /// The worker as it is at this instant of the store's clock ([`StoreFacts::now_ms`](crate::store::StoreFacts::now_ms)), in ms since the Unix epoch.
    #[must_use]
    pub fn new(row: &WorkerRow, now_ms: u64) -> Self {
        let seen_ago_ms = now_ms.saturating_sub(row.seen_ms);
        Self {
            worker: row.instance.to_string(),
            host: row.host.clone(),
            pid: row.pid,
            version: row.version.clone(),
            build: row.build.clone(),
            queues: row.queues.clone(),
            kinds: row.kinds.clone(),
            kinds_total: row.kinds_total,
            every_kind: row.every_kind,
            started_at: Timestamp::from_ms(row.started_ms),
            seen_at: Timestamp::from_ms(row.seen_ms),
            seen_ago_ms,
            stale: row.is_stale(now_ms),
            concurrency: row.concurrency,
            running: row.running,
            unreadable: row.unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use retraced_jobs::job::InstanceId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_worker_is_stale_after_three_heartbeats_and_never_before() {
        // The last instants are those of a clock that was set back: a dead worker must not count as live until the clock has caught up.
        let mut row = WorkerRow::new(InstanceId::from(Uuid::from_u128(1)), 1_000);
        row.seen_ms = 50_000;
        for (now_ms, stale) in [(49_000, false), (80_000, false), (80_001, true), (20_000, false), (19_999, true)] {
            let worker = WorkerDetail::new(&row, now_ms);
            assert_eq!((worker.stale, worker.seen_ago_ms), (stale, now_ms.saturating_sub(50_000)), "{now_ms}");
        }
    }
}
