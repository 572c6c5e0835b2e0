//! Gives each call a replay slot and a number, so that the store can recognize a call that is sent again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CallId;
use crate::job::{CurrentInstance, InstanceId};
use crate::limits::REPLAY_SLOTS_MAX;
use crate::random::from_system;

/// The replay slots of one process instance. A slot has one open call at a time and numbers its calls. Cheap to clone; clones share the slots.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use retraced_jobs::{job::InstanceId, store::{ReplaySlot, ReplaySlots}};
/// let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 2);
/// let mut replay_slot: ReplaySlot = replay_slots.take().await;
/// let first = replay_slot.next_call();
/// assert_eq!(replay_slot.next_call().sequence, first.sequence + 1);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct ReplaySlots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    instance: CurrentInstance,
    free: Mutex<Free>,
    capacity: Arc<Semaphore>,
}

#[derive(Debug)]
struct Free {
    /// Numbers of the slots that were returned, with the last sequence of each, and whether all its calls were answered. The lowest number is taken first, so that a
    /// process with few calls at a time uses few slots: the store keeps an entry for every slot that was used for a queue.
    returned: BinaryHeap<Reverse<(u16, u64, bool)>>,
    /// The lowest number that was never taken.
    never_used: u16,
}

impl ReplaySlots {
    /// Makes `replay_slots_max` replay slots; 0 counts as 1, more than [`REPLAY_SLOTS_MAX`] as [`REPLAY_SLOTS_MAX`]. Each open call needs one; further callers
    /// wait.
    #[must_use]
    pub fn new(instance: impl Into<CurrentInstance>, replay_slots_max: u16) -> Self {
        Self(Arc::new(Inner {
            instance: instance.into(),
            free: Mutex::new(Free { returned: BinaryHeap::new(), never_used: 0 }),
            capacity: Arc::new(Semaphore::new(usize::from(replay_slots_max.clamp(1, REPLAY_SLOTS_MAX)))),
        }))
    }

    /// The process instance whose replay slots these are at present.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.0.instance.get()
    }

    /// The process instance, which can be replaced: the ids of later calls ([`ReplaySlot::next_call`]) then have the new one.
    #[must_use]
    pub fn current_instance(&self) -> &CurrentInstance {
        &self.0.instance
    }

    /// Takes a replay slot that no other caller uses; waits until one is free. The wait has no timeout.
    ///
    /// Drop the replay slot to return it, even if the outcome of its last call is unknown. The next call of the slot has a higher sequence. A queue that has kept the reply
    /// to that call refuses a late copy of an earlier one as [`Superseded`](super::StoreError::Superseded).
    pub async fn take(&self) -> ReplaySlot {
        // Never `None`, because the semaphore is never closed.
        let permit = self.0.capacity.clone().acquire_owned().await.ok();
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, sequence, answered) = if let Some(Reverse(replay_slot)) = free.returned.pop() {
            replay_slot
        } else {
            free.never_used += 1;
            (free.never_used - 1, 0, true)
        };
        drop(free);
        ReplaySlot { replay_slots: self.0.clone(), number, sequence, answered, open: false, _permit: permit }
    }
}

/// A replay slot that the caller holds until it drops it.
#[derive(Debug)]
pub struct ReplaySlot {
    replay_slots: Arc<Inner>,
    number: u16,
    sequence: u64,
    /// Whether every call was answered. A call that was given up may still reach its queue, and then only a kept reply to a later call refuses it. Later calls may go to other
    /// queues first, so this stays `false` for good.
    answered: bool,
    /// The last call was not answered yet.
    open: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ReplaySlot {
    /// The id of the next call. Send the call again under the same id until its outcome is known, then say so by [`answered`](Self::answered).
    pub fn next_call(&mut self) -> CallId {
        self.sequence += 1;
        self.answered &= !self.open;
        self.open = true;
        let (instance, sequence) = (self.replay_slots.instance.get(), self.sequence);
        CallId { instance, replay_slot: self.number, sequence, nonce: from_system(), first_sending: false }
    }

    /// Notes that the store has replied to the last call.
    pub fn answered(&mut self) {
        self.open = false;
    }

    /// Whether the store has replied to every call of this slot. Only then may the next call promise that it is the
    /// [`first_sending`](CallId::first_sending).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use retraced_jobs::{job::InstanceId, store::ReplaySlots};
    /// let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
    /// let mut replay_slot = replay_slots.take().await;
    /// assert!(replay_slot.is_answered());
    /// let call = replay_slot.next_call();
    /// assert!(!replay_slot.is_answered() && !call.first_sending);
    /// replay_slot.answered();
    /// assert!(replay_slot.is_answered());
    /// # });
    /// ```
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.answered && !self.open
    }
}

impl Drop for ReplaySlot {
    fn drop(&mut self) {
        let mut free = self.replay_slots.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.push(Reverse((self.number, self.sequence, self.answered && !self.open)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_lowest_free_replay_slot_is_taken_in_whatever_order_they_were_returned() {
        let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 8);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(replay_slots.take().await);
        }
        let used: Vec<_> = held.iter_mut().map(|replay_slot| replay_slot.next_call().replay_slot).collect();
        assert_eq!(used, [0, 1, 2, 3, 4, 5, 6, 7]);
        for index in [0, 6, 2, 0, 0, 0, 0, 0] {
            held.remove(index);
        }
        for sequence in 2..5 {
            let call = replay_slots.take().await.next_call();
            assert_eq!((call.replay_slot, call.sequence), (0, sequence));
        }
        let _first = replay_slots.take().await;
        assert_eq!(replay_slots.take().await.next_call().replay_slot, 1);
    }

    #[tokio::test]
    async fn a_returned_replay_slot_remembers_for_good_that_a_call_was_not_answered() {
        let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
        for (answered, all_answered) in [(true, true), (false, false), (true, false)] {
            let mut replay_slot = replay_slots.take().await;
            replay_slot.next_call();
            if answered {
                replay_slot.answered();
            }
            drop(replay_slot);
            assert_eq!(replay_slots.take().await.is_answered(), all_answered);
        }
    }
}
