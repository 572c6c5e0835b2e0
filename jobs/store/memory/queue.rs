//! One queue: its jobs, the containers they are in, and the one function that moves a job between them.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use super::acts::Acts;
use super::hints::UnsentHints;
use super::history::{History, Record};
use super::lease_lengths::LeaseLengths;
use super::pause::Pause;
use super::replay::{LastCalls, SlotCall};
use super::stored_job::{Container, Grant, StoredJob, kept_bytes};
use super::timeline::Timeline;
use super::tombstones::Tombstones;
use super::waits::Waits;
use crate::job::{Counters, JobId, JobState, NewJob, RunAt, Token, Transition};
use crate::store::{BATCH_MAX, Removal, StoreError, Tombstone};
use crate::trace::{Act, ActKind, OperatorName, Progress, StoredProgress};
use crate::units::millis;

/// One queue.
#[derive(Default)]
pub(super) struct Queue {
    jobs: HashMap<JobId, StoredJob>,
    /// Pending jobs by position, the front first. A job for the back gets a position above all others, a job for the front a position below all others.
    pub(super) pending: BTreeMap<i64, JobId>,
    pub(super) leases: Timeline,
    pub(super) delayed: Timeline,
    pub(super) completed: Timeline,
    pub(super) dead: Timeline,
    pub(super) poisoned: Timeline,
    pub(super) cancelled: Timeline,
    pub(super) pause: Option<Pause>,
    pub(super) lease_lengths: LeaseLengths,
    /// How many claims got a number.
    pub(super) numbered_claims: u64,
    waits: Waits,
    pub(super) tombstones: Tombstones,
    pub(super) totals: Totals,
    pub(super) calls: LastCalls,
    hints: UnsentHints,
}

/// The counters of [`QueueStats`](crate::store::QueueStats) that never decrease.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) enqueued: u64,
    pub(super) completed: u64,
    pub(super) failures: u64,
    pub(super) crashes: u64,
    pub(super) releases: u64,
    pub(super) stale_settlements: u64,
    pub(super) trimmed: u64,
    pub(super) trimmed_dead: u64,
    pub(super) trimmed_poisoned: u64,
}

/// Which counter the end of an attempt adds to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counted {
    Nothing,
    Failure,
    Crash,
    Release,
}

/// Where a job goes when an attempt ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Destination {
    Complete,
    /// A position from [`FrontPositions`].
    Front(i64),
    /// A due time that has passed already means the back of the queue.
    Delay {
        due_ms: u64,
    },
    DeadLetter,
    Poison,
    Cancel,
}

/// Positions at the front of the queue, for up to [`BATCH_MAX`] jobs of one call; they keep the order in which they get their positions.
pub(super) struct FrontPositions(i64);

impl FrontPositions {
    pub(super) fn next(&mut self) -> i64 {
        self.0 += 1;
        self.0 - 1
    }
}

impl Queue {
    pub(super) fn job(&self, id: &JobId) -> Option<&StoredJob> {
        self.jobs.get(id)
    }

    pub(super) fn state(&self, id: &JobId) -> Option<JobState> {
        self.jobs.get(id).map(|job| job.container.state())
    }

    pub(super) fn grant(&self, id: &JobId) -> Option<&Grant> {
        self.jobs.get(id)?.grant()
    }

    /// Whether the job has a lease with this token.
    pub(super) fn holds(&self, id: &JobId, token: Token) -> bool {
        self.grant(id).is_some_and(|grant| grant.token == token)
    }

    pub(super) fn jobs_kept(&self) -> usize {
        self.jobs.len()
    }

    /// The timeline of a state; `None` for pending, which is ordered by position.
    pub(super) fn timeline(&self, state: JobState) -> Option<&Timeline> {
        match state {
            JobState::Pending => None,
            JobState::Processing => Some(&self.leases),
            JobState::Delayed => Some(&self.delayed),
            JobState::Completed => Some(&self.completed),
            JobState::Dead => Some(&self.dead),
            JobState::Poisoned => Some(&self.poisoned),
            JobState::Cancelled => Some(&self.cancelled),
        }
    }

