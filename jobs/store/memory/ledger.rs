//! What is kept about the workers themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::FutureExt;

use super::{Contents, MemoryStore, bounded, ms, parse_cursor};
use crate::codec;
use crate::job::{InstanceId, QueueName};
use crate::store::{
    BATCH_MAX, Cursor, LEDGER_BYTES_MAX, LEDGER_EVENTS_MAX, Ledger, LedgerPage, StoreError, StoreFuture,
    WORKER_ROW_AGE_MAX, WorkerRow,
};
use crate::trace::SupervisionEvent;

/// What belongs to no single queue.
#[derive(Default)]
pub(super) struct GlobalRecords {
    announced: BTreeSet<QueueName>,
    /// The latest events, oldest first.
    events: VecDeque<Entry>,
    /// What the events take together, encoded.
    bytes: usize,
    /// How many events were dropped: the number of the oldest kept.
    events_dropped: u64,
    workers: BTreeMap<InstanceId, WorkerRow>,
}

struct Entry {
    event: SupervisionEvent,
    bytes: usize,
}

impl GlobalRecords {
    pub(super) fn queues(&self) -> Vec<QueueName> {
        self.announced.iter().cloned().collect()
    }

    fn record(&mut self, events: impl Iterator<Item = Entry>) {
        for entry in events {
            self.bytes += entry.bytes;
            self.events.push_back(entry);
        }
        while self.events.len() > LEDGER_EVENTS_MAX || (self.bytes > LEDGER_BYTES_MAX && self.events.len() > 1) {
            self.bytes -= self.events.pop_front().map_or(0, |entry| entry.bytes);
            self.events_dropped += 1;
        }
    }

    /// Events with a number below `from`, latest first.
    fn page(&self, from: Option<u64>, limit: usize) -> LedgerPage {
        let kept = self.events.len();
        let end = from.map_or(kept, |from| usize::try_from(from.saturating_sub(self.events_dropped)).unwrap_or(kept));
        let end = end.min(kept);
        let start = end.saturating_sub(limit);
        LedgerPage {
            events: self.events.range(start..end).rev().map(|entry| entry.event.clone()).collect(),
            next: (start > 0).then(|| Cursor((self.events_dropped + start as u64).to_string())),
        }
    }
}

impl Ledger for MemoryStore {
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        async {
            bounded("announce", queues.len())?;
            self.contents().global.announced.extend(queues.iter().cloned());
            Ok(())
        }
        .boxed()
    }

    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()> {
        async {
            bounded("record", events.len())?;
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
            workers.retain(|_, row| now.saturating_sub(row.seen_ms) <= ms(WORKER_ROW_AGE_MAX));
            Ok(workers.values().cloned().collect())
        }
        .boxed()
    }

    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        async move {
            bounded("forget", queues.len())?;
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
