//! An executor: runs one job at a time, awaiting it inside `handle`, on the caller's runtime.
//!
//! It takes its next job from the in-flight table and leaves the outcome there. A handler's panic ends it with a typed error; a soft stop is seen between
//! two jobs; a hard stop is ractor's Kill, which drops the handler at its next await. The start of a job that came back before is written down first, so that
//! a death of this process is charged to what ran, and to nothing else.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::context::Stop;
use retraced_jobs::execution::{AttemptInput, AttemptOutcome, HandlerPanic};
use retraced_jobs::job::JobId;
use retraced_jobs::store::{Renewal, Verdict};
use retraced_jobs::trace::{EventKind, ExecutorId};
use tokio::time::Instant;

use crate::house::{House, Room};
use crate::inflight::{Crew, NextJob};
use crate::supervisor::millis;

/// For how long an executor takes one job after the other before it looks into its mailbox again: quick jobs then cost no message each, and slow ones change nothing.
pub const STRETCH_MAX: Duration = Duration::from_millis(1);

/// What an executor is told.
#[derive(Debug)]
pub(crate) enum ExecutorMessage {
    /// There may be a job.
    Wake,
}

/// The actor.
pub(crate) struct Executor;

/// What an executor is made of.
pub(crate) struct ExecutorArgs {
    pub(crate) house: Arc<House>,
    pub(crate) room: Arc<Room>,
    pub(crate) id: ExecutorId,
    pub(crate) crew: Crew,
    pub(crate) seed: u64,
}

pub(crate) struct ExecutorState {
    house: Arc<House>,
    room: Arc<Room>,
    id: ExecutorId,
    crew: Crew,
    rng: SmallRng,
}

impl Actor for Executor {
    type Msg = ExecutorMessage;
    type State = ExecutorState;
    type Arguments = ExecutorArgs;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, args: ExecutorArgs) -> Result<ExecutorState, ActorProcessingErr> {
        let ExecutorArgs { house, room, id, crew, seed } = args;
        Ok(ExecutorState { house, room, id, crew, rng: SmallRng::seed_from_u64(seed) })
    }

    /// Only here is it linked to its pool: one that could not be must not be counted as free.
    async fn post_start(
        &self,
        myself: ActorRef<Self::Msg>,
        state: &mut ExecutorState,
    ) -> Result<(), ActorProcessingErr> {
        state.room.inflight.executor_up(state.id, state.crew, myself.clone());
        myself.cast(ExecutorMessage::Wake)?;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        ExecutorMessage::Wake: ExecutorMessage,
        state: &mut ExecutorState,
    ) -> Result<(), ActorProcessingErr> {
        let mut now = Instant::now();
        let until = now + STRETCH_MAX;
        let mut woken = true;
        while now < until || woken {
            let started_ms = state.house.clock.at(now);
            let Some(next) = state.room.inflight.next(state.id, woken, now, started_ms) else {
                state.room.credit();
                return Ok(());
            };
            woken = false;
            let begins = !next.watched || state.begin(&next).await;
            if begins && !state.run(next).await? {
                // Settled without us: a successor has our place.
                myself.stop(None);
                return Ok(());
            }
            // Handlers that never wait would keep the thread to themselves: others have their turn, and a Kill is seen.
            tokio::task::consume_budget().await;
            now = Instant::now();
        }
        myself.cast(ExecutorMessage::Wake)?;
        Ok(())
    }
}

impl ExecutorState {
    /// Runs one attempt. Gives whether its outcome counted.
    async fn run(&mut self, next: NextJob) -> Result<bool, HandlerPanic> {
        let input = AttemptInput {
            executor: self.id,
            started_ms: self.house.clock.now_ms(),
            lease: next.lease,
            jitter: self.rng.random_range(-1000..=1000),
            job: next.job,
        };
        let outcome = self.room.runner.attempt(input).await;
        let counts = self.room.inflight.finish(self.id, next.grant, outcome.settlement.clone(), outcome.ran);
        self.room.flush();
        if counts {
            self.tell(&outcome);
        }
        match outcome.panic {
            Some(panic) => Err(panic),
            None => Ok(counts),
        }
    }

    /// Writes down that the job's handler is about to begin, as soon as the store can be reached. Gives whether the job is still ours to run.
    async fn begin(&self, next: &NextJob) -> bool {
        let (house, room) = (&self.house, &self.room);
        let held = [next.job.lease(house.instance)];
        loop {
            let sent = Instant::now();
            let begin = || house.store.begin(&room.name, house.options.lease, &held);
            match house.health.until_known("begin", begin).await {
                Some(Ok(renewed)) => match renewed.results.first() {
                    Some(Renewal::Kept { cancel_asked }) => {
                        next.lease.extend(sent + house.options.lease);
                        if *cancel_asked {
                            next.lease.stop(Stop::Cancelled);
                        }
                        return room.inflight.begun(self.id, next.grant, house.clock.now_ms());
                    }
                    Some(Renewal::Stale) | None => {
                        room.inflight.not_ours(self.id, next.grant);
                        return false;
                    }
                },
                Some(Err(_)) if house.health.wait_after_refusal().await => {}
                // The runtime ends.
                Some(Err(_)) | None => return false,
            }
        }
    }

    fn tell(&self, outcome: &AttemptOutcome) {
        let queue = || self.room.name.clone();
        let job = || -> JobId { outcome.settlement.id.clone() };
        if let Some(kind) = &outcome.unknown_kind {
            self.emit(EventKind::UnknownKind { queue: queue(), job: job(), kind: kind.clone() });
        }
        let Some((code, _)) = outcome.failure else { return };
        tracing::info!(
            target: "retraced::attempts",
            queue = %self.room.name,
            job = %outcome.settlement.id,
            attempt = outcome.settlement.token.attempt,
            %code,
            why = %outcome.why.as_deref().unwrap_or_default().escape_debug(),
            ran_ms = millis(outcome.ran),
            next = ?outcome.settlement.verdict,
            "attempt failed"
        );
        match outcome.settlement.verdict {
            Verdict::Poison => self.emit(EventKind::JobPoisoned { queue: queue(), job: job(), code }),
            Verdict::Bury | Verdict::Abandon => self.emit(EventKind::JobDied { queue: queue(), job: job(), code }),
            _ => {}
        }
    }

    fn emit(&self, kind: EventKind) {
        self.house.events.emit(&path(&self.room, self.id.slot), self.id.generation, kind);
    }
}

/// `email/executor-3`.
pub(crate) fn path(room: &Room, slot: u32) -> String {
    format!("{}/executor-{slot}", room.name)
}
