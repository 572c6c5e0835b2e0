//! The retry scheduler: promotes what is due from the delayed sets of all queues.
//!
//! It looks at a queue when the next due instant it knows of has come, or a job that became the earliest has sent a hint; at the latest
//! after [`LOOK_QUIET_MAX`] while hints arrive, and [`LOOK_MAX`] while they do not. The fetcher's claims tell the same of a queue in which
//! nothing is pending, so a quiet queue is asked once. Bounds: one promotion under way, of [`PROMOTE_MAX`] jobs a call, so that a flood of
//! due jobs moves in slices.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::store::BATCH_MAX;

use crate::errand::{self, Errand};
use crate::fetcher::POLL_MAX;
use crate::house::{House, Room};

/// Longest sleep while no hints arrive: how late a delayed job may be noticed then.
pub const LOOK_MAX: Duration = Duration::from_secs(1);
/// Longest sleep while hints arrive: how late a delayed job may be noticed when one is lost all the same. No shorter than the fetcher's
/// polls, which put it off.
pub const LOOK_QUIET_MAX: Duration = POLL_MAX;
/// Jobs promoted in one call.
pub const PROMOTE_MAX: usize = BATCH_MAX;
/// Shortest sleep: the grain of due instants. Less would ask twice for the same.
pub(crate) const LOOK_MIN: Duration = Duration::from_millis(1);

/// What the retry scheduler is told.
#[derive(Debug)]
pub(crate) enum RetrySchedulerMessage {
    /// Something may be due.
    Look,
    /// A look has ended; look again after this.
    Looked { next: Duration },
}

/// The actor.
pub(crate) struct RetryScheduler;

pub(crate) struct RetrySchedulerState {
    house: Arc<House>,
    looking: Option<Errand>,
    /// A look was asked for while one was under way.
    again: bool,
    timer: Option<Errand>,
}

impl Actor for RetryScheduler {
    type Msg = RetrySchedulerMessage;
    type State = RetrySchedulerState;
    type Arguments = Arc<House>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        house: Arc<House>,
    ) -> Result<RetrySchedulerState, ActorProcessingErr> {
        house.scheduler.fill(&myself);
        myself.cast(RetrySchedulerMessage::Look)?;
        Ok(RetrySchedulerState { house, looking: None, again: false, timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: RetrySchedulerMessage,
        state: &mut RetrySchedulerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RetrySchedulerMessage::Look => state.look(&myself),
            RetrySchedulerMessage::Looked { next } => state.looked(&myself, next),
        }
        Ok(())
    }
}

impl RetrySchedulerState {
    fn look(&mut self, myself: &ActorRef<RetrySchedulerMessage>) {
        if self.looking.is_some() {
            self.again = true;
            return;
        }
        let house = self.house.clone();
        self.looking = Some(errand::send_out(myself, async move {
            join_all(house.rooms.iter().filter(|room| room.looks.is_due()).map(|room| promote(&house, room))).await;
            let nexts = house.rooms.iter().map(|room| room.looks.remaining());
            RetrySchedulerMessage::Looked { next: nexts.min().unwrap_or(LOOK_MAX) }
        }));
    }

    fn looked(&mut self, myself: &ActorRef<RetrySchedulerMessage>, next: Duration) {
        self.looking = None;
        if std::mem::take(&mut self.again) {
            return self.look(myself);
        }
        self.timer = Some(errand::send_out(myself, async move {
            tokio::time::sleep(next).await;
            RetrySchedulerMessage::Look
        }));
    }
}

/// Promotes all that is due in one queue.
async fn promote(house: &House, room: &Room) {
    loop {
        room.looks.look();
        let mut replay_slot = house.replay_slots.take().await;
        let call = replay_slot.next_call();
        let promoted = house.health.until_known("promote", || house.store.promote(call, &room.name, PROMOTE_MAX)).await;
        let Some(Ok(promoted)) = promoted else { return room.looks.again_in(LOOK_MAX) };
        if promoted.moved > 0 {
            room.work_may_wait();
        }
        if promoted.moved < PROMOTE_MAX {
            let longest = if house.hints_alive() { LOOK_QUIET_MAX } else { LOOK_MAX };
            let next = promoted.next_due.unwrap_or(longest);
            return room.looks.again_in(next.clamp(LOOK_MIN, longest));
        }
    }
}
