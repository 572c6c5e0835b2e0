//! The arguments and results of the store's verbs.

use std::time::Duration;

use bytes::Bytes;

use crate::job::{Counters, InstanceId, JobId, JobState, Kind, Lease, Nonce, QueueName, Token};
use crate::limits::REPLAY_SLOTS_MAX;
use crate::store::{JobSummary, JobView};
use crate::trace::SupervisionEvent;

/// The identity of a call, by which the store recognizes a call that is sent again and does not apply it twice. [`ReplaySlot`](super::ReplaySlot) makes it. Never
/// use an id for two verbs: a store that notices this refuses the second call ([`StoreError::Refused`](super::StoreError::Refused)).
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId {
    /// The process instance that calls.
    pub instance: InstanceId,
    /// The replay slot of the call; a slot has one open call at a time.
    pub replay_slot: u16,
    /// The number of the call in its replay slot, from 1 and growing; at most 2^48 − 1.
    pub sequence: u64,
}

impl CallId {
    /// The id of the second call where one verb makes two calls: the same sequence in the companion of the replay slot. Slot `n` and slot `n` + 32,768 are each
    /// other's companions; [`ReplaySlots`](super::ReplaySlots) gives out only the lower ones.
    ///
    /// ```
    /// use retraced_jobs::job::InstanceId;
    /// use retraced_jobs::store::CallId;
    /// let call = CallId { instance: InstanceId::from(uuid::Uuid::from_u128(1)), replay_slot: 3, sequence: 7 };
    /// assert_ne!(call.companion().replay_slot, 3);
    /// assert_eq!(call.companion().companion(), call);
    /// ```
    #[must_use]
    pub fn companion(self) -> Self {
        Self { replay_slot: self.replay_slot ^ REPLAY_SLOTS_MAX, ..self }
    }
}

/// The result for one job of an enqueue.
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Most jobs to grant; at most [`BATCH_MAX`](super::BATCH_MAX).
    pub limit: usize,
    /// Most bytes of headers ([`HEADER_BYTES`](super::HEADER_BYTES) each) and envelopes together. The first job that does not fit ends the claim, but one job
    /// is granted whatever its size.
    pub bytes_max: usize,
    /// How long the leases last unless renewed.
    pub lease: Duration,
    /// Random bytes drawn for this call; part of the tokens of its grants.
    pub nonce: Nonce,
}

/// What a claim granted.
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Claims {
    /// The store's clock, in ms since the Unix epoch; 0 where it is not known.
    pub now_ms: u64,
    /// When the leases expire unless renewed, in ms since the Unix epoch.
    pub expires_ms: u64,
    /// The queue is paused; nothing was granted.
    pub paused: bool,
    /// The jobs, in the order of the queue.
    pub jobs: Vec<ClaimedJob>,
    /// Set when [`claim`](super::Transitions::claim) granted nothing because nothing was pending. Never set when the queue is paused, the limit is 0 or the call
    /// was sent again, and never by [`settle_and_claim`](super::Transitions::settle_and_claim).
    pub quiet: Option<Quiet>,
}

/// What a claim reports about a queue in which nothing is pending.
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Quiet {
    /// How long until the next delayed job is due; zero when some are due already, `None` when none is delayed.
    pub next_due: Option<Duration>,
}

/// One granted job.
///
/// Used in the example of [`Transitions`](super::Transitions).
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

    /// The lease of this job, held by `owner`.
    #[must_use]
    pub fn lease(&self, owner: InstanceId) -> Lease {
        Lease { id: self.id.clone(), token: self.token, owner }
    }
}

/// The end of one attempt, as a worker reports it to the store.
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The job.
    pub id: JobId,
    /// The token it was claimed with.
    pub token: Token,
    /// Where the job goes.
    pub verdict: Verdict,
    /// The [`AttemptLog`](crate::trace::AttemptLog), encoded by [`codec`](crate::codec) and kept unchanged. Empty: the history gets no entry for this attempt.
    pub record: Bytes,
}

