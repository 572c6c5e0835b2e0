//! The in-flight table of one queue, without lock, clock or store: every job this worker holds, and how each moves from phase to phase.
//!
//! ```text
//! granted ─► waiting ─► (starting ─►) running ─► finished ─► settling ─► gone
//!               │            │           │           ▲           │
//!               └────────────┴───────────┴───────────┘◄──────────┘ the store did not confirm
//! ```
//!
//! A job that was returned before is *starting* while its start is recorded in the store. A job that is released becomes *finished* at once. A job whose lease
//! is lost before its handler runs is gone at once.

mod inspection;
mod leases;

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use retraced_jobs::context::{AttemptControl, Stop};
use retraced_jobs::execution::{RanBy, Runner};
use retraced_jobs::job::JobId;
use retraced_jobs::store::{BATCH_MAX, Claims, Settlement};
use retraced_jobs::trace::ExecutorId;
use tokio::time::Instant;

use super::credits::{ClaimBudget, Credits};
use super::executors::{Activity, ExecutorPort, Executors, PoolEpoch};
use super::grant::GrantId;
use super::outcomes::Outcomes;
use super::phase::{AskReason, EndedAttempt, HandlerRun, Held, NextJob, Phase, Run};
use super::quarantine::{ClaimPosition, CrashRisk, Gate};
use super::reply_order::{Reply, ReplyOrder};
use super::waiting::Waiting;
use crate::limits::{EXECUTORS_WOKEN_MAX, QUARANTINE_DELAY, UNSTARTED_MAX};

/// The jobs that this worker holds of one queue, the executors and the credits.
pub(super) struct Table<X> {
    runner: Arc<Runner>,
    concurrency: usize,
    /// Whether jobs that do not fail start in the order of the queue: if its concurrency is 1.
    keeps_order: bool,
    /// How many executors a claim wakes at once, at most, if handlers are fast: one per thread of the handlers, up to [`EXECUTORS_WOKEN_MAX`].
    woken_max: usize,
    crashes_max: u32,
    next_grant: GrantId,
    held: HashMap<GrantId, Held>,
    waiting: Waiting,
    pub(super) outcomes: Outcomes,
    /// Attempts that ended without a report from their executor, until they are reported to the observer.
    ended: Vec<EndedAttempt>,
    pub(super) credits: Credits,
    replies: ReplyOrder,
    /// The last claim was not opened, because of outcomes that the store has not confirmed.
    claims_held_back: bool,
    pub(super) executors: Executors<X>,
    /// The workers of the queue are closed for a while.
    closed: bool,
    /// The runtime shuts down.
    shutting_down: bool,
}

impl<X: ExecutorPort> Table<X> {
    pub(super) fn new(runner: Arc<Runner>, concurrency: usize, threads: usize, crashes_max: u32) -> Self {
        let keeps_order = concurrency == 1;
        Self {
            runner,
            concurrency,
            keeps_order,
            woken_max: threads.clamp(1, EXECUTORS_WOKEN_MAX),
            crashes_max,
            next_grant: 0,
            held: HashMap::default(),
            waiting: Waiting::new(keeps_order),
            outcomes: Outcomes::new(concurrency, keeps_order),
            ended: Vec::new(),
            credits: Credits::new(concurrency),
            replies: ReplyOrder::new(keeps_order),
            claims_held_back: false,
            executors: Executors::default(),
            closed: false,
            shutting_down: false,
        }
    }

    /// Whether jobs may be claimed and started.
    pub(super) fn admits(&self) -> bool {
        !self.closed && !self.shutting_down
    }

    // --- from the grant to the start

    /// Reserves credits for a claim, if there are any.
    pub(super) fn open_claim(&mut self, now: Instant) -> Option<ClaimBudget> {
        if !self.admits() {
            return None;
        }
        let most = self.outcomes.claimable();
        self.claims_held_back = most == 0;
        if !self.replies.may_open(now) {
            return None;
        }
        let bytes_max = self.waiting.bytes_left()?;
        let limit = self.credits.reserve(self.executors.free(), self.waiting.demand(self.concurrency), most)?;
        self.replies.opened(now);
        Some(ClaimBudget { limit, bytes_max, hints: self.credits.hints(), numbered: self.keeps_order })
    }

    /// Whether claims that were held back because of unsettled outcomes may go on. Returns `true` once for each time that they were held back.
    pub(super) fn take_claims_resume(&mut self) -> bool {
        let resume = self.claims_held_back && self.outcomes.claimable() > 0;
        self.claims_held_back &= !resume;
        resume
    }

