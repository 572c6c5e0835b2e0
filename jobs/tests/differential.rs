//! Runs random histories on the memory store and on another store. After each step both must have given the same reply and must hold the same queue. A history that
//! fails is shortened and printed, and its seed is kept in `differential.seeds`.
//!
//! The two stores read two clocks, so no outcome may depend on a few milliseconds. A time that must be over takes [`SOON`] and is waited for in the same step; a time
//! that must not be over takes [`LONG`]. Both clocks advance between two steps, so that instants of different steps have the same order in both stores. Before replies
//! and states are compared, every instant is reduced to whether it has passed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FailurePersistence, FileFailurePersistence, TestRunner};
use retraced_jobs::clock::Clock;
use retraced_jobs::codec::{encode_attempt, to_output};
use retraced_jobs::failure::Code;
use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName, RunAt, Token};
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::redis::RedisStore;
use retraced_jobs::store::{
    CallId, ClaimRequest, Claims, Enqueued, JobView, Moved, QueueDeletion, QueueStats, Reclaim, Reclaimed, Reconciled,
    Renewal, Report, Retention, RetentionRule, Settled, Settlement, Store, StoreError, Target, Tombstone, TrimPolicy,
    Trimmed, UnfinishedJobs, Verdict,
};
use retraced_jobs::trace::{AttemptLog, AttemptRecord, Ended, ExecutorId, OperatorName, Progress};
use support::redis_server::RedisServer;
use uuid::Uuid;

/// A short time: the step that starts it waits until it is over.
const SOON: Duration = Duration::from_millis(3);
/// A time that is never over within a history.
const LONG: Duration = Duration::from_secs(60 * 60);
/// The longest wait for a few milliseconds of a server's clock. Only a clock that stands still reaches it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Steps of one history.
const STEPS_MAX: usize = 80;
/// Histories of one run, unless `PROPTEST_CASES` sets another number.
const CASES: u32 = 48;
/// How many times proptest tries to shorten a history that failed.
const SHRINKS_MAX: u32 = 150;
/// Ids of jobs in a history. They are few, so that steps meet the same jobs.
const IDS: usize = 6;
/// Worker processes of a history.
const WORKERS: usize = 2;

// ---- Steps --------------------------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy)]
enum When {
    Now,
    Past,
    Soon,
    Long,
    At,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Complete { keep: bool },
    Retry(Delay),
    DeadLetter,
    Poison,
    ReleaseNow,
    ReleaseAfter(Delay),
    Postpone(Delay),
    Reject,
    Cancel,
}

#[derive(Debug, Clone, Copy)]
enum Delay {
    None,
    Soon,
    Long,
}

/// One settlement: for which of the latest grants, with which verdict, whether it has a record, and whether its token is forged.
#[derive(Debug, Clone, Copy)]
struct Ending {
    grant: usize,
    end: End,
    recorded: bool,
    forged: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    limit: usize,
    bytes_max: usize,
    soon: bool,
}

/// A job that an operator acts on, and how it was seen: not at all, or with its index of a state and its attempts off by these numbers. Off by 0 is as it is.
#[derive(Debug, Clone, Copy)]
struct Aim {
    id: usize,
    seen: Option<(usize, u32)>,
}

/// Aims at these jobs, without how they were seen.
fn aims(ids: &[usize]) -> Vec<Aim> {
    ids.iter().map(|id| Aim { id: *id, seen: None }).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Enqueue(Vec<(usize, When)>),
    Claim(Ask),
    Settle(Vec<Ending>),
    SettleAndClaim(Vec<Ending>, Ask),
    Promote(usize),
    Reclaim {
        limit: usize,
        longer: bool,
        crashes_max: u32,
        losses_max: u32,
    },
    /// The claim of one of the latest grants was never answered.
    Reconcile {
        worker: usize,
        lost: usize,
    },
    Renew {
        grants: Vec<usize>,
        soon: bool,
        how: Renews,
    },
    Redrive(Vec<Aim>),
    Cancel(Vec<Aim>),
    Discard(Vec<Aim>),
    Pause(bool),
    /// The queue is deleted, with its unfinished jobs or only if it has none.
    DeleteQueue(bool),
    /// A client waits for the outcome of a job.
    Watch(usize),
    Trim {
        kept: u64,
        aged: bool,
        completed: bool,
        limit: usize,
    },
    /// The last call of the worker is sent again.
    Again,
    /// The last call of the worker is sent under an older sequence.
    Older,
    /// The id of the last call of the worker carries an enqueue that the worker never sent.
    Taken,
    Forget,
    /// The job at the front fails and is retried this many times, so that it has more attempts than its history keeps.
    WearOut(usize),
    /// Workers die with jobs they hold. The cancellation of some of these jobs was requested, and the start of some was recorded.
    Crash {
        asked: Vec<usize>,
        begun: Vec<usize>,
        crashes_max: u32,
        losses_max: u32,
    },
}