    pub(super) fn take_hints(&mut self) -> UnsentHints {
        mem::take(&mut self.hints)
    }

    /// Positions before all jobs that are pending now.
    pub(super) fn front_positions(&self) -> FrontPositions {
        let first = self.pending.first_key_value().map_or(0, |(position, _)| *position);
        FrontPositions(first - BATCH_MAX as i64)
    }

    /// The place behind all jobs that are pending now.
    pub(super) fn back(&self) -> Container {
        Container::Pending { position: self.pending.last_key_value().map_or(0, |(position, _)| position + 1) }
    }

    /// Runs `step` for a call that was not applied before, and otherwise returns the reply to this call again.
    pub(super) fn apply_once<T: Clone + Send + 'static>(
        &mut self,
        call: SlotCall,
        now: u64,
        step: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, StoreError> {
        self.apply_once_unless(|_| false, call, now, step)
    }

    /// As [`apply_once`](Self::apply_once). But if the reply says that the call changed nothing, and this is its first sending, the reply is not kept: if it gets lost,
    /// the next sending may as well find something.
    pub(super) fn apply_once_unless<T: Clone + Send + 'static>(
        &mut self,
        changed_nothing: impl FnOnce(&T) -> bool,
        call: SlotCall,
        now: u64,
        step: impl FnOnce(&mut Self) -> T,
    ) -> Result<T, StoreError> {
        if let Some(reply) = self.calls.kept_reply(call)? {
            return Ok(reply);
        }
        let reply = step(self);
        if !(call.is_first_sending() && changed_nothing(&reply)) {
            self.calls.keep(call, reply.clone(), now);
        }
        Ok(reply)
    }

    /// Accepts a job and returns its state. If a job with this id is already kept, changes nothing and returns the state of that job as `Err`.
    pub(super) fn create(&mut self, new: &NewJob, now: u64) -> Result<JobState, JobState> {
        if let Some(state) = self.state(&new.id) {
            return Err(state);
        }
        let due_ms = match new.run_at {
            RunAt::Now => now,
            RunAt::After(delay) => now.saturating_add(millis(delay)),
            RunAt::At(instant_ms) => instant_ms,
        };
        let container = if due_ms > now { Container::Delayed { due_ms } } else { self.back() };
        let state = container.state();
        self.totals.enqueued += 1;
        self.enter(&new.id, &container, kept_bytes(&new.envelope));
        let job = StoredJob {
            sequence: self.totals.enqueued,
            enqueued_ms: now,
            envelope: new.envelope.clone(),
            counters: Counters::default(),
            history: History::default(),
            acts: Acts::default(),
            progress: None,
            container,
        };
        self.jobs.insert(new.id.clone(), job);
        Ok(state)
    }

    /// Moves a job into `container` by a transition of the table in `job/state.rs`, and returns its new state. Returns `None` and changes nothing when the job
    /// is not kept, or when the table has no such transition into that container. No other function moves a job between containers.
    pub(super) fn advance(&mut self, id: &JobId, transition: Transition, container: Container) -> Option<JobState> {
        let job = self.jobs.get_mut(id)?;
        let to = job.container.state().after(transition).ok().filter(|to| *to == container.state())?;
        let bytes = job.bytes();
        let left = mem::replace(&mut job.container, container.clone());
        self.leave(id, &left, bytes);
        self.enter(id, &container, bytes);
        if let Some(now) = container.at_ms().filter(|_| to.is_final()) {
            self.note_ended(id, Some(to), now);
        }
        Some(to)
    }

    /// Leases a pending job under `grant`, and sets the attempt in its token. Returns `None` and changes nothing when the job is not pending.
    pub(super) fn lease(&mut self, id: &JobId, mut grant: Grant) -> Option<&StoredJob> {
        let job = self.jobs.get_mut(id)?;
        let attempt = job.counters.attempts.saturating_add(1);
        grant.token.attempt = attempt;
        self.advance(id, Transition::Claim, Container::Processing(grant))?;
        let job = self.jobs.get_mut(id)?;
        job.counters.attempts = attempt;
        Some(job)
    }

    /// Changes a grant, and keeps the timeline of leases in step with its expiry.
    pub(super) fn change_grant(&mut self, id: &JobId, change: impl FnOnce(&mut Grant)) {
        if let Some(StoredJob { container: Container::Processing(grant), envelope, .. }) = self.jobs.get_mut(id) {
            let bytes = kept_bytes(envelope);
            self.leases.remove(grant.expires_ms, id, bytes);
            change(grant);
            self.leases.insert(grant.expires_ms, id.clone(), bytes);
        }
    }

    /// Requests the cancellation of a running job. Returns whether it was not requested before.
    pub(super) fn request_cancel(&mut self, id: &JobId) -> bool {
        let mut asked_before = false;
        self.change_grant(id, |grant| asked_before = mem::replace(&mut grant.cancel_asked, true));
        self.hints.cancel.push(id.clone());
        !asked_before
    }

    /// Records what an operator has just done to a job.
    pub(super) fn note_act(&mut self, id: &JobId, kind: ActKind, from: JobState, by: &OperatorName, now: u64) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.acts.note(Act::new(kind, now, from, job.counters.attempts, by.clone()));
        }
    }

    /// Records what the handler of the running attempt of a job reported.
    pub(super) fn note_progress(&mut self, id: &JobId, progress: &Progress, now: u64) {
        if let Some(job) = self.jobs.get_mut(id)
            && let Container::Processing(grant) = &job.container
        {
            job.progress = Some(StoredProgress::new(grant.token.attempt, now, progress.clone()));
        }
    }

    /// Ends the running attempt of a job, if there is one. A job whose cancellation was requested is cancelled where it would return to `pending` or `delayed`.
    pub(super) fn end_attempt(
        &mut self,
        id: &JobId,
        counted: Counted,
        destination: Destination,
        record: Option<Record>,
        now: u64,
    ) -> Option<JobState> {
        let cancel_asked = self.grant(id)?.cancel_asked;
        let (transition, container) = match destination {
            Destination::Front(_) | Destination::Delay { .. } if cancel_asked => {
                (Transition::Cancel, Container::Cancelled { at_ms: now })
            }
            Destination::Front(position) => (Transition::Requeue, Container::Pending { position }),
            Destination::Delay { due_ms } if due_ms > now => (Transition::Delay, Container::Delayed { due_ms }),
            Destination::Delay { .. } => (Transition::Requeue, self.back()),
            Destination::Complete => (Transition::Complete, Container::Completed { at_ms: now }),
            Destination::DeadLetter => (Transition::DeadLetter, Container::Dead { at_ms: now }),
            Destination::Poison => (Transition::Poison, Container::Poisoned { at_ms: now }),
            Destination::Cancel => (Transition::Cancel, Container::Cancelled { at_ms: now }),
        };
        let state = self.advance(id, transition, container)?;
        self.totals.completed += u64::from(state == JobState::Completed);
        let job = self.jobs.get_mut(id)?;
        job.history.note(job.counters.attempts, now, record);
        match counted {
            Counted::Nothing => {}
            Counted::Failure => {
                job.counters.failures = job.counters.failures.saturating_add(1);
                self.totals.failures += 1;
            }
            Counted::Crash => {
                job.counters.crashes = job.counters.crashes.saturating_add(1);
                self.totals.crashes += 1;
            }
            Counted::Release => {
                job.counters.releases = job.counters.releases.saturating_add(1);
                self.totals.releases += 1;
            }
        }
        Some(state)
    }

    /// Moves a delayed job to the back of the queue.
    pub(super) fn promote_one(&mut self, id: &JobId) -> Option<JobState> {
        let back = self.back();
        self.advance(id, Transition::Promote, back)
    }

    /// Moves a dead, poisoned or cancelled job to the back of the queue, and resets its failures, crashes and releases.
    pub(super) fn redrive(&mut self, id: &JobId) -> Option<JobState> {
        let back = self.back();
        let state = self.advance(id, Transition::Redrive, back)?;
        let job = self.jobs.get_mut(id)?;
        job.counters = Counters { attempts: job.counters.attempts, ..Counters::default() };
        Some(state)
    }

    /// Registers that a client waits for the outcome of this job, unless it has ended or is not kept.
    pub(super) fn register_wait(&mut self, id: &JobId, wait_ms: u64, now: u64) {
        if self.state(id).is_some_and(|state| !state.is_final()) {
            self.waits.register(id, wait_ms, now);
        }
    }

    /// The state of a job; also `Completed` for a job that is not kept and completed while a client waits for it.
    pub(super) fn state_for_waiter(&self, id: &JobId, now: u64) -> Option<JobState> {
        self.state(id).or_else(|| self.waits.has_completed(id, now).then_some(JobState::Completed))
    }

    /// Notes a hint that a job has ended, if a client waits for any outcome. `state` is `None` for a discarded job.
    fn note_ended(&mut self, id: &JobId, state: Option<JobState>, now: u64) {
        if self.waits.any(now) {
            self.hints.ended.push((id.clone(), state));
        }
    }

    /// Removes a job because an operator discards it.
    pub(super) fn discard(&mut self, id: &JobId, by: &OperatorName, now: u64) {
        self.add_tombstone(id, Removal::Discarded { by: by.clone() }, now);
        self.remove(id);
        self.note_ended(id, None, now);
    }

    /// Keeps what is left of a job that is about to be removed.
    pub(super) fn add_tombstone(&mut self, id: &JobId, removal: Removal, now: u64) {
        let Some(container) = self.job(id).map(|job| &job.container) else { return };
        let ended_ms = container.at_ms().filter(|_| container.state().is_final());
        self.tombstones.keep(Tombstone::new(id.clone(), container.state(), ended_ms, now, removal));
    }

    /// Removes a completed job because it is not kept. A client that waits for it can still see that it completed.
    pub(super) fn remove_completed(&mut self, id: &JobId) {
        self.remove(id);
        self.waits.complete(id);
    }

    /// Removes a job and all that is kept about it.
    pub(super) fn remove(&mut self, id: &JobId) {
        if let Some(job) = self.jobs.remove(id) {
            self.leave(id, &job.container, job.bytes());
        }
    }

    /// Notes a hint that something may be claimed.
    pub(super) fn hint_pending(&mut self) {
        self.hints.pending = true;
    }

    /// Adds a job to the list or timeline of this container.
    fn enter(&mut self, id: &JobId, container: &Container, bytes: u64) {
        match container {
            Container::Pending { position } => {
                self.pending.insert(*position, id.clone());
                self.hints.pending = true;
            }
            Container::Processing(grant) => self.leases.insert(grant.expires_ms, id.clone(), bytes),
            Container::Delayed { due_ms } => {
                self.hints.due |= self.delayed.first_ms().is_none_or(|first_ms| *due_ms < first_ms);
                self.delayed.insert(*due_ms, id.clone(), bytes);
            }
            Container::Completed { at_ms } => self.completed.insert(*at_ms, id.clone(), bytes),
            Container::Dead { at_ms } => self.dead.insert(*at_ms, id.clone(), bytes),
            Container::Poisoned { at_ms } => self.poisoned.insert(*at_ms, id.clone(), bytes),
            Container::Cancelled { at_ms } => self.cancelled.insert(*at_ms, id.clone(), bytes),
        }
    }

    /// Removes a job from the list or timeline of this container.
    fn leave(&mut self, id: &JobId, container: &Container, bytes: u64) {
        match container {
            Container::Pending { position } => drop(self.pending.remove(position)),
            Container::Processing(grant) => self.leases.remove(grant.expires_ms, id, bytes),
            Container::Delayed { due_ms } => self.delayed.remove(*due_ms, id, bytes),
            Container::Completed { at_ms } => self.completed.remove(*at_ms, id, bytes),
            Container::Dead { at_ms } => self.dead.remove(*at_ms, id, bytes),
            Container::Poisoned { at_ms } => self.poisoned.remove(*at_ms, id, bytes),
            Container::Cancelled { at_ms } => self.cancelled.remove(*at_ms, id, bytes),
        }
    }
}
