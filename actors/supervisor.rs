//! A supervisor: starts its children in order, restarts them by policy, stops them in reverse order, and gives up when its budget is used up.
//!
//! Bounds: one start at a time, each under its child's start timeout; a stop lasts as long as the child's shutdown allows, then the child is killed.
//! Children are never awaited on the message loop: starts and stops run in tasks that report back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent as Ended};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::trace::EventKind;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::event::Events;
use crate::restart::{ChildKind, End, Reopening, RestartPolicy, Window};
use crate::roster::Roster;

/// How long a killed actor may take to end. Kill acts at its next await; one that blocks its thread is left behind.
pub const KILL_WAIT: Duration = Duration::from_secs(1);

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// Asked to stop after its present message, killed at the deadline.
    Graceful(Duration),
    /// A supervisor: asked to stop its children in reverse order, killed at the deadline.
    Ordered(Duration),
}

/// Starts a child: given its supervisor and its generation.
pub(crate) type StartChild = Arc<dyn Fn(ActorCell, u32) -> BoxFuture<'static, Result<ActorCell, String>> + Send + Sync>;

/// What a supervisor knows of a child before it runs.
#[derive(Clone)]
pub(crate) struct ChildSpec {
    pub(crate) path: String,
    pub(crate) kind: ChildKind,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_timeout: Duration,
    /// For a child that is a supervisor: when it gives up it is closed, and tried again this way, at no cost to our budget.
    pub(crate) reopening: Option<Reopening>,
    pub(crate) start: StartChild,
}

/// What a supervisor is made of.
#[derive(Clone)]
pub(crate) struct SupervisorSpec {
    pub(crate) path: String,
    pub(crate) policy: RestartPolicy,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) events: Events,
    pub(crate) roster: Roster,
    pub(crate) seed: u64,
    /// Where the root leaves why it gave up; nobody supervises it.
    pub(crate) verdict: Option<Arc<OnceLock<Exhausted>>>,
}

/// A supervisor used up its budget. The typed error it ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// The supervisor.
    pub supervisor: String,
    /// The child that failed last.
    pub child: String,
    /// Failures counted in the window.
    pub failures: u32,
    /// The window.
    pub window: Duration,
    /// Why the child failed last.
    pub reason: String,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "supervisor {} gave up: {} failed, the {} failure within {:?}: {}",
            self.supervisor,
            self.child,
            ordinal(self.failures),
            self.window,
            self.reason
        )
    }
}

impl std::error::Error for Exhausted {}