/// The verb of a renewal.
#[derive(Debug, Clone, Copy)]
enum Renews {
    Renew,
    Begin,
    /// With this progress.
    Report(u8),
}

impl Step {
    /// The single steps that this step stands for.
    fn simple(&self) -> Vec<Step> {
        let claim = |limit, soon| Step::Claim(Ask { limit, bytes_max: usize::MAX, soon });
        match self {
            Step::WearOut(times) => {
                let ending = Ending { grant: 0, end: End::Retry(Delay::None), recorded: true, forged: false };
                [claim(1, false), Step::Settle(vec![ending])].into_iter().cycle().take(2 * times).collect()
            }
            Step::Crash { asked, begun, crashes_max, losses_max } => {
                let (crashes_max, losses_max) = (*crashes_max, *losses_max);
                let reclaim = Step::Reclaim { limit: 3, longer: false, crashes_max, losses_max };
                let held: Vec<usize> = (0..3).collect();
                let begun = Step::Renew { grants: begun.clone(), soon: false, how: Renews::Begin };
                let lost = Step::Renew { grants: held, soon: true, how: Renews::Renew };
                vec![claim(3, false), begun, Step::Cancel(aims(asked)), lost, reclaim]
            }
            step => vec![step.clone()],
        }
    }

    /// Whether a time of [`SOON`] may start in this step. It must be over before the next step.
    fn starts_what_ends_soon(&self) -> bool {
        let delays = |endings: &[Ending]| {
            endings.iter().any(|one| {
                matches!(one.end, End::Retry(Delay::Soon) | End::ReleaseAfter(Delay::Soon) | End::Postpone(Delay::Soon))
            })
        };
        match self {
            Step::Enqueue(jobs) => jobs.iter().any(|(_, when)| matches!(when, When::Soon)),
            Step::Claim(ask) => ask.soon,
            Step::Settle(endings) => delays(endings),
            Step::SettleAndClaim(endings, ask) => ask.soon || delays(endings),
            Step::Renew { soon, .. } => *soon,
            // If the reply of the call was forgotten, the call is executed again.
            Step::Again | Step::Older | Step::Taken => true,
            _ => false,
        }
    }
}

fn delay() -> impl Strategy<Value = Delay> {
    prop_oneof![2 => Just(Delay::None), 3 => Just(Delay::Soon), 1 => Just(Delay::Long)]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => any::<bool>().prop_map(|keep| End::Complete { keep }),
        4 => delay().prop_map(End::Retry),
        1 => Just(End::DeadLetter),
        1 => Just(End::Poison),
        2 => Just(End::ReleaseNow),
        2 => delay().prop_map(End::ReleaseAfter),
        1 => delay().prop_map(End::Postpone),
        1 => Just(End::Reject),
        1 => Just(End::Cancel),
    ]
}

fn renews() -> impl Strategy<Value = Renews> {
    prop_oneof![Just(Renews::Renew), Just(Renews::Begin), (0..100_u8).prop_map(Renews::Report)]
}

fn endings() -> impl Strategy<Value = Vec<Ending>> {
    let ending = (0..4_usize, end(), prop::bool::weighted(0.8), prop::bool::weighted(0.05))
        .prop_map(|(grant, end, recorded, forged)| Ending { grant, end, recorded, forged });
    vec(ending, 1..5)
}

fn ask() -> impl Strategy<Value = Ask> {
    let bytes = prop_oneof![3 => Just(usize::MAX), 1 => 0..120_usize];
    (0..6_usize, bytes, prop::bool::weighted(0.2)).prop_map(|(limit, bytes_max, soon)| Ask { limit, bytes_max, soon })
}

