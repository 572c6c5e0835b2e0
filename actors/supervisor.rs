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
use tokio_util::task::AbortOnDropHandle;

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
    /// For a child that is a supervisor: when it gives up it is closed, at no cost to our budget.
    pub(crate) closing: Option<Closing>,
    pub(crate) start: StartChild,
}

/// What becomes of a child that gave up, or cannot be started again.
#[derive(Clone)]
pub(crate) struct Closing {
    /// How it is tried again.
    pub(crate) reopening: Reopening,
    /// Looks after what it left behind.
    pub(crate) closed: Arc<dyn Fn() + Send + Sync>,
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
///
/// ```
/// use retraced_actors::Exhausted;
/// use std::time::Duration;
/// let (supervisor, child) = ("retraced".to_owned(), "watchdog".to_owned());
/// let gave_up = Exhausted { supervisor, child, failures: 11, window: Duration::from_secs(60), reason: "killed".into() };
/// assert_eq!(gave_up.to_string(), "supervisor retraced gave up: watchdog failed, the 11th failure within 60s: killed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// The supervisor.
    pub supervisor: String,
    /// The child that failed last.
    pub child: String,
    /// Failures counted in the window; 0 when the child did not fail but said that all must end.
    pub failures: u32,
    /// The window.
    pub window: Duration,
    /// Why the child failed last.
    pub reason: String,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures == 0 {
            return write!(f, "supervisor {} gave up, told so by {}: {}", self.supervisor, self.child, self.reason);
        }
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
    Restart { plan: Plan },
    /// Answered once all children run, or with why they do not.
    WhenReady(oneshot::Sender<Result<(), String>>),
    /// Stops the children in reverse order, then itself.
    Shutdown,
    /// All children are stopped: end, with this error if there is one.
    ChildrenStopped(Option<Exhausted>),
    /// End with an error found elsewhere.
    GiveUp { child: String, reason: String },
}

/// A restart that was decided on; grows with each.
type Plan = u64;

/// The actor. Its behaviour is in its state's spec.
pub(crate) struct Supervisor;

pub(crate) struct SupervisorState {
    spec: SupervisorSpec,
    children: Vec<Child>,
    to_start: VecDeque<usize>,
    /// The start under way; it ends with us.
    starting: Option<AbortOnDropHandle<()>>,
    window: Window,
    rng: SmallRng,
    plans: Plan,
    /// Ends told while a start was under way that may be the end of what it started; emptied when it is over.
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
    closings: u32,
    closed: bool,
    status: Status,
    /// The restart it waits for. A later one takes the place of an earlier one, so that children of both start in their order.
    plan: Option<Plan>,
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
        let down = || Child { generation: 0, closings: 0, closed: false, status: Status::Down, plan: None };
        let children: Vec<Child> = spec.children.iter().map(|_| down()).collect();
        Ok(SupervisorState {
            to_start: (0..children.len()).collect(),
            starting: None,
            window: Window::default(),
            rng: SmallRng::seed_from_u64(spec.seed),
            plans: 0,
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
            SupervisorMessage::Restart { plan } => state.restart(&myself, plan),
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

/// Whose end an event of ractor tells, and how it was. A stop with a reason is an abnormal end: killed and cancelled actors are told that way, and those whose
/// errand panicked.
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
        child.plan = None;
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
            Ok(actor) if self.children[index].plan.is_some() => {
                // It is to be restarted with one that failed meanwhile.
                actor.kill();
                self.children[index].status = Status::Stopping;
                self.start_next(myself);
            }
            Ok(actor) => {
                self.spec.roster.enter(&path, generation, actor.clone());
                let kind = if generation == 0 { EventKind::Started } else { EventKind::Restarted };
                self.spec.events.emit(&path, generation, kind);
                if std::mem::take(&mut self.children[index].closed) {
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
        self.spec.roster.leave(&spec.path, actor);
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
                    End::Normal => "it ended though it is meant to stay".to_owned(),
                    End::Abnormal(reason) => reason,
                };
                self.failed(myself, index, reason);
            }
        }
    }

    /// A child that is a supervisor gave up, or cannot be started again: it stays closed for a while, and nobody else is disturbed.
    fn close(
        &mut self,
        myself: &ActorRef<SupervisorMessage>,
        index: usize,
        since: Instant,
        reason: &str,
        closing: &Closing,
    ) {
        let child = &mut self.children[index];
        if since.elapsed() > closing.reopening.max {
            child.closings = 0;
        }
        child.closings += 1;
        child.closed = true;
        let delay = closing.reopening.delay_after(child.closings);
        let kind = EventKind::QueueClosed { reopens_in_ms: millis(delay), reason: reason.to_owned() };
        let generation = self.generation(index);
        self.spec.events.emit(&self.spec.children[index].path, generation, kind);
        (closing.closed)();
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
        self.plans += 1;
        let plan = self.plans;
        let to_stop = self.take_running(children);
        for &index in children {
            let child = &mut self.children[index];
            if self.spec.children[index].kind == ChildKind::Temporary {
                child.status = Status::Ended;
            } else if !matches!(child.status, Status::Ended) {
                child.plan = Some(plan);
                self.to_start.retain(|waiting| *waiting != index);
            }
        }
        let (myself, roster) = (myself.clone(), self.spec.roster.clone());
        tokio::spawn(async move {
            stop_in_order(to_stop, &roster).await;
            tokio::time::sleep(delay).await;
            let _ = myself.cast(SupervisorMessage::Restart { plan });
        });
    }

    fn restart(&mut self, myself: &ActorRef<SupervisorMessage>, plan: Plan) {
        if matches!(self.ready, Ready::Stopping) {
            return;
        }
        for (index, child) in self.children.iter_mut().enumerate() {
            if child.plan == Some(plan) {
                // One whose start is under way is waited for: its start is void, and it comes after it.
                let void = matches!(child.status, Status::Starting);
                child.plan = child.plan.filter(|_| void);
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
        if let Some(verdict) = &self.spec.verdict {
            let _ = verdict.set(exhausted.clone());
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
    let unready = KilledOnDrop(Some(actor.get_cell()));
    wait_until_ready(&actor).await?;
    unready.keep().ok_or_else(|| "it ended at once".to_owned())
}

/// An actor nobody waits for any more is not left behind.
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

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
