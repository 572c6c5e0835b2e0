//! Shutdown, in order: stop claiming → let handlers finish → ask them to stop → kill, and hand back what is left → settle → stop the actors in reverse start
//! order, the lease keeper late, so that leases are renewed to the end.
//!
//! Nothing relies on `post_stop`: the end of a parent skips it, so the order is ours.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::house::House;
use crate::inflight::Inflight;
use crate::ledger;

/// How long the store may take to confirm the last outcomes; what it has not by then is found by the next worker when its lease runs out.
pub const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// How long a tree that has ended may take to say so to the store.
pub const LEAVE_MAX: Duration = Duration::from_secs(2);

/// How a shutdown went.
///
/// ```
/// use retraced_actors::Drained;
/// let Drained { running, killed, unsettled } = Drained { running: 3, killed: 1, unsettled: 0 };
/// assert_eq!(running - killed, 2, "handlers that had an end of their own");
/// # let _ = unsettled;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Jobs that ran when the shutdown began.
    pub running: usize,
    /// Of those, handlers that were killed; their jobs went back to the front of the queue, at no cost.
    pub killed: usize,
    /// Outcomes the store did not confirm in time; those jobs run again when their leases run out.
    pub unsettled: usize,
}

/// Empties the house, in at most `grace` + [`SETTLE_WAIT`].
pub(crate) async fn drain(house: &Arc<House>, grace: Duration) -> Drained {
    let mut drained = Drained::default();
    for room in &house.rooms {
        drained.running += room.inflight.running();
        room.door.close();
        room.inflight.close();
        room.flush();
    }
    let begun = Instant::now();
    let finish_by = begun + grace * 4 / 5;
    let stop_by = begun + grace;
    if !all_idle(house, finish_by).await {
        for room in &house.rooms {
            room.inflight.stop_running();
        }
        if !all_idle(house, stop_by).await {
            for room in &house.rooms {
                drained.killed += room.inflight.kill_running();
            }
        }
    }
    let settle_by = Instant::now() + SETTLE_WAIT;
    for room in &house.rooms {
        room.flush();
        room.inflight.wait_until(settle_by, Inflight::is_empty).await;
        drained.unsettled += room.inflight.unsettled();
        room.door.wait_until_empty(settle_by).await;
    }
    drained
}

/// Writes the last events and takes this worker's row and replay slots out of the store. Tried once, for at most [`LEAVE_MAX`], and not while the store is away.
pub(crate) async fn leave(house: &House) {
    if !house.health.is_up() {
        return;
    }
    let queues: Vec<_> = house.rooms.iter().map(|room| room.name.clone()).collect();
    let last_words = async {
        ledger::write(house, false).await;
        let _ = house.health.attempt("forget", house.store.forget(house.instance, &queues)).await;
    };
    // Past it the row stays until it is too old, which does no harm.
    let _ = tokio::time::timeout(LEAVE_MAX, last_words).await;
}

async fn all_idle(house: &House, deadline: Instant) -> bool {
    let mut idle = true;
    for room in &house.rooms {
        idle &= room.inflight.wait_until(deadline, |inflight| inflight.running() == 0).await;
    }
    idle
}
