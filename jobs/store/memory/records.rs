//! Data of all queues: supervision events, worker rows, and the names of queues.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::events::SupervisionEvent;
use crate::job::{InstanceId, QueueName};
use crate::store::{Cursor, LEDGER_BYTES_MAX, LEDGER_EVENTS_MAX, LedgerPage, WorkerRow};

/// Data of all queues, behind the lock of the store.
#[derive(Default)]
pub(super) struct GlobalRecords {
    pub(super) announced_queues: BTreeSet<QueueName>,
    /// The latest events, oldest first.
    events: VecDeque<Entry>,
    /// The encoded size of the events kept, in bytes.
    bytes: usize,
    /// How many events were dropped. Events are numbered from 0, so this is the number of the oldest event kept.
    events_dropped: u64,
    pub(super) workers: BTreeMap<InstanceId, WorkerRow>,
}

/// An event and its encoded size, in bytes.
pub(super) struct Entry {
    pub(super) event: SupervisionEvent,
    pub(super) bytes: usize,
}

impl GlobalRecords {
    pub(super) fn queues(&self) -> Vec<QueueName> {
        self.announced_queues.iter().cloned().collect()
    }

    pub(super) fn record(&mut self, events: impl Iterator<Item = Entry>) {
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
    pub(super) fn page(&self, from: Option<u64>, limit: usize) -> LedgerPage {
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
