//! The executor pool: as many executors as the concurrency of the queue. Each is replaced when it ends.
//!
//! A panic of a handler is the fault of its job: the executor is replaced at once, and the restart budget is not used. Any other abnormal end of an executor
//! is a fault of the tree: its job is released, the executor is restarted with backoff, and past the budget the pool gives up. The end of an executor whose place
//! was given to another one, because its handler is a zombie, changes nothing. Executors start on the
//! application's tokio runtime. If one does not start there within [`EXECUTOR_START_TIMEOUT`], for example because handlers block every thread, it is tried
//! again after the longest restart delay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent as ChildEvent};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::events::EventKind;
use retraced_jobs::execution::HandlerPanic;
use retraced_jobs::trace::ExecutorId;
use retraced_jobs::units::millis;
use tokio::time::Instant;

use super::executor::{Executor, ExecutorArgs};
use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::PoolEpoch;
use crate::limits::EXECUTOR_START_TIMEOUT;
use crate::messages::PoolMessage;
use crate::path;
use crate::supervision::exhausted::Exhausted;
use crate::supervision::restart::{End, Window};
use crate::supervision::supervisor::{KilledOnDrop, end_of};

/// The actor.
pub(crate) struct Pool;

pub(crate) struct PoolState {
    runtime: Arc<RuntimeContext>,
    queue: Arc<QueueContext>,
    executors: HashMap<ActorId, ExecutorId>,
    /// Reported ends of actors that are not in `executors`: the report of their start is still to come.
    early: HashMap<ActorId, ChildEvent>,
    /// Starts under way.
    starting: usize,
    /// The number of this start of the pool ([`PoolEpoch`]): the in-flight table ignores executors of an earlier one.
    epoch: PoolEpoch,
    window: Window,
    rng: SmallRng,
}

impl Actor for Pool {
    type Msg = PoolMessage;
    type State = PoolState;
    type Arguments = (Arc<RuntimeContext>, Arc<QueueContext>);

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        (runtime, queue): Self::Arguments,
    ) -> Result<PoolState, ActorProcessingErr> {
        let rng = SmallRng::seed_from_u64(runtime.random.seed());
        Ok(PoolState {
            executors: HashMap::new(),
            early: HashMap::new(),
            starting: 0,
            epoch: 0,
            window: Window::default(),
            runtime,
            queue,
            rng,
        })
    }

    async fn post_start(&self, myself: ActorRef<Self::Msg>, state: &mut PoolState) -> Result<(), ActorProcessingErr> {
        state.queue.pool.set(&myself);
        // The executors of the previous pool ended with it. Their running jobs are released now.
        state.epoch = state.queue.inflight.new_pool();
        state.queue.request_settling();
        for slot in state.queue.executor_slots() {
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
            PoolMessage::Replace { zombie } => state.replace(&myself, zombie),
            PoolMessage::StartEnded { id, result } => state.start_ended(&myself, id, result)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: ChildEvent,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        state.ended(&myself, event)
    }
}

impl PoolState {
    fn start(&mut self, myself: &ActorRef<PoolMessage>, slot: u32) {
        // The generation counts as used, even if the pool ends before the executor has started.
        let generation = self.runtime.registry.next_generation(&path::executor(&self.queue.name, slot));
        let id = ExecutorId::new(slot, generation);
        let (runtime, queue, epoch) = (self.runtime.clone(), self.queue.clone(), self.epoch);
        let args = ExecutorArgs { runtime, queue, id, epoch, seed: self.rng.random() };
        let (handlers, pool, myself) = (self.runtime.handlers.clone(), myself.get_cell(), myself.clone());
        self.starting += 1;
        tokio::spawn(async move {
            let start = handlers.spawn(spawn_unclaimed(args, pool));
            let abort = start.abort_handle();
            let result = match tokio::time::timeout(EXECUTOR_START_TIMEOUT, start).await {
                Ok(Ok(Ok((executor, unclaimed)))) => {
                    unclaimed.release();
                    Ok(executor)
                }
                Ok(Ok(Err(refused))) => Err(refused.to_string()),
                Ok(Err(gone)) => Err(format!("the application's runtime did not start it: {gone}")),
                Err(_) => {
                    abort.abort();
                    Err(format!("the application's runtime did not start it within {EXECUTOR_START_TIMEOUT:?}"))
                }
            };
            let _ = myself.cast(PoolMessage::StartEnded { id, result });
        });
    }

    /// Starts another executor in the slot of a zombie. If the zombie has ended meanwhile, or belongs to an earlier pool, its slot has another executor already.
    fn replace(&mut self, myself: &ActorRef<PoolMessage>, zombie: ExecutorId) {
        if self.is_latest(zombie) && self.executors.values().any(|id| *id == zombie) {
            self.start(myself, zombie.slot);
        }
    }

