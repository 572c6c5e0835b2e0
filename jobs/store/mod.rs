//! Where jobs are kept: the traits that a store implements, and two stores, which pass the same contract tests.
//!
//! | trait | used by | verbs |
//! | --- | --- | --- |
//! | [`Store`] | runtime at its start, store link, operators, waiters for outcomes | probe, hints |
//! | [`Transitions`] | front door, clients, fetcher, settler, retry scheduler, reclaimer | enqueue, claim, settle, settle_and_claim, promote, reclaim, reconcile |
//! | [`Leases`] | lease keeper, executors | renew, begin, report |
//! | [`Admin`] | operators, waiters for outcomes, janitor | queues, stats, jobs, job, tombstone, watch_outcome, redrive, cancel, discard, pause, resume, delete_queue, trim, check_counts, scan, repair |
//! | [`Ledger`] | the actor `ledger`, shutdown, operators, clients | announce, record, events, heartbeat, workers, forget |
//!
//! **Sending a call again.** A call that moves, creates or deletes jobs carries a [`CallId`]; only [`Admin::delete_queue`] has none. When its outcome is unknown
//! ([`StoreError::Unavailable`]), send the same call with the same id and the same arguments: a store that has already applied it returns the same reply and
//! changes nothing. A claim sent again returns those of its jobs that are still held. Another call under this id is refused ([`StoreError::CallIdTaken`]). The
//! store keeps a reply until the same replay slot makes its next call to the same queue. Without such a call it keeps the reply for at least 24 h, or 1 h in a queue
//! on Redis with more than 4,096 replay slots; [`Ledger::forget`] removes it earlier.
//!
//! **Batches** are applied in order, item by item: if an id is named twice, the second item sees what the first one did. An empty batch is allowed. Jobs that
//! one call returns to the front of the queue are there in the order in which the call names or returns them.
//!
//! **Time.** Durations count in whole milliseconds; a fraction is dropped. The store's clock decides whether an instant has passed. Jobs of the same instant
//! are ordered by the bytes of their ids.
//!
//! **To write your own store**, implement the five traits. Verbs that can be built from others, and those that a store can do without, have defaults. To change
//! only some verbs of another store, implement [`Decorator`].

mod admin;
mod batch;
mod block;
mod content_hash;
mod decorator;
mod error;
mod future;
mod job_view;
mod ledger;
mod model;
mod replay_slots;
mod retention;

pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;

pub use admin::Admin;
pub use block::{Block, BlockedStore};
pub use decorator::Decorator;
pub use error::StoreError;
pub use future::StoreFuture;
pub use job_view::{JobSummary, JobView, LeaseHolder};
pub use ledger::Ledger;
pub use model::{
    CallId, ClaimRequest, ClaimedJob, Claims, CountCheck, Cursor, Enqueued, Hint, JobPage, LedgerPage, Moved, Promoted,
    QueueDeletion, QueueEmpty, QueueStats, Reclaim, Reclaimed, ReclaimedJob, Reconciled, Removal, Renewal, Renewed,
    Report, Seen, Settled, Settlement, StoreFacts, Target, Tombstone, TrimPolicy, Trimmed, TrimmedJobs, UnfinishedJobs,
    Verdict, WorkerRow,
};
pub use replay_slots::{ReplaySlot, ReplaySlots};
pub use retention::{Retention, RetentionRule};

pub use crate::limits::{
    BATCH_MAX, CLOCK_STEP_TOLERATED, HEADER_BYTES, LEDGER_BYTES_MAX, LEDGER_EVENTS_MAX, OUTCOME_WAIT_MAX,
    REPLAY_SLOTS_MAX, TOMBSTONES_MAX, WORKER_ROW_AGE_MAX, WORKER_ROW_KINDS_MAX, WORKER_STALE_AFTER,
};

use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};

use crate::job::{InstanceId, Lease, NewJob, Nonce, QueueName};

