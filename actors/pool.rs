//! The executor pool: as many executors as the queue's concurrency, each replaced when it ends.
//!
//! A handler's panic is the job's fault: the executor is replaced at once and no budget is charged. Any other end of an executor is the tree's fault: what it
//! ran is handed back, the restart is delayed, and past the budget the pool gives up. Executors start on the caller's runtime; one that
//! cannot start there within [`EXECUTOR_START_TIMEOUT`], because handlers block every thread, is tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent as Ended};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::execution::HandlerPanic;
use retraced_jobs::trace::{EventKind, ExecutorId};
use tokio::time::Instant;

use crate::executor::{Executor, ExecutorArgs, path};
use crate::house::{House, Room};
use crate::inflight::Crew;
use crate::restart::{End, Window};
use crate::supervisor::{Exhausted, end_of, millis};

/// How long the caller's runtime may take to start an executor.
pub const EXECUTOR_START_TIMEOUT: Duration = Duration::from_secs(10);

/// What the pool is told.
#[derive(Debug)]
pub(crate) enum PoolMessage {
    /// A start came to its end.
    Started { id: ExecutorId, result: Result<ActorCell, String> },
    /// A restart's delay is over, or a zombie's place is to be taken by another.
    Start { slot: u32 },
}

/// The actor.
pub(crate) struct Pool;

pub(crate) struct PoolState {
    house: Arc<House>,
    room: Arc<Room>,
    /// Starts so far, by slot: the next executor's generation.
    generations: Vec<u32>,
    executors: HashMap<ActorId, ExecutorId>,
    /// Ends told before the starts they belong to; emptied as those arrive, so at most one for each start under way.
    early: HashMap<ActorId, Ended>,
    /// Which pool's executors the in-flight table lets in.
    crew: Crew,
    window: Window,
    rng: SmallRng,
}

impl Actor for Pool {
    type Msg = PoolMessage;
    type State = PoolState;
    type Arguments = (Arc<House>, Arc<Room>);

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (house, room): Self::Arguments,
    ) -> Result<PoolState, ActorProcessingErr> {
        let rng = SmallRng::seed_from_u64(house.dice.seed());
        Ok(PoolState {
            generations: Vec::new(),
            executors: HashMap::new(),
            early: HashMap::new(),
            crew: 0,
            window: Window::default(),
            house,
            room,
            rng,
        })
    }

    async fn post_start(&self, myself: ActorRef<Self::Msg>, state: &mut PoolState) -> Result<(), ActorProcessingErr> {
        state.room.pool.fill(&myself);
        // The pool before took its executors with it: what had returned is settled, the rest is handed back.
        state.crew = state.room.inflight.new_crew();
        state.room.flush();
        state.generations = state.room.generations();
        for slot in 0..u32::try_from(state.generations.len()).unwrap_or(u32::MAX) {
            myself.cast(PoolMessage::Start { slot })?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: PoolMessage,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PoolMessage::Start { slot } => state.start(&myself, slot),
            PoolMessage::Started { id, result } => state.started(&myself, id, result)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: Ended,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        state.ended(&myself, event)
    }
}

impl PoolState {
    fn start(&mut self, myself: &ActorRef<PoolMessage>, slot: u32) {
        let Some(next) = self.generations.get_mut(slot as usize) else { return };
        let id = ExecutorId::new(slot, *next);
        *next += 1;
        self.room.starts(id);
        let (house, room, crew) = (self.house.clone(), self.room.clone(), self.crew);
        let args = ExecutorArgs { house, room, id, crew, seed: self.rng.random() };
        let (users, pool, myself) = (self.house.users.clone(), myself.get_cell(), myself.clone());
        tokio::spawn(async move {
            let start = users.spawn(Actor::spawn_linked(None, Executor, args, pool));
            let late = start.abort_handle();
            let result = match tokio::time::timeout(EXECUTOR_START_TIMEOUT, start).await {
                Ok(Ok(Ok((executor, _)))) => Ok(executor.get_cell()),
                Ok(Ok(Err(refused))) => Err(refused.to_string()),
                Ok(Err(gone)) => Err(format!("the caller's runtime did not run it: {gone}")),
                Err(_) => {
                    late.abort();
                    Err(format!("the caller's runtime did not run it within {EXECUTOR_START_TIMEOUT:?}"))
                }
            };
            let _ = myself.cast(PoolMessage::Started { id, result });
        });
    }