    /// A claim was answered. Its jobs are taken in now, or later if jobs of another open claim may belong before them.
    pub(super) fn answered(&mut self, claims: Claims, requested: usize, now: Instant, expires: Instant) {
        if claims.jobs.is_empty() {
            self.replies.skip(claims.number);
            return self.claim_over(requested, now);
        }
        let crashes_max = self.crashes_max;
        let jobs = claims.jobs.into_iter().map(|job| {
            let risk = CrashRisk::of(job.counters, crashes_max);
            let control = Arc::new(AttemptControl::new_at(now, expires));
            Held { job, control, risk, phase: Phase::Waiting { ready_from: now } }
        });
        self.replies.ended(now);
        if self.replies.take(claims.number) {
            self.credits.give_back(requested);
            self.take_in(jobs, now);
        } else {
            self.replies.hold_back(Reply { number: claims.number, jobs: jobs.collect(), requested });
        }
        self.take_in_held_back(now);
    }

    /// A claim has ended without jobs, and gives back its credits.
    pub(super) fn claim_over(&mut self, requested: usize, now: Instant) {
        self.credits.give_back(requested);
        self.replies.ended(now);
        self.take_in_held_back(now);
        self.wake_one(now);
    }

    fn take_in_held_back(&mut self, now: Instant) {
        while let Some(reply) = self.replies.take_held_back() {
            self.credits.give_back(reply.requested);
            self.take_in(reply.jobs.into_iter(), now);
        }
    }

    /// Takes in the jobs of a claim. They are released at once while the workers are closed, while the runtime shuts down, and while jobs that belong before them are on
    /// their way back.
    fn take_in(&mut self, jobs: impl ExactSizeIterator<Item = Held>, now: Instant) {
        let granted = jobs.len();
        let released = !self.admits() || self.outcomes.any_returning();
        for (mut held, n) in jobs.zip(0_u16..) {
            let grant = self.next_grant;
            self.next_grant += 1;
            if released {
                let release = self.runner.interrupted(&held.job, None);
                self.outcomes.add(grant, &mut held, release);
            } else {
                // Random bytes, the same for all jobs of the claim, spread the starts of its crash suspects.
                let [high, low, ..] = held.job.token.nonce;
                let position = ClaimPosition { offset: u16::from_be_bytes([high, low]), n };
                let ready_from = self.waiting.add(grant, held.risk, held.job.envelope.len(), now, position);
                held.phase = Phase::Waiting { ready_from };
            }
            self.held.insert(grant, held);
        }
        // Fast jobs are not worth an executor each: the first ones run them all, or wake others.
        let woken = if self.credits.handlers_are_fast() { granted.min(self.woken_max) } else { granted };
        self.wake(woken, now);
    }

    /// Wakes one idle executor if a job may start.
    fn wake_one(&mut self, now: Instant) {
        self.wake(1, now);
    }

    /// Wakes this many idle executors if a job may start. An executor that was woken wakes the next one before it starts its job, so that few executors
    /// are woken for many fast jobs. But tokio puts a woken executor into the LIFO slot of the thread that woke it, where it may wait for a handler that computes, and no other
    /// thread takes it. Therefore a claim wakes one executor per job, or at most one per thread if handlers are known to be fast.
    fn wake(&mut self, most: usize, now: Instant) {
        if self.executors.any_idle() && self.waiting.any_ready(now, self.gate()) {
            (0..most).for_each(|_| self.executors.wake_one());
        }
    }

    /// Which returned jobs may start, given the jobs under way.
    fn gate(&self) -> Gate {
        if !self.waiting.any_returned() {
            return Gate::OPEN;
        }
        let under_way = self.held.values().filter(|held| !matches!(held.phase, Phase::Waiting { .. }));
        Gate::of(under_way.map(|held| held.risk))
    }

    /// The next job for this executor. If there is none, the executor is idle and is woken later.
    pub(super) fn next(&mut self, id: ExecutorId, why: AskReason, now: Instant, started_ms: u64) -> Option<NextJob> {
        let next = self.take(id, now, started_ms);
        if why == AskReason::Woken && next.is_some() {
            self.wake_one(now);
        }
        next
    }

