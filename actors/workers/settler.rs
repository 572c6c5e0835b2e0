//! The settler: sends outcomes to the store in batches until the store confirms them, and claims new jobs in the same call if there are credits.
//!
//! Bounds: [`SETTLE_CALLS_MAX`] calls under way, each of at most [`BATCH_MAX`](retraced_jobs::store::BATCH_MAX) outcomes. If no call is under way, one is opened
//! for any number of outcomes, otherwise only for [`SETTLE_BATCH_MIN`] or more. So batches grow with the load, without a timer.

use std::sync::Arc;

use futures_util::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::codec;
use retraced_jobs::events::EventKind;
use retraced_jobs::job::JobState;
use retraced_jobs::store::{Claims, Settled, Settlement, StoreError};
use retraced_jobs::trace::Ended;
use tokio::time::Instant;

use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::{Confirmed, OpenClaim, Settling};
use crate::limits::{SETTLE_BATCH_MIN, SETTLE_CALLS_MAX, TRIM_DELAY_MAX};
use crate::messages::{FetcherMessage, SettlerMessage};
use crate::path;
use crate::random::Random;
use crate::store_calls::FirstSending;

/// The actor.
pub(crate) struct Settler;

pub(crate) struct SettlerState {
    runtime: Arc<RuntimeContext>,
    queue: Arc<QueueContext>,
}

impl Actor for Settler {
    type Msg = SettlerMessage;
    type State = SettlerState;
    type Arguments = (Arc<RuntimeContext>, Arc<QueueContext>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (runtime, queue): Self::Arguments,
    ) -> Result<SettlerState, ActorProcessingErr> {
        queue.settler.set(&myself);
        // The previous settler may have ended between a request to settle and its call.
        myself.cast(SettlerMessage::Settle)?;
        Ok(SettlerState { runtime, queue })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        SettlerMessage::Settle: SettlerMessage,
        state: &mut SettlerState,
    ) -> Result<(), ActorProcessingErr> {
        state.queue.settling_begins();
        while state.open_call() {}
        Ok(())
    }
}

impl SettlerState {
    /// Opens a settlement call if there are outcomes for one. Returns whether it did.
    fn open_call(&self) -> bool {
        let Ok(permit) = self.queue.settle_permits.clone().try_acquire_owned() else { return false };
        let first = self.queue.settle_permits.available_permits() + 1 == SETTLE_CALLS_MAX;
        let least = if first { 1 } else { SETTLE_BATCH_MIN };
        let Some(settling) = self.queue.inflight.take_settlements(least) else { return false };
        let (runtime, queue) = (self.runtime.clone(), self.queue.clone());
        tokio::spawn(async move {
            let claim = queue.inflight.open_claim(Instant::now());
            settle(&runtime, &queue, settling, claim).await;
            drop(permit);
            queue.request_settling();
        });
        true
    }
}

/// Sends one batch until it is answered or the tree has ended. It runs in a task of its own, so the outcomes are not lost if the settler ends meanwhile.
async fn settle(runtime: &RuntimeContext, queue: &QueueContext, settling: Settling, mut claim: Option<OpenClaim>) {
    // The leases are counted from the first sending that may have been applied; before that the call may wait for a replay slot.
    let first_sending = FirstSending::default();
    let settlements = &settling.settlements;
    let answer = match &mut claim {
        Some(claim) => {
            let request = claim.request(runtime.options.lease, Random::nonce());
            let call = runtime.calls.until_known("settle_and_claim", |store, call| {
                claim.sent_by(call.instance);
                first_sending.track(store.settle_and_claim(call, &queue.name, settlements, &request)).boxed()
            });
            call.await
        }
        None => {
            let call = runtime.calls.until_known("settle", |store, call| store.settle(call, &queue.name, settlements));
            call.await.map(|result| result.map(|settled| (settled, Claims::default())))
        }
    };
    let sent = first_sending.at();
    match answer {
        Some(Ok((settled, claims))) => {
            confirm(runtime, queue, settling, &settled);
            resume_claims(runtime, queue);
            if let Some(claim) = claim {
                runtime.store_clock.observe(claims.now_ms);
                runtime.observe(|observer| observer.claimed(&queue.name, claims.jobs.len()));
                queue.granted(claim, claims, sent + runtime.options.lease);
            }
        }
        // The outcomes return to the table when `settling` is dropped, and are sent again.
        Some(Err(error)) => {
            if claim.is_some_and(|claim| claim.failed(&error)) {
                queue.fetcher.send(FetcherMessage::Poll);
            }
            report_stopped_claims(runtime, queue, &error);
            runtime.calls.health().wait_after_refusal().await;
        }
        None => {}
    }
}

