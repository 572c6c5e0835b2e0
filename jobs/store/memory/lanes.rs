//! The last call of each lane and its reply, so that a call sent again has no second effect.

use std::any::Any;
use std::collections::HashMap;

use crate::job::Incarnation;
use crate::store::CallId;

/// How long a silent lane is kept: a call is not sent again after so long.
const SILENT_MS: u64 = 24 * 60 * 60 * 1000;
/// Lanes from which on silent ones are looked for.
const LANES_MANY: usize = 256;

/// One entry a lane, kept until its incarnation is forgotten or it was silent for a day.
#[derive(Default)]
pub(super) struct LastCalls {
    lanes: HashMap<(Incarnation, u16), LastCall>,
    /// With so many lanes silent ones are looked for: twice as many as were left the last time, so that each new lane costs little.
    sweep_at: usize,
}

struct LastCall {
    sequence: u64,
    at_ms: u64,
    reply: Box<dyn Any + Send>,
}

/// Whether a call was seen before.
pub(super) enum Seen<T> {
    /// No: it is the latest of its lane.
    Never,
    /// Yes, and this was the reply.
    Again(T),
    /// A later call of its lane was seen.
    Later,
    /// Its number was used for another verb.
    Other,
}

impl LastCalls {
    pub(super) fn look<T: Clone + 'static>(&self, call: CallId) -> Seen<T> {
        match self.lanes.get(&(call.incarnation, call.lane)) {
            Some(last) if last.sequence > call.sequence => Seen::Later,
            Some(last) if last.sequence == call.sequence => {
                last.reply.downcast_ref().map_or(Seen::Other, |reply: &T| Seen::Again(reply.clone()))
            }
            _ => Seen::Never,
        }
    }

    pub(super) fn keep<T: Send + 'static>(&mut self, call: CallId, reply: T, now: u64) {
        let last = LastCall { sequence: call.sequence, at_ms: now, reply: Box::new(reply) };
        self.lanes.insert((call.incarnation, call.lane), last);
        if self.lanes.len() >= self.sweep_at.max(LANES_MANY) {
            self.lanes.retain(|_, last| last.at_ms.saturating_add(SILENT_MS) >= now);
            self.sweep_at = 2 * self.lanes.len();
        }
    }

    pub(super) fn forget(&mut self, incarnation: Incarnation) {
        self.lanes.retain(|(whose, _), _| *whose != incarnation);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn lanes_of_those_who_died_are_forgotten_after_a_day_and_others_are_not() {
        let call = |n: u128| CallId { incarnation: Uuid::from_u128(n).into(), lane: 0, sequence: 1 };
        let mut calls = LastCalls::default();
        for n in 0..1_000 {
            calls.keep(call(n), n, 1);
        }
        assert!(matches!(calls.look::<u128>(call(0)), Seen::Again(0)), "a reply is kept for a day");
        for n in 1_000..3_000 {
            calls.keep(call(n), n, 2 + SILENT_MS);
        }
        assert!(calls.lanes.len() <= 2_000, "{} lanes", calls.lanes.len());
        assert!(matches!(calls.look::<u128>(call(0)), Seen::Never));
        assert!(matches!(calls.look::<u128>(call(1_000)), Seen::Again(1_000)));
    }
}
