//! The fetcher: claims as many jobs as there are credits, which are free executors plus prefetch.
//!
//! While jobs finish, the settler claims in the same call in which it settles them (see [`settler`](super::settler)). The fetcher claims when it starts, after
//! hints, when executors are idle, when its last claim did not empty the queue, and when its jittered poll is due. Bounds:
//! [`CLAIM_CALLS_MAX`](crate::limits::CLAIM_CALLS_MAX) calls under way, each for at most [`BATCH_MAX`](retraced_jobs::store::BATCH_MAX) jobs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::store::QueueEmpty;
use tokio::time::Instant;

use crate::background::{self, BackgroundTask};
use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::{ClaimResult, OpenClaim};
use crate::limits::{POLL_MAX, POLL_MIN};
use crate::messages::FetcherMessage;
use crate::random::Random;
use crate::store_calls::FirstSending;

/// The actor.
pub(crate) struct Fetcher;

pub(crate) struct FetcherState {
    runtime: Arc<RuntimeContext>,
    queue: Arc<QueueContext>,
    /// The delay before the next poll, without jitter.
    interval: Duration,
    /// A poll was requested while a claim was under way.
    poll_again: bool,
    timer: Option<BackgroundTask>,
}

impl Actor for Fetcher {
    type Msg = FetcherMessage;
    type State = FetcherState;
    type Arguments = (Arc<RuntimeContext>, Arc<QueueContext>);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (runtime, queue): Self::Arguments,
    ) -> Result<FetcherState, ActorProcessingErr> {
        queue.fetcher.set(&myself);
        myself.cast(FetcherMessage::Poll)?;
        Ok(FetcherState { runtime, queue, interval: POLL_MIN, poll_again: false, timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: FetcherMessage,
        state: &mut FetcherState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            FetcherMessage::Poll => state.poll(&myself),
            FetcherMessage::Claimed { jobs, queue_empty } => state.claimed(&myself, jobs, queue_empty),
        }
        Ok(())
    }
}

impl FetcherState {
    fn poll(&mut self, myself: &ActorRef<FetcherMessage>) {
        let Ok(permit) = self.queue.claim_permits.clone().try_acquire_owned() else {
            self.poll_again = true;
            // The claim under way may be that of an earlier fetcher, and its end may not be reported.
            return self.poll_later(myself);
        };
        if let Some(open) = self.queue.inflight.open_claim(Instant::now()) {
            let (runtime, queue) = (self.runtime.clone(), self.queue.clone());
            tokio::spawn(async move {
                let ClaimResult { jobs, queue_empty, .. } = claim(&runtime, &queue, open).await;
                drop(permit);
                if queue.inflight.any_to_settle() {
                    // The table may have released the jobs of this claim, and others may have waited for its end.
                    queue.request_settling();
                }
                queue.fetcher.send(FetcherMessage::Claimed { jobs, queue_empty });
            });
        }
        self.poll_later(myself);
    }

    fn claimed(&mut self, myself: &ActorRef<FetcherMessage>, jobs: usize, queue_empty: bool) {
        if jobs > 0 && self.queue.take_first_count_request() {
            self.runtime.request_count();
        }
        self.interval = match jobs {
            0 if self.runtime.hints_subscribed() => (self.interval * 2).min(POLL_MAX),
            _ => POLL_MIN,
        };
        if std::mem::take(&mut self.poll_again) || !queue_empty {
            self.poll(myself);
        } else {
            self.poll_later(myself);
        }
    }

    fn poll_later(&mut self, myself: &ActorRef<FetcherMessage>) {
        let delay = self.runtime.random.jittered(self.interval);
        self.timer = Some(background::timer(myself, delay, FetcherMessage::Poll));
    }
}

/// Sends one claim until it is answered or the tree has ended. It runs in a task of its own, so the reply is not lost if the fetcher ends meanwhile.
async fn claim(runtime: &RuntimeContext, queue: &QueueContext, mut open: OpenClaim) -> ClaimResult {
    let request = open.request(runtime.options.lease, Random::nonce());
    // The lease is counted from the first sending that may have been applied; before that the call may wait for a replay slot.
    let first_sending = FirstSending::default();
    let claim = runtime.calls.until_known("claim", |store, call| {
        open.sent_by(call.instance);
        first_sending.track(store.claim(call, &queue.name, &request)).boxed()
    });
    let reply = claim.await;
    let sent = first_sending.at();
    match reply {
        Some(Ok(claims)) => {
            runtime.store_clock.observe(claims.now_ms);
            if let Some(QueueEmpty { next_due, .. }) = claims.queue_empty {
                runtime.plan_promotion(queue, sent, next_due);
            }
            runtime.observe(|observer| observer.claimed(&queue.name, claims.jobs.len()));
            queue.granted(open, claims, sent + runtime.options.lease)
        }
        Some(Err(error)) => {
            let hinted = open.failed(&error);
            runtime.calls.health().wait_after_refusal().await;
            ClaimResult { queue_empty: !hinted, ..ClaimResult::NOTHING }
        }
        None => ClaimResult::NOTHING,
    }
}
