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
/// for worker in operator.workers().await?.iter().map(WorkerDetail::from) {
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
    /// The number of its executors.
    pub concurrency: u32,
    /// How many jobs ran in it at that heartbeat.
    pub running: u32,
}

impl From<&WorkerRow> for WorkerDetail {
    fn from(row: &WorkerRow) -> Self {
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
            concurrency: row.concurrency,
            running: row.running,
        }
    }
}
