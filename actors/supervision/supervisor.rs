//! A supervisor: starts its children in order, restarts them by policy, and stops them in reverse order. It gives up when its restart budget is exhausted,
//! when a child cannot be started the first time, when a child asks for it, and when a child that has no [`Closing`] gave up.
//!
//! Bounds: one start at a time, each within the start timeout of the child. A child that does not stop within the time in its spec is killed. The message
//! loop never awaits a child: starts and stops run in tasks of their own, which send a message at their end.

use std::collections::VecDeque;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent as RactorEvent};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::events::EventKind;
use retraced_jobs::units::millis;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::exhausted::Exhausted;
use super::messages::{RestartId, SupervisorMessage};
use super::registry::{OpenFor, Registry};
use super::restart::{End, Window};
use super::spec::{Closing, Shutdown, SupervisorSpec};
use crate::limits::KILL_TIMEOUT;

/// The actor. Its [`SupervisorSpec`] says what it does.
pub(crate) struct Supervisor;

pub(crate) struct SupervisorState {
    spec: SupervisorSpec,
    children: Vec<Child>,
    to_start: VecDeque<usize>,
    /// The start under way; it is aborted with the supervisor.
    starting: Option<AbortOnDropHandle<()>>,
    window: Window,
    rng: SmallRng,
    restarts_decided: RestartId,
    /// Ends of unknown actors that were reported during a start: the actor that is being started may be one of them. Emptied when the start is over.
    early: Vec<(ActorId, End, Option<Exhausted>)>,
    stage: Stage,
}

enum Stage {
    Starting(Vec<oneshot::Sender<Result<(), String>>>),
    Running,
    Stopping,
}

struct Child {
    /// The generation of its latest start.
    generation: u32,
    status: Status,
    /// The restart it waits for. If a later restart includes this child too, it waits for that one, so that all children of that restart start in
    /// order.
    restart: Option<RestartId>,
}

