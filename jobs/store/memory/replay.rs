//! The last call of each replay slot and its reply, so that a call sent again gets this reply and changes nothing.

use std::any::Any;
use std::collections::HashMap;

use crate::job::InstanceId;
use crate::limits::{REPLAY_SLOT_IDLE_MS, REPLAY_SLOTS_SWEPT_FROM};
use crate::store::CallId;

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
    at_ms: u64,
    reply: Box<dyn Any + Send>,
}

/// Whether a call was applied before.
pub(super) enum Lookup<T> {
    /// No: the queue has not seen this call or a later one of its replay slot.
    Never,
    /// Yes, with this reply.
    Again(T),
    /// The queue has seen a later call of the replay slot.
    Superseded,
    /// The id was used for another verb: the reply kept has another type.
    OtherVerb,
}

impl LastCalls {
    pub(super) fn lookup<T: Clone + 'static>(&self, call: CallId) -> Lookup<T> {
        match self.replay_slots.get(&(call.instance, call.replay_slot)) {
            Some(last) if last.sequence > call.sequence => Lookup::Superseded,
            Some(last) if last.sequence == call.sequence => {
                last.reply.downcast_ref().map_or(Lookup::OtherVerb, |reply: &T| Lookup::Again(reply.clone()))
            }
            _ => Lookup::Never,
        }
    }

    pub(super) fn keep<T: Send + 'static>(&mut self, call: CallId, reply: T, now: u64) {
        let last = LastCall { sequence: call.sequence, at_ms: now, reply: Box::new(reply) };
        self.replay_slots.insert((call.instance, call.replay_slot), last);
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
        let call = |n: u128| CallId { instance: Uuid::from_u128(n).into(), replay_slot: 0, sequence: 1 };
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