/// A store: everything the runtime and its operators need.
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
    /// Checks that the store can be reached and used, over the same connection as the transitions if there is one. The facts say whether it takes writes now.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the store cannot be reached, [`StoreError::Blocked`] while it does not even answer a read, [`StoreError::Refused`] if it does
    /// not let this process in. A store that answers but must not be used says so in [`StoreFacts::unusable`].
    fn probe(&self) -> StoreFuture<'_, StoreFacts>;

    /// Subscribes to the hints of these queues: messages that something may have changed. Any hint may be lost, so every listener polls as well. The stream
    /// ends when the connection of the subscription is lost; subscribe again then.
    ///
    /// The default never sends a hint, so callers find everything by polling.
    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let _ = queues;
        Box::pin(async { Ok(stream::pending().boxed()) })
    }
}

/// The transitions of a job. Each call (but for the default of [`settle_and_claim`](Self::settle_and_claim)) is one atomic step: it validates everything
/// before it writes anything. The example shows calls that the actors make in an application:
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
/// use retraced_jobs::store::memory::MemoryStore;
/// use retraced_jobs::store::{
///     CallId, ClaimRequest, ClaimedJob, Claims, Enqueued, ReplaySlots, Promoted, QueueEmpty, Settled, Settlement, Transitions,
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
/// // If the reply is lost: the same call again changes nothing and returns the same reply.
/// assert_eq!(store.enqueue(call, &queue, &[job]).await.unwrap(), enqueued);
///
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: Duration::from_secs(30), nonce: *b"8 random", numbered: false };
/// let Claims { mut jobs, .. } = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
/// let ClaimedJob { id, token, .. } = jobs.remove(0);
///
/// let verdict = Verdict::Retry { delay: Duration::from_secs(60) };
/// let failed = [Settlement { id, token, verdict, record: Default::default() }];
/// let settled = store.settle(replay_slot.next_call(), &queue, &failed).await.unwrap();
/// assert_eq!(settled, [Settled::Done { state: JobState::Delayed }]);
/// // The token is used up: nothing can be settled with it again.
/// assert_eq!(store.settle(replay_slot.next_call(), &queue, &failed).await.unwrap(), [Settled::Stale]);
///
/// // A claim that finds nothing reports when the next job is due.
/// let Claims { queue_empty, .. } = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
/// let QueueEmpty { next_due, .. } = queue_empty.unwrap();
/// assert!(next_due.unwrap() <= Duration::from_secs(60));
/// let Promoted { moved, next_due, .. } = store.promote(replay_slot.next_call(), &queue, 100).await.unwrap();
/// assert_eq!(moved, 0);
/// assert!(next_due.unwrap() <= Duration::from_secs(60));
/// # });
/// ```
pub trait Transitions: Send + Sync + 'static {
    /// Accepts jobs, in order; one result per item. If a job with the same id is already kept, the result is [`Enqueued::Exists`] and that job is unchanged.
    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>>;

    /// Leases up to `request.limit` jobs from the front of the queue to the process instance `call.instance`; none while the queue is paused.
    ///
    /// Numbers the claim if the request [asks for it](ClaimRequest::numbered). A store that does not, and leaves [`Claims::number`] at `None`, lets a worker with a concurrency
    /// of 1 have only one claim open at a time.
    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims>;

    /// Settles jobs, which ends their attempts; one result per item. The store compares the token, not the time: after its lease has expired a job can still be
    /// settled, until the lease is reclaimed. A job whose cancellation was requested does not run again: [`Verdict::Retry`], [`Verdict::ReleaseNow`] and
    /// [`Verdict::ReleaseAfter`] add to their counters as usual, and cancel the job.
    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>>;

    /// [`settle`](Self::settle), then [`claim`](Self::claim), in one step if the store can do that.
    ///
    /// The default makes two calls, the second under [`CallId::companion`]. Each is atomic and can be sent again; together they are not one step. If there were
    /// settlements and the claim fails with an error that is not [retryable](StoreError::is_retryable), the default returns their results with empty [`Claims`].
    fn settle_and_claim<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
        request: &'a ClaimRequest,
    ) -> StoreFuture<'a, (Vec<Settled>, Claims)> {
        Box::pin(async move {
            let settled = self.settle(call, queue, settlements).await?;
            let claims = match self.claim(call.companion(), queue, request).await {
                Ok(claims) => Claims { queue_empty: None, ..claims },
                Err(error) if error.is_retryable() || settled.is_empty() => return Err(error),
                // An error would hide that the settlements were applied. If the cause persists, the next claim on its own returns the error.
                Err(_) => Claims::default(),
            };
            Ok((settled, claims))
        })
    }

    /// Moves delayed jobs to the back of the queue: those whose due time has come, at most `limit`, in the order of their due times.
    fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted>;

    /// Reclaims up to `request.limit` expired leases, the earliest expiry first. If the handler is known to have started ([`Leases::begin`]), a crash is counted,
    /// otherwise a release. A job that reaches `crashes_max` or `losses_max` is poisoned. Any other job is cancelled if that was requested, and otherwise
    /// returned to the front of the queue.
    ///
    /// If `reclaim` was not called for this queue for more than half a lease (a reclaim gap), perhaps no worker could renew. Then, if there are
    /// leases, a lease grace begins: for the time of one lease nothing is reclaimed. If the leases of the calling workers differ, the shortest one decides whether it
    /// was a gap. The grace lasts for the longest lease in use, but not for more than twice the gap: a longer lease left enough time to renew it.
    ///
    /// A lease that ends further from now than the longest lease in use is shortened to that length ([`Reclaimed::shortened`]). A lease ends so late only if the
    /// store's clock was set back. If it were not shortened, the lease of a dead worker would stand until the clock has caught up.
    fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed>;

    /// Releases the jobs of claims whose reply `instance` never read, because no worker will run them. `nonces` are the nonces of these claims, at most
    /// [`BATCH_MAX`]; do not pass the nonce of a claim that may still be answered. The jobs return to the front of the queue, or are cancelled if that was
    /// requested; for each a release is counted. One call scans some of the grants: call again with [`Reconciled::next`] until it is `None`.
    fn reconcile<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        instance: InstanceId,
        nonces: &'a [Nonce],
        cursor: Option<Cursor>,
    ) -> StoreFuture<'a, Reconciled>;
}

