//! A supervisor: starts its children in order, restarts them by policy, stops them in reverse order, and gives up when its restart budget is exhausted.
//!
//! Bounds: one start at a time, each under its child's start timeout; a stop lasts as long as the child's shutdown allows, then the child is killed.
//! Children are never awaited on the message loop: starts and stops run in tasks that report back.

use std::collections::VecDeque;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent as Ended};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::trace::EventKind;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::exhausted::Exhausted;
use super::messages::{RestartId, SupervisorMessage};
use super::restart::{ChildKind, End, Window};
use super::roster::Roster;
use super::spec::{Closing, Shutdown, SupervisorSpec};
use crate::clock::millis;
use crate::limits::KILL_TIMEOUT;

/// The actor. Its behaviour is in its state's spec.
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
    /// Ends reported during a start, which may be those of the actor it starts. Emptied when the start is over.
    early: Vec<(ActorId, End, Option<Exhausted>)>,
    ready: Ready,
}

enum Ready {
    Not(Vec<oneshot::Sender<Result<(), String>>>),
    Yes,
    Stopping,
}

struct Child {
    /// Of its latest start.
    generation: u32,
    status: Status,
    /// The restart it waits for. A later one replaces an earlier one, so that the children of both start in order.
    restart: Option<RestartId>,
}

enum Status {
    Down,
    Starting,
    Up {
        actor: ActorCell,
        since: Instant,
    },
    /// Being stopped on purpose: its end is not reported.
    Stopping,
    Ended,
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
            ready: Ready::Not(Vec::new()),
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
            SupervisorMessage::Started { child, generation, result } => {
                state.started(&myself, child, generation, result);
            }
            SupervisorMessage::Restart(restart) => state.restart(&myself, restart),
            SupervisorMessage::WhenReady(reply) => state.answer_when_ready(reply),
            SupervisorMessage::Shutdown => state.stop_all(&myself, None),
            SupervisorMessage::ChildrenStopped(None) => myself.stop(None),
            SupervisorMessage::ChildrenStopped(Some(exhausted)) => return Err(state.give_up(exhausted)),
            SupervisorMessage::GiveUp { child, reason } => state.escalate(&myself, child, 0, reason),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: Ended,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((actor, end, exhausted)) = end_of(event) {
            state.ended(&myself, &actor, end, exhausted);
        }
        Ok(())
    }
}

/// The actor whose end an event of ractor reports, and how it ended. A stop with a reason is an abnormal end: that is how killed and cancelled actors are
/// reported, and those whose background task panicked.
pub(crate) fn end_of(event: Ended) -> Option<(ActorCell, End, Option<Exhausted>)> {
    match event {
        Ended::ActorTerminated(actor, _, Some(reason)) => Some((actor, End::Abnormal(reason), None)),
        Ended::ActorTerminated(actor, _, None) => Some((actor, End::Normal, None)),
        Ended::ActorFailed(actor, error) => {
            let exhausted = error.downcast_ref::<Exhausted>().cloned();
            Some((actor, End::Abnormal(error.to_string()), exhausted))
        }
        _ => None,
    }
}