    fn start_ended(
        &mut self,
        myself: &ActorRef<PoolMessage>,
        id: ExecutorId,
        result: Result<ActorCell, String>,
    ) -> Result<(), ActorProcessingErr> {
        let path = path::executor(&self.queue.name, id.slot);
        self.starting = self.starting.saturating_sub(1);
        let early = result.as_ref().ok().and_then(|actor| self.early.remove(&actor.get_id()));
        if self.starting == 0 {
            // What is left are reports of executors whose start was given up.
            self.early.clear();
        }
        match result {
            Ok(actor) => {
                self.executors.insert(actor.get_id(), id);
                self.runtime.registry.add(&path, id.generation, actor.clone());
                let kind = if id.generation == 0 { EventKind::Started } else { EventKind::Restarted };
                self.runtime.events.emit_of_generation(&path, id.generation, kind);
                if let Some(early) = early {
                    return self.ended(myself, early);
                }
            }
            Err(reason) => {
                // Not counted as a crash: the application's threads may be busy, or its tokio runtime ends.
                // The executor may have entered the in-flight table just before its start was given up.
                self.queue.inflight.executor_ended(id);
                self.runtime.events.emit_of_generation(&path, id.generation, EventKind::StartFailed { reason });
                self.start_later(myself, id.slot, self.queue.options.policy.delay.max);
            }
        }
        Ok(())
    }

    fn ended(&mut self, myself: &ActorRef<PoolMessage>, event: ChildEvent) -> Result<(), ActorProcessingErr> {
        let Some(actor) = event.actor_cell().cloned() else { return Ok(()) };
        if matches!(event, ChildEvent::ActorStarted(_)) {
            return Ok(());
        }
        let Some(id) = self.executors.remove(&actor.get_id()) else {
            if self.starting > 0 {
                self.early.insert(actor.get_id(), event);
            }
            return Ok(());
        };
        let path = path::executor(&self.queue.name, id.slot);
        self.runtime.registry.remove(&path, &actor);
        self.queue.inflight.executor_ended(id);
        self.queue.request_settling();
        if let ChildEvent::ActorFailed(_, error) = &event
            && let Some(panic) = error.downcast_ref::<HandlerPanic>()
        {
            self.runtime.events.emit_of_generation(&path, id.generation, panicked(panic));
            self.restart_if_needed(myself, id);
            return Ok(());
        }
        match end_of(event) {
            // During a shutdown nothing is restarted.
            _ if self.queue.inflight.is_shutting_down() => Ok(()),
            Some((_, End::Abnormal(reason), _)) if self.is_latest(id) => self.crashed(myself, id, &path, reason),
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
        let policy = self.queue.options.policy;
        let failures = self.window.record_failure(Instant::now(), &policy.budget);
        let crashed = EventKind::Crashed { reason: reason.clone(), failures, budget: policy.budget.restarts };
        self.runtime.events.emit_of_generation(path, id.generation, crashed);
        if failures > policy.budget.restarts {
            let supervisor = path::pool(&self.queue.name);
            let window_ms = millis(policy.budget.window);
            let (child, window) = (path.to_owned(), policy.budget.window);
            let escalated = EventKind::Escalated { child: child.clone(), failures, window_ms, reason: reason.clone() };
            self.runtime.events.emit(&supervisor, escalated);
            return Err(Box::new(Exhausted { supervisor, child, failures, window, reason }));
        }
        let delay = policy.delay_after(failures, self.rng.random_range(0..1000));
        let scheduled = EventKind::RestartScheduled { delay_ms: millis(delay) };
        self.runtime.events.emit_of_generation(path, id.generation, scheduled);
        self.start_later(myself, id.slot, delay);
        Ok(())
    }

    /// Whether this executor is the latest of its slot (its number in the pool). One whose handler is a zombie is not: its slot was given to another executor.
    fn is_latest(&self, id: ExecutorId) -> bool {
        self.runtime.registry.generation(&path::executor(&self.queue.name, id.slot)) == id.generation
    }

    fn restart_if_needed(&mut self, myself: &ActorRef<PoolMessage>, id: ExecutorId) {
        if self.is_latest(id) && !self.queue.inflight.is_shutting_down() {
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

/// Starts an executor. It is killed unless the guard is released: the start may end just as it is given up, and then nobody knows of the executor.
pub(crate) async fn spawn_unclaimed(
    args: ExecutorArgs,
    pool: ActorCell,
) -> Result<(ActorCell, KilledOnDrop), SpawnErr> {
    let (executor, _) = Actor::spawn_linked(None, Executor, args, pool).await?;
    Ok((executor.get_cell(), KilledOnDrop::new(executor.get_cell())))
}

fn panicked(panic: &HandlerPanic) -> EventKind {
    EventKind::HandlerPanicked {
        queue: panic.queue.clone(),
        job: panic.job.clone(),
        attempt: panic.attempt,
        message: panic.message.clone(),
        location: panic.location.clone(),
    }
}