/// What a worker does with the leases it holds.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{ClaimRequest, Admin, ReplaySlots, Leases, Renewal, Renewed, Report, Transitions};
/// # use retraced_jobs::trace::Progress;
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(instance, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// const LEASE: Duration = Duration::from_secs(30);
/// let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease: LEASE, nonce: *b"8 random", numbered: false };
/// let claimed = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap().jobs.remove(0);
/// let held = [Lease { id: claimed.id.clone(), token: claimed.token, instance }];
///
/// let Renewed { results, .. } = store.renew(&queue, LEASE, &held).await.unwrap();
/// assert_eq!(results, [Renewal::Kept { cancel_asked: false }]);
///
/// let reports = [Report { lease: held[0].clone(), progress: Progress::new(40, "40 of 100 rows") }];
/// store.report(&queue, LEASE, &reports).await.unwrap();
/// let view = store.job(&queue, &claimed.id).await.unwrap().unwrap();
/// assert_eq!(view.running_progress().unwrap().progress.percent, 40);
///
/// store.cancel(replay_slot.next_call(), &queue, &"ada".into(), &[claimed.id.into()]).await.unwrap();
/// let Renewed { results, .. } = store.renew(&queue, LEASE, &held).await.unwrap();
/// assert_eq!(results, [Renewal::Kept { cancel_asked: true }]);
/// # });
/// ```
pub trait Leases: Send + Sync + 'static {
    /// Extends leases, so that they expire after `lease` from now; one result per item. Sending the call twice does no harm.
    fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;

    /// Like [`renew`](Self::renew), and records that the handlers of these jobs are about to start: when such a lease is reclaimed, a crash is counted. A worker
    /// calls this before it runs the handler of a job that was [returned](crate::job::Counters::was_returned), and for no other job.
    fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;

    /// Like [`begin`](Self::begin), because a handler that reports has started, and stores its progress in place of an earlier one of this job. Where the lease is stale
    /// nothing is stored. A worker calls this for handlers that run and have reported something new. Default: renews, and stores nothing.
    fn report<'a>(&'a self, queue: &'a QueueName, lease: Duration, reports: &'a [Report]) -> StoreFuture<'a, Renewed> {
        Box::pin(async move {
            let held: Vec<Lease> = reports.iter().map(|report| report.lease.clone()).collect();
            self.renew(queue, lease, &held).await
        })
    }
}
