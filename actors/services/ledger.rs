//! The ledger actor: stores supervision events, and this worker's row in the list of workers.
//!
//! Events are logged and broadcast where they happen; this actor only stores them. Bounds: one write under way, in calls of at most [`EVENTS_PER_CALL_MAX`] events;
//! the next write begins [`EVENTS_WRITE_INTERVAL`] after its end.

use std::collections::BTreeSet;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::handler::Handlers;
use retraced_jobs::job::Kind;
use retraced_jobs::store::{BATCH_MAX, WORKER_ROW_KINDS_MAX, WorkerRow};
use tokio::time::Instant;

use crate::background::{self, BackgroundTask};
use crate::context::RuntimeContext;
use crate::limits::{EVENTS_PER_CALL_MAX, EVENTS_WRITE_INTERVAL, HEARTBEAT_INTERVAL};

/// What the ledger actor sends to itself.
#[derive(Debug)]
pub(crate) enum LedgerMessage {
    /// A write is due: at the start, and after the delay that follows each write.
    Write,
}

/// The actor.
pub(crate) struct LedgerActor;

pub(crate) struct LedgerState {
    runtime: Arc<RuntimeContext>,
    heartbeat_at: Instant,
    writing: Option<BackgroundTask>,
}

impl Actor for LedgerActor {
    type Msg = LedgerMessage;
    type State = LedgerState;
    type Arguments = Arc<RuntimeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        runtime: Arc<RuntimeContext>,
    ) -> Result<LedgerState, ActorProcessingErr> {
        myself.cast(LedgerMessage::Write)?;
        Ok(LedgerState { runtime, heartbeat_at: Instant::now(), writing: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        LedgerMessage::Write: LedgerMessage,
        state: &mut LedgerState,
    ) -> Result<(), ActorProcessingErr> {
        let heartbeat = Instant::now() >= state.heartbeat_at;
        if heartbeat {
            state.heartbeat_at = Instant::now() + HEARTBEAT_INTERVAL;
        }
        let runtime = state.runtime.clone();
        state.writing = Some(background::start(&myself, async move {
            if runtime.calls.health().is_reachable() {
                if heartbeat {
                    write_row(&runtime).await;
                }
                write_events(&runtime).await;
            }
            tokio::time::sleep(EVENTS_WRITE_INTERVAL).await;
            LedgerMessage::Write
        }));
        Ok(())
    }
}

/// Writes the worker's row and the names of its queues, at most [`BATCH_MAX`] in one call. Each call is sent once; if it fails, the next heartbeat writes them.
async fn write_row(runtime: &RuntimeContext) {
    let row = row(runtime);
    for queues in row.queues.chunks(BATCH_MAX) {
        let _ = runtime.calls.once("announce", |store| store.announce(queues)).await;
    }
    let _ = runtime.calls.once("heartbeat", |store| store.heartbeat(&row)).await;
}

/// Removes the worker's row and then its replay slots, those of at most [`BATCH_MAX`] queues in one call. Each call is sent once; a row that stays is listed for
/// [`WORKER_ROW_AGE_MAX`](retraced_jobs::limits::WORKER_ROW_AGE_MAX) after its last heartbeat.
pub(crate) async fn forget(runtime: &RuntimeContext) {
    let queues: Vec<_> = runtime.queues.iter().map(|queue| queue.name.clone()).collect();
    // Not an instance that was replaced: its replay slots belong to the process that still uses it. Those of nobody are dropped when they are old.
    let instance = runtime.instance.get();
    // The store removes the row first, so the first call does.
    for queues in queues.chunks(BATCH_MAX) {
        let _ = runtime.calls.once("forget", |store| store.forget(instance, queues)).await;
    }
}

/// Writes the events that are not stored yet. Each call is sent once; if it fails, its events wait for the next write.
pub(crate) async fn write_events(runtime: &RuntimeContext) {
    let dropped = runtime.events.take_dropped();
    if dropped > 0 {
        tracing::warn!(target: "retraced::supervision", dropped, "supervision events were dropped because they could not be stored in time");
    }
    loop {
        let events = UnstoredEvents::take(runtime);
        if events.taken.is_empty() {
            return;
        }
        if runtime.calls.once("record", |store| store.record(&events.taken)).await.is_err() {
            return;
        }
        events.stored();
    }
}

fn row(runtime: &RuntimeContext) -> WorkerRow {
    let concurrency: usize = runtime.queues.iter().map(|queue| queue.options.concurrency).sum();
    let running: usize = runtime.queues.iter().map(|queue| queue.inflight.busy()).sum();
    let handlers = || runtime.queues.iter().map(|queue| queue.runner.handlers());
    let kinds: BTreeSet<&str> = handlers().flat_map(Handlers::kinds).collect();
    let mut row = WorkerRow::new(runtime.instance.get(), runtime.started_ms);
    row.host = runtime.options.host.clone();
    row.pid = std::process::id();
    row.version = env!("CARGO_PKG_VERSION").into();
    row.build = runtime.options.build.clone();
    row.queues = runtime.queues.iter().map(|queue| queue.name.clone()).collect();
    row.kinds = kinds.iter().filter_map(|kind| Kind::new(*kind).ok()).take(WORKER_ROW_KINDS_MAX).collect();
    row.kinds_total = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
    row.every_kind = handlers().any(Handlers::has_any);
    row.seen_ms = runtime.store_clock.now_ms();
    row.concurrency = u32::try_from(concurrency).unwrap_or(u32::MAX);
    row.running = u32::try_from(running).unwrap_or(u32::MAX);
    row
}

/// Events on their way to the store. If they are not stored they return to the buffer, even if the ledger actor ends meanwhile.
struct UnstoredEvents<'a> {
    runtime: &'a RuntimeContext,
    taken: Vec<retraced_jobs::events::SupervisionEvent>,
}

impl<'a> UnstoredEvents<'a> {
    fn take(runtime: &'a RuntimeContext) -> Self {
        Self { runtime, taken: runtime.events.take_unstored(EVENTS_PER_CALL_MAX) }
    }

    fn stored(mut self) {
        self.taken.clear();
    }
}

impl Drop for UnstoredEvents<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            self.runtime.events.give_back(std::mem::take(&mut self.taken));
        }
    }
}
