//! The arguments and results of [`Transitions`](crate::store::Transitions).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::Cursor;
use crate::job::{Counters, InstanceId, JobId, JobState, Lease, Nonce, Token};

/// The result for one job of an enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Enqueued {
    /// The job is new, and now `pending` or `delayed`.
    Created {
        /// Its state.
        state: JobState,
    },
    /// A job with this id is already kept; nothing was changed.
    Exists {
        /// The state of the job that is kept.
        state: JobState,
    },
}

/// How many jobs a claim asks for, and for how long it leases them.
/// Exhaustive, so that a caller has to decide about every part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimRequest {
    /// How many jobs to grant; at most [`BATCH_MAX`](crate::store::BATCH_MAX).
    pub limit: usize,
    /// Most bytes of headers ([`HEADER_BYTES`](crate::store::HEADER_BYTES) each) and envelopes together. The first job that does not fit ends the claim, but one job
    /// is granted whatever its size.
    pub bytes_max: usize,
    /// How long the leases last unless renewed.
    pub lease: Duration,
    /// Random bytes drawn for this call; part of the tokens of its grants.
    pub nonce: Nonce,
    /// Whether the store numbers the claim ([`Claims::number`]), which costs it a command more. A caller with several open claims needs the numbers to take in the jobs in
    /// the order of the queue.
    pub numbered: bool,
}

/// What a claim granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Claims {
    /// The store's clock when the claim was applied, in ms since the Unix epoch; 0 if the claim of a `settle_and_claim` was refused.
    pub now_ms: u64,
    /// When the leases expire unless renewed, in ms since the Unix epoch.
    pub expires_ms: u64,
    /// The queue is paused; nothing was granted.
    pub paused: bool,
    /// The jobs, in the order of the queue.
    pub jobs: Vec<ClaimedJob>,
    /// Set when [`claim`](crate::store::Transitions::claim) granted nothing because nothing was pending. Never set when the queue is paused, the limit is 0 or the call
    /// was sent again, and never by [`settle_and_claim`](crate::store::Transitions::settle_and_claim).
    pub queue_empty: Option<QueueEmpty>,
    /// The claim ended early: before it had seen enough jobs, it had to skip so many stale entries, or to read so many bytes, that the store cut it short. Claim again
    /// at once, even if no job was granted.
    pub more: bool,
    /// The claim ended because the next job did not fit into its [bytes](ClaimRequest::bytes_max). A store that does not say so is taken to have no more jobs, until the next
    /// poll.
    pub full: bool,
    /// The number of this claim, if it [asked for one](ClaimRequest::numbered) and granted jobs. The numbered claims of a queue get increasing numbers in the order in which
    /// they are applied. Of two with successive numbers, the second one was the next to be applied.
    pub number: Option<u64>,
}

/// What a claim reports about a queue in which nothing is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueEmpty {
    /// How long until the next delayed job is due; zero when some are due already, `None` when none is delayed.
    pub next_due: Option<Duration>,
}

/// One granted job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimedJob {
    /// The job.
    pub id: JobId,
    /// The fencing token of the lease.
    pub token: Token,
    /// The counters of the job; `attempts` includes this grant.
    pub counters: Counters,
    /// When the store accepted the job, in ms since the Unix epoch.
    pub enqueued_ms: u64,
    /// The envelope that the producer sealed.
    pub envelope: Bytes,
}

impl ClaimedJob {
    /// A claimed job; for your own implementation of a store.
    #[must_use]
    pub fn new(id: JobId, token: Token, counters: Counters, enqueued_ms: u64, envelope: Bytes) -> Self {
        Self { id, token, counters, enqueued_ms, envelope }
    }

    /// The lease of this job, held by `instance`.
    #[must_use]
    pub fn lease(&self, instance: InstanceId) -> Lease {
        Lease { id: self.id.clone(), token: self.token, instance }
    }
}

