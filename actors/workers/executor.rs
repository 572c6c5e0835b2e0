//! An executor: runs one job at a time inside `handle`, on the application's tokio runtime.
//!
//! It takes its next job from the in-flight table and leaves the outcome there. A panic of the handler ends the executor with the error [`HandlerPanic`]. A
//! kill drops the handler at its next await. Before the handler of a returned job starts, the start is recorded in the store: if this process then dies, a
//! crash is counted only for jobs whose start was recorded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use retraced_jobs::codec;
use retraced_jobs::context::Stop;
use retraced_jobs::events::EventKind;
use retraced_jobs::execution::{AttemptInput, AttemptOutcome, HandlerPanic};
use retraced_jobs::store::{Renewal, Settlement, Verdict};
use retraced_jobs::trace::ExecutorId;
use retraced_jobs::units::millis;
use tokio::time::{Instant, timeout};

use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::{AskReason, NextJob, PoolEpoch};
use crate::limits::{EXECUTOR_BURST_MAX, EXHAUSTED_PAUSE_MAX, EXHAUSTED_PAUSE_MIN};
use crate::messages::ExecutorMessage;
use crate::observer::{AttemptEnded, AttemptStarted};
use crate::path;
use crate::random::retry_jitter;

/// The actor.
pub(crate) struct Executor;

/// What an executor is started with.
pub(crate) struct ExecutorArgs {
    pub(crate) runtime: Arc<RuntimeContext>,
    pub(crate) queue: Arc<QueueContext>,
    pub(crate) id: ExecutorId,
    /// The start of the pool that this executor belongs to: the in-flight table ignores executors of an earlier start.
    pub(crate) epoch: PoolEpoch,
    pub(crate) seed: u64,
}

pub(crate) struct ExecutorState {
    runtime: Arc<RuntimeContext>,
    queue: Arc<QueueContext>,
    id: ExecutorId,
    /// As in [`ExecutorArgs`].
    epoch: PoolEpoch,
    rng: SmallRng,
    /// How many attempts in a row of this executor, up to the last one, failed because the process lacked a resource.
    lacking_in_a_row: u32,
}

impl Actor for Executor {
    type Msg = ExecutorMessage;
    type State = ExecutorState;
    type Arguments = ExecutorArgs;

    async fn pre_start(&self, _: ActorRef<Self::Msg>, args: ExecutorArgs) -> Result<ExecutorState, ActorProcessingErr> {
        let ExecutorArgs { runtime, queue, id, epoch, seed } = args;
        Ok(ExecutorState { runtime, queue, id, epoch, rng: SmallRng::seed_from_u64(seed), lacking_in_a_row: 0 })
    }

    /// Registers the executor as free. In `pre_start` that would be too early: the link to the pool is made after it and may fail.
    async fn post_start(
        &self,
        myself: ActorRef<Self::Msg>,
        state: &mut ExecutorState,
    ) -> Result<(), ActorProcessingErr> {
        state.queue.inflight.executor_started(state.id, state.epoch, myself.clone());
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
        let until = now + EXECUTOR_BURST_MAX;
        let mut why = AskReason::Woken;
        while now < until {
            let mut started_ms = state.runtime.store_clock.at(now);
            let Some(next) = state.queue.inflight.next(state.id, why, now, started_ms) else {
                state.queue.executor_idle();
                if state.queue.inflight.any_to_settle() {
                    // `next` may have released jobs whose leases ran out while they waited for an executor.
                    state.queue.request_settling();
                }
                return Ok(());
            };
            why = AskReason::JobEnded;
            if next.records_start {
                let ours = state.record_start(&next).await;
                now = Instant::now();
                started_ms = state.runtime.store_clock.at(now);
                if !ours {
                    continue;
                }
            }
            if !state.run(next, now, started_ms).await? {
                // The attempt was settled without this executor (it timed out or was interrupted): another one may have its slot by now.
                myself.stop(None);
                return Ok(());
            }
            // Lets other tasks run, and a kill take effect, even if no handler ever waits.
            tokio::task::consume_budget().await;
            now = Instant::now();
        }
        myself.cast(ExecutorMessage::Wake)?;
        Ok(())
    }
}

impl ExecutorState {
    /// Runs one attempt. Returns whether its outcome counts, or the panic of its handler.
    async fn run(&mut self, next: NextJob, started: Instant, started_ms: u64) -> Result<bool, HandlerPanic> {
        let input = AttemptInput {
            executor: self.id,
            started,
            started_ms,
            control: next.control,
            jitter: retry_jitter(&mut self.rng),
            job: next.job,
        };
        self.observe_start(&input);
        let envelope = input.job.envelope.clone();
        let mut outcome = self.queue.runner.attempt(input).await;
        // A copy of a record would cost an allocation, and nobody needs it here.
        let record = std::mem::take(&mut outcome.settlement.record);
        let settlement = Settlement { record, ..outcome.settlement.clone() };
        let counts = self.queue.inflight.finish(self.id, next.grant, settlement, outcome.ran);
        let pause = self.pause_after(&outcome).filter(|_| counts);
        if let Some(pause) = pause {
            self.queue.inflight.pause(self.id, pause);
        }
        self.queue.request_settling();
        if counts {
            self.observe_end(&outcome);
            self.log(&outcome, &envelope);
            self.report(&outcome);
        }
        if let Some(pause) = pause {
            // A shutdown does not wait for the pause.
            let _ = timeout(pause, self.runtime.shutdown_requested.cancelled()).await;
        }
        match outcome.panic {
            Some(panic) => Err(panic),
            None => Ok(counts),
        }
    }