/// Where a job goes when an attempt ends.
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// To the dead letter queue without a failure: its workers cannot run it (unknown kind or newer envelope), and it was released too often. Counts a release.
    Reject,
    /// Cancelled: the cancellation was requested, and the handler did not return success. Counts nothing.
    Cancel,
}

/// The result of one settlement.
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The settlement was applied.
    Done {
        /// The state of the job now; `Completed` also when it is not kept.
        state: JobState,
    },
    /// The job has no lease with this token (any more), for example because the lease expired and was reclaimed. The job is unchanged. Counted in
    /// [`QueueStats::stale_settlements_total`].
    Stale,
}

/// What a promotion did.
///
/// Used in the example of [`Transitions`](super::Transitions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Promoted {
    /// Jobs moved.
    pub moved: usize,
    /// How long until the next delayed job is due; zero when some are due already, `None` when none is delayed.
    pub next_due: Option<Duration>,
}

/// How to reclaim expired leases.
///
/// Used in the example of [`Reclaimed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reclaim {
    /// Most leases to reclaim in this call; at most [`BATCH_MAX`](super::BATCH_MAX).
    pub limit: usize,
    /// How long leases of this queue last; also the length of the lease grace after an outage.
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
/// # let owner = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(owner, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// const LEASE: Duration = Duration::from_secs(30);
/// let rules = Reclaim { limit: 100, lease: LEASE, crashes_max: 3, losses_max: 8 };
/// store.reclaim(replay_slot.next_call(), &queue, &rules).await.unwrap(); // as the reclaimer does periodically
///
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: LEASE, nonce: *b"8 random" };
/// let claimed = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap().jobs.remove(0);
/// let held = [Lease { id: claimed.id.clone(), token: claimed.token, owner }];
/// store.begin(&queue, LEASE, &held).await.unwrap();
/// // From now on nobody renews the lease. The reclaimer runs again and again.
/// let mut reclaimed = Reclaimed::default();
/// while reclaimed.jobs.is_empty() {
///     tokio::time::advance(Duration::from_secs(10)).await;
///     reclaimed = store.reclaim(replay_slot.next_call(), &queue, &rules).await.unwrap();
/// }
/// let mut expected = ReclaimedJob::new(claimed.id, Some(owner));
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
}

/// A job whose expired lease was reclaimed.
///
/// Used in the example of [`Reclaimed`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimedJob {
    /// The job.
    pub id: JobId,
    /// The worker that held the lease; `None` when the grant is missing or damaged.
    pub owner: Option<InstanceId>,
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
    pub fn new(id: JobId, owner: Option<InstanceId>) -> Self {
        Self { id, owner, crashes: 0, counted: false, poisoned: false }
    }
}

/// The result of one call of [`reconcile`](super::Transitions::reconcile).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{ClaimRequest, ReplaySlots, Reconciled, Transitions};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let owner = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(owner, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// # const LEASE: Duration = Duration::from_secs(30);
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: LEASE, nonce: *b"8 random" };
/// store.claim(replay_slot.next_call(), &queue, &request).await.unwrap(); // assume that the owner never read this reply
///
/// let nonces = [request.nonce];
/// let Reconciled { released, next, .. } = store.reconcile(replay_slot.next_call(), &queue, owner, &nonces, None).await.unwrap();
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

/// The results of renewals.
///
/// Used in the example of [`Leases`](super::Leases).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Renewed {
    /// The store's clock, in ms since the Unix epoch.
    pub now_ms: u64,
    /// One result per lease of the call, in order.
    pub results: Vec<Renewal>,
}

/// The result of one renewal.
///
/// Used in the example of [`Leases`](super::Leases).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was extended.
    Kept {
        /// Whether the job's cancellation was requested.
        cancel_asked: bool,
    },
    /// The job has no lease with this token (any more).
    Stale,
}

/// A reason to poll now instead of at the next scheduled poll.
///
/// Used in the example of [`Store`](super::Store).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Something may be claimed.
    Pending(QueueName),
    /// A job was delayed that is due before all others.
    Due(QueueName),
    /// The cancellation of a processing job was requested.
    Cancel(QueueName, JobId),
    /// A job has ended or was discarded. Sent for every such job of a queue while any client [waits for an outcome](super::Admin::watch_outcome) there, and
    /// otherwise not.
    Ended {
        /// The job's queue.
        queue: QueueName,
        /// The job.
        id: JobId,
        /// The final state of the job: `Completed` also if it is not kept. `None` when an operator discarded it.
        state: Option<JobState>,
    },
}

