//! The reclaimer: reclaims expired leases, of this worker and of others, and releases the jobs of claims whose outcome is unknown.
//!
//! It looks for expired leases in a queue when the next lease expires, and at the latest [`RECLAIM_POLL_MAX`] or a third of a lease after it looked last,
//! whichever is shorter. If the queue has no lease it looks every third of a lease. Bounds: one round under way, at least [`RECLAIM_POLL_MIN`] after the last
//! one, at most [`RECLAIM_BATCH_MAX`] leases per call and [`BATCHES_PER_ROUND_MAX`] calls per queue and round.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::events::EventKind;
use retraced_jobs::job::{InstanceId, Nonce};
use retraced_jobs::store::{Reclaim, Reclaimed};
use retraced_jobs::units::millis;

use crate::background::{self, BackgroundTask};
use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::UnresolvedClaim;
use crate::limits::{
    BATCHES_PER_ROUND_MAX, LOSSES_MAX, RECLAIM_BATCH_MAX, RECLAIM_POLL_MAX, RECLAIM_POLL_MIN, RECLAIMS_PER_LEASE,
};
use crate::path;

/// What the reclaimer sends to itself.
#[derive(Debug)]
pub(crate) enum ReclaimerMessage {
    /// A round is due: at the start, and when the timer has fired.
    StartRound,
    /// A round has ended. The next one is due after `next_in`.
    RoundEnded { next_in: Duration },
}

/// The actor.
pub(crate) struct Reclaimer;

pub(crate) struct ReclaimerState {
    runtime: Arc<RuntimeContext>,
    round: Option<BackgroundTask>,
    timer: Option<BackgroundTask>,
}

impl Actor for Reclaimer {
    type Msg = ReclaimerMessage;
    type State = ReclaimerState;
    type Arguments = Arc<RuntimeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        runtime: Arc<RuntimeContext>,
    ) -> Result<ReclaimerState, ActorProcessingErr> {
        myself.cast(ReclaimerMessage::StartRound)?;
        Ok(ReclaimerState { runtime, round: None, timer: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: ReclaimerMessage,
        state: &mut ReclaimerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ReclaimerMessage::StartRound => state.start_round(&myself),
            ReclaimerMessage::RoundEnded { next_in } => state.round_ended(&myself, next_in),
        }
        Ok(())
    }
}

impl ReclaimerState {
    fn start_round(&mut self, myself: &ActorRef<ReclaimerMessage>) {
        let runtime = self.runtime.clone();
        self.round = Some(background::start(myself, async move {
            join_all(runtime.queues.iter().map(|queue| look_at_queue(&runtime, queue))).await;
            let next_in = runtime.queues.iter().map(|queue| queue.reclaim_schedule.remaining()).min();
            ReclaimerMessage::RoundEnded { next_in: next_in.unwrap_or(RECLAIM_POLL_MAX) }
        }));
    }

    fn round_ended(&mut self, myself: &ActorRef<ReclaimerMessage>, next_in: Duration) {
        self.round = None;
        // If no queue has a lease, the next look may be due later than this, but each round also looks for claims of unknown outcome.
        let round_interval_max = RECLAIM_POLL_MAX.min(self.runtime.options.lease / RECLAIMS_PER_LEASE);
        let delay = next_in.max(RECLAIM_POLL_MIN).min(round_interval_max);
        self.timer = Some(background::timer(myself, delay, ReclaimerMessage::StartRound));
    }
}

/// One queue's part of a round: releases the jobs of its unresolved claims and, if a look at its leases is due, reclaims those that have expired.
async fn look_at_queue(runtime: &RuntimeContext, queue: &QueueContext) {
    release_unresolved_claims(runtime, queue).await;
    if queue.reclaim_schedule.is_due() {
        queue.reclaim_schedule.begin();
        let QueueLook { shortened: leases, next } = reclaim_expired(runtime, queue).await;
        queue.reclaim_schedule.again_in(next);
        if leases > 0 {
            let kind = EventKind::LeasesShortened { queue: queue.name.clone(), leases };
            runtime.events.emit(path::RECLAIMER, kind);
        }
    }
}

