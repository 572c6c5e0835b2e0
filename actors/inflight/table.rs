//! The in-flight table of one queue, without lock, clock or store: every job this worker holds, and the transitions between their phases.
//!
//! ```text
//! granted ─► waiting ─► (starting ─►) running ─► finished ─► settling ─► gone
//!               │            │           │           ▲           │
//!               └────────────┴───────────┴───────────┘◄──────────┘ the store did not confirm
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use retraced_jobs::context::{LeaseWatch, Stop};
use retraced_jobs::execution::Runner;
use retraced_jobs::job::{InstanceId, JobId, Lease};
use retraced_jobs::store::{BATCH_MAX, ClaimedJob, Settlement};
use retraced_jobs::trace::ExecutorId;
use tokio::time::Instant;

use super::credits::Credits;
use super::executors::{Activity, ExecutorPort, Executors, PoolEpoch};
use super::grant::Grant;
use super::phase::{EndedAttempt, Held, NextJob, Overdue, Phase, Run, Running};
use super::quarantine::{CrashRisk, Gate};
use super::waiting::Waiting;
use crate::limits::{QUARANTINE_DELAY, SETTLE_BYTES_MAX, UNSTARTED_MAX};

/// Every job one queue holds, its executors and its credits.
pub(super) struct Table<X> {
    runner: Arc<Runner>,
    concurrency: usize,
    crashes_max: u32,
    next_grant: Grant,
    held: HashMap<Grant, Held>,
    waiting: Waiting,
    finished: VecDeque<Grant>,
    /// Attempts that were ended from outside, until they are reported to the observer.
    ended: Vec<EndedAttempt>,
    pub(super) credits: Credits,
    pub(super) executors: Executors<X>,
    /// The workers of the queue are closed for a while.
    suspended: bool,
    /// The runtime shuts down.
    closed: bool,
}

impl<X: ExecutorPort> Table<X> {
    pub(super) fn new(runner: Arc<Runner>, concurrency: usize, crashes_max: u32) -> Self {
        Self {
            runner,
            concurrency,
            crashes_max,
            next_grant: 0,
            held: HashMap::default(),
            waiting: Waiting::default(),
            finished: VecDeque::new(),
            ended: Vec::new(),
            credits: Credits::new(concurrency),
            executors: Executors::default(),
            suspended: false,
            closed: false,
        }
    }

    /// Whether jobs may be claimed and started.
    fn admits(&self) -> bool {
        !self.suspended && !self.closed
    }

    // --- from the grant to the start

    /// Reserves credits for a claim. Returns how many jobs and bytes it may ask for, and the hints received so far.
    pub(super) fn open_claim(&mut self) -> Option<(usize, usize, u64)> {
        if !self.admits() {
            return None;
        }
        let bytes_max = self.waiting.bytes_left()?;
        let budget = self.credits.reserve(self.executors.free(), self.waiting.demand(self.concurrency))?;
        Some((budget.limit, bytes_max, budget.hints))
    }

    /// Takes in the jobs of a claim. Without admission they are released at once.
    pub(super) fn grant(&mut self, jobs: Vec<ClaimedJob>, now: Instant, expires: Instant) {
        for (job, n) in jobs.into_iter().zip(0_u16..) {
            let grant = self.next_grant;
            self.next_grant += 1;
            let lease = Arc::new(LeaseWatch::granted(now, expires));
            let risk = CrashRisk::of(job.counters, self.crashes_max);
            let phase = if self.admits() {
                let [high, low, ..] = job.token.nonce;
                let place = (u16::from_be_bytes([high, low]), n);
                Phase::Waiting { since: self.waiting.add(grant, risk, job.envelope.len(), now, place) }
            } else {
                self.finished.push_back(grant);
                Phase::Finished(self.runner.interrupted(&job, None))
            };
            self.held.insert(grant, Held { job, lease, risk, phase });
        }
        self.wake_one(now);
    }

    /// Wakes one idle executor if a job may start. An executor that was woken wakes the next before it starts its job: where handlers are
    /// fast, few are woken for many jobs.
    fn wake_one(&mut self, now: Instant) {
        if self.executors.any_idle() && self.waiting.any_ready(now, self.gate()) {
            self.executors.wake_one();
        }
    }

