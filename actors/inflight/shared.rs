//! The in-flight table of one queue behind its lock, shared by the actors of the queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::ActorRef;
use retraced_jobs::context::LeaseWatch;
use retraced_jobs::execution::Runner;
use retraced_jobs::job::{InstanceId, JobId, Lease, Nonce};
use retraced_jobs::store::{ClaimedJob, Settlement};
use retraced_jobs::trace::ExecutorId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::executors::PoolEpoch;
use super::grant::Grant;
use super::phase::{EndedAttempt, NextJob, Overdue, Running};
use super::table::Table;
use crate::limits::{STUCK_AFTER, ZOMBIE_AFTER};
use crate::messages::ExecutorMessage;

/// The in-flight table of one queue, shared by its actors.
pub(crate) struct Inflight {
    table: Mutex<Table<ActorRef<ExecutorMessage>>>,
    changed: Notify,
}

impl Inflight {
    pub(crate) fn new(runner: Arc<Runner>, concurrency: usize, crashes_max: u32) -> Self {
        Self { table: Mutex::new(Table::new(runner, concurrency, crashes_max)), changed: Notify::new() }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table<ActorRef<ExecutorMessage>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table, then wakes whoever waits for a change.
    fn change<T>(&self, change: impl FnOnce(&mut Table<ActorRef<ExecutorMessage>>) -> T) -> T {
        let changed = change(&mut self.table());
        self.changed.notify_waiters();
        changed
    }

    /// Returns the hints received so far: a later claim finds these credits free again.
    pub(super) fn grant(&self, jobs: Vec<ClaimedJob>, requested: usize, now: Instant, expires: Instant) -> u64 {
        let mut table = self.table();
        table.credits.give_back(requested);
        table.grant(jobs, now, expires);
        table.credits.hints()
    }

    pub(super) fn claim_over(&self, requested: usize, lost: Option<Nonce>) {
        self.change(|table| {
            table.credits.give_back(requested);
            if let Some(nonce) = lost {
                table.credits.lose(nonce);
            }
        });
    }

    /// The queue may have jobs: no claim that was opened before this proves that it is empty.
    pub(crate) fn hint(&self) {
        self.table().credits.hint();
    }

    /// The claims of unknown outcome since the last time this was asked.
    pub(crate) fn take_lost_claims(&self) -> Vec<Nonce> {
        self.table().credits.take_lost()
    }

    /// An executor is ready. It is not let in if its pool has a successor.
    pub(crate) fn executor_started(&self, id: ExecutorId, epoch: PoolEpoch, actor: ActorRef<ExecutorMessage>) {
        self.table().executors.add(id, epoch, actor);
    }

    /// An executor has ended: its job is released, unless the outcome is known. Returns the job.
    pub(crate) fn executor_ended(&self, id: ExecutorId) -> Option<ClaimedJob> {
        self.change(|table| table.executor_ended(id, Instant::now()))
    }

    /// A pool begins: the executors before it are gone and their jobs are released. Returns its epoch.
    pub(crate) fn new_pool(&self) -> PoolEpoch {
        self.change(|table| table.new_pool(Instant::now()))
    }

    /// The workers of the queue are closed for a while: everything held is released, and so is what open claims bring.
    pub(crate) fn suspend(&self) {
        self.change(|table| table.suspend(Instant::now()));
    }

    /// The next job for this executor; without one it is idle. An executor that was woken wakes the next.
    pub(crate) fn next(&self, id: ExecutorId, woken: bool, now: Instant, started_ms: u64) -> Option<NextJob> {
        let next = self.table().next(id, woken, now, started_ms);
        if next.is_none() {
            self.changed.notify_waiters();
        }
        next
    }

    /// The start of a job is recorded. Returns whether this executor still has it.
    pub(crate) fn started(&self, id: ExecutorId, grant: Grant, started_ms: u64) -> bool {
        self.table().started(id, grant, Instant::now(), started_ms)
    }

    /// Another worker holds the job that was about to start.
    pub(crate) fn lost_before_start(&self, id: ExecutorId, grant: Grant) {
        self.change(|table| table.lost_before_start(id, grant));
    }

    /// An attempt has ended. Returns whether its outcome counts: it does not if the attempt was settled without it.
    pub(crate) fn finish(&self, id: ExecutorId, grant: Grant, settlement: Settlement, ran: Duration) -> bool {
        self.change(|table| table.finish(id, grant, settlement, ran))
    }

    pub(crate) fn any_finished(&self) -> bool {
        self.table().any_finished()
    }

    pub(super) fn confirmed(&self, grants: &[Grant]) {
        self.change(|table| table.confirmed(grants, Instant::now()));
    }

    pub(super) fn unconfirmed(&self, grants: &[Grant]) {
        self.change(|table| table.unconfirmed(grants));
    }

    /// Every lease held, from the grant until the outcome is confirmed.
    pub(crate) fn leases(&self, owner: InstanceId) -> Vec<(Lease, Arc<LeaseWatch>)> {
        self.table().leases(owner)
    }

    /// Whether the job of this lease waits or runs here.
    pub(crate) fn is_active(&self, lease: &Lease) -> bool {
        self.table().is_active(lease)
    }

    /// Asks the handler of this job to stop because the job was cancelled.
    pub(crate) fn cancel(&self, id: &JobId) {
        self.table().cancel(id);
    }

    /// Releases jobs that have waited too long for an executor.
    pub(crate) fn release_unstarted(&self, now: Instant) {
        self.table().release_unstarted(now);
    }

    /// Settles the attempts of handlers that ignore their timeout, and finds those that do not yield.
    pub(crate) fn overdue(&self, now: Instant, jitter: i16) -> Overdue {
        self.change(|table| table.overdue(now, ZOMBIE_AFTER, STUCK_AFTER, jitter))
    }

    /// Removes the attempts that were ended from outside since this was called last.
    pub(crate) fn take_ended(&self) -> Vec<EndedAttempt> {
        self.table().take_ended()
    }

    /// No more claims and no more starts, for good. Waiting jobs are released.
    pub(crate) fn close(&self) {
        self.change(Table::close);
    }

    /// Asks every running handler to stop.
    pub(crate) fn stop_running(&self) {
        self.table().stop_running();
    }

    /// Kills every executor that has a job and releases the jobs. Returns how many.
    pub(crate) fn kill_running(&self) -> usize {
        self.change(|table| table.kill_running(Instant::now()))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.table().is_closed()
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.table().is_suspended()
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
    pub(crate) fn running(&self) -> Vec<Running> {
        self.table().running(Instant::now())
    }

    /// Jobs whose outcome the store has not confirmed.
    pub(crate) fn unsettled(&self) -> usize {
        self.table().held()
    }

    /// Whether nothing is held and no open claim can bring anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// Waits, while the workers of the queue are closed, until an outcome waits for its settlement. Returns `false` when none can come any
    /// more or a pool has started.
    pub(crate) async fn finished_while_suspended(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            {
                let table = self.table();
                if !table.is_suspended() || table.is_empty() {
                    return false;
                }
                if table.any_finished() {
                    return true;
                }
            }
            changed.await;
        }
    }

    /// Waits until the condition holds, at most until the deadline. Returns whether it does.
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
