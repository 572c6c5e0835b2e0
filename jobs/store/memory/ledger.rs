//! [`Ledger`] in memory: names of queues, supervision events and worker rows.

use futures_util::FutureExt;

use super::cursor::parse_cursor;
use super::records::Entry;
use super::store::{Contents, MemoryStore};
use crate::codec;
use crate::events::SupervisionEvent;
use crate::job::{InstanceId, QueueName};
use crate::store::batch::check_batch;
use crate::store::{BATCH_MAX, Cursor, Ledger, LedgerPage, StoreError, StoreFuture, WORKER_ROW_AGE_MAX, WorkerRow};
use crate::units::millis;

impl Ledger for MemoryStore {
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        async {
            check_batch("announce", queues.len())?;
            self.contents().global.announced_queues.extend(queues.iter().cloned());
            Ok(())
        }
        .boxed()
    }

    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()> {
        async {
            check_batch("record", events.len())?;
            let entry = |event: &SupervisionEvent| match codec::to_payload(event) {
                Ok(encoded) => Ok(Entry { event: event.clone(), bytes: encoded.len() }),
                Err(error) => Err(StoreError::Refused { operation: "record", reason: error.to_string() }),
            };
            let entries: Vec<Entry> = events.iter().map(entry).collect::<Result<_, _>>()?;
            self.contents().global.record(entries.into_iter());
            Ok(())
        }
        .boxed()
    }

    fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage> {
        async move {
            let from = parse_cursor("events", from, |text| text.parse().ok())?;
            Ok(self.contents().global.page(from, limit.clamp(1, BATCH_MAX)))
        }
        .boxed()
    }

    fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()> {
        async {
            let mut contents = self.contents();
            let row = WorkerRow { seen_ms: self.now(), ..row.clone() };
            contents.global.workers.insert(row.instance, row);
            Ok(())
        }
        .boxed()
    }

    fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>> {
        async {
            let mut contents = self.contents();
            let now = self.now();
            let workers = &mut contents.global.workers;
            workers.retain(|_, row| now.saturating_sub(row.seen_ms) <= millis(WORKER_ROW_AGE_MAX));
            Ok(workers.values().cloned().collect())
        }
        .boxed()
    }

    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        async move {
            check_batch("forget", queues.len())?;
            let mut contents = self.contents();
            let Contents { queues: kept, global } = &mut *contents;
            global.workers.remove(&instance);
            for queue in queues {
                if let Some(queue) = kept.get_mut(queue) {
                    queue.calls.forget(instance);
                }
            }
            Ok(())
        }
        .boxed()
    }
}
