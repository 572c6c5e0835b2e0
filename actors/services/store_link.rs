//! The store link: probes the store while it is unreachable or blocked, so that the end of this is noticed soon. It also holds the subscription for hints. After a hint
//! about a cancellation it asks the store whether it is true.
//!
//! Bounds: one health check at a time, [`PROBE_DELAY_MIN`] to [`PROBE_DELAY_MAX`] after the last one; one subscription.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::store::{Hint, StoreError};
use retraced_jobs::units::millis;
use tokio::time::{Instant, timeout};

use super::cancellations;
use crate::background::{self, BackgroundTask};
use crate::context::RuntimeContext;
use crate::limits::{OUTAGE_REPORTED_AFTER, PROBE_DELAY_MAX, PROBE_DELAY_MIN, PROBE_RESET_AFTER, REFUSED_DELAY};
use crate::messages::StoreLinkMessage;

/// The actor.
pub(crate) struct StoreLink;

pub(crate) struct StoreLinkState {
    runtime: Arc<RuntimeContext>,
    backoff: backoff::ExponentialBackoff,
    probe: Option<BackgroundTask>,
    outage_report: Option<BackgroundTask>,
    /// When the last probe began.
    probed_at: Option<Instant>,
    _subscription: BackgroundTask,
}

impl Actor for StoreLink {
    type Msg = StoreLinkMessage;
    type State = StoreLinkState;
    type Arguments = Arc<RuntimeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        runtime: Arc<RuntimeContext>,
    ) -> Result<StoreLinkState, ActorProcessingErr> {
        runtime.calls.health().link().set(&myself);
        let hints = background::start(&myself, listen(runtime.clone()));
        if !runtime.calls.health().is_up() {
            myself.cast(StoreLinkMessage::NotUp)?;
        }
        Ok(StoreLinkState {
            runtime,
            backoff: probe_backoff(),
            probe: None,
            outage_report: None,
            probed_at: None,
            _subscription: hints,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: StoreLinkMessage,
        state: &mut StoreLinkState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StoreLinkMessage::NotUp => {
                state.report_outage_later(&myself);
                state.probe_unless_probing(&myself);
            }
            StoreLinkMessage::OutageReportDue => state.runtime.calls.health().report_outage(),
            StoreLinkMessage::Probed => {
                state.probe = None;
                // The store may be down again already: a message that said so while the probe was under way was passed over.
                state.probe_unless_probing(&myself);
            }
        }
        Ok(())
    }
}

impl StoreLinkState {
    fn report_outage_later(&mut self, myself: &ActorRef<StoreLinkMessage>) {
        let since = self.runtime.calls.health().unreported_outage();
        self.outage_report = since.map(|since| {
            let due = OUTAGE_REPORTED_AFTER.saturating_sub(since.elapsed());
            background::timer(myself, due, StoreLinkMessage::OutageReportDue)
        });
    }

    fn probe_unless_probing(&mut self, myself: &ActorRef<StoreLinkMessage>) {
        if self.probe.is_some() || self.runtime.calls.health().is_up() {
            return;
        }
        // The delay is not reset as soon as the store is up: a store that is blocked and free in turn would be probed without a pause.
        if self.probed_at.is_some_and(|at| at.elapsed() >= PROBE_RESET_AFTER) || self.is_first_of_an_outage() {
            self.backoff.reset();
        }
        self.probed_at = Some(Instant::now());
        let delay = self.backoff.next_backoff().unwrap_or(PROBE_DELAY_MAX);
        let runtime = self.runtime.clone();
        self.probe = Some(background::start(myself, async move {
            tokio::time::sleep(delay).await;
            probe(&runtime).await;
            StoreLinkMessage::Probed
        }));
    }

    /// Whether there is an outage that is neither reported nor probed yet. Several probes must fit into the time after which it is reported.
    fn is_first_of_an_outage(&self) -> bool {
        let since = self.runtime.calls.health().unreported_outage();
        since.is_some_and(|since| self.probed_at.is_none_or(|at| at < since))
    }
}