enum Status {
    Down,
    Starting,
    Up {
        actor: ActorCell,
        since: Instant,
    },
    /// Being stopped by its supervisor: its end is no failure.
    Stopping,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorSpec;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        spec: SupervisorSpec,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        spec.policy.validate()?;
        let down = || Child { generation: 0, status: Status::Down, restart: None };
        let children: Vec<Child> = spec.children.iter().map(|_| down()).collect();
        Ok(SupervisorState {
            to_start: (0..children.len()).collect(),
            starting: None,
            window: Window::default(),
            rng: SmallRng::seed_from_u64(spec.seed),
            restarts_decided: 0,
            early: Vec::new(),
            stage: Stage::Starting(Vec::new()),
            children,
            spec,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Self::Msg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        state.start_next(&myself);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::StartEnded { child, generation, result } => {
                state.start_ended(&myself, child, generation, result);
            }
            SupervisorMessage::Restart(restart) => state.restart(&myself, restart),
            SupervisorMessage::WhenReady(reply) => state.answer_when_ready(reply),
            SupervisorMessage::Shutdown => state.stop_all(&myself, None),
            SupervisorMessage::ChildrenStopped(None) => myself.stop(None),
            SupervisorMessage::ChildrenStopped(Some(exhausted)) => return Err(state.give_up(exhausted)),
            SupervisorMessage::Escalate { child, reason } => state.escalate(&myself, child, 0, reason),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: RactorEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((actor, end, exhausted)) = end_of(event) {
            state.ended(&myself, &actor, end, exhausted);
        }
        Ok(())
    }
}

/// Reads an end from an event of ractor: which actor, how it ended, and the [`Exhausted`] error if it was a supervisor that gave up. A stop with a reason
/// is an abnormal end; ractor gives one for a kill, and `background` for a panic of a background task.
pub(crate) fn end_of(event: RactorEvent) -> Option<(ActorCell, End, Option<Exhausted>)> {
    match event {
        RactorEvent::ActorTerminated(actor, _, Some(reason)) => Some((actor, End::Abnormal(reason), None)),
        RactorEvent::ActorTerminated(actor, _, None) => Some((actor, End::Normal, None)),
        RactorEvent::ActorFailed(actor, error) => {
            let exhausted = error.downcast_ref::<Exhausted>().cloned();
            Some((actor, End::Abnormal(error.to_string()), exhausted))
        }
        _ => None,
    }
}

impl SupervisorState {
    fn start_next(&mut self, myself: &ActorRef<SupervisorMessage>) {
        if self.starting.is_some() || matches!(self.stage, Stage::Stopping) {
            return;
        }
        let Some(index) = self.to_start.pop_front() else {
            return self.all_started();
        };
        let child = &mut self.children[index];
        let spec = self.spec.children[index].clone();
        let generation = self.spec.registry.next_generation(&spec.path);
        child.generation = generation;
        child.restart = None;
        child.status = Status::Starting;
        let myself = myself.clone();
        self.starting = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let start = AbortOnDropHandle::new(tokio::spawn((spec.start)(myself.get_cell())));
            let result = match tokio::time::timeout(spec.start_timeout, start).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(format!("its start panicked: {panic}")),
                Err(_) => Err(format!("it did not start within {:?}", spec.start_timeout)),
            };
            let _ = myself.cast(SupervisorMessage::StartEnded { child: index, generation, result });
        })));
    }

    fn all_started(&mut self) {
        if let Stage::Starting(waiting) = &mut self.stage {
            for reply in waiting.drain(..) {
                let _ = reply.send(Ok(()));
            }
            self.stage = Stage::Running;
        }
    }

    fn start_ended(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        index: usize,
        generation: u32,
        result: Result<ActorCell, String>,
    ) {
        self.starting = None;
        let early = std::mem::take(&mut self.early);
        let path = self.spec.children[index].path.clone();
        let emit = |kind| self.spec.events.emit_of_generation(&path, generation, kind);
        let stopping = matches!(self.stage, Stage::Stopping);
        match result {
            Ok(actor) if stopping => actor.kill(),
            Err(_) if stopping => {}
            Ok(actor) if self.children[index].restart.is_some() => {
                // A sibling failed meanwhile, and this child must be restarted together with it.
                actor.kill();
                self.children[index].status = Status::Stopping;
                self.start_next(myself);
            }
            Ok(actor) => {
                self.spec.registry.add(&path, generation, actor.clone());
                emit(if generation == 0 { EventKind::Started } else { EventKind::Restarted });
                if self.spec.registry.take_closed(&path) {
                    emit(EventKind::SupervisorReopened);
                }
                self.children[index].status = Status::Up { actor: actor.clone(), since: Instant::now() };
                if let Some((_, end, exhausted)) = early.into_iter().find(|(id, ..)| *id == actor.get_id()) {
                    self.ended(myself, &actor, end, exhausted);
                }
                self.start_next(myself);
            }
            Err(reason) => {
                emit(EventKind::StartFailed { reason: reason.clone() });
                self.children[index].status = Status::Down;
                if let Stage::Starting(waiting) = &mut self.stage {
                    for reply in waiting.drain(..) {
                        let _ = reply.send(Err(format!("{path} could not be started: {reason}")));
                    }
                    let exhausted = self.exhausted(&path, 1, &reason);
                    self.stop_all(myself, Some(exhausted));
                } else if let Some(closing) = self.spec.children[index].closing.clone() {
                    self.close(myself, index, Instant::now(), &reason, &closing);
                    self.start_next(myself);
                } else {
                    self.failed(myself, index, reason);
                    self.start_next(myself);
                }
            }
        }
    }

    fn answer_when_ready(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        match &mut self.stage {
            Stage::Starting(waiting) => waiting.push(reply),
            Stage::Running => drop(reply.send(Ok(()))),
            Stage::Stopping => drop(reply.send(Err(format!("{} is stopping", self.spec.path)))),
        }
    }

    fn ended(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        actor: &ActorCell,
        end: End,
        exhausted: Option<Exhausted>,
    ) {
        let id = actor.get_id();
        let is_actor = |child: &Child| matches!(&child.status, Status::Up { actor: up, .. } if up.get_id() == id);
        let Some(index) = self.children.iter().position(is_actor) else {
            if self.starting.is_some() {
                self.early.push((id, end, exhausted));
            }
            return;
        };
        let spec = &self.spec.children[index];
        self.spec.registry.remove(&spec.path, actor);
        let up_since = match std::mem::replace(&mut self.children[index].status, Status::Down) {
            Status::Up { since, .. } => since,
            _ => Instant::now(),
        };
        if matches!(self.stage, Stage::Stopping) {
            return;
        }
        match (exhausted, spec.closing.clone()) {
            (Some(exhausted), Some(closing)) => self.close(myself, index, up_since, &exhausted.to_string(), &closing),
            (Some(exhausted), None) => {
                let child = self.spec.children[index].path.clone();
                self.escalate(myself, child, exhausted.failures, exhausted.reason);
            }
            (None, _) => {
                let reason = match end {
                    End::Normal => "it ended although its supervisor had not stopped it".to_owned(),
                    End::Abnormal(reason) => reason,
                };
                self.failed(myself, index, reason);
            }
        }
    }

    /// A supervisor among the children gave up, or could not be restarted. It is closed for a while, and its siblings keep running.
    fn close(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        index: usize,
        up_since: Instant,
        reason: &str,
        closing: &Closing,
    ) {
        let open_for = if up_since.elapsed() > closing.reopening.max { OpenFor::Long } else { OpenFor::Short };
        let closings = self.spec.registry.count_closing(&self.spec.children[index].path, open_for);
        let delay = closing.reopening.delay_after(closings);
        let kind = EventKind::SupervisorClosed { reopens_in_ms: millis(delay), reason: reason.to_owned() };
        let generation = self.generation(index);
        self.spec.events.emit_of_generation(&self.spec.children[index].path, generation, kind);
        (closing.on_close)();
        self.restart_later(myself, &[index], delay);
    }

    fn failed(&mut self, myself: &ActorRef<SupervisorMessage>, index: usize, reason: String) {
        let budget = self.spec.policy.budget;
        let failures = self.window.record_failure(Instant::now(), &budget);
        let path = self.spec.children[index].path.clone();
        let generation = self.generation(index);
        let crashed = EventKind::Crashed { reason: reason.clone(), failures, budget: budget.restarts };
        self.spec.events.emit_of_generation(&path, generation, crashed);
        if failures > budget.restarts {
            return self.escalate(myself, path, failures, reason);
        }
        let delay = self.spec.policy.delay_after(failures, self.rng.random_range(0..1000));
        self.spec.events.emit_of_generation(&path, generation, EventKind::RestartScheduled { delay_ms: millis(delay) });
        let affected: Vec<usize> = self.spec.policy.strategy.affected(index, self.children.len()).collect();
        self.restart_later(myself, &affected, delay);
    }

    /// Marks those of these children that are up as stopping. Returns their actors in reverse start order.
    fn take_running(&mut self, children: &[usize]) -> Vec<(ActorCell, String, Shutdown)> {
        let mut running = Vec::new();
        for &index in children.iter().rev() {
            let child = &mut self.children[index];
            if let Status::Up { actor, .. } = &child.status {
                let spec = &self.spec.children[index];
                running.push((actor.clone(), spec.path.clone(), spec.shutdown));
                child.status = Status::Stopping;
            }
        }
        running
    }

    /// Stops these children in reverse order, and starts them in order once the delay is over.
    fn restart_later(&mut self, myself: &ActorRef<SupervisorMessage>, children: &[usize], delay: Duration) {
        self.restarts_decided += 1;
        let restart = self.restarts_decided;
        let to_stop = self.take_running(children);
        for &index in children {
            let child = &mut self.children[index];
            child.restart = Some(restart);
            self.to_start.retain(|waiting| *waiting != index);
        }
        let (myself, registry) = (myself.clone(), self.spec.registry.clone());
        tokio::spawn(async move {
            stop_in_order(to_stop, &registry).await;
            tokio::time::sleep(delay).await;
            let _ = myself.cast(SupervisorMessage::Restart(restart));
        });
    }

    fn restart(&mut self, myself: &ActorRef<SupervisorMessage>, restart: RestartId) {
        if matches!(self.stage, Stage::Stopping) {
            return;
        }
        for (index, child) in self.children.iter_mut().enumerate() {
            if child.restart == Some(restart) {
                // If the child is just starting, that start is discarded when it is over (see `start_ended`), and a new one follows.
                if !matches!(child.status, Status::Starting) {
                    child.restart = None;
                }
                self.to_start.push_back(index);
            }
        }
        self.start_next(myself);
    }

    fn escalate(&mut self, myself: &ActorRef<SupervisorMessage>, child: String, failures: u32, reason: String) {
        if matches!(self.stage, Stage::Stopping) {
            return;
        }
        let exhausted = self.exhausted(&child, failures, &reason);
        let window_ms = millis(self.spec.policy.budget.window);
        self.spec.events.emit(&self.spec.path, EventKind::Escalated { child, failures, window_ms, reason });
        self.stop_all(myself, Some(exhausted));
    }

    fn exhausted(&self, child: &str, failures: u32, reason: &str) -> Exhausted {
        Exhausted {
            supervisor: self.spec.path.clone(),
            child: child.to_owned(),
            failures,
            window: self.spec.policy.budget.window,
            reason: reason.to_owned(),
        }
    }

    fn stop_all(&mut self, myself: &ActorRef<SupervisorMessage>, exhausted: Option<Exhausted>) {
        if matches!(self.stage, Stage::Stopping) {
            return;
        }
        self.stage = Stage::Stopping;
        let all: Vec<usize> = (0..self.children.len()).collect();
        let running = self.take_running(&all);
        let (myself, registry) = (myself.clone(), self.spec.registry.clone());
        tokio::spawn(async move {
            stop_in_order(running, &registry).await;
            let _ = myself.cast(SupervisorMessage::ChildrenStopped(exhausted));
        });
    }

    fn give_up(&self, exhausted: Exhausted) -> ActorProcessingErr {
        if let Some(gave_up) = &self.spec.gave_up {
            let _ = gave_up.set(exhausted.clone());
        }
        Box::new(exhausted)
    }

    fn generation(&self, index: usize) -> u32 {
        self.children[index].generation
    }
}

