//! The attempts kept of a job: its first and its latest ones.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec;
use crate::job::InstanceId;
use crate::trace::{AttemptRecord, StoredAttempt, UnreadableAttempt, evicted_by};

/// The attempts kept, by their numbers.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<u32, Entry>);

#[derive(Debug)]
struct Entry {
    settled_ms: u64,
    record: Record,
}

/// What is kept of one attempt, as in [`AttemptRecord`]. A record that a worker reported stays encoded until somebody reads the history.
#[derive(Debug)]
pub(super) enum Record {
    Reported(Bytes),
    Crashed { instance: InstanceId, lease_expired_ms: u64 },
    Lost { instance: InstanceId, lease_expired_ms: u64, watched: bool, in_a_row: u32 },
    Unclaimed { instance: InstanceId },
    Postponed { instance: InstanceId, due_ms: u64 },
}

impl History {
    /// Keeps the record of an attempt that ended, and evicts the older attempt whose place it takes. Call this for an attempt without a record too, because it
    /// evicts an older one all the same.
    pub(super) fn note(&mut self, attempt: u32, settled_ms: u64, record: Option<Record>) {
        if let Some(evicted) = evicted_by(attempt) {
            self.0.remove(&evicted);
        }
        if let Some(record) = record {
            self.0.insert(attempt, Entry { settled_ms, record });
        }
    }

    /// How many attempts in a row, up to this one, ended in [`Record::Lost`]: their leases expired before their handlers were known to have started.
    pub(super) fn losses_until(&self, attempt: u32) -> u32 {
        match self.0.get(&attempt) {
            Some(Entry { record: Record::Lost { in_a_row, .. }, .. }) => *in_a_row,
            _ => 0,
        }
    }

    /// The attempts kept, oldest first.
    pub(super) fn read(&self) -> impl DoubleEndedIterator<Item = StoredAttempt> {
        self.0.iter().map(|(&attempt, entry)| StoredAttempt {
            attempt,
            settled_ms: entry.settled_ms,
            record: entry.record.read(),
        })
    }
}

impl Record {
    fn read(&self) -> Result<AttemptRecord, UnreadableAttempt> {
        match self {
            Record::Reported(log) => codec::decode_attempt(log)
                .map(AttemptRecord::Reported)
                .map_err(|error| UnreadableAttempt { reason: error.to_string() }),
            &Record::Crashed { instance, lease_expired_ms } => {
                Ok(AttemptRecord::Crashed { instance, lease_expired_ms })
            }
            &Record::Lost { instance, lease_expired_ms, watched, in_a_row } => {
                Ok(AttemptRecord::Lost { instance, lease_expired_ms, watched, in_a_row })
            }
            &Record::Postponed { instance, due_ms } => Ok(AttemptRecord::Postponed { instance, due_ms }),
            &Record::Unclaimed { instance } => Ok(AttemptRecord::Unclaimed { instance }),
        }
    }
}