/// Where the next page of a listing begins. Only the store that made a cursor can read it.
///
/// Used in the example of [`Admin`](super::Admin).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub(crate) String);

impl Cursor {
    /// The cursor as text, for a caller that asks for the next page later.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Cursor {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// A job that an operator acts on, and how the operator saw it. Another operator may have redriven the job since, and a discard that was meant for a dead job must
/// not delete a live one. So the store compares the job with `seen`, in the same step in which it acts.
///
/// ```
/// use retraced_jobs::job::{JobId, JobState};
/// use retraced_jobs::store::{Seen, Target};
/// let id = JobId::parse("welcome-42").unwrap();
/// assert_eq!(Target::from(&id).seen, None, "acts on the job whatever its state");
/// let target = Target { id, seen: Some(Seen { state: JobState::Dead, attempts: 5 }) };
/// assert!(!target.matches(JobState::Pending, 5), "another operator redrove it");
/// assert!(!target.matches(JobState::Dead, 6), "and it ran once more, and died again");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The job.
    pub id: JobId,
    /// How the operator saw the job. If its state or attempts differ now, the result is [`Moved::Refused`]. With `None` they are not compared.
    pub seen: Option<Seen>,
}

/// The state and the attempts that an operator saw of a job.
///
/// Used in the example of [`Target`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its state.
    pub state: JobState,
    /// Its attempts so far. The number grows with every claim, so it shows that a job ran again and returned to the same state.
    pub attempts: u32,
}

impl Target {
    /// Whether a job with this state and this number of attempts is still as the operator saw it.
    #[must_use]
    pub fn matches(&self, state: JobState, attempts: u32) -> bool {
        self.seen.is_none_or(|seen| seen == Seen { state, attempts })
    }
}

impl From<JobId> for Target {
    fn from(id: JobId) -> Self {
        Self { id, seen: None }
    }
}

impl From<&JobId> for Target {
    fn from(id: &JobId) -> Self {
        id.clone().into()
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Self {
        target.clone()
    }
}

impl From<&JobSummary> for Target {
    fn from(job: &JobSummary) -> Self {
        Self { id: job.id.clone(), seen: Some(Seen { state: job.state, attempts: job.counters.attempts }) }
    }
}

impl From<&JobView> for Target {
    fn from(job: &JobView) -> Self {
        Self { id: job.id.clone(), seen: Some(Seen { state: job.state, attempts: job.counters.attempts }) }
    }
}

/// The result of an operator's action on one job.
///
/// Used in the example of [`Admin`](super::Admin).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moved {
    /// The job moved, or was deleted.
    Moved {
        /// Its state before.
        from: JobState,
        /// Its state now; `None` when it was deleted.
        to: Option<JobState>,
    },
    /// The job is processing; its cancellation was requested.
    Asked,
    /// The state of the job does not allow the action, or the job is no longer as it was [seen](Target::seen). Nothing was changed.
    Refused {
        /// Its state.
        state: JobState,
    },
    /// No such job is kept.
    NotFound,
}

/// A page of jobs.
///
/// Used in the example of [`Admin`](super::Admin).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JobPage {
    /// The jobs, in the order of [`Admin::jobs`](super::Admin::jobs).
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}

/// A page of supervision events.
///
/// Used in the example of [`Ledger`](super::Ledger).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LedgerPage {
    /// The events, latest first.
    pub events: Vec<SupervisionEvent>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}

