//! The in-flight table of one queue behind its lock, shared by the actors of the queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::ActorRef;
use retraced_jobs::context::AttemptControl;
use retraced_jobs::execution::Runner;
use retraced_jobs::job::{InstanceId, JobId, Lease};
use retraced_jobs::store::{Claims, Settlement};
use retraced_jobs::trace::ExecutorId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::credits::UnresolvedClaim;
use super::executors::{Activity, ExecutorPort, PoolEpoch};
use super::grant::GrantId;
use super::phase::{AskReason, EndedAttempt, HandlerRun, Inspection, NextJob};
use super::table::Table;
use crate::limits::{STUCK_AFTER, ZOMBIE_AFTER};
use crate::messages::ExecutorMessage;

/// The in-flight table of one queue, shared by its actors.
pub(crate) struct Inflight {
    table: Mutex<Table<ActorRef<ExecutorMessage>>>,
    changed: Notify,
}

impl ExecutorPort for ActorRef<ExecutorMessage> {
    fn wake(&self) -> bool {
        self.cast(ExecutorMessage::Wake).is_ok()
    }

    fn kill(&self) {
        (**self).kill();
    }
}

impl Inflight {
    /// `threads`: how many threads the tokio runtime of the handlers has.
    pub(crate) fn new(runner: Arc<Runner>, concurrency: usize, threads: usize, crashes_max: u32) -> Self {
        Self { table: Mutex::new(Table::new(runner, concurrency, threads, crashes_max)), changed: Notify::new() }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table<ActorRef<ExecutorMessage>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table, then wakes whoever waits for a change. Nobody waits unless the workers are closed or the runtime shuts down.
    fn change<T>(&self, change: impl FnOnce(&mut Table<ActorRef<ExecutorMessage>>) -> T) -> T {
        let mut table = self.table();
        let was_admitting = table.admits();
        let result = change(&mut table);
        let may_be_awaited = !(was_admitting && table.admits());
        drop(table);
        if may_be_awaited {
            self.changed.notify_waiters();
        }
        result
    }

    /// A claim was answered: its jobs are taken in and its credits given back in one step. Returns how many hints were received so far. A poll for a later hint finds the
    /// credits free, unless the reply is held back (see [`reply_order`](super::reply_order)).
    pub(super) fn answered(&self, claims: Claims, requested: usize, now: Instant, expires: Instant) -> u64 {
        self.change(|table| {
            table.answered(claims, requested, now, expires);
            table.credits.hints()
        })
    }

    /// A claim has ended without jobs: gives back its credits, and remembers it if its outcome is unknown.
    pub(super) fn claim_over(&self, requested: usize, unresolved: Option<UnresolvedClaim>) {
        self.change(|table| {
            if let Some(claim) = unresolved {
                table.credits.remember_unresolved(claim);
            }
            table.claim_over(requested, Instant::now());
        });
    }

    /// The queue may have jobs. A claim that was opened before this hint no longer proves that the queue is empty.
    pub(crate) fn hint(&self) {
        self.table().credits.hint();
    }

    /// How many hints were received so far.
    pub(super) fn hints(&self) -> u64 {
        self.table().credits.hints()
    }

    /// The claims whose outcome is unknown.
    pub(crate) fn unresolved_claims(&self) -> Vec<UnresolvedClaim> {
        self.table().credits.unresolved().to_vec()
    }

    /// Nothing is left to be done for these claims.
    pub(crate) fn claims_resolved(&self, claims: &[UnresolvedClaim]) {
        self.table().credits.resolved(claims);
    }

    /// An executor is ready for jobs. It is ignored if a newer pool has started.
    pub(crate) fn executor_started(&self, id: ExecutorId, epoch: PoolEpoch, actor: ActorRef<ExecutorMessage>) {
        self.table().executors.add(id, epoch, actor);
    }

    /// An executor has ended. If it had a job whose outcome is not known, that job is released.
    pub(crate) fn executor_ended(&self, id: ExecutorId) {
        self.change(|table| table.executor_ended(id, Instant::now()));
    }

    /// A pool starts: the executors of the previous one are gone, and their jobs are released. Returns the epoch of the new pool.
    pub(crate) fn new_pool(&self) -> PoolEpoch {
        self.change(|table| table.new_pool(Instant::now()))
    }

    /// The workers of the queue are closed for a while. Every job held here without an outcome is released, and so are the jobs that open claims still bring.
    pub(crate) fn close(&self) {
        self.change(|table| table.close(Instant::now()));
    }

    /// The next job for this executor. If there is none, the executor is idle and is woken later.
    pub(crate) fn next(&self, id: ExecutorId, why: AskReason, now: Instant, started_ms: u64) -> Option<NextJob> {
        self.change(|table| table.next(id, why, now, started_ms))
    }

    /// The start of a job is recorded. Returns whether this executor still has the job.
    pub(crate) fn started(&self, id: ExecutorId, grant: GrantId, started_ms: u64) -> bool {
        self.table().started(id, grant, Instant::now(), started_ms)
    }

    /// The job that was about to start no longer belongs to this worker, so it leaves the table.
    pub(crate) fn lost_before_start(&self, id: ExecutorId, grant: GrantId) {
        self.change(|table| table.lost_before_start(id, grant));
    }

    /// An attempt has ended. Returns whether this outcome counts. It does not if the attempt was already settled as timed out or interrupted.
    pub(crate) fn finish(&self, id: ExecutorId, grant: GrantId, settlement: Settlement, ran: Duration) -> bool {
        self.change(|table| table.finish(id, grant, settlement, ran))
    }

    /// An executor takes no job for about this long. Until it asks for the next one, no job is claimed for it. The pause also stops the prefetch, until
    /// handlers are measured as fast again.
    pub(crate) fn pause(&self, executor: ExecutorId, pause: Duration) {
        self.change(|table| {
            table.executors.set(executor, Activity::Paused);
            table.credits.observe_wait(pause);
        });
    }

    /// Whether claims that were held back because of unsettled outcomes may go on. Returns `true` once for each time that they were held back.
    pub(crate) fn take_claims_resume(&self) -> bool {
        self.table().take_claims_resume()
    }

    /// How many outcomes keep the queue from claiming, because the store has not confirmed them; 0 if they do not.
    pub(crate) fn held_back_by(&self) -> usize {
        self.table().outcomes.held_back_by()
    }

    /// Whether an outcome can be settled now.
    pub(crate) fn any_to_settle(&self) -> bool {
        self.table().any_to_settle()
    }

    pub(super) fn confirmed(&self, grants: &[GrantId]) {
        self.change(|table| table.confirmed(grants, Instant::now()));
    }

    pub(super) fn unconfirmed(&self, grants: Vec<GrantId>, settlements: Vec<Settlement>) {
        self.change(|table| table.unconfirmed(grants, settlements));
    }

    /// Every lease held and not lost, from the grant until the outcome is confirmed.
    pub(crate) fn leases(&self, instance: InstanceId) -> Vec<(Lease, Arc<AttemptControl>)> {
        self.table().leases(instance)
    }

    /// The leases of the jobs whose handlers run.
    pub(crate) fn running_leases(&self, instance: InstanceId) -> Vec<(Lease, Arc<AttemptControl>)> {
        self.table().running_leases(instance)
    }

    /// Whether the job of this lease waits or runs here, so that its outcome is not known.
    pub(crate) fn is_active(&self, lease: &Lease) -> bool {
        self.table().is_active(lease)
    }

    /// Whether this worker holds a lease of this job.
    pub(crate) fn holds(&self, id: &JobId) -> bool {
        self.table().holds(id)
    }

    /// Releases jobs that have waited too long for an executor. Returns those that are delayed because of a quarantine.
    pub(crate) fn release_unstarted(&self, now: Instant) -> Vec<JobId> {
        self.table().release_unstarted(now)
    }

    /// Settles the attempts of handlers that ignore their timeout, and finds those that do not yield.
    pub(crate) fn inspect(&self, now: Instant, jitter: i16) -> Inspection {
        self.change(|table| table.inspect(now, ZOMBIE_AFTER, STUCK_AFTER, jitter))
    }

    /// The attempts that have ended without a report from their executor since the last call.
    pub(crate) fn take_ended(&self) -> Vec<EndedAttempt> {
        self.table().take_ended()
    }

    /// A shutdown begins: no more claims and no more starts, for good. Waiting jobs are released.
    pub(crate) fn shut_down(&self) {
        self.change(Table::shut_down);
    }

    /// Asks every running handler to stop.
    pub(crate) fn stop_running(&self) {
        self.table().stop_running();
    }

    /// Kills every executor that has a job and releases the jobs. Returns how many.
    pub(crate) fn kill_running(&self) -> usize {
        self.change(|table| table.kill_running(Instant::now()))
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.table().is_shutting_down()
    }

    /// Whether the workers of the queue are closed for a while.
    pub(crate) fn is_closed(&self) -> bool {
        self.table().is_closed()
    }

    /// Executors with a job.
    pub(crate) fn busy(&self) -> usize {
        self.table().executors.busy()
    }

    /// Handlers that still run although their attempt was settled without them.
    pub(crate) fn zombies(&self) -> usize {
        self.table().executors.zombies()
    }

    /// The jobs whose handlers run now.
    pub(crate) fn running(&self) -> Vec<HandlerRun> {
        self.table().running(Instant::now())
    }

    /// Jobs whose outcome the store has not confirmed.
    pub(crate) fn unsettled(&self) -> usize {
        self.table().held()
    }

    /// Whether no job is held and no open claim can bring one.
    pub(crate) fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// Waits until an outcome can be settled, while the workers of the queue are closed. Returns `false` when no further outcome can come,
    /// or when a new pool has started.
    pub(crate) async fn wait_for_outcome_while_closed(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            {
                let table = self.table();
                if !table.is_closed() || table.is_empty() {
                    return false;
                }
                if table.any_to_settle() {
                    return true;
                }
            }
            changed.await;
        }
    }

    /// Waits until the condition holds, at most until the deadline, while the workers are closed or the runtime shuts down. Returns whether the condition holds.
    pub(crate) async fn wait_until(&self, deadline: Instant, holds: impl Fn(&Self) -> bool) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(self) {
                return true;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return holds(self);
            }
        }
    }
}