/// Asks the store whether it is blocked. The call itself notes that the store has answered.
async fn probe(runtime: &RuntimeContext) {
    let Ok(facts) = runtime.calls.once("probe", |store| store.probe()).await else { return };
    match facts.blocked {
        Some(blocked) => runtime.calls.health().blocked(blocked.by, &blocked.said),
        None => runtime.calls.health().unblocked(),
    }
}

/// The delays between health checks. They have no jitter: only one actor per process probes, and it should notice the end of an outage soon.
fn probe_backoff() -> backoff::ExponentialBackoff {
    backoff::ExponentialBackoff {
        current_interval: PROBE_DELAY_MIN,
        initial_interval: PROBE_DELAY_MIN,
        max_interval: PROBE_DELAY_MAX,
        multiplier: 2.0,
        randomization_factor: 0.0,
        max_elapsed_time: None,
        ..backoff::ExponentialBackoff::default()
    }
}

/// Subscribes to hints and forwards them, and subscribes again when the subscription ends.
async fn listen(runtime: Arc<RuntimeContext>) -> StoreLinkMessage {
    let queues: Vec<_> = runtime.queues.iter().map(|queue| queue.name.clone()).collect();
    let mut backoff = probe_backoff();
    let watch = runtime.calls.watch("hints");
    loop {
        let begun = Instant::now();
        match runtime.calls.once("hints", |store| store.hints(&queues)).await {
            Ok(hints) => {
                let mut forwarding = pin!(forward_all(&runtime, hints));
                if timeout(PROBE_RESET_AFTER, &mut forwarding).await.is_ok() {
                    watch.failed(begun, || {
                        let lasted = millis(begun.elapsed());
                        format!("the subscription for hints is closed again and again, the last one after {lasted} ms")
                    });
                } else {
                    backoff.reset();
                    watch.works();
                    forwarding.await;
                }
                tokio::time::sleep(backoff.next_backoff().unwrap_or(PROBE_DELAY_MAX)).await;
            }
            Err(error) if error.is_retryable() => {
                // A block is reported as such.
                if !matches!(error, StoreError::Blocked { .. }) {
                    watch.failed(begun, || error.to_string());
                }
                tokio::time::sleep(backoff.next_backoff().unwrap_or(PROBE_DELAY_MAX)).await;
                runtime.calls.health().wait_until_up().await;
            }
            // The store refuses the subscription. Polls find the jobs meanwhile.
            Err(_) => tokio::time::sleep(REFUSED_DELAY).await,
        }
    }
}

async fn forward_all(runtime: &RuntimeContext, mut hints: BoxStream<'static, Hint>) {
    let _subscription = runtime.count_hint_subscription();
    // Hints may have been missed before the subscription began, so every queue is polled.
    for queue in &runtime.queues {
        forward(runtime, Hint::Pending(queue.name.clone()));
        forward(runtime, Hint::Due(queue.name.clone()));
    }
    let (cancel_hints, waiting) = cancellations::channel();
    let forward_hints = async {
        while let Some(hint) = hints.next().await {
            match hint {
                Hint::Cancel(queue, id) => cancel_hints.add(runtime, queue, id),
                hint => forward(runtime, hint),
            }
        }
    };
    // Side by side, because a store that does not answer must not hold up hints about jobs.
    tokio::select! {
        () = forward_hints => {}
        () = cancellations::confirm_all(runtime, waiting) => {}
    }
}

fn forward(runtime: &RuntimeContext, hint: Hint) {
    match hint {
        Hint::Pending(queue) => {
            if let Some(context) = runtime.queue(&queue) {
                context.wake_fetcher();
            }
        }
        Hint::Due(queue) => {
            if let Some(context) = runtime.queue(&queue) {
                context.promote_schedule.request_within(Duration::ZERO);
                runtime.request_promotion();
            }
        }
        // Hints about ended jobs are for waiters for outcomes, and a newer store may send hints that this version does not know.
        _ => {}
    }
}