    /// Which quarantined jobs may start, given those under way: from the start of a handler until the store has confirmed its outcome.
    fn gate(&self) -> Gate {
        if !self.waiting.any_quarantined() {
            return Gate::OPEN;
        }
        let under_way = self.held.values().filter(|held| !matches!(held.phase, Phase::Waiting { .. }));
        Gate::of(under_way.map(|held| held.risk))
    }

    /// The next job for this executor. Without one it is idle, and woken when there is one.
    pub(super) fn next(&mut self, executor: ExecutorId, woken: bool, now: Instant, started_ms: u64) -> Option<NextJob> {
        let next = self.take(executor, now, started_ms);
        if woken && next.is_some() {
            self.wake_one(now);
        }
        next
    }

    fn take(&mut self, executor: ExecutorId, now: Instant, started_ms: u64) -> Option<NextJob> {
        if !self.executors.set(executor, Activity::Idle) {
            return None;
        }
        while let Some(grant) = self.waiting.take(now, self.gate()) {
            let Some(held) = self.held.get_mut(&grant) else { continue };
            self.waiting.free(held.job.envelope.len());
            if held.lease.is_lost() {
                // Another worker holds it: to run it here would only duplicate it.
                self.held.remove(&grant);
                continue;
            }
            let records_start = held.risk != CrashRisk::None;
            if !records_start && held.lease.remaining_at(now).is_zero() {
                // Another worker may hold it. Releasing it asks the store, which knows.
                held.phase = Phase::Finished(self.runner.unstarted(&held.job));
                self.finished.push_back(grant);
                continue;
            }
            held.phase = if records_start {
                Phase::Starting { executor }
            } else {
                Phase::Running(Run { executor, started: now, started_ms, reported_stuck: false })
            };
            let next = NextJob { grant, job: held.job.clone(), lease: held.lease.clone(), records_start };
            self.executors.set(executor, Activity::Job(grant));
            return Some(next);
        }
        self.executors.rest(executor);
        None
    }

    /// The start of a job is recorded. Returns whether this executor still has it.
    pub(super) fn started(&mut self, executor: ExecutorId, grant: Grant, now: Instant, started_ms: u64) -> bool {
        let Some(held) = self.held.get_mut(&grant) else { return false };
        let ours = matches!(held.phase, Phase::Starting { executor: by } if by == executor);
        if ours {
            held.phase = Phase::Running(Run { executor, started: now, started_ms, reported_stuck: false });
        }
        ours
    }

    /// Another worker holds the job that was about to start: it leaves the table.
    pub(super) fn lost_before_start(&mut self, executor: ExecutorId, grant: Grant) {
        let phase = self.held.get(&grant).map(|held| &held.phase);
        if matches!(phase, Some(Phase::Starting { executor: by }) if *by == executor) {
            self.held.remove(&grant);
            self.executors.set(executor, Activity::Idle);
        }
    }

    // --- from the start to the outcome

    /// An attempt has ended. Returns whether its outcome counts: it does not if the attempt was settled without it.
    pub(super) fn finish(&mut self, executor: ExecutorId, grant: Grant, settlement: Settlement, ran: Duration) -> bool {
        let Some(held) = self.held.get_mut(&grant) else { return false };
        if !matches!(held.phase, Phase::Running(run) if run.executor == executor) {
            return false;
        }
        held.phase = Phase::Finished(settlement);
        self.finished.push_back(grant);
        self.executors.set(executor, Activity::Idle);
        self.credits.observe_run(ran);
        true
    }

    /// Releases a job whose executor has ended. Returns the job, unless its outcome is known.
    fn interrupt(&mut self, grant: Grant, now: Instant) -> Option<ClaimedJob> {
        let held = self.held.get_mut(&grant)?;
        let by = match held.phase {
            Phase::Starting { .. } => None,
            Phase::Running(run) => Some((run.executor, run.started_ms, now.duration_since(run.started))),
            Phase::Waiting { .. } | Phase::Finished(_) | Phase::Settling(_) => return None,
        };
        held.lease.stop(Stop::Shutdown);
        let settlement = self.runner.interrupted(&held.job, by);
        if let Some((executor, _, ran)) = by {
            let running = Running { executor, job: held.job.clone(), ran };
            self.ended.push(EndedAttempt { running, verdict: settlement.verdict, timed_out: false });
        }
        held.phase = Phase::Finished(settlement);
        self.finished.push_back(grant);
        Some(held.job.clone())
    }