fn step() -> impl Strategy<Value = Step> {
    let when = || {
        prop_oneof![
            7 => Just(When::Now),
            1 => Just(When::Past),
            2 => Just(When::Soon),
            1 => Just(When::Long),
            1 => Just(When::At),
        ]
    };
    let some = || vec(0..IDS, 0..4);
    let aimed = || {
        // `(0, 0)` is the state and the attempts that the job has.
        let seen = prop_oneof![
            2 => Just(None),
            2 => Just(Some((0, 0))),
            1 => (0..JobState::ALL.len(), 0..2_u32).prop_map(Some),
        ];
        vec((0..IDS, seen).prop_map(|(id, seen)| Aim { id, seen }), 0..4)
    };
    prop_oneof![
        6 => vec((0..IDS, when()), 0..6).prop_map(Step::Enqueue),
        9 => ask().prop_map(Step::Claim),
        9 => endings().prop_map(Step::Settle),
        5 => (endings(), ask()).prop_map(|(endings, ask)| Step::SettleAndClaim(endings, ask)),
        4 => (0..5_usize).prop_map(Step::Promote),
        3 => (0..4_usize, any::<bool>(), 1..4_u32, 1..9_u32).prop_map(|(limit, longer, crashes_max, losses_max)| {
            Step::Reclaim { limit, longer, crashes_max, losses_max }
        }),
        1 => (0..WORKERS, 0..4_usize).prop_map(|(worker, lost)| Step::Reconcile { worker, lost }),
        2 => (vec(0..5_usize, 0..4), any::<bool>(), renews()).prop_map(|(grants, soon, how)| Step::Renew { grants, soon, how }),
        3 => aimed().prop_map(Step::Redrive),
        2 => aimed().prop_map(Step::Cancel),
        1 => aimed().prop_map(Step::Discard),
        1 => prop::bool::weighted(0.2).prop_map(Step::Pause),
        1 => prop::bool::weighted(0.3).prop_map(Step::DeleteQueue),
        1 => (0..IDS).prop_map(Step::Watch),
        1 => (0..4_u64, prop::bool::weighted(0.2), any::<bool>(), 0..4_usize)
            .prop_map(|(kept, aged, completed, limit)| Step::Trim { kept, aged, completed, limit }),
        2 => Just(Step::Again),
        1 => Just(Step::Older),
        1 => Just(Step::Taken),
        1 => Just(Step::Forget),
        2 => (1..14_usize).prop_map(Step::WearOut),
        3 => (some(), vec(0..3_usize, 0..4), 1..4_u32, 1..9_u32).prop_map(|(asked, begun, crashes_max, losses_max)| {
            Step::Crash { asked, begun, crashes_max, losses_max }
        }),
    ]
}

/// Steps, each with the number of its worker. Most histories begin with a reclaim; in the others the first reclaim starts a lease grace that is never over.
fn history() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let steps = vec((0..WORKERS, step()), STEPS_MAX / 2..STEPS_MAX);
    (prop::bool::weighted(0.8), steps).prop_map(|(reclaimed_before, steps)| {
        let stamp = (0, Step::Reclaim { limit: 0, longer: false, crashes_max: 3, losses_max: 9 });
        reclaimed_before.then_some(stamp).into_iter().chain(steps).collect()
    })
}

// ---- Calls and replies ---------------------------------------------------------------------------------------------------------

/// A call of a replay slot, ready to be sent to both stores, and again.
#[derive(Debug, Clone)]
enum Call {
    Enqueue(Vec<NewJob>),
    Claim(ClaimRequest),
    Settle(Vec<Settlement>),
    SettleAndClaim(Vec<Settlement>, ClaimRequest),
    Promote(usize),
    Reclaim(Reclaim),
    Reconcile(InstanceId, Vec<Nonce>),
    Redrive(Vec<Target>),
    Cancel(Vec<Target>),
    Discard(Vec<Target>),
    Pause,
    Resume,
    Trim(TrimPolicy),
}

#[derive(Debug, PartialEq)]
enum Reply {
    Enqueued(Vec<Enqueued>),
    Claims(Claims),
    Settled(Vec<Settled>),
    SettledAndClaimed(Vec<Settled>, Claims),
    Promoted(usize, Option<Duration>),
    Reclaimed(Reclaimed),
    Reconciled(Reconciled),
    Moved(Vec<Moved>),
    Trimmed(Trimmed),
    Renewed(Vec<Renewal>),
    Paused(bool),
    QueueDeletion(QueueDeletion),
    Watched(Option<(JobState, Option<bytes::Bytes>, usize)>),
    Superseded,
    Taken,
    Refused,
}

/// Reduces a span to whether it is over: two clocks agree on no more.
fn span(left: Option<Duration>) -> Option<Duration> {
    left.map(|left| if left.is_zero() { left } else { LONG })
}