    /// How long to pause if this process lacked a resource for the attempt. Without the pause a process that lacks a resource would fail its attempts fast, and so take
    /// more jobs than a sound process.
    fn pause_after(&mut self, outcome: &AttemptOutcome) -> Option<Duration> {
        if outcome.lacked.is_none() {
            self.lacking_in_a_row = 0;
            return None;
        }
        let pause = EXHAUSTED_PAUSE_MIN.saturating_mul(2_u32.saturating_pow(self.lacking_in_a_row));
        self.lacking_in_a_row = self.lacking_in_a_row.saturating_add(1);
        Some(pause.min(EXHAUSTED_PAUSE_MAX))
    }

    /// Records in the store that the handler is about to start, which also renews the lease. Waits while the store does not answer or refuses. Returns whether
    /// this executor still has the job.
    async fn record_start(&self, next: &NextJob) -> bool {
        let (runtime, queue) = (&self.runtime, &self.queue);
        let lease_time = runtime.options.lease;
        let lease = next.job.lease(runtime.instance.get());
        loop {
            let sent = Instant::now();
            let (calls, name, leases) = (runtime.calls.clone(), queue.name.clone(), [lease.clone()]);
            let begin =
                async move { calls.until_answered("begin", |store| store.begin(&name, lease_time, &leases)).await };
            match runtime.calls.on_tokio_of_tree(begin).await.flatten() {
                Some(Ok(renewed)) => match renewed.results.first() {
                    Some(Renewal::Kept { cancel_asked }) => {
                        next.control.extend(sent + lease_time);
                        if *cancel_asked {
                            next.control.stop(Stop::Cancelled);
                        }
                        return queue.inflight.started(self.id, next.grant, runtime.store_clock.now_ms());
                    }
                    Some(Renewal::Stale) | None => {
                        queue.inflight.lost_before_start(self.id, next.grant);
                        return false;
                    }
                },
                Some(Err(_)) if runtime.calls.health().wait_after_refusal().await => {}
                // The tree has ended.
                Some(Err(_)) | None => return false,
            }
        }
    }

    fn observe_start(&self, input: &AttemptInput) {
        let (queue, job, attempt) = (&self.queue.name, &input.job.id, input.job.token.attempt);
        self.runtime.observe(|observer| {
            observer.attempt_started(&AttemptStarted { queue, job, attempt, executor: self.id });
        });
    }

    fn observe_end(&self, outcome: &AttemptOutcome) {
        let settlement = &outcome.settlement;
        self.runtime.observe(|observer| {
            observer.attempt_ended(&AttemptEnded {
                queue: &self.queue.name,
                job: &settlement.id,
                attempt: settlement.token.attempt,
                executor: self.id,
                ran: outcome.ran,
                verdict: settlement.verdict,
                failure: outcome.failure.map(|(code, _)| code),
            });
        });
    }

    /// Emits an event if this worker cannot run or decode the job, or lacks a resource for it.
    fn report(&self, outcome: &AttemptOutcome) {
        let (queue, job) = (|| self.queue.name.clone(), || outcome.settlement.id.clone());
        if let Some(kind) = &outcome.unknown_kind {
            self.emit(EventKind::UnknownKind { queue: queue(), job: job(), kind: kind.clone() });
        }
        if let Some(error) = &outcome.undecodable {
            self.emit(EventKind::Undecodable { queue: queue(), job: job(), error: error.clone() });
        }
        if let Some(resource) = outcome.lacked
            && self.runtime.exhaustion.is_new(resource, Instant::now())
        {
            let error = outcome.message.clone().unwrap_or_default();
            self.emit(EventKind::OutOfResources { queue: queue(), resource, error });
        }
    }

    /// Logs a failed or cancelled attempt at level `INFO`, any other at level `DEBUG`.
    fn log(&self, outcome: &AttemptOutcome, envelope: &Bytes) {
        macro_rules! log {
            ($level:ident, $text:literal, $($fields:tt)*) => {
                if tracing::enabled!(target: "retraced::attempts", tracing::Level::$level) {
                    let settlement = &outcome.settlement;
                    let opened = codec::open(envelope).ok();
                    tracing::event!(
                        target: "retraced::attempts",
                        tracing::Level::$level,
                        queue = %self.queue.name,
                        job = %settlement.id,
                        kind = opened.as_ref().map(|envelope| envelope.kind.as_str()),
                        attempt = settlement.token.attempt,
                        $($fields)*
                        ran_ms = millis(outcome.ran),
                        verdict = %settlement.verdict,
                        delay_ms = settlement.verdict.delay().map(millis),
                        $text
                    );
                }
            };
        }
        match (outcome.failure, outcome.settlement.verdict) {
            (_, Verdict::Cancel) => log!(INFO, "attempt cancelled",),
            (Some((code, _)), _) => {
                log!(INFO, "attempt failed", %code, reason = outcome.message.as_deref().unwrap_or_default(),)
            }
            (None, _) => log!(DEBUG, "attempt ended",),
        }
    }

    fn emit(&self, kind: EventKind) {
        let path = path::executor(&self.queue.name, self.id.slot);
        self.runtime.events.emit_of_generation(&path, self.id.generation, kind);
    }
}