fn ordinal(n: u32) -> String {
    let suffix = match (n % 10, n % 100) {
        (1, h) if h != 11 => "st",
        (2, h) if h != 12 => "nd",
        (3, h) if h != 13 => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// What a supervisor is told.
pub(crate) enum SupervisorMessage {
    /// A start came to its end.
    Started { child: usize, generation: u32, result: Result<ActorCell, String> },
    /// The children of a restart are stopped and its delay is over.
    Restart { children: Vec<usize>, epoch: u64 },
    /// Answered once all children run, or with why they do not.
    WhenReady(oneshot::Sender<Result<(), String>>),
    /// Stops the children in reverse order, then itself.
    Shutdown,
    /// All children are stopped: end, with this error if there is one.
    ChildrenStopped(Option<Exhausted>),
    /// End with an error found elsewhere.
    GiveUp { child: String, reason: String },
}

/// The actor. Its behaviour is in its state's spec.
pub(crate) struct Supervisor;

pub(crate) struct SupervisorState {
    spec: SupervisorSpec,
    children: Vec<Child>,
    to_start: VecDeque<usize>,
    starting: bool,
    window: Window,
    rng: SmallRng,
    /// Grows when the supervisor stops, so that restarts planned before are not carried out.
    epoch: u64,
    /// Ends told before the starts they belong to; at most one a start under way.
    early: Option<(ActorId, End, Option<Exhausted>)>,
    ready: Ready,
}

enum Ready {
    Not(Vec<oneshot::Sender<Result<(), String>>>),
    Yes,
    Stopping,
}

struct Child {
    generations: u32,
    closings: u32,
    status: Status,
}

enum Status {
    Down,
    Starting,
    Up {
        actor: ActorCell,
        since: Instant,
    },
    /// Being stopped on purpose: its end is no news.
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
        let down = || Child { generations: 0, closings: 0, status: Status::Down };
        let children: Vec<Child> = spec.children.iter().map(|_| down()).collect();
        Ok(SupervisorState {
            to_start: (0..children.len()).collect(),
            starting: false,
            window: Window::default(),
            rng: SmallRng::seed_from_u64(spec.seed),
            epoch: 0,
            early: None,
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
            SupervisorMessage::Restart { children, epoch } => state.restart(&myself, &children, epoch),
            SupervisorMessage::WhenReady(reply) => state.answer_when_ready(reply),
            SupervisorMessage::Shutdown => state.stop_all(&myself, None),
            SupervisorMessage::ChildrenStopped(None) => myself.stop(None),
            SupervisorMessage::ChildrenStopped(Some(exhausted)) => return Err(state.give_up(exhausted)),
            SupervisorMessage::GiveUp { child, reason } => {
                let exhausted = state.exhausted(&child, 0, &reason);
                state.stop_all(&myself, Some(exhausted));
            }
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

/// Whose end an event of ractor tells, and how it was. Killed and cancelled actors are told by their reason; nobody stops an actor with these words.
pub(crate) fn end_of(event: Ended) -> Option<(ActorCell, End, Option<Exhausted>)> {
    match event {
        Ended::ActorTerminated(actor, _, Some(reason)) if reason == "killed" || reason == "actor_task_cancelled" => {
            Some((actor, End::Abnormal(reason), None))
        }
        Ended::ActorTerminated(actor, _, _) => Some((actor, End::Normal, None)),
        Ended::ActorFailed(actor, error) => {
            let exhausted = error.downcast_ref::<Exhausted>().cloned();
            Some((actor, End::Abnormal(error.to_string()), exhausted))
        }
        _ => None,
    }
}

impl SupervisorState {
    fn start_next(&mut self, myself: &ActorRef<SupervisorMessage>) {
        if self.starting || matches!(self.ready, Ready::Stopping) {
            return;
        }
        let Some(index) = self.to_start.pop_front() else {
            return self.all_started();
        };
        let child = &mut self.children[index];
        let spec = self.spec.children[index].clone();
        let generation = child.generations;
        child.generations += 1;
        child.status = Status::Starting;
        self.starting = true;
        let myself = myself.clone();
        tokio::spawn(async move {
            let start = tokio::spawn((spec.start)(myself.get_cell(), generation));
            let late = start.abort_handle();
            let result = match tokio::time::timeout(spec.start_timeout, start).await {
                Ok(Ok(result)) => result,
                Ok(Err(panic)) => Err(format!("its start panicked: {panic}")),
                Err(_) => {
                    late.abort();
                    Err(format!("it did not start within {:?}", spec.start_timeout))
                }
            };
            let _ = myself.cast(SupervisorMessage::Started { child: index, generation, result });
        });
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
        self.starting = false;
        let path = self.spec.children[index].path.clone();
        let stopping = matches!(self.ready, Ready::Stopping);
        match result {
            Ok(actor) if stopping => actor.kill(),
            Ok(actor) => {
                self.spec.roster.enter(&path, generation, actor.clone());
                let kind = if generation == 0 { EventKind::Started } else { EventKind::Restarted };
                self.spec.events.emit(&path, generation, kind);
                if self.children[index].closings > 0 {
                    self.spec.events.emit(&path, generation, EventKind::QueueReopened);
                }
                self.children[index].status = Status::Up { actor: actor.clone(), since: Instant::now() };
                self.start_next(myself);
                if let Some((_, end, exhausted)) = self.early.take_if(|(id, ..)| *id == actor.get_id()) {
                    self.ended(myself, &actor, end, exhausted);
                }
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
            if self.starting {
                self.early = Some((actor.get_id(), end, exhausted));
            }
            return;
        };
        let spec = &self.spec.children[index];
        self.spec.roster.leave(&spec.path, actor);
        let since = match std::mem::replace(&mut self.children[index].status, Status::Down) {
            Status::Up { since, .. } => since,
            _ => Instant::now(),
        };
        if matches!(self.ready, Ready::Stopping) {
            return;
        }
        match (exhausted, spec.reopening) {
            (Some(exhausted), Some(reopening)) => self.close(myself, index, since, &exhausted, reopening),
            _ if !spec.kind.restarts_after(&end) => {
                self.children[index].status = Status::Ended;
                let generation = self.generation(index);
                self.spec.events.emit(&self.spec.children[index].path, generation, EventKind::Stopped);
            }
            (Some(exhausted), None) => self.escalate(myself, index, exhausted.failures, exhausted.reason),
            (None, _) => {
                let reason = match end {
                    End::Normal => "it ended though it is meant to stay".to_owned(),
                    End::Abnormal(reason) => reason,
                };
                self.failed(myself, index, reason);
            }
        }
    }

    /// A child that is a supervisor gave up: it stays closed for a while, and nobody else is disturbed.
    fn close(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        index: usize,
        since: Instant,
        exhausted: &Exhausted,
        reopening: Reopening,
    ) {
        let child = &mut self.children[index];
        if since.elapsed() > reopening.max {
            child.closings = 0;
        }
        child.closings += 1;
        let delay = reopening.delay_after(child.closings);
        let kind = EventKind::QueueClosed { reopens_in_ms: millis(delay), reason: exhausted.to_string() };
        let generation = self.generation(index);
        self.spec.events.emit(&self.spec.children[index].path, generation, kind);
        self.restart_later(myself, vec![index], Vec::new(), delay);
    }

    fn failed(&mut self, myself: &ActorRef<SupervisorMessage>, index: usize, reason: String) {
        let budget = self.spec.policy.budget;
        let failures = self.window.charge(Instant::now(), &budget);
        let path = self.spec.children[index].path.clone();
        let generation = self.generation(index);
        let crashed = EventKind::Crashed { reason: reason.clone(), failures, budget: budget.restarts };
        self.spec.events.emit(&path, generation, crashed);
        if failures > budget.restarts {
            return self.escalate(myself, index, failures, reason);
        }
        let delay = self.spec.policy.delay_after(failures, self.rng.random_range(0..1000));
        self.spec.events.emit(&path, generation, EventKind::RestartScheduled { delay_ms: millis(delay) });
        let affected: Vec<usize> = self.spec.policy.strategy.affected(index, self.children.len()).collect();
        let to_stop = self.take_running(&affected);
        self.restart_later(myself, affected, to_stop, delay);
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

    fn restart_later(
        &self,
        myself: &ActorRef<SupervisorMessage>,
        children: Vec<usize>,
        to_stop: Vec<(ActorCell, String, Shutdown)>,
        delay: Duration,
    ) {
        let (myself, epoch, roster) = (myself.clone(), self.epoch, self.spec.roster.clone());
        tokio::spawn(async move {
            stop_in_order(to_stop, &roster).await;
            tokio::time::sleep(delay).await;
            let _ = myself.cast(SupervisorMessage::Restart { children, epoch });
        });
    }

    fn restart(&mut self, myself: &ActorRef<SupervisorMessage>, children: &[usize], epoch: u64) {
        if epoch != self.epoch {
            return;
        }
        for &index in children {
            let waits = matches!(self.children[index].status, Status::Down | Status::Stopping);
            if waits && !self.to_start.contains(&index) {
                self.to_start.push_back(index);
            }
        }
        self.start_next(myself);
    }

    fn escalate(&mut self, myself: &ActorRef<SupervisorMessage>, index: usize, failures: u32, reason: String) {
        let child = self.spec.children[index].path.clone();
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
        self.epoch += 1;
        let all: Vec<usize> = (0..self.children.len()).collect();
        let running = self.take_running(&all);
        let (myself, roster) = (myself.clone(), self.spec.roster.clone());
        tokio::spawn(async move {
            stop_in_order(running, &roster).await;
            let _ = myself.cast(SupervisorMessage::ChildrenStopped(exhausted));
        });
    }

    fn give_up(&self, exhausted: Exhausted) -> ActorProcessingErr {
        if let Some(verdict) = &self.spec.verdict {
            let _ = verdict.set(exhausted.clone());
        }
        Box::new(exhausted)
    }

    fn generation(&self, index: usize) -> u32 {
        self.children[index].generations.saturating_sub(1)
    }
}

async fn stop_in_order(actors: Vec<(ActorCell, String, Shutdown)>, roster: &Roster) {
    for (actor, path, shutdown) in actors {
        let in_time = match shutdown {
            Shutdown::Graceful(deadline) => actor.stop_and_wait(None, Some(deadline)).await.is_ok(),
            Shutdown::Ordered(deadline) => {
                let told = actor.send_message(SupervisorMessage::Shutdown).is_ok();
                told && actor.wait(Some(deadline)).await.is_ok()
            }
        };
        if !in_time && actor.get_status() != ractor::ActorStatus::Stopped {
            let _ = actor.kill_and_wait(Some(KILL_WAIT)).await;
        }
        roster.leave(&path, &actor);
    }
}

/// Starts a supervisor as the child of another, and waits until its own children run.
pub(crate) async fn start_supervisor(spec: SupervisorSpec, parent: ActorCell) -> Result<ActorCell, String> {
    let (actor, _) = Actor::spawn_linked(None, Supervisor, spec, parent).await.map_err(|e| e.to_string())?;
    let cell = actor.get_cell();
    wait_until_ready(&actor).await.map(|()| cell)
}

/// Waits until all children of a supervisor run. Bounded by the children's start timeouts.
pub(crate) async fn wait_until_ready(supervisor: &ActorRef<SupervisorMessage>) -> Result<(), String> {
    let (reply, ready) = oneshot::channel();
    supervisor.cast(SupervisorMessage::WhenReady(reply)).map_err(|_| "it ended at once".to_owned())?;
    ready.await.unwrap_or_else(|_| Err("it ended before its children had started".into()))
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
