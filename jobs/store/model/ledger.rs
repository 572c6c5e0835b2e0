//! The arguments and results of [`Ledger`](crate::store::Ledger).

use super::Cursor;
use crate::events::SupervisionEvent;
use crate::job::{InstanceId, Kind, QueueName};

/// A page of supervision events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LedgerPage {
    /// The events, latest first.
    pub events: Vec<SupervisionEvent>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}

/// What a worker reports about itself with each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct WorkerRow {
    /// The process instance.
    pub instance: InstanceId,
    /// The name of its host, for people.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Its version of ReTraced.
    pub version: String,
    /// The application's build, as the application names it, for people.
    #[serde(default)]
    pub build: String,
    /// The queues it processes.
    pub queues: Vec<QueueName>,
    /// The kinds of jobs with a handler of their own in one of these queues, sorted; at most the first [`WORKER_ROW_KINDS_MAX`](crate::store::WORKER_ROW_KINDS_MAX).
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// How many such kinds there are, including those that are not listed.
    #[serde(default)]
    pub kinds_total: u32,
    /// Whether one of its queues has a catch-all handler, for kinds without a handler of their own.
    #[serde(default)]
    pub every_kind: bool,
    /// When it started, in ms since the Unix epoch, by its own clock.
    pub started_ms: u64,
    /// Its last heartbeat, in ms since the Unix epoch, by the store's clock.
    pub seen_ms: u64,
    /// The sum of the concurrency of its queues.
    pub concurrency: u32,
    /// Jobs it was running at the last heartbeat.
    pub running: u32,
}

impl WorkerRow {
    /// The row of a worker that started at this instant, in ms since the Unix epoch. The other fields are empty: set those that you know.
    #[must_use]
    pub fn new(instance: InstanceId, started_ms: u64) -> Self {
        Self {
            instance,
            host: String::new(),
            pid: 0,
            version: String::new(),
            build: String::new(),
            queues: Vec::new(),
            kinds: Vec::new(),
            kinds_total: 0,
            every_kind: false,
            started_ms,
            seen_ms: 0,
            concurrency: 0,
            running: 0,
        }
    }
}
