//! Where jobs are kept: a port in domain verbs, split by who uses it, with two backends that pass one contract suite.
//!
//! | trait | used by | verbs |
//! | --- | --- | --- |
//! | [`Transitions`] | front door, fetcher, settler, retry scheduler, reclaimer | enqueue, claim, settle, settle_and_claim, promote, reclaim, reconcile |
//! | [`Leases`] | lease keeper, executors | renew, begin |
//! | [`Admin`] | operators, waiters for outcomes, janitor | queues, stats, jobs, job, watch_outcome, redrive, cancel, discard, pause, resume, trim, audit, inspect, repair |
//! | [`Ledger`] | ledger; clients announce | announce, record, events, heartbeat, workers |
//!
//! **Sending a call again.** A call that changes something carries a [`CallId`]. When its outcome is unknown ([`StoreError::Unavailable`]), send the same
//! call with the same id: a store that has already applied it returns the same reply and changes nothing. A claim sent again returns the jobs it granted that
//! are still held. A reply is kept until the replay slot's next call, for at least a day, or for an hour in a queue with more than 4,096 replay slots. The
//! slots of processes that died are dropped while new ones are added.
//!
//! **Batches** are applied in order, item by item: the second mention of an id sees what the first one did. An empty batch is allowed. Jobs that one call
//! returns to the front of the queue are there in the order of the call.
//!
//! **Time.** Durations count in whole milliseconds; a fraction is dropped. An instant has come when the store's clock has reached it. Jobs of the same instant
//! are in the order of their ids' bytes.
//!
//! **A store of one's own** implements the five traits. Verbs that can be built from others have defaults, so a store keeps compiling when the port gains such
//! a verb. To change only some verbs of another store, implement [`Decorator`].

mod batch;
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
    BATCH_MAX, HEADER_BYTES, LEDGER_BYTES_MAX, LEDGER_EVENTS_MAX, OUTCOME_WAIT_MAX, REPLAY_SLOTS_MAX,
    WORKER_ROW_AGE_MAX, WORKER_ROW_KINDS_MAX,
};

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName};
use crate::trace::{Finding, JobView, SupervisionEvent};

/// The future every verb of a store returns.
///
/// Used in the example of [`Decorator`].
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

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
    /// Checks the store's health, through the same machinery that the transitions use.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while it cannot be reached, [`StoreError::Refused`] when it answers but cannot be used (eviction policy,
    /// password, version).
    fn probe(&self) -> StoreFuture<'_, StoreFacts>;

    /// Wake-ups for these queues. They are hints, never jobs: any of them may be lost, so every listener polls as well. The stream ends when the
    /// subscription is lost; subscribe again then.
    ///
    /// The default never yields a hint: workers poll.
    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let _ = queues;
        Box::pin(async { Ok(stream::pending().boxed()) })
    }
}

