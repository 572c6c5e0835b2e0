//! The last call of each lane and its reply, so that a call sent again has no second effect.

use std::any::Any;
use std::collections::HashMap;

use crate::job::Incarnation;
use crate::store::CallId;

/// One entry a lane, kept until its incarnation is forgotten.
#[derive(Default)]
pub(super) struct LastCalls(HashMap<(Incarnation, u16), LastCall>);

struct LastCall {
    sequence: u64,
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
        match self.0.get(&(call.incarnation, call.lane)) {
            Some(last) if last.sequence > call.sequence => Seen::Later,
            Some(last) if last.sequence == call.sequence => {
                last.reply.downcast_ref().map_or(Seen::Other, |reply: &T| Seen::Again(reply.clone()))
            }
            _ => Seen::Never,
        }
    }

    pub(super) fn keep<T: Send + 'static>(&mut self, call: CallId, reply: T) {
        self.0.insert((call.incarnation, call.lane), LastCall { sequence: call.sequence, reply: Box::new(reply) });
    }

    pub(super) fn forget(&mut self, incarnation: Incarnation) {
        self.0.retain(|(whose, _), _| *whose != incarnation);
    }
}
