//! The lease keeper: renews our leases in batches, every third of a lease; the last to stop.
//!
//! Bounds: one round of renewals under way; a call carries at most [`BATCH_MAX`] leases. A renewal that was not answered is tried again as soon as the store is
//! back, not a third of a lease later.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::context::{LeaseWatch, Stop};
use retraced_jobs::job::Lease;
use retraced_jobs::store::{BATCH_MAX, Renewal, Renewed};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::errand::{self, Errand};
use crate::health::CALL_TIMEOUT;
use crate::house::{House, Room};

/// Renewals a lease: two may fail before it runs out.
pub const RENEWALS_PER_LEASE: u32 = 3;

/// What the lease keeper is told.
#[derive(Debug)]
pub(crate) enum LeaseKeeperMessage {
    /// It is time.
    Renew,
    /// A round has ended.
    Renewed { all_answered: bool },
}

/// The actor.
pub(crate) struct LeaseKeeper;

pub(crate) struct LeaseKeeperState {
    house: Arc<House>,
    round: Option<Errand>,
    timer: Option<Errand>,
}

impl Actor for LeaseKeeper {
    type Msg = LeaseKeeperMessage;
    type State = LeaseKeeperState;
    type Arguments = Arc<House>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        house: Arc<House>,
    ) -> Result<LeaseKeeperState, ActorProcessingErr> {
        // The keeper before may have ended just before its time.
        myself.cast(LeaseKeeperMessage::Renew)?;
        Ok(LeaseKeeperState { house, round: None, timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: LeaseKeeperMessage,
        state: &mut LeaseKeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LeaseKeeperMessage::Renew => state.renew(&myself),
            LeaseKeeperMessage::Renewed { all_answered } => state.renewed(&myself, all_answered),
        }
        Ok(())
    }
}

impl LeaseKeeperState {
    fn renew(&mut self, myself: &ActorRef<LeaseKeeperMessage>) {
        let house = self.house.clone();
        self.round = Some(errand::send_out(myself, async move {
            let answered = join_all(house.rooms.iter().map(|room| renew(&house, room))).await;
            let all_answered = answered.into_iter().all(|a| a);
            if !all_answered {
                house.health.wait_until_up().await;
            }
            LeaseKeeperMessage::Renewed { all_answered }
        }));
    }

    fn renewed(&mut self, myself: &ActorRef<LeaseKeeperMessage>, all_answered: bool) {
        self.round = None;
        let third = self.house.options.lease / RENEWALS_PER_LEASE;
        // Unanswered renewals wait for the store, not for their turn; a pause keeps a store that refuses from being flooded.
        let wait = if all_answered { third } else { third.min(Duration::from_millis(50)) };
        self.timer = Some(errand::send_out(myself, async move {
            tokio::time::sleep(wait).await;
            LeaseKeeperMessage::Renew
        }));
    }
}

/// Renews everything one queue holds. Gives whether the store answered.
async fn renew(house: &House, room: &Room) -> bool {
    let held = room.inflight.leases(house.instance);
    let mut all_answered = true;
    for slice in held.chunks(BATCH_MAX) {
        let leases: Vec<Lease> = slice.iter().map(|(lease, _)| lease.clone()).collect();
        let sent = Instant::now();
        let lease = house.options.lease;
        // A renewal that hangs must leave time for the next one.
        let limit = CALL_TIMEOUT.min(lease / RENEWALS_PER_LEASE);
        match house.health.attempt_within(limit, "renew", house.store.renew(&room.name, lease, &leases)).await {
            Ok(renewed) => apply(house, room, slice, renewed, sent + lease),
            // A refusal is an answer: asking again at once would not change it.
            Err(error) => all_answered &= !error.is_retryable(),
        }
    }
    all_answered
}

fn apply(house: &House, room: &Room, held: &[(Lease, Arc<LeaseWatch>)], renewed: Renewed, expires: Instant) {
    house.clock.observe(renewed.now_ms);
    for ((lease, watch), result) in held.iter().zip(renewed.results) {
        match result {
            Renewal::Kept { cancel_asked } => {
                watch.extend(expires);
                if cancel_asked {
                    watch.stop(Stop::Cancelled);
                }
            }
            Renewal::Stale if room.inflight.still_runs(lease) => {
                watch.lose();
                let (queue, job, attempt) = (room.name.clone(), lease.id.clone(), lease.token.attempt);
                house.events.emit("lease-keeper", 0, EventKind::LeaseLost { queue, job, attempt });
            }
            // Settled meanwhile, or about to be: the settlement finds out by itself.
            Renewal::Stale => {}
        }
    }
}