    fn take(&mut self, executor: ExecutorId, now: Instant, started_ms: u64) -> Option<NextJob> {
        if !self.executors.set(executor, Activity::Free) {
            // It belongs to an earlier pool.
            return None;
        }
        while let Some(grant) = self.waiting.take(now, self.gate()) {
            let Some(held) = self.held.get_mut(&grant) else { continue };
            self.waiting.free(held.job.envelope.len());
            if held.control.is_lost() {
                // Another worker holds the job: a run here would only be a duplicate.
                self.held.remove(&grant);
                continue;
            }
            let records_start = held.risk != CrashRisk::None;
            if !records_start && held.control.remaining_at(now).is_zero() {
                // Another worker may hold the job; the store then ignores this release. A recorded start needs no check here: the store checks the lease (`begin`).
                let release = self.runner.unstarted(&held.job);
                if self.outcomes.add(grant, held, release) {
                    self.release_waiting();
                }
                continue;
            }
            held.phase = if records_start {
                Phase::Starting { executor }
            } else {
                Phase::Running(Run { executor, started: now, started_ms, reported_stuck: false })
            };
            let next = NextJob { grant, job: held.job.clone(), control: held.control.clone(), records_start };
            self.executors.set(executor, Activity::Job(grant));
            return Some(next);
        }
        self.executors.found_no_job(executor);
        None
    }

    /// The start of a job is recorded. Returns whether this executor still has the job.
    pub(super) fn started(&mut self, executor: ExecutorId, grant: GrantId, now: Instant, started_ms: u64) -> bool {
        let Some(held) = self.held.get_mut(&grant) else { return false };
        let ours = matches!(held.phase, Phase::Starting { executor: by } if by == executor);
        if ours {
            held.phase = Phase::Running(Run { executor, started: now, started_ms, reported_stuck: false });
        }
        ours
    }

    /// The job that was about to start no longer belongs to this worker, so it leaves the table.
    pub(super) fn lost_before_start(&mut self, executor: ExecutorId, grant: GrantId) {
        let phase = self.held.get(&grant).map(|held| &held.phase);
        if matches!(phase, Some(Phase::Starting { executor: by }) if *by == executor) {
            self.held.remove(&grant);
            self.executors.set(executor, Activity::Free);
        }
    }

    // --- from the start to the outcome

    /// An attempt has ended. Returns whether this outcome counts. It does not if the attempt was already settled as timed out or interrupted.
    pub(super) fn finish(&mut self, by: ExecutorId, grant: GrantId, settlement: Settlement, ran: Duration) -> bool {
        let Some(held) = self.held.get_mut(&grant) else { return false };
        if !matches!(held.phase, Phase::Running(run) if run.executor == by) {
            return false;
        }
        if self.outcomes.add(grant, held, settlement) {
            self.release_waiting();
        }
        self.executors.set(by, Activity::Free);
        self.credits.observe_run(ran);
        true
    }

    /// Releases a job whose executor has ended or is killed, unless its outcome is known.
    fn interrupt(&mut self, grant: GrantId, now: Instant) {
        let Some(held) = self.held.get_mut(&grant) else { return };
        let ran_by = match held.phase {
            Phase::Starting { .. } => None,
            Phase::Running(run) => Some(run.ran_by(now)),
            Phase::Waiting { .. } | Phase::Finished { .. } | Phase::Settling { .. } => return,
        };
        // The handler gets this reason for any interruption by this worker.
        held.control.stop(Stop::Shutdown);
        let settlement = self.runner.interrupted(&held.job, ran_by);
        if let Some(RanBy { executor, ran, .. }) = ran_by {
            let run = HandlerRun { executor, job: held.job.clone(), ran };
            self.ended.push(EndedAttempt { run, verdict: settlement.verdict, timed_out: false });
        }
        if self.outcomes.add(grant, held, settlement) {
            self.release_waiting();
        }
    }

    /// An executor has ended. If it had a job whose outcome is not known, that job is released.
    pub(super) fn executor_ended(&mut self, executor: ExecutorId, now: Instant) {
        let had = self.executors.remove(executor);
        // The executor may have been woken for a job that it will not take.
        self.wake_one(now);
        if let Some(grant) = had {
            self.interrupt(grant, now);
        }
    }

    /// A pool starts: the executors of the previous one are gone, and their jobs are released. Returns the epoch of the new pool.
    pub(super) fn new_pool(&mut self, now: Instant) -> PoolEpoch {
        self.closed = false;
        self.remove_executors(now);
        self.executors.epoch()
    }

    /// The workers of the queue are closed for a while. Every job held here without an outcome is released, and so are the jobs that open claims still bring.
    pub(super) fn close(&mut self, now: Instant) {
        self.closed = true;
        self.remove_executors(now);
        self.release_waiting();
    }

    fn remove_executors(&mut self, now: Instant) {
        for grant in self.executors.remove_all() {
            self.interrupt(grant, now);
        }
    }

    /// A shutdown begins: no more claims and no more starts, for good. Waiting jobs are released.
    pub(super) fn shut_down(&mut self) {
        self.shutting_down = true;
        self.release_waiting();
    }

