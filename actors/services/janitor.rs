//! The janitor: trims ended jobs past their retention, reports the dead and poisoned ones among them, audits every queue, and repairs a queue whose counts do not add up.
//!
//! Bounds: one round of trims under way, one call per queue at a time, with at most [`TRIM_BATCH_MAX`] jobs per call and [`BATCHES_PER_ROUND_MAX`] calls per queue and
//! round. One audit and one repair under way. A repair takes at most [`REPAIR_TIMEOUT`]; it takes long for a large queue, so trims, and the audits of the other queues,
//! continue meanwhile.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::events::EventKind;
use retraced_jobs::job::QueueName;
use retraced_jobs::store::{CountCheck, StoreError, TrimPolicy, TrimmedJobs};
use retraced_jobs::units::millis;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::background::{self, BackgroundTask};
use crate::context::{QueueContext, RuntimeContext};
use crate::limits::{
    AUDIT_INTERVAL, BATCHES_PER_ROUND_MAX, REPAIR_TIMEOUT, TRIM_BATCH_MAX, TRIM_DELAY_MAX, TRIM_IDLE_INTERVAL,
    TRIM_POLL_MIN,
};
use crate::path;

/// What the janitor sends to itself.
#[derive(Debug)]
pub(crate) enum JanitorMessage {
    /// A round of trims is due: at the start, and when the timer has fired.
    StartRound,
    /// A round of trims has ended. The next queue is due after `next_in`. The next round begins then, but after [`TRIM_DELAY_MAX`] at the latest.
    RoundEnded { next_in: Duration },
}

/// The actor.
pub(crate) struct Janitor;

pub(crate) struct JanitorState {
    runtime: Arc<RuntimeContext>,
    round: Option<BackgroundTask>,
    timer: Option<BackgroundTask>,
    _audits: BackgroundTask,
}

impl Actor for Janitor {
    type Msg = JanitorMessage;
    type State = JanitorState;
    type Arguments = Arc<RuntimeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        runtime: Arc<RuntimeContext>,
    ) -> Result<JanitorState, ActorProcessingErr> {
        myself.cast(JanitorMessage::StartRound)?;
        let audits = background::start(&myself, audit_all(runtime.clone()));
        Ok(JanitorState { runtime, round: None, timer: None, _audits: audits })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: JanitorMessage,
        state: &mut JanitorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            JanitorMessage::StartRound => state.start_round(&myself),
            JanitorMessage::RoundEnded { next_in } => state.round_ended(&myself, next_in),
        }
        Ok(())
    }
}

impl JanitorState {
    fn start_round(&mut self, myself: &ActorRef<JanitorMessage>) {
        let runtime = self.runtime.clone();
        self.round = Some(background::start(myself, async move {
            let due = runtime.queues.iter().filter(|queue| queue.trim_schedule.is_due());
            join_all(due.map(|queue| trim(&runtime, queue))).await;
            let next_in = runtime.queues.iter().map(|queue| queue.trim_schedule.remaining()).min();
            JanitorMessage::RoundEnded { next_in: next_in.unwrap_or(TRIM_DELAY_MAX) }
        }));
    }

    fn round_ended(&mut self, myself: &ActorRef<JanitorMessage>, next_in: Duration) {
        self.round = None;
        // While the timer runs, a settlement may ask for a trim that is due in TRIM_DELAY_MAX. The timer is not restarted for it, so it must not run longer.
        let delay = next_in.clamp(TRIM_POLL_MIN, TRIM_DELAY_MAX);
        self.timer = Some(background::timer(myself, delay, JanitorMessage::StartRound));
    }
}

async fn trim(runtime: &Arc<RuntimeContext>, queue: &Arc<QueueContext>) {
    queue.trim_schedule.begin();
    let more = trim_batches(runtime, queue).await;
    report(runtime, queue, queue.trim_report.take_due());
    queue.trim_schedule.again_in(if more { TRIM_POLL_MIN } else { TRIM_IDLE_INTERVAL });
}

/// Trims one queue. Returns whether there is more to trim; `false` if a call was refused.
async fn trim_batches(runtime: &Arc<RuntimeContext>, queue: &Arc<QueueContext>) -> bool {
    for _ in 0..BATCHES_PER_ROUND_MAX {
        // The call of an earlier janitor may still be under way.
        let Ok(permit) = queue.trim_permit.clone().acquire_owned().await else { return false };
        match tokio::spawn(trim_batch(runtime.clone(), queue.clone(), permit)).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return false,
        }
    }
    true
}

/// Trims one batch, and returns whether there is more. It runs in a task of its own, so that what was trimmed is reported even if the janitor ends meanwhile.
async fn trim_batch(runtime: Arc<RuntimeContext>, queue: Arc<QueueContext>, _permit: OwnedSemaphorePermit) -> bool {
    let policy = TrimPolicy { retention: queue.options.retention, limit: TRIM_BATCH_MAX };
    let reply = runtime.calls.until_known("trim", |store, call| store.trim(call, &queue.name, &policy)).await;
    let Some(Ok(trimmed)) = reply else { return false };
    queue.trim_report.add(&trimmed.jobs);
    trimmed.more
}