async fn send(store: &dyn Store, queue: &QueueName, id: CallId, call: &Call) -> Reply {
    let timeless = |mut claims: Claims| {
        claims.jobs.iter_mut().for_each(|job| job.enqueued_ms = 0);
        claims.queue_empty.iter_mut().for_each(|empty| empty.next_due = span(empty.next_due));
        (claims.now_ms, claims.expires_ms) = (0, 0);
        // The stores begin with different numbers.
        claims.number = claims.number.map(|_| 0);
        claims
    };
    // Some names are as long as they may be, with characters of several bytes.
    let by = OperatorName::new("ö\n".repeat(usize::try_from(id.sequence % 40).unwrap()));
    let reply: Result<Reply, StoreError> = match call {
        Call::Enqueue(jobs) => store.enqueue(id, queue, jobs).await.map(Reply::Enqueued),
        Call::Claim(request) => store.claim(id, queue, request).await.map(|claims| Reply::Claims(timeless(claims))),
        Call::Settle(settlements) => store.settle(id, queue, settlements).await.map(Reply::Settled),
        Call::SettleAndClaim(settlements, request) => store
            .settle_and_claim(id, queue, settlements, request)
            .await
            .map(|(settled, claims)| Reply::SettledAndClaimed(settled, timeless(claims))),
        Call::Promote(limit) => store
            .promote(id, queue, *limit)
            .await
            .map(|promoted| Reply::Promoted(promoted.moved, span(promoted.next_due))),
        Call::Reclaim(request) => store.reclaim(id, queue, request).await.map(|mut reclaimed| {
            reclaimed.next_expiry = span(reclaimed.next_expiry);
            reclaimed.grace = span(reclaimed.grace);
            Reply::Reclaimed(reclaimed)
        }),
        Call::Reconcile(instance, lost) => {
            store.reconcile(id, queue, *instance, lost, None).await.map(Reply::Reconciled)
        }
        Call::Redrive(jobs) => store.redrive(id, queue, &by, jobs).await.map(Reply::Moved),
        Call::Cancel(jobs) => store.cancel(id, queue, &by, jobs).await.map(Reply::Moved),
        Call::Discard(jobs) => store.discard(id, queue, &by, jobs).await.map(Reply::Moved),
        Call::Pause => store.pause(id, queue, &by).await.map(Reply::Paused),
        Call::Resume => store.resume(id, queue).await.map(Reply::Paused),
        Call::Trim(policy) => store.trim(id, queue, policy).await.map(|mut trimmed| {
            // The two clocks differ.
            trimmed.jobs.iter_mut().for_each(|jobs| jobs.oldest_ms = 0);
            Reply::Trimmed(trimmed)
        }),
    };
    match reply {
        Ok(reply) => reply,
        Err(StoreError::Superseded { .. }) => Reply::Superseded,
        Err(StoreError::CallIdTaken { .. }) => Reply::Taken,
        Err(StoreError::Refused { .. }) => Reply::Refused,
        Err(error) => panic!("{call:?}: {error}"),
    }
}

/// Everything that can be read about a queue, with instants reduced to whether they have passed, and sequences to their order.
#[derive(Debug, PartialEq)]
struct Seen {
    stats: QueueStats,
    orphaned: (i64, i64),
    /// Ids in the order of each listing, a state at a time, with the latest error as the listing shows it.
    listed: Vec<(JobState, JobId, Option<String>)>,
    jobs: Vec<JobView>,
    /// What is left of each id, with the removal as to whether it has passed.
    tombstones: Vec<Option<Tombstone>>,
}