/// The transitions of a job. Each is one atomic step: everything is validated, then everything is written, or nothing is.
///
/// The life of a job by hand, which the supervision tree does for applications:
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
/// // If the reply is lost: the same call again changes nothing and returns the same reply.
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
/// // The token is used up: nothing can be settled with it again.
/// assert_eq!(store.settle(replay_slot.next_call(), &queue, &failed).await.unwrap(), [Settled::Stale]);
///
/// // A claim that finds nothing reports when the next job is due.
/// let Claims { quiet, .. } = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
/// let Quiet { next_due, .. } = quiet.unwrap();
/// assert!(next_due.unwrap() <= Duration::from_secs(60));
/// let Promoted { moved, next_due, .. } = store.promote(replay_slot.next_call(), &queue, 100).await.unwrap();
/// assert_eq!(moved, 0);
/// assert!(next_due.unwrap() <= Duration::from_secs(60));
/// # });
/// ```
pub trait Transitions: Send + Sync + 'static {
    /// Accepts jobs, in order; one result per item. An id that is already kept is [`Enqueued::Exists`], and nothing is changed.
    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>>;

    /// Leases up to `request.limit` jobs from the front of the queue to `call.instance`.
    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims>;

    /// Ends attempts; one result per item. The token decides, not the clock: a settlement counts as long as the lease was not reclaimed. A job whose
    /// cancellation was requested does not run again: [`Verdict::Retry`], [`Verdict::ReleaseNow`] and [`Verdict::ReleaseAfter`] are charged, and cancel it.
    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>>;

    /// [`settle`](Self::settle), then [`claim`](Self::claim), in one step where the store can.
    ///
    /// The default makes two calls, the second under [`CallId::companion`]. Each is atomic and can be sent again; together they are not one step. Where the
    /// settlements were applied and the claim is refused, it returns them with empty [`Claims`].
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
                Ok(claims) => Claims { quiet: None, ..claims },
                Err(error) if error.is_retryable() || settled.is_empty() => return Err(error),
                // As an error it would hide that the settlements were applied. A claim of its own is refused the same, and reported then.
                Err(_) => Claims::default(),
            };
            Ok((settled, claims))
        })
    }

    /// Moves up to `limit` due jobs from `delayed` to the back of the queue, in the order of their due times.
    fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted>;

    /// Reclaims up to `request.limit` expired leases, the earliest expiry first. The job is poisoned when this was one loss too many, else cancelled when
    /// that was requested, else returned to the front of the queue. A crash is charged where the handler is known to have started ([`Leases::begin`]), a release
    /// where it had not, or where that is not known.
    ///
    /// Each run leaves a stamp. When there are leases and the stamp before is missing or older than half a lease, no worker could renew: then nothing is reclaimed for
    /// one more lease, and never for longer than one lease of the run that asks.
    fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed>;

    /// Releases, without a charge (releases + 1), the jobs `owner` was granted by the claims with these nonces, whose replies it never read, so that no worker will run
    /// those jobs. Scans one slice of the grants; continue with the cursor until it is `None`. A job whose cancellation was requested is cancelled. Do not pass
    /// the nonce of a claim that may still be answered. At most [`BATCH_MAX`] nonces.
    fn reconcile<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        owner: InstanceId,
        lost: &'a [Nonce],
        cursor: Option<Cursor>,
    ) -> StoreFuture<'a, Reconciled>;
}

