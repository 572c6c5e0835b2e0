//! What is in flight: every job this worker holds, from the grant until the store confirms its settlement.
//!
//! The table lives outside the actors that crash, so that the end of a fetcher, a settler or a pool loses nothing. It is also where executors find their
//! next job and where credits are counted: one short lock, never held over an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use ractor::ActorRef;
use retraced_jobs::context::{LeaseWatch, Stop};
use retraced_jobs::execution::Runner;
use retraced_jobs::job::{InstanceId, JobId, Lease, Nonce};
use retraced_jobs::store::{BATCH_MAX, ClaimRequest, ClaimedJob, Claims, HEADER_BYTES, Settled, Settlement};
use retraced_jobs::trace::ExecutorId;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::executor::ExecutorMessage;
use crate::suspects::{Gate, Standing, Suspects, TRIAL_PUT_OFF};

/// Handlers slower than this are not fed ahead: a job waits in the store, where others can take it, rather than here.
pub const PREFETCH_HANDLER_MAX: Duration = Duration::from_millis(50);
/// How much work is fetched ahead, as time: what the executors finish in this long at their measured rate.
pub const PREFETCH_HORIZON: Duration = Duration::from_millis(25);
/// Most jobs fetched ahead beside two for each executor: two batches, so that one executor of quick jobs need not wait for a round trip.
pub const PREFETCH_JOBS_MAX: usize = 2 * BATCH_MAX;
/// Most bytes of jobs asked for ahead of their start. One job is granted whatever its size.
pub const CLAIM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a granted job may wait for an executor; then it goes back to the front of the queue and is charged nothing.
pub const UNSTARTED_MAX: Duration = Duration::from_secs(1);

/// Most claims that are handed back when they came to a bad end; what others were granted comes back when its lease runs out.
pub const LOST_CLAIMS_MAX: usize = 100;

/// A grant's number in this table.
pub(crate) type Grant = u64;

/// The executors of one pool; grows with every pool.
pub(crate) type Crew = u64;

/// The table of one queue.
pub(crate) struct Inflight {
    runner: Arc<Runner>,
    concurrency: usize,
    crashes_max: u32,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    next: Grant,
    held: HashMap<Grant, Held>,
    waiting: VecDeque<Grant>,
    suspects: Suspects,
    /// Of those that wait and of the suspects.
    waiting_bytes: usize,
    finished: VecDeque<Grant>,
    /// Jobs asked for in claims whose replies are not here yet.
    asked: usize,
    /// How often it was said that the queue may have something.
    hints: u64,
    /// Claims that were sent, and whose replies nobody will read.
    lost_claims: Vec<Nonce>,
    executors: HashMap<ExecutorId, Place>,
    crew: Crew,
    idle: Vec<ExecutorId>,
    closed: bool,
    /// No pool: the queue is closed for a while.
    abandoned: bool,
    pace: Pace,
}

struct Held {
    job: ClaimedJob,
    lease: Arc<LeaseWatch>,
    phase: Phase,
    standing: Standing,
}

enum Phase {
    Waiting {
        since: Instant,
    },
    /// Its start is being written down.
    Beginning {
        executor: ExecutorId,
    },
    Running {
        executor: ExecutorId,
        started: Instant,
        started_ms: u64,
        told_stuck: bool,
    },
    Finished(Settlement),
    Settling(Settlement),
}

impl Table {
    /// Wakes one idle executor if a job may begin. Whoever is woken wakes the next before it begins its job: where handlers are quick, few are woken for many jobs.
    fn wake_one(&mut self, now: Instant) {
        while !self.idle.is_empty() && (!self.waiting.is_empty() || self.suspects.any_ready(now, self.gate())) {
            let Some(place) = self.idle.pop().and_then(|executor| self.executors.get(&executor)) else { continue };
            if place.actor.cast(ExecutorMessage::Wake).is_ok() {
                return;
            }
        }
    }

