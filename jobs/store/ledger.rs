//! The names of the queues, the stored supervision events and the rows of workers.

use super::future::StoreFuture;
use super::model::{Cursor, LedgerPage, WorkerRow};
use crate::events::SupervisionEvent;
use crate::job::{InstanceId, QueueName};

/// The names of the queues, the stored supervision events, and a row per worker. No transition reads or writes them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use retraced_jobs::job::{InstanceId, QueueName};
/// use retraced_jobs::store::memory::MemoryStore;
/// use retraced_jobs::store::{Admin, Ledger, LedgerPage, WorkerRow};
/// use retraced_jobs::events::{EventKind, SupervisionEvent};
///
/// let store = MemoryStore::new();
/// let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// let event = |path: &str, kind| SupervisionEvent::new(0, instance, path, 0, kind);
/// store.record(&[event("email", EventKind::Started), event("email", EventKind::Stopped)]).await.unwrap();
/// let LedgerPage { events, next, .. } = store.events(None, 1).await.unwrap();
/// assert_eq!(events[0].kind, EventKind::Stopped, "the latest first");
/// assert!(next.is_some());
///
/// store.announce(&[QueueName::new("email").unwrap()]).await.unwrap();
/// assert_eq!(store.queues().await.unwrap().len(), 1);
/// let rows: Vec<WorkerRow> = store.workers().await.unwrap();
/// assert!(rows.is_empty(), "no worker has sent a heartbeat");
/// # });
/// ```
pub trait Ledger: Send + Sync + 'static {
    /// Makes these queues known to [`Admin::queues`](crate::store::Admin::queues).
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;

    /// Appends supervision events, oldest first. The store keeps the latest, at most [`LEDGER_EVENTS_MAX`](crate::store::LEDGER_EVENTS_MAX) events and [`LEDGER_BYTES_MAX`](crate::store::LEDGER_BYTES_MAX) bytes, but always the last one.
    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()>;

    /// Supervision events, latest first, page by page. A `limit` of 0 counts as 1, one above [`BATCH_MAX`](crate::store::BATCH_MAX) as [`BATCH_MAX`](crate::store::BATCH_MAX).
    fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage>;

    /// Writes a worker's row. The store sets its [`seen_ms`](WorkerRow::seen_ms).
    fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()>;

    /// The rows of all workers whose last heartbeat is at most [`WORKER_ROW_AGE_MAX`](crate::store::WORKER_ROW_AGE_MAX) ago, also those that cannot be read ([`WorkerRow::unreadable`]), ordered by process instance.
    fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>>;

    /// Removes the row of a process instance that will never call again, and its replay slots in these queues.
    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;
}
