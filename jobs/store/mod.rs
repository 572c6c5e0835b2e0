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

use crate::events::Finding;
use crate::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName};
use crate::trace::OperatorName;

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

/// What operators read and change.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{Cursor, Admin, JobPage, ReplaySlots, Moved, QueueStats, Transitions};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(instance, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// # let job = NewJob { id: JobId::parse("welcome-43").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// let JobPage { jobs, next, .. } = store.jobs(&queue, JobState::Pending, None, 1).await.unwrap();
/// assert_eq!(jobs[0].id.to_string(), "welcome-42");
/// let next: Cursor = next.unwrap();
/// let rest = store.jobs(&queue, JobState::Pending, Some(next), 1).await.unwrap();
/// assert_eq!(rest.jobs[0].id.to_string(), "welcome-43");
///
/// let moved = store.cancel(replay_slot.next_call(), &queue, &"ada".into(), &[(&jobs[0]).into()]).await.unwrap();
/// assert_eq!(moved, [Moved::Moved { from: JobState::Pending, to: Some(JobState::Cancelled) }]);
/// let QueueStats { pending, cancelled, .. } = store.stats(&queue).await.unwrap();
/// assert_eq!((pending, cancelled), (1, 1));
/// assert_eq!(store.check_counts(&queue).await.unwrap().difference(), 0);
/// # });
/// ```
pub trait Admin: Send + Sync + 'static {
    /// All queues that were announced ([`Ledger::announce`]) and not deleted since, ordered by name.
    fn queues(&self) -> StoreFuture<'_, Vec<QueueName>>;

    /// The numbers of jobs and the counters of one queue, and whether it is paused. An unknown queue has no jobs, and its counters are zero.
    fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats>;

    /// Jobs in one state, page by page: pending from the front of the queue, delayed by due time, processing by lease expiry, final states latest first. A
    /// `limit` of 0 counts as 1, one above [`BATCH_MAX`] as [`BATCH_MAX`]. A page may have fewer jobs, and only [`JobPage::next`] says whether it is the last.
    /// While the pages are read, pending jobs may be missed when others are claimed, and a processing job is listed again when its lease is renewed.
    fn jobs<'a>(
        &'a self,
        queue: &'a QueueName,
        state: JobState,
        from: Option<Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, JobPage>;

    /// One job with its history; `None` when no such job is kept.
    fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>>;

    /// What is left of a job that is no longer kept: when and why retention removed a dead or poisoned one, or who discarded one of any state. `None` if no such
    /// removal is among the latest [`TOMBSTONES_MAX`] of the queue. If several jobs had this id, it is that of the last removal, also when one is kept now.
    ///
    /// The default knows of no removal.
    fn tombstone<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<Tombstone>> {
        let _ = (queue, id);
        Box::pin(async { Ok(None) })
    }

    /// Reads how a job ended. If the job has ended, returns the same as [`job`](Self::job). Otherwise returns only its state, and registers that a client waits
    /// for its outcome for `wait` (at most [`OUTCOME_WAIT_MAX`]). While any wait is registered in a queue, every call that ends or discards a job there sends
    /// [`Hint::Ended`]. If the job is not kept, nothing is registered.
    ///
    /// To wait for an outcome: subscribe to [`hints`](Store::hints), then call this, then await the hint. Call this again as a fallback poll before `wait` is
    /// over. What is guaranteed:
    ///
    /// - When a job ends within half of `wait` after this call, a hint is sent. In the second half this is not certain, because a registration is not renewed
    ///   while half of `wait` is left of it. So register at least twice the time until your next poll. A hint may be lost, so only the poll is certain.
    /// - When the job completes within half of `wait` and is not kept, this returns [`JobState::Completed`] and nothing else, until the registered wait is over.
    /// - The hint carries the final state, but neither output nor error: call this again to read them. The output of a kept job is in its history
    ///   ([`JobView::output`]).
    /// - `None` means that no such job is kept: it is not enqueued yet, or was trimmed or discarded, or it completed without being kept and no wait for it is
    ///   registered any more.
    /// - A store that is full or takes no writes registers nothing, so none of this is certain then.
    ///
    /// The default registers nothing. Callers then find the end of a job by polling, and get `None` for a job that completed and is not kept.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// # use std::time::Duration;
    /// # use futures_util::StreamExt;
    /// # use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
    /// # use retraced_jobs::store::memory::MemoryStore;
    /// # use retraced_jobs::store::{Admin, Hint, ReplaySlots, Store, Transitions};
    /// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
    /// # let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
    /// # let mut replay_slot = replay_slots.take().await;
    /// # let id = JobId::parse("welcome-42").unwrap();
    /// # let job = NewJob { id: id.clone(), run_at: RunAt::After(Duration::from_secs(9)), envelope: "sealed".into() };
    /// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
    /// let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
    /// let seen = store.watch_outcome(&queue, &id, Duration::from_secs(10)).await.unwrap().unwrap();
    /// assert_eq!(seen.state, JobState::Delayed, "it has not ended yet");
    ///
    /// store.cancel(replay_slot.next_call(), &queue, &"ada".into(), &[(&id).into()]).await.unwrap();
    /// assert_eq!(hints.next().await, Some(Hint::Ended { queue, id, state: Some(JobState::Cancelled) }));
    /// # });
    /// ```
    fn watch_outcome<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a JobId,
        wait: Duration,
    ) -> StoreFuture<'a, Option<JobView>> {
        let _ = wait;
        self.job(queue, id)
    }

    /// Moves dead, poisoned, cancelled and delayed jobs to the back of the queue. A delayed job keeps its counters. Any other job gets a fresh start: its failures,
    /// crashes and releases begin again at zero; attempts and the history stay as they are. Jobs in other states are refused.
    ///
    /// For redrive, cancel and discard alike: there is one result per job, and a job that is no longer as it was [seen](Target::seen) is refused. Redrives and
    /// cancellations are recorded with their jobs ([`JobView::acts`]), as done by `by`.
    fn redrive<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>>;

    /// Cancels jobs. Pending and delayed ones are cancelled at once. For a processing one the cancellation is requested ([`Moved::Asked`]); the job still
    /// completes if its handler returns success. A job that has ended is refused.
    fn cancel<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>>;

    /// Deletes jobs with their history; each leaves a [`tombstone`](Self::tombstone). A processing job is refused.
    ///
    /// A store may stop after the first jobs, at least one, if their bodies are large, so that other callers do not wait: then it returns fewer results than jobs were
    /// given, and has left the others alone. Send these in a further call.
    fn discard<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>>;

    /// Pauses claiming; running jobs continue. Returns whether the queue was paused before; then it is still paused by whom it was, and since then
    /// ([`QueueStats::paused_by`]).
    fn pause<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName) -> StoreFuture<'a, bool>;

    /// Resumes claiming. Returns whether the queue was paused before.
    fn resume<'a>(&'a self, call: CallId, queue: &'a QueueName) -> StoreFuture<'a, bool>;

    /// Deletes a queue: its jobs, counters, tombstones, replay slots and its name. With [`UnfinishedJobs::Refuse`] a queue that has live, dead or poisoned jobs is left alone. On Redis it costs the same for a queue of any length. The call has no replay slot:
    /// sent a second time, it also concerns the jobs that came in since the first. A worker or producer that goes on using the queue makes a new one; a producer may
    /// announce it only later.
    ///
    /// # Errors
    /// [`StoreError::Refused`] from a store that cannot do this. The default always refuses.
    fn delete_queue<'a>(&'a self, queue: &'a QueueName, unfinished: UnfinishedJobs) -> StoreFuture<'a, QueueDeletion> {
        let _ = unfinished;
        Box::pin(async move { Err(unsupported("delete_queue", queue)) })
    }

    /// Deletes up to `policy.limit` jobs that retention no longer keeps, in the order completed, dead, poisoned, cancelled, and in each state the oldest first.
    /// Each dead or poisoned one leaves a [`tombstone`](Self::tombstone).
    fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed>;

    /// Counts the jobs and the entries of the containers, to check that every job is in exactly one. Costs the same for a queue of any length; changes nothing.
    fn check_counts<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, CountCheck>;

    /// Scans a whole queue, in small steps, for damage that no transition leaves behind ([`FindingKind`](crate::events::FindingKind) lists it). Changes nothing,
    /// and the queue keeps working meanwhile. On Redis this takes about 1 min for a million jobs. The memory store cannot be damaged and never finds anything.
    ///
    /// # Errors
    /// [`StoreError::Refused`] from a store that cannot do this. The default always refuses.
    fn scan<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        Box::pin(async move { Err(unsupported("scan", queue)) })
    }

    /// Like [`scan`](Self::scan), and repairs the damage. No job is deleted. Two repairs at the same time do no harm.
    ///
    /// # Errors
    /// [`StoreError::Refused`] from a store that cannot do this. The default always refuses.
    fn repair<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        Box::pin(async move { Err(unsupported("repair", queue)) })
    }
}

fn unsupported(operation: &'static str, queue: &QueueName) -> StoreError {
    let reason =
        format!("this store does not support it; look at the queue {queue} with the tools of the store's server");
    StoreError::Refused { operation, reason }
}
