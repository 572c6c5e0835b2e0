//! The arguments and results of [`Ledger`](crate::store::Ledger).

use super::Cursor;
use crate::events::SupervisionEvent;
use crate::job::{InstanceId, Kind, QueueName};
use crate::limits::WORKER_STALE_AFTER;
use crate::units::millis;

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
    /// Whether the row was written and cannot be read, because the worker has a newer version: then only `instance` and `seen_ms` are known.
    #[serde(skip)]
    pub unreadable: bool,
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
            unreadable: false,
        }
    }

    /// A row of this worker that cannot be read.
    #[must_use]
    pub fn unreadable(instance: InstanceId, seen_ms: u64) -> Self {
        Self { seen_ms, unreadable: true, ..Self::new(instance, 0) }
    }

    /// Whether its last heartbeat is more than [`WORKER_STALE_AFTER`] ago at this instant of the store's clock, in ms since the Unix epoch: the worker was killed, or
    /// cannot reach the store. A heartbeat that far in the future was written before the clock was set back, and makes it stale as well; a worker that lives writes
    /// the next one soon.
    #[must_use]
    pub fn is_stale(&self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.seen_ms) > millis(WORKER_STALE_AFTER)
    }

    /// Whether the worker processes this queue, as far as is known: one whose row cannot be read may process any.
    #[must_use]
    pub fn may_process(&self, queue: &QueueName) -> bool {
        self.unreadable || self.queues.contains(queue)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_worker_that_cannot_be_read_is_taken_for_one_without_queues_or_heartbeat() {
        let [mail, other] = ["mail", "other"].map(|name| QueueName::new(name).unwrap());
        let instance = InstanceId::from(uuid::Uuid::nil());
        let row = WorkerRow { queues: vec![mail.clone()], ..WorkerRow::new(instance, 0) };
        assert!(row.may_process(&mail) && !row.may_process(&other));
        let unreadable = WorkerRow::unreadable(instance, 7);
        assert!(unreadable.may_process(&other) && unreadable.seen_ms == 7);
    }
}