/// The store refused to settle. Reports it if that keeps the queue from claiming.
fn report_stopped_claims(runtime: &RuntimeContext, queue: &QueueContext, error: &StoreError) {
    let report = |unsettled: usize| {
        let reason = error.to_string();
        let kind = EventKind::ClaimsStopped { queue: queue.name.clone(), unsettled: unsettled as u64, reason };
        runtime.events.emit(&path::settler(&queue.name), kind);
    };
    queue.claims_stop.refused(|| queue.inflight.held_back_by(), report);
}

/// The store has settled: claims that were held back go on.
fn resume_claims(runtime: &RuntimeContext, queue: &QueueContext) {
    let report = || {
        let kind = EventKind::ClaimsResumed { queue: queue.name.clone() };
        runtime.events.emit(&path::settler(&queue.name), kind);
    };
    // A poll or another settlement may have claimed since the store confirmed. That too ends the stop.
    queue.claims_stop.settled(|| queue.inflight.held_back_by(), report);
    if queue.inflight.take_claims_resume() {
        queue.fetcher.send(FetcherMessage::Poll);
    }
}

/// Settles the outcomes of closed workers, and releases the jobs that open claims still bring, until nothing is left or the workers have reopened.
pub(crate) async fn settle_what_is_left(runtime: &RuntimeContext, queue: &QueueContext) {
    while queue.inflight.wait_for_outcome_while_closed().await {
        if let Some(settling) = queue.inflight.take_settlements(1) {
            settle(runtime, queue, settling, None).await;
        }
    }
}

fn confirm(runtime: &RuntimeContext, queue: &QueueContext, settling: Settling, settled: &[Settled]) {
    queue.trim_schedule.request_within(TRIM_DELAY_MAX);
    let Confirmed { given_up, stale } = settling.confirm(settled);
    given_up.iter().for_each(|(settlement, state)| report_given_up(runtime, queue, settlement, *state));
    let path = path::settler(&queue.name);
    runtime.observe(|observer| observer.settled(&queue.name, settled.len() - stale.len(), stale.len()));
    if !stale.is_empty() {
        runtime.request_count();
    }
    for stale in stale {
        let kind =
            EventKind::StaleSettlement { queue: queue.name.clone(), job: stale.id, attempt: stale.token.attempt };
        runtime.events.emit(&path, kind);
    }
}

/// The store has moved a job to the dead letter queue, or poisoned it: says so in the name of the executor that ran it. Not when the attempt ends, because the settlement may come
/// too late to change anything.
fn report_given_up(runtime: &RuntimeContext, queue: &QueueContext, settlement: &Settlement, state: JobState) {
    // An attempt that fails for good always has a record, which this worker wrote.
    let Ok(log) = codec::decode_attempt(&settlement.record) else { return };
    let Ended::Failed { code, .. } = log.ended else { return };
    let (queue, job) = (queue.name.clone(), settlement.id.clone());
    let path = path::executor(&queue, log.executor.slot);
    let kind = match state {
        JobState::Poisoned => EventKind::JobPoisoned { queue, job, code },
        _ => EventKind::JobDied { queue, job, code },
    };
    runtime.events.emit_of_generation(&path, log.executor.generation, kind);
}