/// Renewing the leases a worker holds.
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
    /// Extends leases to `lease` from now; one result per item. Sending it twice does no harm.
    fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;

    /// [`renew`](Self::renew), and records that the handlers of these jobs are about to begin: if their leases expire, that is charged as a crash. The worker
    /// waits for this before it runs the handler of a job that was [returned](crate::job::Counters::came_back).
    fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;
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
/// # let owner = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(owner, 1);
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

    /// Depths, counters and switches of one queue. An unknown queue has zeros.
    fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats>;

    /// Jobs in one state, page by page: pending from the front of the queue, delayed by due time, processing by expiry, final states latest first. `limit` is
    /// capped at [`BATCH_MAX`], and is at least 1. A job that stays in its state while the pages are read is listed once; only pages of `pending` shift while
    /// jobs are claimed.
    fn jobs<'a>(
        &'a self,
        queue: &'a QueueName,
        state: JobState,
        from: Option<Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, JobPage>;

    /// One job with its history; `None` when no such job is kept.
    fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>>;

    /// How this job ended, as [`job`](Self::job) shows it; until then only its state, and an announcement that a client waits for its outcome, for up to `wait`
    /// (at most [`OUTCOME_WAIT_MAX`]). While one is announced, every transition that ends a job of this queue sends [`Hint::Ended`]. A job that has ended
    /// already, or is not kept, announces nothing.
    ///
    /// To wait for an outcome: subscribe to [`hints`](Store::hints), call this, and then await the hint, with another call of this as the fallback poll, before
    /// `wait` is over. What is guaranteed:
    ///
    /// - A job that ends after this call and within half of `wait` sends a hint; in the other half too, unless an earlier call's announcement still stood. So
    ///   announce at least twice the time until the next poll is over. A hint may be lost, so the poll decides.
    /// - A job that completes within the same time is shown as [`JobState::Completed`] until the wait is over, also where completed jobs are not kept; then
    ///   nothing but its state is known.
    /// - The hint carries the final state, but neither output nor error: read them here. A kept job's output is in the history ([`JobView::output`]).
    /// - `None` means that the job is gone: not enqueued yet, trimmed, discarded, or completed and not kept where nobody had announced a wait for it, or the wait
    ///   is over. A store that takes no writes (it is full) announces nothing.
    ///
    /// The default announces nothing: the poll alone finds the end, and a completion that is not kept is not seen.
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
    /// store.cancel(replay_slot.next_call(), &queue, &[(&id).into()]).await.unwrap();
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

    /// Gives dead, poisoned or cancelled jobs a fresh start at the back of the queue (failures and crashes begin again at zero), and moves delayed ones there
    /// now (their counters stay). Attempts, releases and the history stay as they are. A completed job is not run again.
    ///
    /// As with cancel and discard: one result per job, and a job that is no longer what it was [seen](Target::seen) as is left alone.
    fn redrive<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;

    /// Cancels jobs: pending and delayed ones at once. A running one is asked to stop ([`Moved::Asked`]), and completes if its handler completes anyway.
    fn cancel<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;

    /// Deletes jobs with their history, unless they are running.
    fn discard<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;

    /// Pauses claiming; running jobs continue. Returns whether the queue was paused before.
    fn pause<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, bool>;

    /// Resumes claiming. Returns whether the queue was paused before.
    fn resume<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, bool>;

    /// Deletes one slice of what retention no longer keeps: completed, dead, poisoned, cancelled jobs, in this order and the oldest first.
    fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed>;

    /// Counts whether every job is in exactly one container. Costs the same on any queue, and changes nothing.
    fn audit<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, AuditReport>;

    /// Looks through a whole queue, in small steps, for damage that no transition leaves behind: jobs in no container or in two, grants without a lease,
    /// entries of jobs that are not kept, a wrong count. Changes nothing, and the queue keeps working meanwhile. Takes about a minute for a million jobs.
    ///
    /// # Errors
    /// [`StoreError::Refused`] from a store that cannot do it, as by default.
    fn inspect<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        Box::pin(async move { Err(cannot("inspect", queue)) })
    }

    /// [`inspect`](Self::inspect), and repairs what it finds. No job is deleted. Two repairs at the same time do no harm.
    ///
    /// # Errors
    /// [`StoreError::Refused`] from a store that cannot do it, as by default.
    fn repair<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        Box::pin(async move { Err(cannot("repair", queue)) })
    }
}

/// What is kept about the workers themselves. It is part of no transition.
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
/// let event = |path: &str, kind| SupervisionEvent::new(0, instance, path, 0, kind);
/// store.record(&[event("email", EventKind::Started), event("email", EventKind::Stopped)]).await.unwrap();
/// let LedgerPage { events, next, .. } = store.events(None, 1).await.unwrap();
/// assert_eq!(events[0].kind, EventKind::Stopped, "the latest first");
/// assert!(next.is_some());
///
/// store.announce(&[QueueName::new("email").unwrap()]).await.unwrap();
/// assert_eq!(store.queues().await.unwrap().len(), 1);
/// let rows: Vec<WorkerRow> = store.workers().await.unwrap();
/// assert!(rows.is_empty(), "no worker has sent a heartbeat");
/// # });
/// ```
pub trait Ledger: Send + Sync + 'static {
    /// Makes these queues known to [`Admin::queues`].
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;

    /// Appends supervision events, oldest first. The store keeps the latest ones, up to [`LEDGER_EVENTS_MAX`] events and [`LEDGER_BYTES_MAX`] bytes.
    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()>;

    /// Supervision events, latest first, page by page. `limit` is capped at [`BATCH_MAX`], and is at least 1.
    fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage>;

    /// Writes a worker's row. The store sets its [`seen_ms`](WorkerRow::seen_ms).
    fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()>;

    /// All worker rows that are not older than [`WORKER_ROW_AGE_MAX`], by instance.
    fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>>;

    /// Removes a worker's row and, in these queues, the last calls of its replay slots, because it will never call again.
    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;
}

fn cannot(operation: &'static str, queue: &QueueName) -> StoreError {
    let reason =
        format!("this store has no {operation} for the queue {queue}; look at it with the tools of the store's server");
    StoreError::Refused { operation, reason }
}