impl SupervisorState {
    fn start_next(&mut self, myself: &ActorRef<SupervisorMessage>) {
        if self.starting.is_some() || matches!(self.ready, Ready::Stopping) {
            return;
        }
        let Some(index) = self.to_start.pop_front() else {
            return self.all_started();
        };
        let child = &mut self.children[index];
        let spec = self.spec.children[index].clone();
        let generation = self.spec.roster.next_generation(&spec.path);
        child.generation = generation;
        child.restart = None;
        child.status = Status::Starting;
        let myself = myself.clone();
        self.starting = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let start = AbortOnDropHandle::new(tokio::spawn((spec.start)(myself.get_cell(), generation)));
            let result = match tokio::time::timeout(spec.start_timeout, start).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(format!("its start panicked: {panic}")),
                Err(_) => Err(format!("it did not start within {:?}", spec.start_timeout)),
            };
            let _ = myself.cast(SupervisorMessage::Started { child: index, generation, result });
        })));
    }

    fn all_started(&mut self) {
        if let Ready::Not(waiting) = &mut self.ready {
            for reply in waiting.drain(..) {
                let _ = reply.send(Ok(()));
            }
            self.ready = Ready::Yes;
        }
    }

    fn started(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        index: usize,
        generation: u32,
        result: Result<ActorCell, String>,
    ) {
        self.starting = None;
        let early = std::mem::take(&mut self.early);
        let path = self.spec.children[index].path.clone();
        let stopping = matches!(self.ready, Ready::Stopping);
        match result {
            Ok(actor) if stopping => actor.kill(),
            Err(_) if stopping => {}
            Ok(actor) if self.children[index].restart.is_some() => {
                // It is to be restarted together with one that failed meanwhile.
                actor.kill();
                self.children[index].status = Status::Stopping;
                self.start_next(myself);
            }
            Ok(actor) => {
                self.spec.roster.add(&path, generation, actor.clone());
                let kind = if generation == 0 { EventKind::Started } else { EventKind::Restarted };
                self.spec.events.emit(&path, generation, kind);
                if self.spec.roster.reopen(&path) {
                    self.spec.events.emit(&path, generation, EventKind::QueueReopened);
                }
                self.children[index].status = Status::Up { actor: actor.clone(), since: Instant::now() };
                if let Some((_, end, exhausted)) = early.into_iter().find(|(id, ..)| *id == actor.get_id()) {
                    self.ended(myself, &actor, end, exhausted);
                }
                self.start_next(myself);
            }
            Err(reason) => {
                self.spec.events.emit(&path, generation, EventKind::StartFailed { reason: reason.clone() });
                self.children[index].status = Status::Down;
                if let Ready::Not(waiting) = &mut self.ready {
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
        match &mut self.ready {
            Ready::Not(waiting) => waiting.push(reply),
            Ready::Yes => drop(reply.send(Ok(()))),
            Ready::Stopping => drop(reply.send(Err(format!("{} is stopping", self.spec.path)))),
        }
    }

    fn ended(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        actor: &ActorCell,
        end: End,
        exhausted: Option<Exhausted>,
    ) {
        let is_it =
            |child: &Child| matches!(&child.status, Status::Up { actor: up, .. } if up.get_id() == actor.get_id());
        let Some(index) = self.children.iter().position(is_it) else {
            if self.starting.is_some() {
                self.early.push((actor.get_id(), end, exhausted));
            }
            return;
        };
        let spec = &self.spec.children[index];
        self.spec.roster.remove(&spec.path, actor);
        let since = match std::mem::replace(&mut self.children[index].status, Status::Down) {
            Status::Up { since, .. } => since,
            _ => Instant::now(),
        };
        if matches!(self.ready, Ready::Stopping) {
            return;
        }
        match (exhausted, spec.closing.clone()) {
            (Some(exhausted), Some(closing)) => self.close(myself, index, since, &exhausted.to_string(), &closing),
            _ if !spec.kind.restarts_after(&end) => {
                self.children[index].status = Status::Ended;
                let generation = self.generation(index);
                self.spec.events.emit(&self.spec.children[index].path, generation, EventKind::Stopped);
            }
            (Some(exhausted), None) => {
                let child = self.spec.children[index].path.clone();
                self.escalate(myself, child, exhausted.failures, exhausted.reason);
            }
            (None, _) => {
                let reason = match end {
                    End::Normal => "it ended although it is permanent".to_owned(),
                    End::Abnormal(reason) => reason,
                };
                self.failed(myself, index, reason);
            }
        }
    }

    /// A child that is a supervisor gave up or cannot be restarted: it stays closed for a while, and its siblings keep running.
    fn close(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        index: usize,
        since: Instant,
        reason: &str,
        closing: &Closing,
    ) {
        let open_for_long = since.elapsed() > closing.reopening.max;
        let closings = self.spec.roster.close(&self.spec.children[index].path, open_for_long);
        let delay = closing.reopening.delay_after(closings);
        let kind = EventKind::QueueClosed { reopens_in_ms: millis(delay), reason: reason.to_owned() };
        let generation = self.generation(index);
        self.spec.events.emit(&self.spec.children[index].path, generation, kind);
        (closing.on_close)();
        self.restart_later(myself, &[index], delay);
    }

    fn failed(&mut self, myself: &ActorRef<SupervisorMessage>, index: usize, reason: String) {
        let budget = self.spec.policy.budget;
        let failures = self.window.charge(Instant::now(), &budget);
        let path = self.spec.children[index].path.clone();
        let generation = self.generation(index);
        let crashed = EventKind::Crashed { reason: reason.clone(), failures, budget: budget.restarts };
        self.spec.events.emit(&path, generation, crashed);
        if failures > budget.restarts {
            return self.escalate(myself, path, failures, reason);
        }
        let delay = self.spec.policy.delay_after(failures, self.rng.random_range(0..1000));
        self.spec.events.emit(&path, generation, EventKind::RestartScheduled { delay_ms: millis(delay) });
        let affected: Vec<usize> = self.spec.policy.strategy.affected(index, self.children.len()).collect();
        self.restart_later(myself, &affected, delay);
    }

    /// The running actors among these children, last started first, from now on expected to end.
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
            if self.spec.children[index].kind == ChildKind::Temporary {
                child.status = Status::Ended;
            } else if !matches!(child.status, Status::Ended) {
                child.restart = Some(restart);
                self.to_start.retain(|waiting| *waiting != index);
            }
        }
        let (myself, roster) = (myself.clone(), self.spec.roster.clone());
        tokio::spawn(async move {
            stop_in_order(to_stop, &roster).await;
            tokio::time::sleep(delay).await;
            let _ = myself.cast(SupervisorMessage::Restart(restart));
        });
    }

    fn restart(&mut self, myself: &ActorRef<SupervisorMessage>, restart: RestartId) {
        if matches!(self.ready, Ready::Stopping) {
            return;
        }
        for (index, child) in self.children.iter_mut().enumerate() {
            if child.restart == Some(restart) {
                // A child that is starting is waited for: that start is discarded, and a new one follows.
                let starting = matches!(child.status, Status::Starting);
                child.restart = child.restart.filter(|_| starting);
                self.to_start.push_back(index);
            }
        }
        self.start_next(myself);
    }

    fn escalate(&mut self, myself: &ActorRef<SupervisorMessage>, child: String, failures: u32, reason: String) {
        if matches!(self.ready, Ready::Stopping) {
            return;
        }
        let exhausted = self.exhausted(&child, failures, &reason);
        let window_ms = millis(self.spec.policy.budget.window);
        self.spec.events.emit(&self.spec.path, 0, EventKind::Escalated { child, failures, window_ms, reason });
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
        if matches!(self.ready, Ready::Stopping) {
            return;
        }
        self.ready = Ready::Stopping;
        let all: Vec<usize> = (0..self.children.len()).collect();
        let running = self.take_running(&all);
        let (myself, roster) = (myself.clone(), self.spec.roster.clone());
        tokio::spawn(async move {
            stop_in_order(running, &roster).await;
            let _ = myself.cast(SupervisorMessage::ChildrenStopped(exhausted));
        });
    }

    fn give_up(&self, exhausted: Exhausted) -> ActorProcessingErr {
        if let Some(outcome) = &self.spec.outcome {
            let _ = outcome.set(exhausted.clone());
        }
        Box::new(exhausted)
    }

    fn generation(&self, index: usize) -> u32 {
        self.children[index].generation
    }
}