/// The numbers of jobs and the counters of a queue, and whether it is paused.
///
/// Used in the example of [`Admin`](super::Admin).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueStats {
    /// Whether the queue is paused; then claims grant nothing.
    pub paused: bool,
    /// Jobs ready to be claimed.
    pub pending: u64,
    /// Leased jobs.
    pub processing: u64,
    /// Jobs waiting for their due time.
    pub delayed: u64,
    /// Completed jobs still kept.
    pub completed_kept: u64,
    /// Dead jobs kept.
    pub dead: u64,
    /// Poisoned jobs kept.
    pub poisoned: u64,
    /// Cancelled jobs kept.
    pub cancelled: u64,
    /// How long ago the job at the front of the queue was enqueued, in ms; `None` when none was found there.
    pub oldest_pending_ms: Option<u64>,
    /// For how long the earliest delayed job has been due, in ms; negative while it is not due yet; `None` when none is delayed.
    pub delayed_overdue_ms: Option<i64>,
    /// Jobs accepted, ever.
    pub enqueued_total: u64,
    /// Jobs completed, ever.
    pub completed_total: u64,
    /// Failures counted, ever.
    pub failures_total: u64,
    /// Crashes counted, ever.
    pub crashes_total: u64,
    /// Releases counted, ever.
    pub releases_total: u64,
    /// Stale settlements ([`Settled::Stale`]), ever.
    pub stale_settlements_total: u64,
    /// Jobs deleted by retention, ever.
    pub trimmed_total: u64,
    /// Damaged data found, ever, such as an entry without a job: it was deleted, or its job was poisoned.
    pub garbage_total: u64,
}

/// How long jobs in final states are kept.
///
/// Used in the example of [`Retention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionRule {
    /// A job that ended longer ago than this is deleted.
    pub age_max: Duration,
    /// Most jobs that are kept. If there are more, those that ended first are deleted.
    pub count_max: u64,
}

impl RetentionRule {
    /// Keeps jobs for at most `age_max`, and at most `count_max` of them.
    #[must_use]
    pub fn new(age_max: Duration, count_max: u64) -> Self {
        Self { age_max, count_max }
    }
}

/// Retention of a queue, state by state.
///
/// ```
/// use retraced_jobs::store::{Retention, RetentionRule};
/// use std::time::Duration;
/// let week = RetentionRule::new(Duration::from_secs(7 * 24 * 60 * 60), 1_000);
/// let retention = Retention::default().without_completed().dead(week);
/// assert_eq!(retention.poisoned.count_max, 10_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// Completed jobs; `None` keeps none. Default 24 h and 10,000 jobs.
    pub completed: Option<RetentionRule>,
    /// Dead jobs. Default 30 days and 10,000 jobs.
    pub dead: RetentionRule,
    /// Poisoned jobs. Default 30 days and 10,000 jobs.
    pub poisoned: RetentionRule,
    /// Cancelled jobs. Default 24 h and 10,000 jobs.
    pub cancelled: RetentionRule,
}

impl Retention {
    /// Keeps completed jobs by this rule.
    #[must_use]
    pub fn completed(self, rule: RetentionRule) -> Self {
        Self { completed: Some(rule), ..self }
    }

    /// Keeps no completed jobs: they are deleted as they complete, with their outputs.
    #[must_use]
    pub fn without_completed(self) -> Self {
        Self { completed: None, ..self }
    }

    /// Keeps dead jobs by this rule.
    #[must_use]
    pub fn dead(self, rule: RetentionRule) -> Self {
        Self { dead: rule, ..self }
    }

    /// Keeps poisoned jobs by this rule.
    #[must_use]
    pub fn poisoned(self, rule: RetentionRule) -> Self {
        Self { poisoned: rule, ..self }
    }

    /// Keeps cancelled jobs by this rule.
    #[must_use]
    pub fn cancelled(self, rule: RetentionRule) -> Self {
        Self { cancelled: rule, ..self }
    }
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let rule = |days: u32| RetentionRule { age_max: DAY * days, count_max: 10_000 };
        Self { completed: Some(rule(1)), dead: rule(30), poisoned: rule(30), cancelled: rule(1) }
    }
}

/// What one call may trim.
///
/// Used in the example of [`Trimmed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrimPolicy {
    /// The rules. With `completed: None`, all completed jobs are deleted, also those that another worker kept.
    pub retention: Retention,
    /// Most jobs deleted by this call; at most [`BATCH_MAX`](super::BATCH_MAX).
    pub limit: usize,
}