    fn release_waiting(&mut self) {
        for grant in self.waiting.take_all() {
            if let Some(held) = self.held.get_mut(&grant) {
                let release = self.runner.interrupted(&held.job, None);
                self.outcomes.add(grant, held, release);
            }
        }
    }

    /// Asks the handlers to stop, those that run and those that start next.
    pub(super) fn stop_running(&self) {
        for held in self.held.values() {
            if let Phase::Starting { .. } | Phase::Running(_) = held.phase {
                held.control.stop(Stop::Shutdown);
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

    // --- from the outcome to the confirmation

    /// Takes a batch of the settlements that wait, bounded by number and bytes; nothing if fewer than `least` wait.
    pub(super) fn take_settlements(&mut self, least: usize) -> (Vec<GrantId>, Vec<Settlement>) {
        self.outcomes.take(&mut self.held, least, self.credits.claim_open())
    }

    /// Whether an outcome can be settled now.
    pub(super) fn any_to_settle(&self) -> bool {
        self.outcomes.any_to_settle(self.credits.claim_open())
    }

    /// The store has confirmed these outcomes: the jobs leave the table.
    pub(super) fn confirmed(&mut self, grants: &[GrantId], now: Instant) {
        self.outcomes.confirmed(&mut self.held, grants);
        if self.waiting.any_returned() {
            // The gate may have been closed because of a job that is gone now.
            self.wake_one(now);
        }
    }

    /// The store did not confirm these outcomes: they wait for the next settlement call.
    pub(super) fn unconfirmed(&mut self, grants: Vec<GrantId>, settlements: Vec<Settlement>) {
        self.outcomes.unconfirmed(&mut self.held, grants, settlements);
    }

    // --- time

    /// Releases jobs that have waited too long for an executor: to the front of the queue, or with a delay if the gate blocks them. Wakes an executor for
    /// crash suspects whose start time has come. Returns the jobs that the gate blocks.
    pub(super) fn release_unstarted(&mut self, now: Instant) -> Vec<JobId> {
        let released = self.take_unstarted(now);
        // Too much was prefetched. The jobs below may have waited for the gate instead, so they do not count.
        if !released.is_empty() {
            self.credits.observe_wait(UNSTARTED_MAX);
        }
        released.into_iter().for_each(|grant| self.release(grant, None));
        let returned = self.waiting.take_unstarted_returned(now, self.gate());
        returned.iter().for_each(|(grant, blocked)| self.release(*grant, blocked.then_some(QUARANTINE_DELAY)));
        if self.waiting.any_returned() {
            self.wake_one(now);
        }
        let postponed = returned.iter().filter(|(_, blocked)| *blocked).filter_map(|(grant, _)| self.held.get(grant));
        postponed.map(|held| held.job.id.clone()).collect()
    }

    /// Releases a job that waited for an executor.
    fn release(&mut self, grant: GrantId, delay: Option<Duration>) {
        let Some(held) = self.held.get_mut(&grant) else { return };
        self.waiting.free(held.job.envelope.len());
        let release = match delay {
            Some(delay) => self.runner.postponed(&held.job, delay),
            None => self.runner.unstarted(&held.job),
        };
        self.outcomes.add(grant, held, release);
    }

    /// Removes the jobs that have waited too long for an executor, except those that [`Waiting`] keeps apart.
    ///
    /// A queue that keeps its order releases them with all that wait behind them, the last ones first, at most [`BATCH_MAX`] at a time. It releases none while other jobs are
    /// on their way back, or while a claim is open: the jobs that the claim brings belong behind these, but would start before them.
    fn take_unstarted(&mut self, now: Instant) -> Vec<GrantId> {
        let held = &self.held;
        let too_late = |grant: &GrantId| match held.get(grant).map(|held| &held.phase) {
            Some(Phase::Waiting { ready_from }) => now.duration_since(*ready_from) >= UNSTARTED_MAX,
            _ => true,
        };
        if !self.keeps_order {
            return self.waiting.take_while(too_late);
        }
        let front_is_late = self.waiting.front().is_some_and(too_late);
        let may_release = !self.credits.claim_open() && !self.outcomes.any_returning();
        if front_is_late && may_release { self.waiting.take_last(BATCH_MAX) } else { Vec::new() }
    }

    // --- queries

    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Jobs whose outcome the store has not confirmed.
    pub(super) fn held(&self) -> usize {
        self.held.len() + self.replies.held_back().count()
    }

    /// Whether no job is held and no open claim can bring one.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && !self.credits.claim_open()
    }
}

#[cfg(test)]
mod tests;