async fn stop_in_order(actors: Vec<(ActorCell, String, Shutdown)>, roster: &Roster) {
    for (actor, path, shutdown) in actors {
        let in_time = match shutdown {
            Shutdown::Graceful(deadline) => actor.stop_and_wait(None, Some(deadline)).await.is_ok(),
            Shutdown::Ordered(deadline) => {
                let sent = actor.send_message(SupervisorMessage::Shutdown).is_ok();
                sent && actor.wait(Some(deadline)).await.is_ok()
            }
        };
        if !in_time && actor.get_status() != ractor::ActorStatus::Stopped {
            let _ = actor.kill_and_wait(Some(KILL_TIMEOUT)).await;
        }
        roster.remove(&path, &actor);
    }
}

/// Starts a supervisor as the child of another, and waits until its own children run.
pub(crate) async fn start_supervisor(spec: SupervisorSpec, parent: ActorCell) -> Result<ActorCell, String> {
    let (actor, _) = Actor::spawn_linked(None, Supervisor, spec, parent).await.map_err(|e| e.to_string())?;
    let unready = KilledOnDrop(Some(actor.get_cell()));
    wait_until_ready(&actor).await?;
    unready.keep().ok_or_else(|| "it ended at once".to_owned())
}

/// Kills an actor without waiting for its end.
struct KilledOnDrop(Option<ActorCell>);

impl KilledOnDrop {
    fn keep(mut self) -> Option<ActorCell> {
        self.0.take()
    }
}

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        if let Some(actor) = &self.0 {
            actor.kill();
        }
    }
}

/// Waits until all children of a supervisor run. Bounded by the children's start timeouts.
pub(crate) async fn wait_until_ready(supervisor: &ActorRef<SupervisorMessage>) -> Result<(), String> {
    let (reply, ready) = oneshot::channel();
    supervisor.cast(SupervisorMessage::WhenReady(reply)).map_err(|_| "it ended at once".to_owned())?;
    ready.await.unwrap_or_else(|_| Err("it ended before its children had started".into()))
}

#[cfg(test)]
mod tests;
