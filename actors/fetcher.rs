//! The fetcher: claims leases for the credits there are, when nothing else does.
//!
//! While jobs finish, claims travel with their settlements (see [`settler`](crate::settler)); the fetcher asks at the start, after hints, when executors are
//! idle, and at a jittered poll. Bounds: [`CLAIM_CYCLES_MAX`] calls under way; each for at most the credits.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::store::Quiet;
use tokio::time::Instant;

use crate::errand::{self, Errand};
use crate::house::{Dice, House, Room};
use crate::inflight::{Granted, OpenClaim};

/// Claims under way that are not part of a settlement.
pub const CLAIM_CYCLES_MAX: usize = 1;
/// First poll of an idle fetcher, and every poll while there are no hints.
pub const POLL_MIN: Duration = Duration::from_secs(1);
/// Slowest poll of an idle fetcher, while hints arrive: how long a job may wait whose hint is lost all the same.
pub const POLL_MAX: Duration = Duration::from_secs(6);

/// What the fetcher is told.
#[derive(Debug)]
pub(crate) enum FetcherMessage {
    /// There may be something to claim: a hint, an idle executor, or the poll.
    Poll,
    /// A claim of ours has ended.
    Claimed(Granted),
}

/// The actor.
pub(crate) struct Fetcher;

pub(crate) struct FetcherState {
    house: Arc<House>,
    room: Arc<Room>,
    interval: Duration,
    /// A poll was asked for while a claim was under way.
    again: bool,
    timer: Option<Errand>,
}

impl Actor for Fetcher {
    type Msg = FetcherMessage;
    type State = FetcherState;
    type Arguments = (Arc<House>, Arc<Room>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (house, room): Self::Arguments,
    ) -> Result<FetcherState, ActorProcessingErr> {
        room.fetcher.fill(&myself);
        myself.cast(FetcherMessage::Poll)?;
        Ok(FetcherState { house, room, interval: POLL_MIN, again: false, timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: FetcherMessage,
        state: &mut FetcherState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            FetcherMessage::Poll => state.poll(&myself),
            FetcherMessage::Claimed(granted) => state.claimed(&myself, granted),
        }
        Ok(())
    }
}

impl FetcherState {
    fn poll(&mut self, myself: &ActorRef<FetcherMessage>) {
        let Ok(cycle) = self.room.claim_cycles.clone().try_acquire_owned() else {
            self.again = true;
            return;
        };
        if let Some(open) = self.room.inflight.open_claim() {
            let (house, room) = (self.house.clone(), self.room.clone());
            tokio::spawn(async move {
                let granted = claim(&house, &room, open).await;
                drop(cycle);
                room.fetcher.tell(FetcherMessage::Claimed(granted));
            });
        }
        self.poll_later(myself);
    }

    fn claimed(&mut self, myself: &ActorRef<FetcherMessage>, granted: Granted) {
        self.interval = match granted.jobs {
            0 if self.house.hints_alive() => (self.interval * 2).min(POLL_MAX),
            _ => POLL_MIN,
        };
        if std::mem::take(&mut self.again) || !granted.dry {
            self.poll(myself);
        } else {
            self.poll_later(myself);
        }
    }

    fn poll_later(&mut self, myself: &ActorRef<FetcherMessage>) {
        let wait = self.house.dice.spread(self.interval);
        self.timer = Some(errand::send_out(myself, async move {
            tokio::time::sleep(wait).await;
            FetcherMessage::Poll
        }));
    }
}

/// Sends one claim until it is answered. The task that awaits this owns the reply, whoever has ended meanwhile.
async fn claim(house: &House, room: &Room, mut open: OpenClaim) -> Granted {
    const NOTHING: Granted = Granted { jobs: 0, dry: true, hinted: false };
    let mut replay_slot = house.replay_slots.take().await;
    let call = replay_slot.next_call();
    let request = open.request(house.options.lease, Dice::nonce());
    let sent = Instant::now();
    let reply = house.health.until_known("claim", || house.store.claim(call, &room.name, &request)).await;
    match reply {
        Some(Ok(claims)) => {
            house.clock.observe(claims.now_ms);
            if let Some(Quiet { next_due, .. }) = claims.quiet {
                house.seen_delayed(room, sent, next_due);
            }
            room.granted(open, claims, sent + house.options.lease)
        }
        Some(Err(_)) => {
            drop(open);
            house.health.wait_after_refusal().await;
            NOTHING
        }
        None => NOTHING,
    }
}
