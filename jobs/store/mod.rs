//! Where a job is kept: a port in domain verbs, split by who holds it, with two backends that pass one contract suite.
//!
//! | trait | held by | verbs |
//! | --- | --- | --- |
//! | [`Transitions`] | queue actor, fetcher, settler, retry scheduler, watchdog | enqueue, claim, settle, settle_and_claim, promote, reclaim, reconcile |
//! | [`Leases`] | lease keeper | renew |
//! | [`Admin`] | operators | readers; redrive, cancel, discard, pause, trim, audit, inspect |
//! | [`Ledger`] | ledger, worker rows | events, heartbeats |
//!
//! **Sending a call again.** A call that mutates carries a [`CallId`]. When its outcome is unknown ([`StoreError::Unavailable`]), send the same call
//! with the same id: a store that had applied it gives the same reply and does nothing. A claim sent again gives what it granted and what still
//! stands of it. Replies are kept until the replay slot's next call, at least for a day, or for an hour where a queue has more than 4,096 replay slots; what processes that died
//! have left is forgotten by whoever brings new replay slots.
//!
//! **Batches** are done in order, as if one item after the other: an id named twice meets what its first mention did. An empty one is fine. Jobs put back to the
//! front by one call stand there in the order of the call.
//!
//! **Time.** Durations count in whole milliseconds, and a fraction is dropped. An instant has come when the store's clock reads it or more. Where jobs are
//! ordered by an instant, those of one instant stand in the order of their ids' bytes.

mod decorator;
mod error;
mod model;
mod replay_slots;

pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

pub use decorator::Decorator;
pub use error::StoreError;
pub use model::{
    AuditReport, CallId, ClaimRequest, ClaimedJob, Claims, Cursor, Enqueued, Hint, JobPage, LedgerPage, Moved,
    Promoted, QueueStats, Quiet, Reclaim, Reclaimed, ReclaimedJob, Reconciled, Renewal, Renewed, Retention,
    RetentionRule, Seen, Settled, Settlement, StoreFacts, Target, TrimPolicy, Trimmed, Verdict, WorkerRow,
};
pub use replay_slots::{ReplaySlot, ReplaySlots};

pub use crate::limits::{
    BATCH_MAX, HEADER_BYTES, LEDGER_BYTES_MAX, LEDGER_EVENTS_MAX, WORKER_ROW_AGE_MAX, WORKER_ROW_KINDS_MAX,
};

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName};
use crate::trace::{Finding, JobView, SupervisionEvent};

/// What a store's method gives.
///
/// Used in the example of [`Decorator`].
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A place where jobs are kept, whole.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures_util::StreamExt;
/// use retraced_jobs::job::{InstanceId, JobId, NewJob, QueueName, RunAt};
/// use retraced_jobs::store::memory::MemoryStore;
/// use retraced_jobs::store::{Hint, ReplaySlots, Store, StoreFacts, Transitions};
///
/// let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// let StoreFacts { name, .. } = store.probe().await.unwrap();
/// assert_eq!(name, "memory");
///
/// let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
/// let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
/// let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// store.enqueue(replay_slots.take().await.next_call(), &queue, &[job]).await.unwrap();
/// assert_eq!(hints.next().await, Some(Hint::Pending(queue)));
/// # });
/// ```
pub trait Store: Transitions + Leases + Admin + Ledger {
    /// Asks the store for a sign of life, through the same machinery the transitions use.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while it cannot be reached, [`StoreError::Refused`] when it answers but will not work for us (eviction
    /// policy, password, version).
    fn probe(&self) -> StoreFuture<'_, StoreFacts>;

    /// Wake-ups for these queues. Hints, never jobs: any of them may be lost, so everybody who listens polls as well. The stream ends when the
    /// subscription is lost; ask again.
    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>>;
}