async fn read_all(store: &dyn Store, queue: &QueueName, ids: &[JobId]) -> Seen {
    let now_ms = now(store, queue).await;
    let passed = |at_ms: u64| if at_ms <= now_ms { 0 } else { u64::MAX };
    let mut stats = store.stats(queue).await.unwrap();
    stats.paused_since_ms = stats.paused_since_ms.map(passed);
    stats.oldest_pending_ms = stats.oldest_pending_ms.map(|_| 0);
    stats.delayed_overdue_ms = stats.delayed_overdue_ms.map(i64::signum);
    let counts = store.check_counts(queue).await.unwrap();
    let mut listed = Vec::new();
    let mut jobs = Vec::new();
    for state in JobState::ALL {
        let mut from = None;
        loop {
            let page = store.jobs(queue, state, from, 3).await.unwrap();
            for job in page.jobs {
                let view = store.job(queue, &job.id).await.unwrap().unwrap_or_else(|| panic!("{} is not kept", job.id));
                let recorded =
                    (job.state, job.counters, job.enqueued_ms, job.at_ms, &job.envelope, job.last_error.clone());
                let seen = (view.state, view.counters, view.enqueued_ms, view.at_ms, &view.envelope, view.last_error());
                assert_eq!(recorded, seen, "a listing and a read of {}", job.id);
                assert_eq!(job.progress.as_ref(), view.running_progress(), "a listing and a read of {}", job.id);
                listed.push((state, job.id, job.last_error.map(|error| error.message)));
                jobs.push(view);
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    let sequences: BTreeMap<_, _> = {
        let mut sequences: Vec<_> = jobs.iter().map(|job| job.sequence.unwrap()).collect();
        sequences.sort_unstable();
        sequences.into_iter().zip(0..).collect()
    };
    for job in &mut jobs {
        job.now_ms = 0;
        job.sequence = job.sequence.map(|sequence| sequences[&sequence]);
        job.enqueued_ms = job.enqueued_ms.map(passed);
        job.at_ms = job.at_ms.map(passed);
        if let Some(holder) = &mut job.held_by {
            holder.claimed_ms = passed(holder.claimed_ms);
            holder.expires_ms = passed(holder.expires_ms);
        }
        job.acts.iter_mut().for_each(|act| act.at_ms = passed(act.at_ms));
        job.progress.iter_mut().for_each(|progress| progress.at_ms = passed(progress.at_ms));
        for attempt in &mut job.history {
            attempt.settled_ms = passed(attempt.settled_ms);
            if let Ok(
                AttemptRecord::Crashed { lease_expired_ms: at_ms, .. }
                | AttemptRecord::Lost { lease_expired_ms: at_ms, .. }
                | AttemptRecord::Postponed { due_ms: at_ms, .. },
            ) = &mut attempt.record
            {
                *at_ms = passed(*at_ms);
            }
        }
    }
    let mut tombstones = Vec::new();
    for id in ids {
        let mut left = store.tombstone(queue, id).await.unwrap();
        if let Some(left) = &mut left {
            (left.ended_ms, left.removed_ms) = (left.ended_ms.map(passed), passed(left.removed_ms));
        }
        tombstones.push(left);
    }
    Seen { stats, orphaned: (counts.difference(), counts.grant_difference), listed, jobs, tombstones }
}

async fn now(store: &dyn Store, queue: &QueueName) -> u64 {
    store.renew(queue, LONG, &[]).await.unwrap().now_ms
}

// ---- The two stores ---------------------------------------------------------------------------------------------------------------------------

/// A clock that a test sets.
#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicU64>);

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The store that is compared with the memory store.
struct Other {
    store: Arc<dyn Store>,
    /// The clock of the store; `None` if the clock advances by itself.
    clock: Option<ManualClock>,
}

impl Other {
    /// Waits until the store's clock has advanced by at least this span, and returns the time.
    async fn wait(&self, span: Duration, queue: &QueueName) -> u64 {
        let span_ms = u64::try_from(span.as_millis()).unwrap();
        let until = now(&*self.store, queue).await + span_ms;
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < TIMEOUT, "the clock of the other store stands still");
            match &self.clock {
                Some(clock) => clock.0.store(until, Ordering::Relaxed),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            let read = now(&*self.store, queue).await;
            if read >= until {
                return read;
            }
        }
    }
}

/// A grant, its token and the worker that holds it.
#[derive(Debug, Clone)]
struct Granted {
    id: JobId,
    token: Token,
    instance: InstanceId,
}

struct Pair<'a> {
    memory: MemoryStore,
    clock: ManualClock,
    other: &'a Other,
    queue: QueueName,
    ids: Vec<JobId>,
    workers: Vec<InstanceId>,
    /// For each worker: the sequence of its last call, and the call.
    last: Vec<(u64, Option<Call>)>,
    granted: Vec<Granted>,
    step: u64,
}

impl<'a> Pair<'a> {
    fn new(other: &'a Other) -> Self {
        let clock = ManualClock::default();
        let name = |n: usize| match n % 2 {
            0 => JobId::from(Uuid::from_u128(0x0190163d_8694_739b_aea5_966c26f8ad00 + n as u128)),
            _ => JobId::parse(&format!("own-{n}")).unwrap(),
        };
        Self {
            memory: MemoryStore::with_clock(Arc::new(clock.clone())),
            clock,
            other,
            // Each history has a queue of its own, because all histories of a run share the server.
            queue: QueueName::new(Uuid::new_v4().simple().to_string()).unwrap(),
            ids: (0..IDS).map(name).collect(),
            workers: (0..WORKERS).map(|_| InstanceId::from(Uuid::new_v4())).collect(),
            last: vec![(0, None); WORKERS],
            granted: Vec::new(),
            step: 0,
        }
    }

    async fn run(&mut self, history: &[(usize, Step)]) -> Result<(), TestCaseError> {
        self.pass(Duration::ZERO).await;
        let history = history.iter().flat_map(|(worker, step)| step.simple().into_iter().map(|step| (*worker, step)));
        for (worker, step) in history {
            self.step += 1;
            self.perform(worker, &step).await?;
            self.pass(if step.starts_what_ends_soon() { SOON } else { Duration::ZERO }).await;
            let (ours, theirs) = (
                read_all(&self.memory, &self.queue, &self.ids).await,
                read_all(&*self.other.store, &self.queue, &self.ids).await,
            );
            prop_assert_eq!(ours, theirs, "after step {}: {:?}", self.step, step);
        }
        let found = self.other.store.scan(&self.queue).await.unwrap();
        prop_assert_eq!(found, [], "no step leaves anything for a scan to find");
        Ok(())
    }

    /// Advances both clocks so far that no instant of the next step can equal one of this step.
    async fn pass(&self, span: Duration) {
        let read = self.other.wait(span + Duration::from_millis(2), &self.queue).await;
        self.clock.0.store(read, Ordering::Relaxed);
    }

    async fn perform(&mut self, worker: usize, step: &Step) -> Result<(), TestCaseError> {
        let (ours, theirs) = match step {
            Step::Renew { grants, soon, how } => {
                let held: Vec<Lease> = grants
                    .iter()
                    .filter_map(|n| self.granted(*n))
                    .map(|granted| Lease { id: granted.id, token: granted.token, instance: granted.instance })
                    .collect();
                let lease = if *soon { SOON } else { LONG };
                let (ours, theirs) = (self.memory_store(), &*self.other.store);
                let percent = if let Renews::Report(percent) = how { *percent } else { 0 };
                let report = |lease: &Lease| Report { lease: lease.clone(), progress: Progress::new(percent, "n") };
                let reports: Vec<Report> = held.iter().map(report).collect();
                let queue = &self.queue;
                let (ours, theirs) = match how {
                    Renews::Renew => (ours.renew(queue, lease, &held), theirs.renew(queue, lease, &held)),
                    Renews::Begin => (ours.begin(queue, lease, &held), theirs.begin(queue, lease, &held)),
                    Renews::Report(_) => (ours.report(queue, lease, &reports), theirs.report(queue, lease, &reports)),
                };
                let (ours, theirs) = (ours.await.unwrap(), theirs.await.unwrap());
                (Reply::Renewed(ours.results), Reply::Renewed(theirs.results))
            }
            Step::DeleteQueue(unfinished_too) => {
                let unfinished = if *unfinished_too { UnfinishedJobs::Delete } else { UnfinishedJobs::Refuse };
                let ours = self.memory_store().delete_queue(&self.queue, unfinished).await.unwrap();
                let theirs = self.other.store.delete_queue(&self.queue, unfinished).await.unwrap();
                (Reply::QueueDeletion(ours), Reply::QueueDeletion(theirs))
            }
            Step::Watch(n) => {
                let recorded = |view: Option<JobView>| {
                    Reply::Watched(view.map(|view| (view.state, view.output(), view.history.len())))
                };
                let (id, queue) = (&self.ids[*n], &self.queue);
                let ours = self.memory_store().watch_outcome(queue, id, LONG).await.unwrap();
                let theirs = self.other.store.watch_outcome(queue, id, LONG).await.unwrap();
                (recorded(ours), recorded(theirs))
            }
            Step::Forget => {
                let (instance, queues) = (self.workers[worker], [self.queue.clone()]);
                self.memory_store().forget(instance, &queues).await.unwrap();
                self.other.store.forget(instance, &queues).await.unwrap();
                return Ok(());
            }
            Step::Again | Step::Older => {
                let (sequence, last) = self.last[worker].clone();
                let Some(call) = last else { return Ok(()) };
                let older = u64::from(matches!(step, Step::Older));
                self.send(worker, sequence - older, &call, true).await
            }
            Step::Taken => {
                let sequence = self.last[worker].0;
                let other = Call::Enqueue(vec![self.new_job(0, When::Now)]);
                self.send(worker, sequence, &other, true).await
            }
            step => {
                let call = self.call(worker, step);
                let sequence = self.last[worker].0 + 2;
                self.last[worker] = (sequence, Some(call.clone()));
                self.send(worker, sequence, &call, false).await
            }
        };
        prop_assert_eq!(&ours, &theirs, "the reply to step {}: {:?}", self.step, step);
        if let Reply::Claims(claims) | Reply::SettledAndClaimed(_, claims) = ours {
            let instance = self.workers[worker];
            self.granted.extend(claims.jobs.into_iter().map(|job| Granted { id: job.id, token: job.token, instance }));
        }
        Ok(())
    }

    fn memory_store(&self) -> &dyn Store {
        &self.memory
    }

    async fn send(&self, worker: usize, sequence: u64, call: &Call, is_again: bool) -> (Reply, Reply) {
        // A first sending for some calls, and for none that is sent again (`Step::Again`).
        let first_sending = sequence.is_multiple_of(4) && !is_again;
        let id = CallId { instance: self.workers[worker], replay_slot: 0, sequence, nonce: [0; 8], first_sending };
        (send(&self.memory, &self.queue, id, call).await, send(&*self.other.store, &self.queue, id, call).await)
    }

    /// One of the latest grants; 0 is the last.
    fn granted(&self, n: usize) -> Option<Granted> {
        self.granted.iter().rev().nth(n).cloned()
    }

    fn targets(&self, aims: &[Aim]) -> Vec<Target> {
        let target = |aim: &Aim| {
            let id = self.ids[aim.id].clone();
            let found = self.memory_store().job(&self.queue, &id).now_or_never().unwrap().unwrap();
            let seen = aim.seen.map(|(off, more)| {
                let (state, attempts) = found.map_or((JobState::Pending, 0), |job| (job.state, job.counters.attempts));
                let at = JobState::ALL.iter().position(|one| *one == state).unwrap() + off;
                retraced_jobs::store::Seen { state: JobState::ALL[at % JobState::ALL.len()], attempts: attempts + more }
            });
            Target { id, seen }
        };
        aims.iter().map(target).collect()
    }

    fn call(&self, worker: usize, step: &Step) -> Call {
        match step {
            Step::Enqueue(jobs) => Call::Enqueue(jobs.iter().map(|(n, when)| self.new_job(*n, *when)).collect()),
            Step::Claim(ask) => Call::Claim(self.request(*ask)),
            Step::Settle(endings) => Call::Settle(self.settlements(worker, endings)),
            Step::SettleAndClaim(endings, ask) => {
                Call::SettleAndClaim(self.settlements(worker, endings), self.request(*ask))
            }
            Step::Promote(limit) => Call::Promote(*limit),
            Step::Reclaim { limit, longer, crashes_max, losses_max } => {
                let lease = if *longer { LONG * 2 } else { LONG };
                let (crashes_max, losses_max) = (*crashes_max, *losses_max);
                Call::Reclaim(Reclaim { limit: *limit, lease, crashes_max, losses_max })
            }
            Step::Reconcile { worker, lost } => {
                let lost = self.granted(*lost).map(|granted| granted.token.nonce);
                Call::Reconcile(self.workers[*worker], lost.into_iter().collect())
            }
            Step::Redrive(aims) => Call::Redrive(self.targets(aims)),
            Step::Cancel(aims) => Call::Cancel(self.targets(aims)),
            Step::Discard(aims) => Call::Discard(self.targets(aims)),
            Step::Pause(true) => Call::Pause,
            Step::Pause(false) => Call::Resume,
            Step::Trim { kept, aged, completed, limit } => {
                let rule =
                    RetentionRule::new(if *aged { Duration::ZERO } else { LONG }, *kept).bytes_max(*kept * 1_500);
                let kept = Retention::default().dead(rule).poisoned(rule).cancelled(rule);
                let kept = if *completed { kept.completed(rule) } else { kept.without_completed() };
                Call::Trim(TrimPolicy { retention: kept, limit: *limit })
            }
            Step::Renew { .. }
            | Step::DeleteQueue(_)
            | Step::Watch(_)
            | Step::Again
            | Step::Older
            | Step::Taken
            | Step::Forget
            | Step::WearOut(_)
            | Step::Crash { .. } => {
                unreachable!("{step:?} is not a call of its own")
            }
        }
    }

    fn new_job(&self, n: usize, when: When) -> NewJob {
        let long_ms = u64::try_from(LONG.as_millis()).unwrap();
        let run_at = match when {
            When::Now => RunAt::Now,
            When::Past => RunAt::At(1),
            When::Soon => RunAt::After(SOON),
            When::Long => RunAt::After(LONG),
            // Earlier than a delay of `LONG` that starts in this step, and later than one of the step before.
            When::At => RunAt::At(self.clock.now_ms() + long_ms - 1),
        };
        // Some jobs count more bytes for retention than the least ones do.
        let padding = "x".repeat(if n.is_multiple_of(3) { 2_000 } else { 0 });
        let envelope = format!("{}, sealed in step {}{padding}", self.ids[n], self.step).into();
        NewJob { id: self.ids[n].clone(), run_at, envelope }
    }

    fn request(&self, ask: Ask) -> ClaimRequest {
        let lease = if ask.soon { SOON } else { LONG };
        ClaimRequest {
            limit: ask.limit,
            bytes_max: ask.bytes_max,
            lease,
            nonce: self.step.to_be_bytes(),
            numbered: ask.soon,
        }
    }

    fn settlements(&self, worker: usize, endings: &[Ending]) -> Vec<Settlement> {
        let one = |ending: &Ending| {
            let granted = self.granted(ending.grant)?;
            let attempt = granted.token.attempt + u32::from(ending.forged);
            let record = if ending.recorded { self.record(worker, ending.end) } else { "".into() };
            let token = Token { attempt, ..granted.token };
            Some(Settlement { id: granted.id, token, verdict: verdict(ending.end), record })
        };
        endings.iter().filter_map(one).collect()
    }

    fn record(&self, worker: usize, end: End) -> bytes::Bytes {
        let ended = match end {
            End::Complete { .. } => {
                Ended::Completed { output: self.step.is_multiple_of(2).then(|| to_output(&self.step).unwrap()) }
            }
            end => Ended::Failed {
                code: Code::NetworkError,
                message: format!("{end:?} in step {}", self.step),
                chain: Vec::new(),
                location: None,
                backtrace: None,
                decision: None,
            },
        };
        encode_attempt(&AttemptLog::new(self.workers[worker], ExecutorId::new(0, 0), 1, 2, ended))
    }
}

fn verdict(end: End) -> Verdict {
    let duration = |delay| match delay {
        Delay::None => Duration::ZERO,
        Delay::Soon => SOON,
        Delay::Long => LONG,
    };
    match end {
        End::Complete { keep } => Verdict::Complete { keep },
        End::Retry(delay) => Verdict::Retry { delay: duration(delay) },
        End::DeadLetter => Verdict::DeadLetter,
        End::Poison => Verdict::Poison,
        End::ReleaseNow => Verdict::ReleaseNow,
        End::ReleaseAfter(delay) => Verdict::ReleaseAfter { delay: duration(delay) },
        End::Postpone(delay) => Verdict::Postpone { delay: duration(delay) },
        End::Reject => Verdict::Reject,
        End::Cancel => Verdict::Cancel,
    }
}

/// Compares the memory store with the store that `open` returns, on random histories in one runtime.
fn compare(open: impl AsyncFnOnce() -> Other) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let other = runtime.block_on(open());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let seeds = FileFailurePersistence::Direct(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential.seeds"));
    let failure_persistence: Option<Box<dyn FailurePersistence>> = Some(Box::new(seeds));
    let config = Config { cases, failure_persistence, max_shrink_iters: SHRINKS_MAX, ..Config::default() };
    let run = |history: Vec<(usize, Step)>| runtime.block_on(Pair::new(&other).run(&history));
    TestRunner::new(config).run(&history(), run).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Goal: the comparison itself is right, so a difference that it finds is one between the stores.
#[test]
fn two_memory_stores_behave_alike() {
    compare(async || {
        let clock = ManualClock(Arc::new(AtomicU64::new(1_700_000_000_000)));
        Other { store: Arc::new(MemoryStore::with_clock(Arc::new(clock.clone()))), clock: Some(clock) }
    });
}

#[test]
fn a_redis_store_behaves_like_the_memory_store() {
    for program in RedisServer::binaries() {
        let server = RedisServer::start_binary(program, &[]);
        let url = server.url();
        compare(async || Other { store: Arc::new(RedisStore::connect(&url).await.unwrap()), clock: None });
    }
}
