//! The last call of each replay slot and its reply, so that a call sent again gets this reply and changes nothing.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;

use crate::job::InstanceId;
use crate::limits::{REPLAY_SLOT_IDLE_MS, REPLAY_SLOTS_SWEPT_FROM};
use crate::store::content_hash::ContentHash;
use crate::store::{CallId, StoreError};

/// The last call of each replay slot. A slot is removed when its process instance is forgotten, or by a sweep when it was idle for [`REPLAY_SLOT_IDLE_MS`].
#[derive(Default)]
pub(super) struct LastCalls {
    replay_slots: HashMap<(InstanceId, u16), LastCall>,
    /// The number of replay slots at which idle ones are removed, but at least [`REPLAY_SLOTS_SWEPT_FROM`]. Each sweep sets it to twice the number of the slots that
    /// remained, so that sweeps become rare where many remain.
    sweep_at: usize,
}

struct LastCall {
    sequence: u64,
    verb: &'static str,
    content: ContentHash,
    at_ms: u64,
    reply: Box<dyn Any + Send>,
}

/// A call of a replay slot.
#[derive(Clone, Copy)]
pub(super) struct SlotCall {
    id: CallId,
    verb: &'static str,
    content: ContentHash,
}

impl SlotCall {
    pub(super) fn new(id: CallId, verb: &'static str, arguments: impl Hash) -> Self {
        Self { id, verb, content: ContentHash::of(id, arguments) }
    }

    pub(super) fn is_first_sending(&self) -> bool {
        self.id.first_sending
    }
}

/// Whether a call was applied before.
enum Lookup<T> {
    /// No: the queue has not seen this call or a later one of its replay slot.
    Never,
    /// Yes, with this reply.
    Again(T),
    /// The queue has seen a later call of the replay slot.
    Superseded,
    /// The id was used for another call: another nonce, verb or arguments.
    Other,
}

impl LastCalls {
    /// The reply that is kept to this call, or `None` if the call was not applied before, as far as the queue knows.
    pub(super) fn kept_reply<T: Clone + 'static>(&self, call: SlotCall) -> Result<Option<T>, StoreError> {
        match self.lookup(call) {
            Lookup::Never => Ok(None),
            Lookup::Again(reply) => Ok(Some(reply)),
            Lookup::Superseded => Err(StoreError::Superseded { operation: call.verb }),
            Lookup::Other => Err(StoreError::CallIdTaken { operation: call.verb }),
        }
    }

    fn lookup<T: Clone + 'static>(&self, SlotCall { id, verb, content }: SlotCall) -> Lookup<T> {
        let Some(last) = self.replay_slots.get(&(id.instance, id.replay_slot)) else { return Lookup::Never };
        match last.sequence.cmp(&id.sequence) {
            Ordering::Less => Lookup::Never,
            Ordering::Greater => Lookup::Superseded,
            Ordering::Equal if (last.verb, last.content) != (verb, content) => Lookup::Other,
            Ordering::Equal => {
                last.reply.downcast_ref().map_or(Lookup::Other, |reply: &T| Lookup::Again(reply.clone()))
            }
        }
    }

    pub(super) fn keep<T: Send + 'static>(&mut self, SlotCall { id, verb, content }: SlotCall, reply: T, now: u64) {
        let last = LastCall { sequence: id.sequence, verb, content, at_ms: now, reply: Box::new(reply) };
        self.replay_slots.insert((id.instance, id.replay_slot), last);
        if self.replay_slots.len() >= self.sweep_at.max(REPLAY_SLOTS_SWEPT_FROM) {
            self.replay_slots.retain(|_, last| last.at_ms.saturating_add(REPLAY_SLOT_IDLE_MS) >= now);
            self.sweep_at = 2 * self.replay_slots.len();
        }
    }

    pub(super) fn forget(&mut self, instance: InstanceId) {
        self.replay_slots.retain(|(of, _), _| *of != instance);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn replay_slots_idle_for_24_h_are_removed_and_others_are_not() {
        let id = |n: u128| CallId {
            instance: Uuid::from_u128(n).into(),
            replay_slot: 0,
            sequence: 1,
            nonce: [0; 8],
            first_sending: false,
        };
        let call = |n| SlotCall::new(id(n), "test", ());
        let mut calls = LastCalls::default();
        for n in 0..1_000 {
            calls.keep(call(n), n, 1);
        }
        assert!(matches!(calls.lookup::<u128>(call(0)), Lookup::Again(0)), "a reply is kept for 24 h");
        for n in 1_000..3_000 {
            calls.keep(call(n), n, 2 + REPLAY_SLOT_IDLE_MS);
        }
        assert!(calls.replay_slots.len() <= 2_000, "{} replay slots", calls.replay_slots.len());
        assert!(matches!(calls.lookup::<u128>(call(0)), Lookup::Never));
        assert!(matches!(calls.lookup::<u128>(call(1_000)), Lookup::Again(1_000)));
    }
}