/// The moves of a job's life. Each is one atomic step: everything is validated, then everything is written, or nothing.
///
/// A job's life by hand: what a supervision tree does all day.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
/// use retraced_jobs::store::memory::MemoryStore;
/// use retraced_jobs::store::{
///     CallId, ClaimRequest, ClaimedJob, Claims, Enqueued, ReplaySlots, Promoted, Quiet, Settled, Settlement, Transitions,
///     Verdict,
/// };
///
/// let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
/// let mut replay_slot = replay_slots.take().await;
///
/// let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// let call: CallId = replay_slot.next_call();
/// let enqueued = store.enqueue(call, &queue, &[job.clone()]).await.unwrap();
/// assert_eq!(enqueued, [Enqueued::Created { state: JobState::Pending }]);
/// // Was the reply lost? The same call again does nothing, and answers the same.
/// assert_eq!(store.enqueue(call, &queue, &[job]).await.unwrap(), enqueued);
///
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: Duration::from_secs(30), nonce: *b"8 random" };
/// let Claims { mut jobs, .. } = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
/// let ClaimedJob { id, token, .. } = jobs.remove(0);
///
/// let verdict = Verdict::Retry { delay: Duration::from_secs(60) };
/// let failed = [Settlement { id, token, verdict, record: Default::default() }];
/// let settled = store.settle(replay_slot.next_call(), &queue, &failed).await.unwrap();
/// assert_eq!(settled, [Settled::Done { state: JobState::Delayed }]);
/// // The token has had its end: nobody can settle with it again.
/// assert_eq!(store.settle(replay_slot.next_call(), &queue, &failed).await.unwrap(), [Settled::Stale]);
///
/// // A claim that finds nothing tells when it may be worth while again.
/// let Claims { quiet, .. } = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
/// let Quiet { next_due } = quiet.unwrap();
/// assert!(next_due.unwrap() <= Duration::from_secs(60));
/// let Promoted { moved, next_due } = store.promote(replay_slot.next_call(), &queue, 100).await.unwrap();
/// assert_eq!(moved, 0);
/// assert!(next_due.unwrap() <= Duration::from_secs(60));
/// # });
/// ```
pub trait Transitions: Send + Sync + 'static {
    /// Takes jobs in, in order; one result an item. An id that is kept already is [`Enqueued::Exists`], and nothing is changed.
    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>>;

    /// Leases up to `request.limit` jobs from the front of the queue to `call.instance`.
    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims>;

    /// Ends attempts; one result an item. The token decides, not the clock: a settlement counts as long as nobody took the lease. A job that somebody
    /// asked to cancel does not run again: [`Verdict::Retry`], [`Verdict::ReleaseNow`] and [`Verdict::ReleaseAfter`] are charged, and cancel it.
    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>>;

    /// [`settle`](Self::settle), then [`claim`](Self::claim), in one step.
    fn settle_and_claim<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
        request: &'a ClaimRequest,
    ) -> StoreFuture<'a, (Vec<Settled>, Claims)>;

    /// Moves up to `limit` jobs whose time has come from `delayed` to the back of the queue, in order of their due times.
    fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted>;

    /// Takes back up to `request.limit` leases that ran out, the first to run out first: poisoned when that was one loss too many, else cancelled when that
    /// was asked, else to the front of the queue. A crash is charged where the handler is known to have begun ([`Leases::begin`]); where it had not, or nobody
    /// knows, a release.
    /// Each run leaves a stamp; when there are leases and the stamp before is missing or older than half a lease, nobody could renew, and nothing is taken for
    /// one more lease; never for more than one lease of the run that asks.
    fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed>;

    /// Releases, at no cost (releases + 1), what `owner` was granted by the claims of these nonces: claims that came to a bad end, so that nobody will run
    /// what they granted. Looks at one slice of the grants; go on with the cursor until it is `None`. A job that was to be cancelled is. A nonce that may still
    /// be answered must not be among them. At most [`BATCH_MAX`] nonces.
    fn reconcile<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        owner: InstanceId,
        lost: &'a [Nonce],
        cursor: Option<Cursor>,
    ) -> StoreFuture<'a, Reconciled>;
}

/// Keeping what is held.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{ClaimRequest, Admin, ReplaySlots, Leases, Renewal, Renewed, Transitions};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let owner = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(owner, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// const LEASE: Duration = Duration::from_secs(30);
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: LEASE, nonce: *b"8 random" };
/// let claimed = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap().jobs.remove(0);
/// let held = [Lease { id: claimed.id.clone(), token: claimed.token, owner }];
///
/// let Renewed { results, .. } = store.renew(&queue, LEASE, &held).await.unwrap();
/// assert_eq!(results, [Renewal::Kept { cancel_asked: false }]);
///
/// store.cancel(replay_slot.next_call(), &queue, &[claimed.id.into()]).await.unwrap();
/// let Renewed { results, .. } = store.renew(&queue, LEASE, &held).await.unwrap();
/// assert_eq!(results, [Renewal::Kept { cancel_asked: true }]);
/// # });
/// ```
pub trait Leases: Send + Sync + 'static {
    /// Extends leases to `lease` from now; one result an item. Harmless when sent twice.
    fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;

    /// [`renew`](Self::renew), and writes down that the handlers of these jobs are about to begin: if their leases run out, that is a crash. Awaited before the
    /// handler of a job that [came back](crate::job::Counters::came_back) runs.
    fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;
}