/// Releases the jobs that were granted to claims of this process whose outcome is unknown: the call ended with an error, for example because the reply could not be
/// read, or a bug ended the task that waited for it. The claims stay noted until the store has answered, because this actor may be restarted meanwhile.
async fn release_unresolved_claims(runtime: &RuntimeContext, queue: &QueueContext) {
    let mut unresolved = queue.inflight.unresolved_claims();
    // Those of one process instance at a time; usually there is only one.
    while let Some(UnresolvedClaim { instance, .. }) = unresolved.first().copied() {
        let (ours, others) = unresolved.into_iter().partition::<Vec<_>, _>(|claim| claim.instance == instance);
        unresolved = others;
        let nonces: Vec<_> = ours.iter().map(|claim| claim.nonce).collect();
        let Reconciled { released, is_over } = reconcile(runtime, queue, instance, &nonces).await;
        if is_over {
            queue.inflight.claims_resolved(&ours);
        }
        if released > 0 {
            let kind = EventKind::ClaimsLost { queue: queue.name.clone(), claims: nonces.len(), released };
            runtime.events.emit(path::RECLAIMER, kind);
            queue.wake_fetcher();
        }
    }
}

/// What became of claims of unknown outcome.
struct Reconciled {
    /// How many jobs were released.
    released: usize,
    /// Nothing is left to be done: all their jobs are released, or another process runs under this process instance and has them.
    is_over: bool,
}

/// Releases the jobs that were granted to claims with these nonces.
async fn reconcile(
    runtime: &RuntimeContext,
    queue: &QueueContext,
    instance: InstanceId,
    nonces: &[Nonce],
) -> Reconciled {
    let (mut released, mut cursor) = (0, None);
    loop {
        let reconcile = runtime.calls.until_known("reconcile", |store, call| {
            store.reconcile(call, &queue.name, instance, nonces, cursor.clone())
        });
        match reconcile.await {
            Some(Ok(page)) => {
                released += page.released.len();
                cursor = page.next;
                if cursor.is_none() {
                    return Reconciled { released, is_over: true };
                }
            }
            Some(Err(error)) => return Reconciled { released, is_over: error.is_call_id_conflict() },
            // The tree has ended.
            None => return Reconciled { released, is_over: false },
        }
    }
}

/// The result of one look at the leases of one queue, in up to [`BATCHES_PER_ROUND_MAX`] calls.
struct QueueLook {
    /// How many leases ended too late because the store's clock was set back, and were shortened ([`Reclaimed::shortened`]).
    shortened: usize,
    /// How long to wait before the next look.
    next: Duration,
}

/// Reclaims the expired leases of one queue.
async fn reclaim_expired(runtime: &RuntimeContext, queue: &QueueContext) -> QueueLook {
    let mut shortened = 0;
    let lease = runtime.options.lease;
    let crashes_max = runtime.options.crashes_max;
    let request = Reclaim { limit: RECLAIM_BATCH_MAX, lease, crashes_max, losses_max: LOSSES_MAX };
    for _ in 0..BATCHES_PER_ROUND_MAX {
        let reclaim = runtime.calls.until_known("reclaim", |store, call| store.reclaim(call, &queue.name, &request));
        // A failed call is reported where it is sent (`StoreCalls`).
        let Some(Ok(reclaimed)) = reclaim.await else { return QueueLook { shortened, next: RECLAIM_POLL_MAX } };
        report(runtime, queue, &reclaimed);
        shortened += reclaimed.shortened;
        if reclaimed.jobs.iter().any(|job| !job.poisoned) {
            queue.wake_fetcher();
        }
        // The limit applies to each of the two. If one has reached it, more may be left.
        if reclaimed.jobs.len().max(reclaimed.shortened) < RECLAIM_BATCH_MAX {
            let interval_max = lease / RECLAIMS_PER_LEASE;
            let next = reclaimed.next_expiry.map_or(interval_max, |next| next.min(RECLAIM_POLL_MAX).min(interval_max));
            return QueueLook { shortened, next };
        }
    }
    QueueLook { shortened, next: RECLAIM_POLL_MIN }
}

fn report(runtime: &RuntimeContext, queue: &QueueContext, reclaimed: &Reclaimed) {
    // The store gives a lease grace after a reclaim gap, and also when it is the first time that anybody looks for expired leases. Without an expired
    // lease the grace delays nothing, so it is not reported.
    if let Some(grace) = reclaimed.grace
        && reclaimed.next_expiry == Some(Duration::ZERO)
        && queue.note_lease_grace(grace)
    {
        let kind = EventKind::LeaseGraceGiven { queue: queue.name.clone(), grace_ms: millis(grace) };
        runtime.events.emit(path::RECLAIMER, kind);
    }
    for job in &reclaimed.jobs {
        let kind = EventKind::LeaseReclaimed {
            queue: queue.name.clone(),
            job: job.id.clone(),
            held_by: job.held_by,
            crashes: job.crashes,
            counted: job.counted,
            poisoned: job.poisoned,
        };
        runtime.events.emit(path::RECLAIMER, kind);
    }
}
