//! The retry scheduler: promotes delayed jobs when they are due. They go to the back of their queue.
//!
//! It polls a queue when the next known due time has come, and when a hint says that there is an earlier one. Without a subscription for hints it polls at least
//! every [`PROMOTE_POLL_MAX`]; with one, at the latest [`PROMOTE_POLL_IDLE_MAX`] after the last answer about due times. The reply to a claim that finds no
//! pending job is such an answer, so an idle queue is rarely polled until a job is due. Bounds: one round under way, in which each queue
//! whose poll is due gets one call of at most [`PROMOTE_BATCH_MAX`] jobs, so that a queue with many due jobs does not hold up the others. A call without an answer
//! holds up the round.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::background::{self, BackgroundTask};
use crate::context::{QueueContext, RuntimeContext};
use crate::limits::{PROMOTE_BATCH_MAX, PROMOTE_POLL_IDLE_MAX, PROMOTE_POLL_MAX, PROMOTE_POLL_MIN};
use crate::messages::RetrySchedulerMessage;

/// The actor.
pub(crate) struct RetryScheduler;

pub(crate) struct RetrySchedulerState {
    runtime: Arc<RuntimeContext>,
    round: Option<BackgroundTask>,
    /// A round was requested while one was under way.
    again: bool,
    timer: Option<BackgroundTask>,
}

impl Actor for RetryScheduler {
    type Msg = RetrySchedulerMessage;
    type State = RetrySchedulerState;
    type Arguments = Arc<RuntimeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        runtime: Arc<RuntimeContext>,
    ) -> Result<RetrySchedulerState, ActorProcessingErr> {
        runtime.retry_scheduler.set(&myself);
        myself.cast(RetrySchedulerMessage::StartRound)?;
        Ok(RetrySchedulerState { runtime, round: None, again: false, timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: RetrySchedulerMessage,
        state: &mut RetrySchedulerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RetrySchedulerMessage::StartRound => state.start_round(&myself),
            RetrySchedulerMessage::RoundEnded { next_in } => state.round_ended(&myself, next_in),
        }
        Ok(())
    }
}

impl RetrySchedulerState {
    fn start_round(&mut self, myself: &ActorRef<RetrySchedulerMessage>) {
        if self.round.is_some() {
            self.again = true;
            return;
        }
        let runtime = self.runtime.clone();
        self.round = Some(background::start(myself, async move {
            let due = runtime.queues.iter().filter(|queue| queue.promote_schedule.is_due());
            join_all(due.map(|queue| promote_due(&runtime, queue))).await;
            let next_in = runtime.queues.iter().map(|queue| queue.promote_schedule.remaining()).min();
            RetrySchedulerMessage::RoundEnded { next_in: next_in.unwrap_or(PROMOTE_POLL_MAX) }
        }));
    }

    fn round_ended(&mut self, myself: &ActorRef<RetrySchedulerMessage>, next_in: Duration) {
        self.round = None;
        if std::mem::take(&mut self.again) || next_in.is_zero() {
            return self.start_round(myself);
        }
        self.timer = Some(background::timer(myself, next_in, RetrySchedulerMessage::StartRound));
    }
}

/// Promotes due jobs of one queue, and plans its next poll.
async fn promote_due(runtime: &RuntimeContext, queue: &QueueContext) {
    let schedule = &queue.promote_schedule;
    schedule.begin();
    let reply = runtime.calls.until_known("promote", |store, call| store.promote(call, &queue.name, PROMOTE_BATCH_MAX));
    let Some(Ok(promoted)) = reply.await else {
        // The store refused the call, or the tree has ended.
        return schedule.again_in(PROMOTE_POLL_MAX);
    };
    if promoted.moved > 0 {
        queue.wake_fetcher();
    }
    if promoted.moved >= PROMOTE_BATCH_MAX {
        return schedule.again_in(Duration::ZERO);
    }
    let longest = if runtime.hints_subscribed() { PROMOTE_POLL_IDLE_MAX } else { PROMOTE_POLL_MAX };
    let next_due_in = promoted.next_due.unwrap_or(longest);
    schedule.again_in(next_due_in.clamp(PROMOTE_POLL_MIN, longest));
}