async fn stop_in_order(actors: Vec<(ActorCell, String, Shutdown)>, registry: &Registry) {
    for (actor, path, shutdown) in actors {
        let in_time = match shutdown {
            Shutdown::Graceful(deadline) => actor.stop_and_wait(None, Some(deadline)).await.is_ok(),
            Shutdown::ChildrenFirst(deadline) => {
                let sent = actor.send_message(SupervisorMessage::Shutdown).is_ok();
                sent && actor.wait(Some(deadline)).await.is_ok()
            }
        };
        if !in_time && actor.get_status() != ractor::ActorStatus::Stopped {
            let _ = actor.kill_and_wait(Some(KILL_TIMEOUT)).await;
        }
        registry.remove(&path, &actor);
    }
}

/// Starts a supervisor as the child of another, and waits until its children run. Dropping the future kills the supervisor.
pub(crate) async fn start_supervisor(spec: SupervisorSpec, parent: ActorCell) -> Result<ActorCell, String> {
    let (actor, _) = Actor::spawn_linked(None, Supervisor, spec, parent).await.map_err(|e| e.to_string())?;
    let unready = KilledOnDrop::new(actor.get_cell());
    wait_until_ready(&actor).await?;
    unready.release();
    Ok(actor.get_cell())
}

/// Kills an actor when it is dropped, unless it was released before.
pub(crate) struct KilledOnDrop(Option<ActorCell>);

impl KilledOnDrop {
    pub(crate) fn new(actor: ActorCell) -> Self {
        Self(Some(actor))
    }

    pub(crate) fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        if let Some(actor) = &self.0 {
            actor.kill();
        }
    }
}

/// Waits until all children of a supervisor run, or one cannot be started. The children start one at a time, each within its start timeout, so the wait is no
/// longer than the sum of these timeouts.
pub(crate) async fn wait_until_ready(supervisor: &ActorRef<SupervisorMessage>) -> Result<(), String> {
    let (reply, ready) = oneshot::channel();
    supervisor.cast(SupervisorMessage::WhenReady(reply)).map_err(|_| "it ended at once".to_owned())?;
    ready.await.unwrap_or_else(|_| Err("it ended before its children had started".into()))
}

#[cfg(test)]
mod tests;