    /// An executor has ended. Returns the job it was running, unless its outcome is known.
    pub(super) fn executor_ended(&mut self, executor: ExecutorId, now: Instant) -> Option<ClaimedJob> {
        let had = self.executors.remove(executor);
        // It may have been woken for a job that it will not take.
        self.wake_one(now);
        self.interrupt(had?, now)
    }

    /// A pool begins: the jobs of the executors before it are released. Returns its epoch.
    pub(super) fn new_pool(&mut self, now: Instant) -> PoolEpoch {
        self.suspended = false;
        self.dismiss_executors(now);
        self.executors.epoch()
    }

    /// The workers of the queue are closed: everything held is released, and so are the jobs of open claims when they arrive.
    pub(super) fn suspend(&mut self, now: Instant) {
        self.suspended = true;
        self.dismiss_executors(now);
        self.release_waiting();
    }

    fn dismiss_executors(&mut self, now: Instant) {
        for grant in self.executors.dismiss() {
            self.interrupt(grant, now);
        }
    }

    /// No more claims and no more starts, for good. Waiting jobs are released.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.release_waiting();
    }

    fn release_waiting(&mut self) {
        for grant in self.waiting.take_all() {
            if let Some(held) = self.held.get_mut(&grant) {
                held.phase = Phase::Finished(self.runner.interrupted(&held.job, None));
                self.finished.push_back(grant);
            }
        }
    }

    /// Asks every running handler to stop.
    pub(super) fn stop_running(&self) {
        for held in self.held.values() {
            if let Phase::Starting { .. } | Phase::Running(_) = held.phase {
                held.lease.stop(Stop::Shutdown);
            }
        }
    }

    /// Kills every executor that has a job and releases the jobs. Returns how many.
    pub(super) fn kill_running(&mut self, now: Instant) -> usize {
        let killed = self.executors.kill_busy();
        for grant in &killed {
            self.interrupt(*grant, now);
        }
        killed.len()
    }

    /// Asks the handler of this job to stop because the job was cancelled.
    pub(super) fn cancel(&self, id: &JobId) {
        for held in self.held.values().filter(|held| held.job.id == *id) {
            held.lease.stop(Stop::Cancelled);
        }
    }

    // --- from the outcome to the confirmation

    /// Takes up to a batch of outcomes, bounded by number and bytes, if there are at least this many.
    pub(super) fn take_finished(&mut self, least: usize) -> (Vec<Grant>, Vec<Settlement>) {
        if self.finished.len() < least {
            return (Vec::new(), Vec::new());
        }
        let count = self.finished.len().min(BATCH_MAX);
        let (mut grants, mut settlements) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut bytes = 0;
        while let Some(&grant) = self.finished.front().filter(|_| grants.len() < BATCH_MAX) {
            if let Some(held) = self.held.get_mut(&grant)
                && let Phase::Finished(settlement) = &held.phase
            {
                bytes += settlement.record.len();
                if bytes > SETTLE_BYTES_MAX && !grants.is_empty() {
                    break;
                }
                grants.push(grant);
                settlements.push(settlement.clone());
                held.phase = Phase::Settling(settlement.clone());
            }
            self.finished.pop_front();
        }
        (grants, settlements)
    }

    pub(super) fn any_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// The store has confirmed these outcomes: the jobs leave the table.
    pub(super) fn confirmed(&mut self, grants: &[Grant], now: Instant) {
        for grant in grants {
            self.held.remove(grant);
        }
        if self.waiting.any_quarantined() {
            // The end of a quarantined job opens the gate.
            self.wake_one(now);
        }
    }

    /// The store did not confirm these outcomes: they wait for the next settlement.
    pub(super) fn unconfirmed(&mut self, grants: &[Grant]) {
        for grant in grants {
            if let Some(held) = self.held.get_mut(grant)
                && let Phase::Settling(settlement) = &held.phase
            {
                held.phase = Phase::Finished(settlement.clone());
                self.finished.push_back(*grant);
            }
        }
    }

    // --- leases

    /// Every lease held, from the grant until the outcome is confirmed.
    pub(super) fn leases(&self, owner: InstanceId) -> Vec<(Lease, Arc<LeaseWatch>)> {
        let held = self.held.values().filter(|held| !held.lease.is_lost());
        held.map(|held| (held.job.lease(owner), held.lease.clone())).collect()
    }

    /// Whether the job of this lease waits or runs here. Once its outcome is known, the store may have it before its reply is here.
    pub(super) fn is_active(&self, lease: &Lease) -> bool {
        self.held.values().any(|held| {
            held.job.token == lease.token
                && held.job.id == lease.id
                && matches!(held.phase, Phase::Waiting { .. } | Phase::Starting { .. } | Phase::Running(_))
        })
    }

    // --- time

    /// Releases jobs that have waited too long for an executor: to the front of the queue, or after a delay if a quarantined job blocks
    /// them. Wakes an executor for suspects whose start time has come.
    pub(super) fn release_unstarted(&mut self, now: Instant) {
        let mut released = self.take_unstarted(now);
        if !released.is_empty() {
            self.credits.observe_wait(UNSTARTED_MAX);
        }
        let gate = self.gate();
        for (grant, blocked) in self.waiting.take_unstarted(now, gate) {
            let Some(held) = self.held.get_mut(&grant) else { continue };
            self.waiting.free(held.job.envelope.len());
            held.phase = Phase::Finished(match blocked {
                true => self.runner.put_off(&held.job, QUARANTINE_DELAY),
                false => self.runner.unstarted(&held.job),
            });
            released.push(grant);
        }
        // One batch keeps its order at the front of the queue.
        self.finished.extend(&released);
        if self.waiting.any_quarantined() {
            self.wake_one(now);
        }
    }

    fn take_unstarted(&mut self, now: Instant) -> Vec<Grant> {
        let mut taken = Vec::new();
        while let Some(grant) = self.waiting.front() {
            let Some(held) = self.held.get_mut(&grant) else {
                self.waiting.pop_front();
                continue;
            };
            let Phase::Waiting { since } = held.phase else { break };
            if now.duration_since(since) < UNSTARTED_MAX {
                break;
            }
            self.waiting.free(held.job.envelope.len());
            held.phase = Phase::Finished(self.runner.unstarted(&held.job));
            taken.push(grant);
            self.waiting.pop_front();
        }
        taken
    }

    /// Inspects running handlers: settles the attempts of those that ignore their timeout, and finds those that do not yield.
    pub(super) fn overdue(&mut self, now: Instant, margin: Duration, stuck_after: Duration, jitter: i16) -> Overdue {
        let mut overdue = Overdue::default();
        for (grant, held) in &mut self.held {
            let Phase::Running(run) = &mut held.phase else { continue };
            let ran = now.duration_since(run.started);
            let running = || Running { executor: run.executor, job: held.job.clone(), ran };
            if ran >= held.lease.timeout().unwrap_or(Duration::MAX).saturating_add(margin) {
                overdue.zombies.push(running());
                let settlement = self.runner.timed_out(&held.job, run.executor, run.started_ms, ran, jitter);
                let ended = EndedAttempt { running: running(), verdict: settlement.verdict, timed_out: true };
                self.ended.push(ended);
                self.executors.set(run.executor, Activity::Zombie);
                held.lease.stop(Stop::TimedOut);
                held.phase = Phase::Finished(settlement);
                self.finished.push_back(*grant);
            } else if !run.reported_stuck && held.lease.unyielding_for(now).is_some_and(|d| d >= stuck_after) {
                overdue.stuck.push(running());
                run.reported_stuck = true;
            }
        }
        overdue
    }

    // --- what is asked about it

    /// Removes the attempts that were ended from outside since this was called last.
    pub(super) fn take_ended(&mut self) -> Vec<EndedAttempt> {
        std::mem::take(&mut self.ended)
    }

    pub(super) fn running(&self, now: Instant) -> Vec<Running> {
        let running = |held: &Held| match held.phase {
            Phase::Running(run) => {
                Some(Running { executor: run.executor, job: held.job.clone(), ran: now.duration_since(run.started) })
            }
            _ => None,
        };
        self.held.values().filter_map(running).collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Jobs whose outcome the store has not confirmed.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held and no open claim can bring anything.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.credits.none_requested()
    }
}

#[cfg(test)]
mod tests;