/// Waits for the trims that are under way, until `deadline` at the latest.
pub(crate) async fn wait_for_trims(runtime: &RuntimeContext, deadline: Instant) {
    let all = join_all(runtime.queues.iter().map(|queue| queue.trim_permit.acquire()));
    let _ = tokio::time::timeout_at(deadline, all).await;
}

/// Reports what was trimmed and not reported yet, because the runtime ends.
pub(crate) fn report_trims(runtime: &RuntimeContext) {
    for queue in &runtime.queues {
        report(runtime, queue, queue.trim_report.take_all());
    }
}

fn report(runtime: &RuntimeContext, queue: &QueueContext, trimmed: Vec<TrimmedJobs>) {
    for TrimmedJobs { state, reason, count, oldest_ms } in trimmed {
        let queue = queue.name.clone();
        runtime.events.emit(path::JANITOR, EventKind::JobsTrimmed { queue, state, count, reason, oldest_ms });
    }
}

/// The queues that are to be repaired, one after the other. Until its repair has ended a queue is neither audited nor counted.
struct Repairs {
    /// Has room for all queues.
    requests: mpsc::Sender<Arc<QueueContext>>,
    under_way: Mutex<HashSet<QueueName>>,
}

impl Repairs {
    fn under_way(&self) -> MutexGuard<'_, HashSet<QueueName>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_over_for(&self, queue: &QueueContext) -> bool {
        !self.under_way().contains(&queue.name)
    }

    fn request(&self, queue: &Arc<QueueContext>) {
        if self.under_way().insert(queue.name.clone()) {
            // It has room: each queue is in it once at most.
            let _ = self.requests.try_send(queue.clone());
        }
    }
}

async fn audit_all(runtime: Arc<RuntimeContext>) -> JanitorMessage {
    let (requests, requested) = mpsc::channel(runtime.queues.len().max(1));
    let repairs = Repairs { requests, under_way: Mutex::default() };
    // Side by side, because a repair may take minutes, and data may be lost in other queues meanwhile.
    tokio::select! {
        never = audit_in_turn(&runtime, &repairs) => never,
        never = repair_in_turn(&runtime, &repairs, requested) => never,
    }
}

/// Audits all queues at the start and once per [`AUDIT_INTERVAL`]. In between it looks for lost data when that is requested.
async fn audit_in_turn(runtime: &RuntimeContext, repairs: &Repairs) -> JanitorMessage {
    loop {
        let next = Instant::now() + AUDIT_INTERVAL;
        for queue in &runtime.queues {
            if repairs.are_over_for(queue) {
                audit(runtime, queue, repairs).await;
            }
        }
        while runtime.wait_for_count_request(next).await {
            for queue in &runtime.queues {
                if repairs.are_over_for(queue) {
                    let _ = count(runtime, queue).await;
                }
            }
        }
    }
}

async fn repair_in_turn(
    runtime: &RuntimeContext,
    repairs: &Repairs,
    mut requested: mpsc::Receiver<Arc<QueueContext>>,
) -> JanitorMessage {
    while let Some(queue) = requested.recv().await {
        repair(runtime, &queue).await;
        repairs.under_way().remove(&queue.name);
    }
    // Not reached: `repairs` holds the sender.
    std::future::pending().await
}

/// Counts the jobs of a queue, and reports if the store has lost data since the last count.
async fn count(runtime: &RuntimeContext, queue: &QueueContext) -> Result<CountCheck, StoreError> {
    let count = runtime.calls.once("check_counts", |store| store.check_counts(&queue.name)).await?;
    report_loss(runtime, queue, count);
    Ok(count)
}

/// Audits one queue. A store may count the containers one after another while jobs move between them. So only if two checks in a row find a difference, it
/// is reported and the queue is repaired. The event has the difference of the jobs, which is 0 if only the numbers of grants and leases differ.
async fn audit(runtime: &RuntimeContext, queue: &Arc<QueueContext>, repairs: &Repairs) {
    let Ok(first) = count(runtime, queue).await else { return };
    if first.adds_up() {
        return;
    }
    let Ok(second) = count(runtime, queue).await else { return };
    if second.adds_up() {
        return;
    }
    let (name, difference) = (queue.name.clone(), second.difference());
    runtime.events.emit(path::JANITOR, EventKind::AuditFailed { queue: name, difference });
    repairs.request(queue);
}

async fn repair(runtime: &RuntimeContext, queue: &QueueContext) {
    let repair = runtime.calls.once_within(REPAIR_TIMEOUT, "repair", |store| store.repair(&queue.name));
    if let Ok(findings) = repair.await
        && !findings.is_empty()
    {
        runtime.events.emit(path::JANITOR, EventKind::QueueRepaired { queue: queue.name.clone(), findings });
    }
}

/// Reports that the store has lost data of the queue, if it has since the last count.
fn report_loss(runtime: &RuntimeContext, queue: &QueueContext, now: CountCheck) {
    if let Some((before, ago)) = queue.counted(now)
        && before.enqueued_total > 0
        && (now.enqueued_total < before.enqueued_total || now.sequence_base != before.sequence_base)
    {
        let kind = EventKind::DataLost {
            queue: queue.name.clone(),
            jobs_before: before.jobs,
            jobs: now.jobs,
            enqueued_before: before.enqueued_total,
            enqueued: now.enqueued_total,
            counted_before_ms: millis(ago),
        };
        runtime.events.emit(path::JANITOR, kind);
    }
}