/// The end of one attempt, as a worker reports it to the store.
/// Exhaustive, so that a caller has to decide about every part.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settlement {
    /// The job.
    pub id: JobId,
    /// The token it was claimed with.
    pub token: Token,
    /// Where the job goes.
    pub verdict: Verdict,
    /// The [`AttemptLog`](crate::trace::AttemptLog), encoded by [`codec`](crate::codec) and kept unchanged. Empty: the history gets no entry for this attempt, unless it was postponed. Ignored for [`Verdict::Postpone`].
    pub record: Bytes,
}

/// Where a job goes when an attempt ends.
/// Exhaustive, so that a store cannot overlook one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Completed. Kept if `keep`, deleted otherwise.
    Complete {
        /// Whether completed jobs are kept.
        keep: bool,
    },
    /// Failed, to be retried after the delay; without a delay, to the back of the queue at once. Counts a failure.
    Retry {
        /// Counted from the settlement, by the store's clock.
        delay: Duration,
    },
    /// Failed, to the dead letter queue. Counts a failure.
    DeadLetter,
    /// Failed, and no retry can help: poisoned. Counts a failure.
    Poison,
    /// Released to the front of the queue. Counts a release.
    ReleaseNow,
    /// Released, and delayed; without a delay, to the back of the queue. Counts a release.
    ReleaseAfter {
        /// Counted from the settlement, by the store's clock.
        delay: Duration,
    },
    /// Did not start, because another job had to end first, and delayed; without a delay, to the back of the queue. Counts nothing, and the store records it:
    /// [`AttemptRecord::Postponed`](crate::trace::AttemptRecord::Postponed).
    Postpone {
        /// Counted from the settlement, by the store's clock.
        delay: Duration,
    },
    /// To the dead letter queue without a failure: its workers cannot run it (unknown kind or newer envelope), and it was released too often. Counts a release.
    Reject,
    /// Cancelled: the cancellation was requested, and the handler did not return success. Counts nothing.
    Cancel,
}

impl Verdict {
    /// The delay until the job may run again, if it comes back with one.
    #[must_use]
    pub fn delay(self) -> Option<Duration> {
        match self {
            Verdict::Retry { delay } | Verdict::ReleaseAfter { delay } | Verdict::Postpone { delay } => Some(delay),
            _ => None,
        }
    }
}

/// What happens to the job, in one or two words, without the delay.
///
/// ```
/// use retraced_jobs::store::Verdict;
/// use std::time::Duration;
/// let verdict = Verdict::Retry { delay: Duration::from_secs(5) };
/// assert_eq!((verdict.to_string().as_str(), verdict.delay()), ("retry", Some(Duration::from_secs(5))));
/// ```
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Complete { .. } => "complete",
            Verdict::Retry { .. } => "retry",
            Verdict::DeadLetter => "dead letter",
            Verdict::Poison => "poison",
            Verdict::ReleaseNow | Verdict::ReleaseAfter { .. } => "release",
            Verdict::Postpone { .. } => "postpone",
            Verdict::Reject => "reject",
            Verdict::Cancel => "cancel",
        })
    }
}

/// The result of one settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// The settlement was applied.
    Done {
        /// The state of the job now; `Completed` also when it is not kept.
        state: JobState,
    },
    /// The job has no lease with this token (any more), for example because the lease expired and was reclaimed. The job is unchanged. Counted in
    /// [`QueueStats::stale_settlements_total`](crate::store::QueueStats::stale_settlements_total).
    Stale,
}

/// What a promotion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Promoted {
    /// Jobs moved.
    pub moved: usize,
    /// How long until the next delayed job is due; zero when some are due already, `None` when none is delayed.
    pub next_due: Option<Duration>,
}

/// How to reclaim expired leases.
/// Exhaustive, so that a caller has to decide about every part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reclaim {
    /// Most leases to reclaim in this call; at most [`BATCH_MAX`](crate::store::BATCH_MAX).
    pub limit: usize,
    /// How long the leases of the calling worker last. Workers of one queue may differ, as in a rolling deploy: the shortest one decides what is a reclaim gap, the
    /// longest one how long the lease grace after it lasts.
    pub lease: Duration,
    /// A job is poisoned when it reaches this number of crashes; 0 counts as 1.
    pub crashes_max: u32,
    /// A job is also poisoned when this many of its leases in a row expired before its handler was known to have started, because it may kill the workers that
    /// claim it; 0 counts as 1.
    pub losses_max: u32,
}