/// What operators read and do.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{Cursor, Admin, JobPage, ReplaySlots, Moved, QueueStats, Transitions};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let owner = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(owner, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// # let job = NewJob { id: JobId::parse("welcome-43").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// let JobPage { jobs, next } = store.jobs(&queue, JobState::Pending, None, 1).await.unwrap();
/// assert_eq!(jobs[0].id.to_string(), "welcome-42");
/// let next: Cursor = next.unwrap();
/// let rest = store.jobs(&queue, JobState::Pending, Some(next), 1).await.unwrap();
/// assert_eq!(rest.jobs[0].id.to_string(), "welcome-43");
///
/// let moved = store.cancel(replay_slot.next_call(), &queue, &[(&jobs[0]).into()]).await.unwrap();
/// assert_eq!(moved, [Moved::Moved { from: JobState::Pending, to: Some(JobState::Cancelled) }]);
/// let QueueStats { pending, cancelled, .. } = store.stats(&queue).await.unwrap();
/// assert_eq!((pending, cancelled), (1, 1));
/// assert_eq!(store.audit(&queue).await.unwrap().difference(), 0);
/// # });
/// ```
pub trait Admin: Send + Sync + 'static {
    /// All queues ever announced, by name.
    fn queues(&self) -> StoreFuture<'_, Vec<QueueName>>;

    /// Depths, counters and switches of one queue. A queue nobody ever used has zeros.
    fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats>;

    /// Jobs in one state, a page at a time: pending from the front of the queue, delayed and processing by due time and expiry, final states latest
    /// first. `limit` is capped at [`BATCH_MAX`], and is at least 1. A job that stays where it is while the pages are read is listed once, except that pages of
    /// `pending` shift while jobs are claimed.
    fn jobs<'a>(
        &'a self,
        queue: &'a QueueName,
        state: JobState,
        from: Option<Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, JobPage>;

    /// One job with its history; `None` when no such job is kept.
    fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>>;

    /// Gives dead, poisoned or cancelled jobs a fresh start at the back of the queue (failures and crashes begin again at zero), and delayed ones their
    /// turn now (their counters stay). Attempts and releases stay as they are, and so does the history. A completed job is not done again.
    /// As with all three acts, one result a job, and a job that is not what it was [seen](Target::seen) as any more is left alone.
    fn redrive<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;

    /// Calls jobs off: pending and delayed ones at once; a running one is asked ([`Moved::Asked`]), and completes if its handler completes anyway.
    fn cancel<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;

    /// Removes jobs with their history, unless they are running.
    fn discard<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;

    /// Stops (`true`) or resumes claiming; running jobs go on. Gives what it was before.
    fn pause<'a>(&'a self, queue: &'a QueueName, paused: bool) -> StoreFuture<'a, bool>;

    /// Removes one slice of what retention no longer keeps: completed, dead, poisoned, cancelled jobs, in this order and the oldest first.
    fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed>;

    /// Counts whether every job is in exactly one container. Costs the same on any queue; repairs nothing.
    fn audit<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, AuditReport>;

    /// Looks through a whole queue, in small steps, for what no step of ours leaves behind: jobs in no container or in two, grants without a lease, entries of
    /// jobs that are not kept, a wrong count. With `mend` it is mended, and no job is deleted. Everything goes on meanwhile; sent twice, or by two at a time,
    /// it does no harm. Takes as long as the queue is large: about a minute for a million jobs.
    fn inspect<'a>(&'a self, queue: &'a QueueName, mend: bool) -> StoreFuture<'a, Vec<Finding>>;
}

/// What is kept about the workers themselves. Not part of any transition.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use retraced_jobs::job::{InstanceId, QueueName};
/// use retraced_jobs::store::memory::MemoryStore;
/// use retraced_jobs::store::{Admin, Ledger, LedgerPage, WorkerRow};
/// use retraced_jobs::trace::{EventKind, SupervisionEvent};
///
/// let store = MemoryStore::new();
/// let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// let event = |path: &str, kind| SupervisionEvent { at_ms: 0, instance, path: path.into(), generation: 0, kind };
/// store.record(&[event("email", EventKind::Started), event("email", EventKind::Stopped)]).await.unwrap();
/// let LedgerPage { events, next } = store.events(None, 1).await.unwrap();
/// assert_eq!(events[0].kind, EventKind::Stopped, "the latest first");
/// assert!(next.is_some());
///
/// store.announce(&[QueueName::new("email").unwrap()]).await.unwrap();
/// assert_eq!(store.queues().await.unwrap().len(), 1);
/// let rows: Vec<WorkerRow> = store.workers().await.unwrap();
/// assert!(rows.is_empty(), "nobody has sent a heartbeat");
/// # });
/// ```
pub trait Ledger: Send + Sync + 'static {
    /// Makes these queues known to [`Admin::queues`].
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;

    /// Appends supervision events, oldest first; the store keeps the latest [`LEDGER_EVENTS_MAX`], and no more of them than are [`LEDGER_BYTES_MAX`] together.
    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()>;

    /// Supervision events, latest first, a page at a time. `limit` is capped at [`BATCH_MAX`], and is at least 1.
    fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage>;

    /// Writes a worker's row.
    fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()>;

    /// All worker rows not older than [`WORKER_ROW_AGE_MAX`], by instance.
    fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>>;

    /// Removes a worker's row and, in these queues, the last calls of its replay slots: it will never call again.
    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;
}