    /// Which suspects may begin, given who is under way: from the start of a handler until the store has confirmed its end.
    fn gate(&self) -> Gate {
        let under_way = self.held.values().filter(|held| !matches!(held.phase, Phase::Waiting { .. }));
        // Where none wait nobody asks, and the look at all that is held is spared.
        Gate::of(under_way.map(|held| held.standing).take_while(|_| !self.suspects.is_empty()))
    }

    /// The next job that may begin.
    fn take_next(&mut self, now: Instant) -> Option<Grant> {
        let gate = self.gate();
        self.suspects.take(now, gate).or_else(|| self.waiting.pop_front())
    }
}

struct Place {
    actor: ActorRef<ExecutorMessage>,
    doing: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Nothing,
    Job(Grant),
    /// Runs a handler whose attempt was settled without it.
    Zombie,
}

impl Doing {
    fn job(self) -> Option<Grant> {
        match self {
            Doing::Job(grant) => Some(grant),
            Doing::Nothing | Doing::Zombie => None,
        }
    }
}

/// The executors' measured rate: how long handlers run, as an exponentially weighted mean that rises faster than it falls.
#[derive(Default)]
struct Pace {
    mean_us: Option<u64>,
}

impl Pace {
    /// Learns at once that handlers are slow, and only slowly that they are fast: a job fetched ahead of slow ones waits here while others could run it.
    fn observe(&mut self, ran: Duration) {
        let us = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
        self.mean_us = Some(match self.mean_us {
            None => us,
            Some(mean) if us > mean => mean + (us - mean) / 2,
            Some(mean) => mean - (mean - us) / 16,
        });
    }

    /// A job waited this long for an executor: whatever was measured, handlers are slower now.
    fn observe_wait(&mut self, waited: Duration) {
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.mean_us = Some(self.mean_us.map_or(us, |mean| mean.max(us)));
    }

    fn prefetch(&self, concurrency: usize) -> usize {
        let most = 2 * concurrency + PREFETCH_JOBS_MAX;
        match self.mean_us {
            None => 0,
            Some(mean) if u128::from(mean) > PREFETCH_HANDLER_MAX.as_micros() => 0,
            Some(mean) => {
                let ahead = PREFETCH_HORIZON.as_micros() * concurrency as u128 / u128::from(mean.max(1));
                usize::try_from(ahead).unwrap_or(most).clamp(1, most)
            }
        }
    }
}

/// A job an executor is to run now.
pub(crate) struct NextJob {
    pub(crate) grant: Grant,
    pub(crate) job: ClaimedJob,
    pub(crate) lease: Arc<LeaseWatch>,
    /// Its start must be written down before its handler runs; then [`begun`](Inflight::begun).
    pub(crate) watched: bool,
}

/// What the watchdog found about running handlers.
#[derive(Default)]
pub(crate) struct Overdue {
    /// Handlers that run past their timeout and the margin after it.
    pub(crate) zombies: Vec<Zombie>,
    /// Handlers that have not yielded for a while; each told once.
    pub(crate) stuck: Vec<(ClaimedJob, Duration)>,
}

/// An attempt settled while its handler still runs.
pub(crate) struct Zombie {
    pub(crate) job: ClaimedJob,
    pub(crate) executor: ExecutorId,
    pub(crate) ran: Duration,
}

/// Settlements on their way to the store. Dropped before [`confirm`](Self::confirm), they go back to the table.
pub(crate) struct Settling {
    inflight: Arc<Inflight>,
    grants: Vec<Grant>,
    pub(crate) settlements: Vec<Settlement>,
}

impl Settling {
    /// The store has answered: the grants leave the table. Gives those that were stale.
    pub(crate) fn confirm(mut self, results: &[Settled]) -> Vec<Settlement> {
        let grants = std::mem::take(&mut self.grants);
        self.inflight.release(&grants);
        let settlements = std::mem::take(&mut self.settlements);
        settlements.into_iter().zip(results).filter(|(_, r)| matches!(r, Settled::Stale)).map(|(s, _)| s).collect()
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if !self.grants.is_empty() {
            self.inflight.unsettle(&self.grants);
        }
    }
}

