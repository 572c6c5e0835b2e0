//! The store link: while the store is away it asks for a sign of life, with backoff, so that nobody else has to; and it listens for hints.
//!
//! Bounds: one probe at a time, [`PROBE_DELAY_MIN`] to [`PROBE_DELAY_MAX`] apart; one subscription a process.

use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::store::Hint;

use crate::errand::{self, Errand};
use crate::health::REFUSED_WAIT;
use crate::house::House;

/// Delay before the first probe of an outage.
pub const PROBE_DELAY_MIN: Duration = Duration::from_millis(50);
/// Longest delay between two probes: what an outage costs beyond its length, at most.
pub const PROBE_DELAY_MAX: Duration = Duration::from_secs(1);

/// What the store link is told.
#[derive(Debug)]
pub(crate) enum StoreLinkMessage {
    /// Somebody's call was not answered.
    Lost,
    /// A probe has ended.
    Probed { answered: bool },
}

/// The actor.
pub(crate) struct StoreLink;

pub(crate) struct StoreLinkState {
    house: Arc<House>,
    backoff: backoff::ExponentialBackoff,
    probe: Option<Errand>,
    _hints: Errand,
}

impl Actor for StoreLink {
    type Msg = StoreLinkMessage;
    type State = StoreLinkState;
    type Arguments = Arc<House>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        house: Arc<House>,
    ) -> Result<StoreLinkState, ActorProcessingErr> {
        house.health.link().fill(&myself);
        let hints = errand::send_out(&myself, listen(house.clone()));
        if !house.health.is_up() {
            myself.cast(StoreLinkMessage::Lost)?;
        }
        Ok(StoreLinkState { house, backoff: probes(), probe: None, _hints: hints })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: StoreLinkMessage,
        state: &mut StoreLinkState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StoreLinkMessage::Lost => state.probe_unless_probing(&myself),
            StoreLinkMessage::Probed { answered } => state.probed(&myself, answered),
        }
        Ok(())
    }
}

impl StoreLinkState {
    fn probe_unless_probing(&mut self, myself: &ActorRef<StoreLinkMessage>) {
        if self.probe.is_some() || self.house.health.is_up() {
            return;
        }
        let delay = self.backoff.next_backoff().unwrap_or(PROBE_DELAY_MAX);
        let house = self.house.clone();
        self.probe = Some(errand::send_out(myself, async move {
            tokio::time::sleep(delay).await;
            StoreLinkMessage::Probed { answered: house.health.attempt("probe", house.store.probe()).await.is_ok() }
        }));
    }

    fn probed(&mut self, myself: &ActorRef<StoreLinkMessage>, answered: bool) {
        self.probe = None;
        if answered {
            self.backoff.reset();
        } else {
            self.probe_unless_probing(myself);
        }
    }
}

/// Not jittered: one process probes, and what matters is that it is soon.
fn probes() -> backoff::ExponentialBackoff {
    backoff::ExponentialBackoff {
        current_interval: PROBE_DELAY_MIN,
        initial_interval: PROBE_DELAY_MIN,
        max_interval: PROBE_DELAY_MAX,
        multiplier: 2.0,
        randomization_factor: 0.0,
        max_elapsed_time: None,
        ..backoff::ExponentialBackoff::default()
    }
}

/// Passes hints on, for as long as there is a subscription, and subscribes anew when it is lost.
async fn listen(house: Arc<House>) -> StoreLinkMessage {
    let queues: Vec<_> = house.rooms.iter().map(|room| room.name.clone()).collect();
    loop {
        match house.health.attempt("hints", house.store.hints(&queues)).await {
            Ok(hints) => {
                pass_all_on(&house, hints).await;
                tokio::time::sleep(PROBE_DELAY_MIN).await;
            }
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(PROBE_DELAY_MIN).await;
                house.health.wait_until_up().await;
            }
            // Polls find the work meanwhile.
            Err(_) => tokio::time::sleep(REFUSED_WAIT).await,
        }
    }
}

async fn pass_all_on(house: &House, mut hints: BoxStream<'static, Hint>) {
    house.hints_arrive(true);
    // What came while nobody listened is looked up.
    for room in &house.rooms {
        pass_on(house, Hint::Pending(room.name.clone()));
        pass_on(house, Hint::Due(room.name.clone()));
    }
    while let Some(hint) = hints.next().await {
        pass_on(house, hint);
    }
    house.hints_arrive(false);
}

fn pass_on(house: &House, hint: Hint) {
    match hint {
        Hint::Pending(queue) => {
            if let Some(room) = house.room(&queue) {
                room.work_may_wait();
            }
        }
        Hint::Due(queue) => {
            if let Some(room) = house.room(&queue) {
                room.looks.within(Duration::ZERO);
                house.scheduler_look();
            }
        }
        Hint::Cancel(queue, id) => {
            if let Some(room) = house.room(&queue) {
                room.inflight.cancel(&id);
            }
        }
        // A store may hint at more than we know.
        _ => {}
    }
}