/// The result of a trim.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{Admin, ReplaySlots, Retention, RetentionRule, Transitions, TrimPolicy, Trimmed};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let owner = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(owner, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// # store.cancel(replay_slot.next_call(), &queue, &[JobId::parse("welcome-42").unwrap().into()]).await.unwrap();
/// let none = RetentionRule::new(Duration::MAX, 0);
/// let policy = TrimPolicy { retention: Retention::default().cancelled(none), limit: 100 };
/// let trimmed = store.trim(replay_slot.next_call(), &queue, &policy).await.unwrap();
/// let Trimmed { removed, more, .. } = trimmed;
/// assert_eq!((removed, more), (1, false));
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Trimmed {
    /// Jobs deleted.
    pub removed: usize,
    /// Whether there are more jobs to delete: call again.
    pub more: bool,
}

/// Counts of a queue. They agree when every stored job is in exactly one container and every lease has a grant.
///
/// ```
/// use retraced_jobs::store::AuditReport;
/// let mut report = AuditReport::default();
/// (report.jobs, report.pending_entries, report.stale, report.contained) = (5, 3, 1, 2);
/// assert_eq!(report.difference(), 1, "one job is in no container");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuditReport {
    /// Jobs stored.
    pub jobs: u64,
    /// Entries of `pending`, stale ones included.
    pub pending_entries: u64,
    /// How many of these entries are stale, according to a counter that the store maintains.
    pub stale: u64,
    /// Jobs in all other containers together.
    pub contained: u64,
    /// Number of leases minus number of grants; a job in `processing` has one of each.
    pub grant_difference: i64,
}

impl AuditReport {
    /// Whether the counts agree.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.difference() == 0 && self.grant_difference == 0
    }

    /// Jobs stored minus jobs in containers: positive when jobs are in no container, negative when entries have no job or a job is in two containers.
    #[must_use]
    pub fn difference(&self) -> i64 {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        signed(self.jobs) - (signed(self.pending_entries) - signed(self.stale) + signed(self.contained))
    }
}

/// What a store reports about itself.
///
/// Used in the example of [`Store`](super::Store).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreFacts {
    /// Its name, and its version if it has one: `redis 7.0.15`, `valkey 8.0.1` or `memory`.
    pub name: String,
    /// Warnings to the operator, for example that the server persists nothing; a runtime logs them when it starts.
    pub warnings: Vec<String>,
}

/// What a worker reports about itself with each heartbeat.
///
/// Used in the example of [`Ledger`](super::Ledger).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct WorkerRow {
    /// The process instance.
    pub instance: InstanceId,
    /// The name of its host, which is only shown.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Its version of ReTraced.
    pub version: String,
    /// The application's build, as the application names it; only shown.
    #[serde(default)]
    pub build: String,
    /// The queues it processes.
    pub queues: Vec<QueueName>,
    /// The kinds of jobs with a handler of their own in one of these queues, sorted; at most the first [`WORKER_ROW_KINDS_MAX`](super::WORKER_ROW_KINDS_MAX).
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// How many such kinds there are, including those that are not listed.
    #[serde(default)]
    pub kinds_total: u32,
    /// Whether one of its queues has a catch-all handler, for kinds without a handler of their own.
    #[serde(default)]
    pub every_kind: bool,
    /// When it started, in ms since the Unix epoch, by its own clock.
    pub started_ms: u64,
    /// Its last heartbeat, in ms since the Unix epoch, by the store's clock.
    pub seen_ms: u64,
    /// The sum of the concurrency of its queues.
    pub concurrency: u32,
    /// Jobs it was running at the last heartbeat.
    pub running: u32,
}

impl WorkerRow {
    /// The row of a worker that started at this instant, in ms since the Unix epoch. The other fields are empty: set those that you know.
    #[must_use]
    pub fn new(instance: InstanceId, started_ms: u64) -> Self {
        Self {
            instance,
            host: String::new(),
            pid: 0,
            version: String::new(),
            build: String::new(),
            queues: Vec::new(),
            kinds: Vec::new(),
            kinds_total: 0,
            every_kind: false,
            started_ms,
            seen_ms: 0,
            concurrency: 0,
            running: 0,
        }
    }
}