/// A claim on its way to the store, counted against the credits until it is answered or dropped. One that was sent and is dropped unanswered has come to a bad
/// end: what it may have been granted is [handed back](Inflight::lost_claims).
pub(crate) struct OpenClaim {
    inflight: Arc<Inflight>,
    sent: Option<Nonce>,
    /// The hints there had been when it was opened.
    hints: u64,
    pub(crate) limit: usize,
    pub(crate) bytes_max: usize,
}

impl OpenClaim {
    pub(crate) fn request(&mut self, lease: Duration, nonce: Nonce) -> ClaimRequest {
        self.sent = Some(nonce);
        ClaimRequest { limit: self.limit, bytes_max: self.bytes_max, lease, nonce }
    }

    /// The store has answered: the jobs enter the table, and idle executors are woken.
    pub(crate) fn grant(mut self, claims: Claims, expires: Instant) -> Granted {
        self.sent = None;
        let jobs = claims.jobs.len();
        let bytes: usize = claims.jobs.iter().map(|job| HEADER_BYTES + job.envelope.len()).sum();
        // A claim that stopped with half of its bytes unused did not stop for want of bytes.
        let found_too_little = jobs == 0 || (jobs < self.limit && bytes < self.bytes_max / 2);
        let asked = std::mem::take(&mut self.limit);
        // What was hinted at meanwhile may have come too late for this claim, and its poll may have found all credits asked for.
        let hints = self.inflight.grant(claims, expires, asked);
        let hinted = found_too_little && hints != self.hints;
        Granted { jobs, dry: found_too_little && !hinted, hinted }
    }
}

impl Drop for OpenClaim {
    fn drop(&mut self) {
        let mut table = self.inflight.lock();
        table.asked = table.asked.saturating_sub(self.limit);
        if let Some(nonce) = self.sent
            && table.lost_claims.len() < LOST_CLAIMS_MAX
        {
            table.lost_claims.push(nonce);
        }
        drop(table);
        self.inflight.changed.notify_waiters();
    }
}

/// What a claim brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Granted {
    pub(crate) jobs: usize,
    /// The queue had no more.
    pub(crate) dry: bool,
    /// It had no more, but may have by now.
    pub(crate) hinted: bool,
}

