//! The lease keeper: renews the leases of this process in batches, every third of a lease. A shutdown stops it after the workers, so that leases are
//! renewed to the end. It also tells the store how far running handlers have come: every [`PROGRESS_INTERVAL`], in one call per queue and batch, and in none if no
//! handler has reported anything new. These calls renew leases as well, but no renewal waits for them or depends on them.
//!
//! Bounds: one round of renewals and one of reports under way, each call with at most [`BATCH_MAX`] leases. If a renewal is not answered, the next round begins soon
//! after the end of the outage and not a third of a lease later.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::context::{AttemptControl, Stop};
use retraced_jobs::events::EventKind;
use retraced_jobs::job::Lease;
use retraced_jobs::store::{BATCH_MAX, Renewal, Renewed, Report};
use tokio::time::Instant;

use crate::background::{self, BackgroundTask};
use crate::context::{QueueContext, RuntimeContext};
use crate::limits::{ACTOR_CALL_TIMEOUT, PROGRESS_INTERVAL, RENEW_RETRY_DELAY_MAX, RENEWALS_PER_LEASE};
use crate::path;

/// What the lease keeper sends to itself.
#[derive(Debug)]
pub(crate) enum LeaseKeeperMessage {
    /// A round of renewals is due: at the start, and when the timer has fired.
    Renew,
    /// A round of renewals has ended.
    Renewed { all_answered: bool },
    /// A round of reports is due.
    Report,
    /// A round of reports has ended.
    Reported,
}

/// The actor.
pub(crate) struct LeaseKeeper;

pub(crate) struct LeaseKeeperState {
    runtime: Arc<RuntimeContext>,
    round: Option<BackgroundTask>,
    timer: Option<BackgroundTask>,
    /// The round of reports that is under way, or the timer of the next one.
    reports: Option<BackgroundTask>,
}

impl Actor for LeaseKeeper {
    type Msg = LeaseKeeperMessage;
    type State = LeaseKeeperState;
    type Arguments = Arc<RuntimeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        runtime: Arc<RuntimeContext>,
    ) -> Result<LeaseKeeperState, ActorProcessingErr> {
        // The previous lease keeper may have ended just before a renewal was due.
        myself.cast(LeaseKeeperMessage::Renew)?;
        let reports = Some(background::timer(&myself, PROGRESS_INTERVAL, LeaseKeeperMessage::Report));
        Ok(LeaseKeeperState { runtime, round: None, timer: None, reports })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: LeaseKeeperMessage,
        state: &mut LeaseKeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LeaseKeeperMessage::Renew => state.renew(&myself),
            LeaseKeeperMessage::Renewed { all_answered } => state.renewed(&myself, all_answered),
            LeaseKeeperMessage::Report => state.report(&myself),
            LeaseKeeperMessage::Reported => {
                state.reports = Some(background::timer(&myself, PROGRESS_INTERVAL, LeaseKeeperMessage::Report));
            }
        }
        Ok(())
    }
}

impl LeaseKeeperState {
    fn renew(&mut self, myself: &ActorRef<LeaseKeeperMessage>) {
        let runtime = self.runtime.clone();
        self.round = Some(background::start(myself, async move {
            let answered = join_all(runtime.queues.iter().map(|queue| renew(&runtime, queue))).await;
            let all_answered = answered.into_iter().all(|answered| answered);
            if !all_answered {
                runtime.calls.health().wait_until_up().await;
            }
            LeaseKeeperMessage::Renewed { all_answered }
        }));
    }

    fn renewed(&mut self, myself: &ActorRef<LeaseKeeperMessage>, all_answered: bool) {
        self.round = None;
        let interval = self.runtime.options.lease / RENEWALS_PER_LEASE;
        // After unanswered renewals the round has already waited for the end of the outage. The short delay keeps renewals that fail at once from flooding the store.
        let delay = if all_answered { interval } else { interval.min(RENEW_RETRY_DELAY_MAX) };
        self.timer = Some(background::timer(myself, delay, LeaseKeeperMessage::Renew));
    }

