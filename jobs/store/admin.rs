//! What operators, clients that wait for outcomes, and the janitor ask of a store.

use std::time::Duration;

use super::error::StoreError;
use super::future::StoreFuture;
use super::job_view::JobView;
use super::model::{
    CallId, CountCheck, Cursor, JobPage, Moved, QueueDeletion, QueueStats, Target, Tombstone, TrimPolicy, Trimmed,
    UnfinishedJobs,
};
use crate::events::Finding;
use crate::job::{JobId, JobState, QueueName};
use crate::trace::OperatorName;

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
    /// All queues that were announced ([`Ledger::announce`](crate::store::Ledger::announce)) and not deleted since, ordered by name.
    fn queues(&self) -> StoreFuture<'_, Vec<QueueName>>;

    /// The numbers of jobs and the counters of one queue, and whether it is paused. An unknown queue has no jobs, and its counters are zero.
    fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats>;

    /// Jobs in one state, page by page: pending from the front of the queue, delayed by due time, processing by lease expiry, final states latest first. A
    /// `limit` of 0 counts as 1, one above [`BATCH_MAX`](crate::store::BATCH_MAX) as that. A page may have fewer jobs, and only [`JobPage::next`] says whether it is the last.
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
    /// removal is among the latest [`TOMBSTONES_MAX`](crate::store::TOMBSTONES_MAX) of the queue. If several jobs had this id, it is that of the last removal, also when one is kept now.
    ///
    /// The default knows of no removal.
    fn tombstone<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<Tombstone>> {
        let _ = (queue, id);
        Box::pin(async { Ok(None) })
    }

    /// Reads how a job ended. If the job has ended, returns the same as [`job`](Self::job). Otherwise returns only its state, and registers that a client waits
    /// for its outcome for `wait` (at most [`OUTCOME_WAIT_MAX`](crate::store::OUTCOME_WAIT_MAX)). While any wait is registered in a queue, every call that ends or discards a job there sends
    /// [`Hint::Ended`](crate::store::Hint::Ended). If the job is not kept, nothing is registered.
    ///
    /// To wait for an outcome: subscribe to [`hints`](crate::store::Store::hints), then call this, then await the hint. Call this again as a fallback poll before `wait` is
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
    /// crashes and releases begin again at zero; attempts and the history stay as they are. Jobs in other states are refused, and so is a job whose
    /// stored record is cut off, so that it could not even be listed as pending.
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