/// The result of a reclaim.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{ClaimRequest, ReplaySlots, Leases, Reclaim, Reclaimed, ReclaimedJob, Transitions};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(instance, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// const LEASE: Duration = Duration::from_secs(30);
/// let rules = Reclaim { limit: 100, lease: LEASE, crashes_max: 3, losses_max: 8 };
/// store.reclaim(replay_slot.next_call(), &queue, &rules).await.unwrap(); // as the reclaimer does periodically
///
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: LEASE, nonce: *b"8 random", numbered: false };
/// let claimed = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap().jobs.remove(0);
/// let held = [Lease { id: claimed.id.clone(), token: claimed.token, instance }];
/// store.begin(&queue, LEASE, &held).await.unwrap();
/// // From now on nobody renews the lease. The reclaimer runs again and again.
/// let mut reclaimed = Reclaimed::default();
/// while reclaimed.jobs.is_empty() {
///     tokio::time::advance(Duration::from_secs(10)).await;
///     reclaimed = store.reclaim(replay_slot.next_call(), &queue, &rules).await.unwrap();
/// }
/// let mut expected = ReclaimedJob::new(claimed.id, Some(instance));
/// (expected.crashes, expected.counted) = (1, true);
/// assert_eq!(reclaimed.jobs, [expected]);
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reclaimed {
    /// The reclaimed jobs, the earliest expiry first.
    pub jobs: Vec<ReclaimedJob>,
    /// How long until the next of the remaining leases expires; zero when some have expired already; `None` when there are no leases.
    pub next_expiry: Option<Duration>,
    /// How long the lease grace still lasts, in which nothing is reclaimed. `None` when there is no grace, and when there are no leases.
    pub grace: Option<Duration>,
    /// How many leases were shortened, at most [`Reclaim::limit`] per call. They ended further from now than the longest lease in use, because the store's clock was set
    /// back by more than [`CLOCK_STEP_TOLERATED`](crate::store::CLOCK_STEP_TOLERATED). Now they end one such lease from now, unless their holders renew them.
    pub shortened: usize,
}

/// A job whose expired lease was reclaimed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimedJob {
    /// The job.
    pub id: JobId,
    /// The worker that held the lease; `None` when the grant is missing or damaged.
    pub held_by: Option<InstanceId>,
    /// The crashes of the job, including this one if it was counted.
    pub crashes: u32,
    /// Whether a crash was counted, because the handler was known to have started; otherwise a release was counted.
    pub counted: bool,
    /// Whether the job is `poisoned` now; otherwise it is at the front of the queue, or cancelled if that was requested.
    pub poisoned: bool,
}

impl ReclaimedJob {
    /// A job without crashes for which a release was counted, and which is not poisoned; set the fields that differ.
    #[must_use]
    pub fn new(id: JobId, held_by: Option<InstanceId>) -> Self {
        Self { id, held_by, crashes: 0, counted: false, poisoned: false }
    }
}

/// The result of one call of [`reconcile`](crate::store::Transitions::reconcile).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{ClaimRequest, ReplaySlots, Reconciled, Transitions};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(instance, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// # const LEASE: Duration = Duration::from_secs(30);
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: LEASE, nonce: *b"8 random", numbered: false };
/// store.claim(replay_slot.next_call(), &queue, &request).await.unwrap(); // assume that the worker never read this reply
///
/// let nonces = [request.nonce];
/// let Reconciled { released, next, .. } = store.reconcile(replay_slot.next_call(), &queue, instance, &nonces, None).await.unwrap();
/// assert_eq!((released.len(), next), (1, None));
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reconciled {
    /// The jobs that were released or cancelled by this call, ordered by the bytes of their ids.
    pub released: Vec<JobId>,
    /// The cursor for the next call; `None` when all grants were scanned.
    pub next: Option<Cursor>,
}