    fn report(&mut self, myself: &ActorRef<LeaseKeeperMessage>) {
        let runtime = self.runtime.clone();
        self.reports = Some(background::start(myself, async move {
            join_all(runtime.queues.iter().map(|queue| report(&runtime, queue))).await;
            LeaseKeeperMessage::Reported
        }));
    }
}

/// Renews every lease of one queue. Returns whether the store answered all calls; a refusal is an answer.
async fn renew(runtime: &RuntimeContext, queue: &QueueContext) -> bool {
    renew_leases(runtime, queue, &queue.inflight.leases(runtime.instance.get())).await
}

/// Renews these leases of one queue, and acts on what the store says about them. Returns whether the store answered all calls; a refusal is an answer.
pub(super) async fn renew_leases(
    runtime: &RuntimeContext,
    queue: &QueueContext,
    held: &[(Lease, Arc<AttemptControl>)],
) -> bool {
    let lease = runtime.options.lease;
    let limit = call_limit(runtime);
    let mut all_answered = true;
    for batch in held.chunks(BATCH_MAX) {
        let leases: Vec<Lease> = batch.iter().map(|(lease, _)| lease.clone()).collect();
        let sent = Instant::now();
        let renew = runtime.calls.once_within(limit, "renew", |store| store.renew(&queue.name, lease, &leases));
        match renew.await {
            Ok(renewed) => apply(runtime, queue, batch, renewed, sent + lease),
            Err(error) => all_answered &= !error.is_retryable(),
        }
    }
    all_answered
}

/// Tells the store how far the handlers of one queue have come, where it does not know. If a call fails, the next round makes it again.
async fn report(runtime: &RuntimeContext, queue: &QueueContext) {
    let lease = runtime.options.lease;
    let held = queue.inflight.running_leases(runtime.instance.get()).into_iter();
    let (held, reports): (Vec<_>, Vec<_>) = held
        .filter_map(|(lease, control)| {
            let report = Report { lease: lease.clone(), progress: control.unstored_progress()? };
            Some(((lease, control), report))
        })
        .unzip();
    for (held, reports) in held.chunks(BATCH_MAX).zip(reports.chunks(BATCH_MAX)) {
        let sent = Instant::now();
        let call =
            runtime.calls.once_within(call_limit(runtime), "report", |store| store.report(&queue.name, lease, reports));
        let Ok(renewed) = call.await else { return };
        for (((_, control), report), result) in held.iter().zip(reports).zip(&renewed.results) {
            if *result != Renewal::Stale {
                control.progress_stored(report.progress.clone());
            }
        }
        apply(runtime, queue, held, renewed, sent + lease);
    }
}

/// How long a call may take: one that hangs must leave time for the next one.
fn call_limit(runtime: &RuntimeContext) -> Duration {
    ACTOR_CALL_TIMEOUT.min(runtime.options.lease / RENEWALS_PER_LEASE)
}

fn apply(
    runtime: &RuntimeContext,
    queue: &QueueContext,
    held: &[(Lease, Arc<AttemptControl>)],
    renewed: Renewed,
    expires: Instant,
) {
    runtime.store_clock.observe(renewed.now_ms);
    let (mut kept, mut lost) = (0, 0);
    for ((lease, control), result) in held.iter().zip(renewed.results) {
        match result {
            Renewal::Kept { cancel_asked } => {
                kept += 1;
                control.extend(expires);
                if cancel_asked {
                    control.stop(Stop::Cancelled);
                }
            }
            Renewal::Stale if queue.inflight.is_active(lease) => {
                lost += 1;
                control.lose();
                let (queue, job, attempt) = (queue.name.clone(), lease.id.clone(), lease.token.attempt);
                runtime.events.emit(path::LEASE_KEEPER, EventKind::LeaseLost { queue, job, attempt });
                runtime.request_count();
            }
            // The outcome of this job is known. Either it is settled already, or its settlement will be answered as stale.
            Renewal::Stale => {}
        }
    }
    runtime.observe(|observer| observer.leases_renewed(&queue.name, kept, lost));
}
