//! Handing out lanes: one open call each, and a number that only grows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CallId;
use crate::job::Incarnation;

/// The lanes of one process. Cheap to clone; clones share them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use retraced_jobs::{job::Incarnation, store::{Lane, Lanes}};
/// let lanes = Lanes::new(Incarnation::from(uuid::Uuid::from_u128(1)), 2);
/// let mut lane: Lane = lanes.take().await;
/// let first = lane.next_call();
/// assert_eq!(lane.next_call().sequence, first.sequence + 1);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Lanes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    incarnation: Incarnation,
    free: Mutex<Free>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Free {
    /// Lanes handed back, with the last sequence each used. The lowest is taken first: a store remembers each lane that a queue has seen, so
    /// few calls at once should need few lanes.
    returned: BinaryHeap<Reverse<(u16, u64)>>,
    never_used: u16,
}

impl Lanes {
    /// `lanes_max` lanes, at least one: as many calls may be open at once; further callers wait.
    #[must_use]
    pub fn new(incarnation: Incarnation, lanes_max: u16) -> Self {
        Self(Arc::new(Inner {
            incarnation,
            free: Mutex::new(Free { returned: BinaryHeap::new(), never_used: 0 }),
            room: Arc::new(Semaphore::new(usize::from(lanes_max.max(1)))),
        }))
    }

    /// Whose lanes these are.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// A lane nobody else uses; waits until one is free. Put the wait under a timeout.
    ///
    /// Dropping the lane hands it back, also when the outcome of its last call is unknown: its next call has a higher number, so a late copy of the old one is
    /// [`Superseded`](super::StoreError::Superseded).
    pub async fn take(&self) -> Lane {
        // The semaphore is never closed, so a permit always comes.
        let permit = self.0.room.clone().acquire_owned().await.ok();
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, sequence) = if let Some(Reverse(lane)) = free.returned.pop() {
            lane
        } else {
            free.never_used += 1;
            (free.never_used - 1, 0)
        };
        drop(free);
        Lane { lanes: self.0.clone(), number, sequence, _permit: permit }
    }
}

/// One lane, held.
///
/// Used in the example of [`Lanes`].
#[derive(Debug)]
pub struct Lane {
    lanes: Arc<Inner>,
    number: u16,
    sequence: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lane {
    /// The id of the lane's next call. Ask for it once a call, and send the call again under the same id until its outcome is known.
    pub fn next_call(&mut self) -> CallId {
        self.sequence += 1;
        CallId { incarnation: self.lanes.incarnation, lane: self.number, sequence: self.sequence }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut free = self.lanes.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.push(Reverse((self.number, self.sequence)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn few_calls_at_once_need_few_lanes_in_whatever_order_many_came_back() {
        let lanes = Lanes::new(Incarnation::from(uuid::Uuid::from_u128(1)), 8);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(lanes.take().await);
        }
        let used: Vec<_> = held.iter_mut().map(|lane| lane.next_call().lane).collect();
        assert_eq!(used, [0, 1, 2, 3, 4, 5, 6, 7]);
        for back in [0, 6, 2, 0, 0, 0, 0, 0] {
            held.remove(back);
        }
        for sequence in 2..5 {
            let call = lanes.take().await.next_call();
            assert_eq!((call.lane, call.sequence), (0, sequence));
        }
        let _first = lanes.take().await;
        assert_eq!(lanes.take().await.next_call().lane, 1);
    }
}
