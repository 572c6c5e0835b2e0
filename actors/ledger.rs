//! The ledger: keeps supervision events in the store, and this worker's row.
//!
//! Events are logged and broadcast where they happen ; here they are only kept. Bounds: one write under way, of at most
//! [`EVENTS_A_WRITE_MAX`] events, every [`WRITE_EVERY`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::handler::Handlers;
use retraced_jobs::job::Kind;
use retraced_jobs::store::{WORKER_ROW_KINDS_MAX, WorkerRow};
use tokio::time::Instant;

use crate::errand::{self, Errand};
use crate::house::House;

/// How often events are written.
pub const WRITE_EVERY: Duration = Duration::from_millis(500);
/// Events in one write.
pub const EVENTS_A_WRITE_MAX: usize = 200;
/// How often the worker's row is written, and its queues are announced again.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// What the ledger is told.
#[derive(Debug)]
pub(crate) enum LedgerMessage {
    /// It is time.
    Write,
}

/// The actor.
pub(crate) struct LedgerActor;

pub(crate) struct LedgerState {
    house: Arc<House>,
    beat_at: Instant,
    writing: Option<Errand>,
}

impl Actor for LedgerActor {
    type Msg = LedgerMessage;
    type State = LedgerState;
    type Arguments = Arc<House>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        house: Arc<House>,
    ) -> Result<LedgerState, ActorProcessingErr> {
        myself.cast(LedgerMessage::Write)?;
        Ok(LedgerState { house, beat_at: Instant::now(), writing: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        LedgerMessage::Write: LedgerMessage,
        state: &mut LedgerState,
    ) -> Result<(), ActorProcessingErr> {
        let beat = Instant::now() >= state.beat_at;
        if beat {
            state.beat_at = Instant::now() + HEARTBEAT_EVERY;
        }
        let house = state.house.clone();
        state.writing = Some(errand::send_out(&myself, async move {
            if house.health.is_up() {
                write(&house, beat).await;
            }
            tokio::time::sleep(WRITE_EVERY).await;
            LedgerMessage::Write
        }));
        Ok(())
    }
}

/// Writes what waits to be kept. Tried once: what fails waits for the next time.
pub(crate) async fn write(house: &House, beat: bool) {
    if beat {
        let queues: Vec<_> = house.rooms.iter().map(|room| room.name.clone()).collect();
        let _ = house.health.attempt("announce", house.store.announce(&queues)).await;
        let _ = house.health.attempt("heartbeat", house.store.heartbeat(&row(house))).await;
    }
    let dropped = house.events.take_dropped();
    if dropped > 0 {
        tracing::warn!(target: "retraced::supervision", dropped, "the store was away too long to keep all supervision events");
    }
    loop {
        let events = Unwritten::take(house);
        if events.taken.is_empty() {
            return;
        }
        if house.health.attempt("record", house.store.record(&events.taken)).await.is_err() {
            return;
        }
        events.written();
    }
}

fn row(house: &House) -> WorkerRow {
    let concurrency: usize = house.rooms.iter().map(|room| room.options.concurrency).sum();
    let running: usize = house.rooms.iter().map(|room| room.inflight.running()).sum();
    let handlers = || house.rooms.iter().map(|room| room.runner.handlers());
    let kinds: BTreeSet<&str> = handlers().flat_map(Handlers::kinds).collect();
    let mut row = WorkerRow::new(house.instance, house.started_ms);
    row.host = house.options.host.clone();
    row.pid = std::process::id();
    row.version = env!("CARGO_PKG_VERSION").into();
    row.build = house.options.build.clone();
    row.queues = house.rooms.iter().map(|room| room.name.clone()).collect();
    row.kinds = kinds.iter().filter_map(|kind| Kind::new(*kind).ok()).take(WORKER_ROW_KINDS_MAX).collect();
    row.kinds_total = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
    row.every_kind = handlers().any(Handlers::has_any);
    row.seen_ms = house.clock.now_ms();
    row.concurrency = u32::try_from(concurrency).unwrap_or(u32::MAX);
    row.running = u32::try_from(running).unwrap_or(u32::MAX);
    row
}

/// Events on their way to the store; given back unless written, also when the ledger ends meanwhile.
struct Unwritten<'a> {
    house: &'a House,
    taken: Vec<retraced_jobs::trace::SupervisionEvent>,
}

impl<'a> Unwritten<'a> {
    fn take(house: &'a House) -> Self {
        Self { house, taken: house.events.take_unkept(EVENTS_A_WRITE_MAX) }
    }

    fn written(mut self) {
        self.taken.clear();
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.house.events.give_back(std::mem::take(&mut self.taken));
        }
    }
}