impl Inflight {
    pub(crate) fn new(runner: Arc<Runner>, concurrency: usize, crashes_max: u32) -> Self {
        Self { runner, concurrency, crashes_max, table: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- claims

    /// Opens a claim for all credits there are: free executors and prefetch, less what waits and what is asked for already.
    pub(crate) fn open_claim(self: &Arc<Self>) -> Option<OpenClaim> {
        let mut table = self.lock();
        if table.closed || table.abandoned || table.waiting_bytes >= CLAIM_BYTES_MAX {
            return None;
        }
        let free = table.executors.values().filter(|p| p.doing == Doing::Nothing).count();
        let goal = free + table.pace.prefetch(self.concurrency);
        let (came_back, suspects) = table.suspects.waiting();
        // Those that wait for their own time keep no executor from other work, as long as they are few.
        let waiting = table.waiting.len() + came_back + suspects.saturating_sub(self.concurrency);
        let limit = goal.saturating_sub(waiting + table.asked).min(BATCH_MAX);
        if limit == 0 {
            return None;
        }
        table.asked += limit;
        let bytes_max = CLAIM_BYTES_MAX - table.waiting_bytes;
        Some(OpenClaim { inflight: self.clone(), sent: None, hints: table.hints, limit, bytes_max })
    }

    /// The queue may have something: no claim that was opened before this proves the contrary.
    pub(crate) fn hint(&self) {
        self.lock().hints += 1;
    }

    /// The claims that came to a bad end since this was asked for the last time.
    pub(crate) fn lost_claims(&self) -> Vec<Nonce> {
        std::mem::take(&mut self.lock().lost_claims)
    }

    /// Takes in what a claim brought that had asked for so many. Gives the hints until then: a later one finds these credits free again.
    fn grant(&self, claims: Claims, expires: Instant, asked: usize) -> u64 {
        let mut table = self.lock();
        let table = &mut *table;
        table.asked = table.asked.saturating_sub(asked);
        let now = Instant::now();
        for (job, n) in claims.jobs.into_iter().zip(0_u16..) {
            let grant = table.next;
            table.next += 1;
            let lease = Arc::new(LeaseWatch::granted(now, expires));
            let standing = Standing::of(job.counters, self.crashes_max);
            let phase = if table.closed || table.abandoned {
                table.finished.push_back(grant);
                Phase::Finished(self.runner.interrupted(&job, None))
            } else {
                table.waiting_bytes += job.envelope.len();
                let since = if standing == Standing::Clear {
                    table.waiting.push_back(grant);
                    now
                } else {
                    let [high, low, ..] = job.token.nonce;
                    table.suspects.add(grant, standing, now, u16::from_be_bytes([high, low]), n)
                };
                Phase::Waiting { since }
            };
            table.held.insert(grant, Held { job, lease, phase, standing });
        }
        table.wake_one(now);
        table.hints
    }

    // --- executors

    /// An executor is ready for work. A latecomer of a pool that has a successor already is not let in.
    pub(crate) fn executor_up(&self, executor: ExecutorId, crew: Crew, actor: ActorRef<ExecutorMessage>) {
        let mut table = self.lock();
        if table.crew == crew {
            table.executors.insert(executor, Place { actor, doing: Doing::Nothing });
        }
    }

    /// An executor has ended. What it ran is handed back, unless its outcome is known. Gives the job it was running.
    pub(crate) fn executor_down(&self, executor: ExecutorId) -> Option<ClaimedJob> {
        let mut table = self.lock();
        let place = table.executors.remove(&executor);
        table.idle.retain(|idle| *idle != executor);
        // It may have been woken for a job it will not fetch.
        table.wake_one(Instant::now());
        let Some(Place { doing: Doing::Job(grant), .. }) = place else { return None };
        let job = self.interrupt(&mut table, grant);
        drop(table);
        self.changed.notify_waiters();
        job
    }

    /// All executors of a pool that ended are gone, and what they ran is handed back; its successor begins with a crew of its own.
    pub(crate) fn new_crew(&self) -> Crew {
        let mut table = self.lock();
        table.abandoned = false;
        self.dismiss(&mut table);
        table.crew
    }

    /// The pool has ended and none follows for a while: what ran or waited is handed back, and so is what claims under way bring.
    pub(crate) fn abandon(&self) {
        let mut table = self.lock();
        table.abandoned = true;
        self.dismiss(&mut table);
        self.return_waiting(&mut table);
        self.changed.notify_waiters();
    }

    fn dismiss(&self, table: &mut Table) {
        table.crew += 1;
        table.idle.clear();
        let mut ran: Vec<Grant> = table.executors.drain().filter_map(|(_, place)| place.doing.job()).collect();
        // In the order they were granted in, which is the order they go back in.
        ran.sort_unstable();
        for grant in ran {
            self.interrupt(table, grant);
        }
        self.changed.notify_waiters();
    }

    /// Waits until something is there to be settled. `false` when nothing can come any more, or a pool is back.
    pub(crate) async fn until_returned_unattended(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            {
                let table = self.lock();
                if !table.abandoned || (table.held.is_empty() && table.asked == 0) {
                    return false;
                }
                if !table.finished.is_empty() {
                    return true;
                }
            }
            changed.await;
        }
    }

    fn interrupt(&self, table: &mut Table, grant: Grant) -> Option<ClaimedJob> {
        let held = table.held.get_mut(&grant)?;
        let by = match held.phase {
            Phase::Beginning { .. } => None,
            Phase::Running { executor, started, started_ms, .. } => Some((executor, started_ms, started.elapsed())),
            Phase::Waiting { .. } | Phase::Finished(_) | Phase::Settling(_) => return None,
        };
        held.lease.stop(Stop::Shutdown);
        let settlement = self.runner.interrupted(&held.job, by);
        held.phase = Phase::Finished(settlement);
        let job = held.job.clone();
        table.finished.push_back(grant);
        Some(job)
    }

    /// The next job for this executor; without one it is idle, and woken when there is. One that was woken wakes the next.
    pub(crate) fn next(&self, executor: ExecutorId, woken: bool, now: Instant, started_ms: u64) -> Option<NextJob> {
        let mut table = self.lock();
        let next = self.take(&mut table, executor, now, started_ms);
        if woken && next.is_some() {
            table.wake_one(now);
        }
        next
    }

    fn take(&self, table: &mut Table, executor: ExecutorId, now: Instant, started_ms: u64) -> Option<NextJob> {
        let place = table.executors.get_mut(&executor)?;
        place.doing = Doing::Nothing;
        while let Some(grant) = table.take_next(now) {
            let Some(held) = table.held.get_mut(&grant) else { continue };
            table.waiting_bytes = table.waiting_bytes.saturating_sub(held.job.envelope.len());
            if held.lease.is_lost() {
                // Somebody else holds it: running it here would only be a duplicate.
                table.held.remove(&grant);
                continue;
            }
            let watched = held.standing != Standing::Clear;
            if !watched && held.lease.remaining_at(now).is_zero() {
                // Somebody else may hold it: the store knows, and is asked by handing it back, when the watchdog looks at the latest.
                held.phase = Phase::Finished(self.runner.unstarted(&held.job));
                table.finished.push_back(grant);
                self.changed.notify_waiters();
                continue;
            }
            held.phase = if watched {
                Phase::Beginning { executor }
            } else {
                Phase::Running { executor, started: now, started_ms, told_stuck: false }
            };
            let next = NextJob { grant, job: held.job.clone(), lease: held.lease.clone(), watched };
            if let Some(place) = table.executors.get_mut(&executor) {
                place.doing = Doing::Job(grant);
            }
            return Some(next);
        }
        if !table.idle.contains(&executor) {
            table.idle.push(executor);
        }
        None
    }

    /// The start of a watched job is written down. Gives whether the job is still this executor's to run.
    pub(crate) fn begun(&self, executor: ExecutorId, grant: Grant, started_ms: u64) -> bool {
        let mut table = self.lock();
        let Some(held) = table.held.get_mut(&grant) else { return false };
        let ours = matches!(held.phase, Phase::Beginning { executor: by } if by == executor);
        if ours {
            held.phase = Phase::Running { executor, started: Instant::now(), started_ms, told_stuck: false };
        }
        ours
    }

    /// Somebody else holds the job that was about to begin: it leaves the table.
    pub(crate) fn not_ours(&self, executor: ExecutorId, grant: Grant) {
        let mut table = self.lock();
        let table = &mut *table;
        if matches!(table.held.get(&grant), Some(Held { phase: Phase::Beginning { executor: by }, .. }) if *by == executor)
        {
            table.held.remove(&grant);
            if let Some(place) = table.executors.get_mut(&executor) {
                place.doing = Doing::Nothing;
            }
        }
        self.changed.notify_waiters();
    }

    /// An attempt has ended. Gives whether the outcome counts: not when the attempt was settled without it.
    pub(crate) fn finish(&self, executor: ExecutorId, grant: Grant, settlement: Settlement, ran: Duration) -> bool {
        let mut table = self.lock();
        let table = &mut *table;
        let Some(held) = table.held.get_mut(&grant) else { return false };
        if !matches!(held.phase, Phase::Running { executor: by, .. } if by == executor) {
            return false;
        }
        held.phase = Phase::Finished(settlement);
        table.finished.push_back(grant);
        if let Some(place) = table.executors.get_mut(&executor) {
            place.doing = Doing::Nothing;
        }
        table.pace.observe(ran);
        self.changed.notify_waiters();
        true
    }

    // --- settlements

    /// What is finished, if it is at least this many.
    pub(crate) fn take_finished(self: &Arc<Self>, least: usize) -> Option<Settling> {
        let mut table = self.lock();
        let table = &mut *table;
        if table.finished.len() < least {
            return None;
        }
        let count = table.finished.len().min(BATCH_MAX);
        let mut settling = Settling {
            inflight: self.clone(),
            grants: Vec::with_capacity(count),
            settlements: Vec::with_capacity(count),
        };
        for grant in table.finished.drain(..count) {
            let Some(held) = table.held.get_mut(&grant) else { continue };
            if let Phase::Finished(settlement) = &held.phase {
                settling.grants.push(grant);
                settling.settlements.push(settlement.clone());
                held.phase = Phase::Settling(settlement.clone());
            }
        }
        (!settling.grants.is_empty()).then_some(settling)
    }

    /// Whether outcomes wait for a settlement.
    pub(crate) fn has_finished(&self) -> bool {
        !self.lock().finished.is_empty()
    }

    fn release(&self, grants: &[Grant]) {
        let mut table = self.lock();
        for grant in grants {
            table.held.remove(grant);
        }
        if !table.suspects.is_empty() {
            // The end of a trial opens the gate.
            table.wake_one(Instant::now());
        }
        drop(table);
        self.changed.notify_waiters();
    }

    fn unsettle(&self, grants: &[Grant]) {
        let mut table = self.lock();
        let table = &mut *table;
        for grant in grants {
            if let Some(held) = table.held.get_mut(grant)
                && let Phase::Settling(settlement) = &held.phase
            {
                held.phase = Phase::Finished(settlement.clone());
                table.finished.push_back(*grant);
            }
        }
        self.changed.notify_waiters();
    }

    // --- leases

    /// Everything held, to be renewed: from the grant until the settlement is confirmed.
    pub(crate) fn leases(&self, owner: InstanceId) -> Vec<(Lease, Arc<LeaseWatch>)> {
        let table = self.lock();
        table
            .held
            .values()
            .filter(|held| !held.lease.is_lost())
            .map(|held| (held.job.lease(owner), held.lease.clone()))
            .collect()
    }

    /// Whether this lease's job waits or runs here. Once its outcome is known the store may have it already, though its reply is not here yet.
    pub(crate) fn still_runs(&self, lease: &Lease) -> bool {
        self.lock().held.values().any(|held| {
            held.job.token == lease.token
                && held.job.id == lease.id
                && matches!(held.phase, Phase::Waiting { .. } | Phase::Beginning { .. } | Phase::Running { .. })
        })
    }

    /// Somebody asked to cancel this job.
    pub(crate) fn cancel(&self, id: &JobId) {
        for held in self.lock().held.values().filter(|held| held.job.id == *id) {
            held.lease.stop(Stop::Cancelled);
        }
    }

    // --- time

    /// What waited too long goes back: to the front of the queue, or to its back when it waited for a trial. Suspects whose time has come are begun.
    pub(crate) fn return_unstarted(&self, now: Instant) {
        let mut table = self.lock();
        let table = &mut *table;
        let mut returned = Vec::new();
        while let Some(grant) = table.waiting.front() {
            let Some(held) = table.held.get_mut(grant) else {
                table.waiting.pop_front();
                continue;
            };
            let Phase::Waiting { since } = held.phase else { break };
            if now.duration_since(since) < UNSTARTED_MAX {
                break;
            }
            table.waiting_bytes = table.waiting_bytes.saturating_sub(held.job.envelope.len());
            held.phase = Phase::Finished(self.runner.unstarted(&held.job));
            returned.push(*grant);
            table.waiting.pop_front();
        }
        if !returned.is_empty() {
            table.pace.observe_wait(UNSTARTED_MAX);
        }
        let gate = table.gate();
        for (grant, behind) in table.suspects.take_unstarted(now, gate) {
            let Some(held) = table.held.get_mut(&grant) else { continue };
            table.waiting_bytes = table.waiting_bytes.saturating_sub(held.job.envelope.len());
            held.phase = Phase::Finished(match behind {
                true => self.runner.put_off(&held.job, TRIAL_PUT_OFF),
                false => self.runner.unstarted(&held.job),
            });
            returned.push(grant);
        }
        // One batch stands at the front in its own order.
        table.finished.extend(&returned);
        if !table.suspects.is_empty() {
            table.wake_one(now);
        }
    }

    /// Looks at running handlers: settles the attempts of those that ignore their timeout, and names those that do not yield.
    pub(crate) fn overdue(&self, now: Instant, margin: Duration, stuck_after: Duration, jitter: i16) -> Overdue {
        let mut overdue = Overdue::default();
        let mut table = self.lock();
        let table = &mut *table;
        for (grant, held) in &mut table.held {
            let Phase::Running { executor, started, started_ms, told_stuck } = &mut held.phase else { continue };
            let ran = now.duration_since(*started);
            if ran >= held.lease.timeout().unwrap_or(Duration::MAX).saturating_add(margin) {
                let (executor, started_ms) = (*executor, *started_ms);
                let settlement = self.runner.timed_out(&held.job, executor, started_ms, ran, jitter);
                held.lease.stop(Stop::TimedOut);
                held.phase = Phase::Finished(settlement);
                table.finished.push_back(*grant);
                if let Some(place) = table.executors.get_mut(&executor) {
                    place.doing = Doing::Zombie;
                }
                overdue.zombies.push(Zombie { job: held.job.clone(), executor, ran });
                self.changed.notify_waiters();
            } else if !*told_stuck && held.lease.unyielding_for(now).is_some_and(|d| d >= stuck_after) {
                *told_stuck = true;
                overdue.stuck.push((held.job.clone(), ran));
            }
        }
        overdue
    }

    /// Zombies that still run.
    pub(crate) fn zombies(&self) -> usize {
        self.lock().executors.values().filter(|p| p.doing == Doing::Zombie).count()
    }

    // --- the end

    /// No more claims and no more starts; what waited goes back at once.
    pub(crate) fn close(&self) {
        let mut table = self.lock();
        table.closed = true;
        self.return_waiting(&mut table);
    }

    fn return_waiting(&self, table: &mut Table) {
        table.waiting_bytes = 0;
        let suspects = table.suspects.take_all();
        for grant in suspects.into_iter().chain(std::mem::take(&mut table.waiting)) {
            if let Some(held) = table.held.get_mut(&grant) {
                held.phase = Phase::Finished(self.runner.interrupted(&held.job, None));
                table.finished.push_back(grant);
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Asks every running handler to stop.
    pub(crate) fn stop_running(&self) {
        for held in self.lock().held.values() {
            if let Phase::Beginning { .. } | Phase::Running { .. } = held.phase {
                held.lease.stop(Stop::Shutdown);
            }
        }
    }

    /// Kills every executor that runs a handler, and hands back what they ran. Gives how many.
    pub(crate) fn kill_running(&self) -> usize {
        let mut table = self.lock();
        let table = &mut *table;
        let jobs = table.executors.iter().filter_map(|(id, place)| Some((place.doing.job()?, *id)));
        let mut running: Vec<(Grant, ExecutorId)> = jobs.collect();
        running.sort_unstable_by_key(|(grant, _)| *grant);
        for &(grant, executor) in &running {
            if let Some(place) = table.executors.get_mut(&executor) {
                place.actor.kill();
                place.doing = Doing::Zombie;
            }
            self.interrupt(table, grant);
        }
        self.changed.notify_waiters();
        running.len()
    }

    pub(crate) fn running(&self) -> usize {
        self.lock().executors.values().filter(|p| matches!(p.doing, Doing::Job(_))).count()
    }

    /// What runs now, and for how long.
    pub(crate) fn running_jobs(&self) -> Vec<(ExecutorId, ClaimedJob, Duration)> {
        let table = self.lock();
        let running = |held: &Held| match held.phase {
            Phase::Running { executor, started, .. } => Some((executor, held.job.clone(), started.elapsed())),
            _ => None,
        };
        table.held.values().filter_map(running).collect()
    }

    /// Whether the queue is closed for a while.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Everything not yet confirmed by the store.
    pub(crate) fn unsettled(&self) -> usize {
        self.lock().held.len()
    }

    /// Whether nothing is held, and nothing can come of claims under way.
    pub(crate) fn is_empty(&self) -> bool {
        let table = self.lock();
        table.held.is_empty() && table.asked == 0
    }

    /// Waits until the condition holds, at most until the deadline. Gives whether it does.
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
