//! The identity of a call.

use std::hash::{Hash, Hasher};

use crate::job::InstanceId;
use crate::limits::REPLAY_SLOTS_MAX;

/// The identity of a call, by which the store recognizes a call that is sent again and does not apply it twice. [`ReplaySlot`](crate::store::ReplaySlot) makes it. An id
/// is used for one call only, with the same arguments in each sending. A store refuses another verb or other arguments under the same id
/// ([`StoreError::CallIdTaken`](crate::store::StoreError::CallIdTaken)).
/// Two sendings of a call have equal ids: [`first_sending`](Self::first_sending) is not compared.
/// Exhaustive: whoever makes a call id decides about every part.
#[derive(Debug, Clone, Copy)]
pub struct CallId {
    /// The process instance that calls.
    pub instance: InstanceId,
    /// The replay slot of the call; a slot has one open call at a time.
    pub replay_slot: u16,
    /// The number of the call in its replay slot, from 1 and growing; at most 2^48 − 1.
    pub sequence: u64,
    /// Random bytes of the call. By them a store tells two calls of the same sequence apart, even with the same arguments: a copy of this process's memory draws others.
    pub nonce: [u8; 8],
    /// A promise: this call was not sent before, every further sending of it says `false`, and no earlier call of its replay slot is still on its way to the store. A
    /// store then need not keep the reply to a call that changed nothing. `false` promises nothing and is never wrong; [`ReplaySlot::next_call`](crate::store::ReplaySlot::next_call)
    /// gives it.
    pub first_sending: bool,
}

impl PartialEq for CallId {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for CallId {}

impl Hash for CallId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl CallId {
    /// What all sendings of the call have in common.
    fn identity(self) -> (InstanceId, u16, u64, [u8; 8]) {
        (self.instance, self.replay_slot, self.sequence, self.nonce)
    }

    /// The id for the claim where `settle_and_claim` is made of two calls: the same sequence in the companion of the replay slot. Slot `n` and slot `n` + 32,768 are each
    /// other's companions; [`ReplaySlots`](crate::store::ReplaySlots) gives out only the lower ones.
    ///
    /// ```
    /// use retraced_jobs::job::InstanceId;
    /// use retraced_jobs::store::CallId;
    /// let call = CallId { instance: InstanceId::from(uuid::Uuid::from_u128(1)), replay_slot: 3, sequence: 7, nonce: *b"8 random", first_sending: false };
    /// assert_ne!(call.companion().replay_slot, 3);
    /// assert_eq!(call.companion().companion(), call);
    /// ```
    #[must_use]
    pub fn companion(self) -> Self {
        // The bound is the highest bit of a slot number, which is set in the companions only.
        Self { replay_slot: self.replay_slot ^ REPLAY_SLOTS_MAX, ..self }
    }
}