    fn started(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        id: ExecutorId,
        result: Result<ActorCell, String>,
    ) -> Result<(), ActorProcessingErr> {
        let path = path(&self.room, id.slot);
        match result {
            Ok(actor) => {
                self.executors.insert(actor.get_id(), id);
                self.house.roster.enter(&path, id.generation, actor.clone());
                let kind = if id.generation == 0 { EventKind::Started } else { EventKind::Restarted };
                self.house.events.emit(&path, id.generation, kind);
                if let Some(early) = self.early.remove(&actor.get_id()) {
                    return self.ended(myself, early);
                }
            }
            Err(reason) => {
                // No crash: the caller's threads are busy, or the runtime ends.
                self.room.inflight.executor_down(id);
                self.house.events.emit(&path, id.generation, EventKind::StartFailed { reason });
                self.start_later(myself, id.slot, self.room.options.policy.delay.max);
            }
        }
        Ok(())
    }

    fn ended(&mut self, myself: &ActorRef<PoolMessage>, event: Ended) -> Result<(), ActorProcessingErr> {
        let Some(actor) = event.actor_cell().cloned() else { return Ok(()) };
        if matches!(event, Ended::ActorStarted(_)) {
            return Ok(());
        }
        let Some(id) = self.executors.remove(&actor.get_id()) else {
            self.early.insert(actor.get_id(), event);
            return Ok(());
        };
        let path = path(&self.room, id.slot);
        self.house.roster.leave(&path, &actor);
        self.room.inflight.executor_down(id);
        self.room.flush();
        if let Ended::ActorFailed(_, error) = &event
            && let Some(panic) = error.downcast_ref::<HandlerPanic>()
        {
            self.house.events.emit(&path, id.generation, told(panic));
            self.restart_if_needed(myself, id);
            return Ok(());
        }
        match end_of(event) {
            // The shutdown kills what does not stop.
            _ if self.room.inflight.is_closed() => Ok(()),
            Some((_, End::Abnormal(reason), _)) if self.is_present(id) => self.crashed(myself, id, &path, reason),
            Some(_) => {
                self.restart_if_needed(myself, id);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn crashed(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        id: ExecutorId,
        path: &str,
        reason: String,
    ) -> Result<(), ActorProcessingErr> {
        let policy = self.room.options.policy;
        let failures = self.window.charge(Instant::now(), &policy.budget);
        let crashed = EventKind::Crashed { reason: reason.clone(), failures, budget: policy.budget.restarts };
        self.house.events.emit(path, id.generation, crashed);
        if failures > policy.budget.restarts {
            let supervisor = format!("{}/pool", self.room.name);
            let window_ms = millis(policy.budget.window);
            let (child, window) = (path.to_owned(), policy.budget.window);
            let escalated = EventKind::Escalated { child: child.clone(), failures, window_ms, reason: reason.clone() };
            self.house.events.emit(&supervisor, 0, escalated);
            return Err(Box::new(Exhausted { supervisor, child, failures, window, reason }));
        }
        let delay = policy.delay_after(failures, self.rng.random_range(0..1000));
        self.house.events.emit(path, id.generation, EventKind::RestartScheduled { delay_ms: millis(delay) });
        self.start_later(myself, id.slot, delay);
        Ok(())
    }

    /// Whether this executor is the latest of its place: a zombie's place was taken by another already.
    fn is_present(&self, id: ExecutorId) -> bool {
        self.generations.get(id.slot as usize).is_some_and(|next| *next == id.generation + 1)
    }

    fn restart_if_needed(&mut self, myself: &ActorRef<PoolMessage>, id: ExecutorId) {
        if self.is_present(id) && !self.room.inflight.is_closed() {
            self.start(myself, id.slot);
        }
    }

    fn start_later(&self, myself: &ActorRef<PoolMessage>, slot: u32, delay: Duration) {
        let myself = myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = myself.cast(PoolMessage::Start { slot });
        });
    }
}

fn told(panic: &HandlerPanic) -> EventKind {
    EventKind::HandlerPanicked {
        queue: panic.queue.clone(),
        job: panic.job.clone(),
        attempt: panic.attempt,
        message: panic.message.clone(),
        place: panic.place.clone(),
    }
}
