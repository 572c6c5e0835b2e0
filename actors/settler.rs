//! The settler: hands outcomes to the store in batches until the store confirms, and takes new leases along in the same call.
//!
//! Bounds: [`SETTLE_CYCLES_MAX`] calls under way, each of at most [`BATCH_MAX`](retraced_jobs::store::BATCH_MAX) outcomes. The first cycle
//! takes what there is; a further one is opened only for [`CYCLE_BATCH_MIN`] outcomes or more, so that load makes batches and no timer does.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::store::{Claims, Settled};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::house::{Dice, House, Room};
use crate::inflight::{OpenClaim, Settling};
use crate::watchdog::WATCH_MAX;

/// Settlements under way at a time.
pub const SETTLE_CYCLES_MAX: usize = 4;
/// Outcomes that must have gathered before a second, third or fourth cycle is opened.
pub const CYCLE_BATCH_MIN: usize = 32;

/// What the settler is told.
#[derive(Debug)]
pub(crate) enum SettlerMessage {
    /// Attempts have ended, or a cycle has.
    Flush,
}

/// The actor.
pub(crate) struct Settler;

pub(crate) struct SettlerState {
    house: Arc<House>,
    room: Arc<Room>,
}

impl Actor for Settler {
    type Msg = SettlerMessage;
    type State = SettlerState;
    type Arguments = (Arc<House>, Arc<Room>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (house, room): Self::Arguments,
    ) -> Result<SettlerState, ActorProcessingErr> {
        room.settler.fill(&myself);
        // The settler before may have been told and not have looked.
        myself.cast(SettlerMessage::Flush)?;
        Ok(SettlerState { house, room })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        SettlerMessage::Flush: SettlerMessage,
        state: &mut SettlerState,
    ) -> Result<(), ActorProcessingErr> {
        state.room.flush_seen();
        while state.open_cycle() {}
        Ok(())
    }
}

impl SettlerState {
    fn open_cycle(&self) -> bool {
        let Ok(cycle) = self.room.settle_cycles.clone().try_acquire_owned() else { return false };
        let first = self.room.settle_cycles.available_permits() + 1 == SETTLE_CYCLES_MAX;
        let least = if first { 1 } else { CYCLE_BATCH_MIN };
        let Some(settling) = self.room.inflight.take_finished(least) else { return false };
        let (house, room) = (self.house.clone(), self.room.clone());
        tokio::spawn(async move {
            let open = room.inflight.open_claim();
            settle(&house, &room, settling, open).await;
            drop(cycle);
            room.flush();
        });
        true
    }
}

/// Sends one batch until it is answered. The task that awaits this owns the outcome, whoever has ended meanwhile.
async fn settle(house: &House, room: &Room, settling: Settling, mut open: Option<OpenClaim>) {
    let mut replay_slot = house.replay_slots.take().await;
    let call = replay_slot.next_call();
    let sent = Instant::now();
    let answer = match &mut open {
        Some(claim) => {
            let request = claim.request(house.options.lease, Dice::nonce());
            let turn = || house.store.settle_and_claim(call, &room.name, &settling.settlements, &request);
            house.health.until_known("settle_and_claim", turn).await
        }
        None => {
            let settle = || house.store.settle(call, &room.name, &settling.settlements);
            let settled = house.health.until_known("settle", settle).await;
            settled.map(|result| result.map(|settled| (settled, Claims::default())))
        }
    };
    match answer {
        Some(Ok((settled, claims))) => {
            confirm(house, room, settling, &settled);
            if let Some(open) = open {
                house.clock.observe(claims.now_ms);
                room.granted(open, claims, sent + house.options.lease);
            }
        }
        // Held until the store takes it: the outcome goes back to the table when `settling` is dropped.
        Some(Err(_)) => {
            drop(open);
            house.health.wait_after_refusal().await;
        }
        None => {}
    }
}

/// Settles all a closed queue holds, claims still under way included, until nothing is left or the queue has opened again.
pub(crate) async fn settle_what_is_left(house: &House, room: &Room) {
    while room.inflight.until_returned_unattended().await {
        if let Some(settling) = room.inflight.take_finished(1) {
            settle(house, room, settling, None).await;
        }
    }
}

fn confirm(house: &House, room: &Room, settling: Settling, settled: &[Settled]) {
    room.trims.within(WATCH_MAX);
    for stale in settling.confirm(settled) {
        let (queue, job, attempt) = (room.name.clone(), stale.id, stale.token.attempt);
        house.events.emit(room.name.as_str(), 0, EventKind::StaleSettlement { queue, job, attempt });
    }
}
