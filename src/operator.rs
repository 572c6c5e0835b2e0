//! What operators see: queues, jobs, workers, events. What they do is in `act`; whether a queue exists, in `known`.

mod act;
mod error;
mod known;

use std::sync::Arc;
use std::time::Duration;

use retraced_actors::StoreCalls;
use retraced_jobs::enqueue::{Outcome, OutcomeError};
use retraced_jobs::events::Finding;
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{
    CountCheck, Cursor, JobPage, JobView, LedgerPage, QueueStats, Store, StoreError, StoreFacts, StoreFuture,
    Tombstone, WorkerRow,
};
use retraced_jobs::trace::OperatorName;

pub use error::OperatorError;

use crate::limits::{OPERATOR_CALLS_MAX, OPERATOR_TIMEOUT};
use crate::outcome_waiter::OutcomeWaiter;

/// Shows queues and jobs, and acts on them. Cheap to clone. Every method except [`outcome`](Self::outcome) waits at most 5 s (an audit or repair 15 min) for a store that
/// does not answer. Meanwhile it sends its call again: an action on jobs under the same id each time, so that it is done only once. The deletion of a queue is never sent
/// again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use retraced::{MemoryStore, Operator, QueueName};
/// let admin = Operator::new(MemoryStore::new());
/// let stats = admin.stats(&QueueName::new("email")?).await?;
/// assert_eq!((stats.pending, stats.dead), (0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Operator {
    calls: StoreCalls,
    waiter: OutcomeWaiter,
    name: OperatorName,
}

impl Operator {
    /// An operator over a store.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::shared(Arc::new(store))
    }

    /// An operator over a store that other parts of the program use too.
    #[must_use]
    pub fn shared(store: Arc<dyn Store>) -> Self {
        let calls = StoreCalls::new(store, OPERATOR_CALLS_MAX, None);
        Self::with_calls(calls.clone(), OutcomeWaiter::new(calls))
    }

    /// The operator of a runtime: its calls use the replay slots and the threads of the supervision tree.
    pub(crate) fn with_calls(calls: StoreCalls, waiter: OutcomeWaiter) -> Self {
        Self { calls, waiter, name: OperatorName::default() }
    }

    /// The same operator under this name. Redrives and cancellations are recorded with it, and so are discards; a trace shows it. Any text is a name; one of more
    /// than 64 bytes is shortened. Default: `operator`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use retraced::{Client, Job, MemoryStore, Operator, QueueName, Store};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Welcome;
    /// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
    /// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    /// # let queue = QueueName::new("email")?;
    /// # let id = Client::shared(store.clone()).queue("email")?.enqueue(Welcome).await?.id.clone();
    /// let admin = Operator::shared(store).named("night shift");
    /// admin.cancel(&queue, [&id]).await?;
    /// let trace = admin.trace(&queue, &id).await?;
    /// assert!(trace.to_string().contains("cancelled by night shift, was pending"), "{trace}");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn named(&self, name: impl Into<OperatorName>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// Checks that the store answers and is usable, and returns its name and its warnings.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn probe(&self) -> Result<StoreFacts, OperatorError> {
        self.read(|store| async move { store.probe().await?.usable() }).await
    }

    /// All queues that a worker, a producer or an operator has announced and that were not deleted since, ordered by name.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn queues(&self) -> Result<Vec<QueueName>, OperatorError> {
        self.read(|store| async move { store.queues().await }).await
    }

    /// Depths and counters of a queue, and whether it is paused.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn stats(&self, queue: &QueueName) -> Result<QueueStats, OperatorError> {
        self.on_queue(queue, |store, queue| store.stats(queue)).await
    }

    /// A page of the jobs in one state: at most `limit`, and at most [`BATCH_MAX`](crate::store::BATCH_MAX). It may have fewer: only
    /// [`JobPage::next`](crate::store::JobPage::next) says whether it is the last one.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn jobs(
        &self,
        queue: &QueueName,
        state: JobState,
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<JobPage, OperatorError> {
        let queue = queue.clone();
        self.read(move |store| {
            let (queue, from) = (queue.clone(), from.clone());
            async move { store.jobs(&queue, state, from, limit).await }
        })
        .await
    }

    /// One job with its history; `None` when it is not kept.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn job(&self, queue: &QueueName, id: &JobId) -> Result<Option<JobView>, OperatorError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |store| {
            let (queue, id) = (queue.clone(), id.clone());
            async move { store.job(&queue, &id).await }
        })
        .await
    }

    /// What is left of a job that is no longer kept: when and why retention removed a dead or poisoned one, or who discarded it. `None` if no such removal is among the
    /// latest 1,000 of the queue ([`TOMBSTONES_MAX`](crate::limits::TOMBSTONES_MAX)).
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn tombstone(&self, queue: &QueueName, id: &JobId) -> Result<Option<Tombstone>, OperatorError> {
        let (queue, id) = (queue.clone(), id.clone());
        self.read(move |store| {
            let (queue, id) = (queue.clone(), id.clone());
            async move { store.tombstone(&queue, &id).await }
        })
        .await
    }

    /// A page of the stored supervision events, latest first: at most `limit`, and at most [`BATCH_MAX`](crate::store::BATCH_MAX).
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn events(&self, from: Option<Cursor>, limit: usize) -> Result<LedgerPage, OperatorError> {
        self.read(move |store| {
            let from = from.clone();
            async move { store.events(from, limit).await }
        })
        .await
    }

    /// The workers that wrote a heartbeat within the last hour and have not been shut down since. A worker that was killed stays listed for that hour: see its `seen_ms`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn workers(&self) -> Result<Vec<WorkerRow>, OperatorError> {
        self.read(|store| async move { store.workers().await }).await
    }

    /// Waits until a job has ended, for up to `timeout`. An outage of the store does not end the wait.
    ///
    /// # Errors
    /// [`OutcomeError`].
    ///
    /// # Cancel safety
    /// It only reads: it can be dropped and called again.
    pub async fn outcome(&self, queue: &QueueName, id: &JobId, timeout: Duration) -> Result<Outcome, OutcomeError> {
        self.waiter.wait_for_end(queue, id, timeout).await
    }

    /// A call that needs nothing but the queue, and may be sent twice.
    async fn on_queue<T: Send + 'static>(
        &self,
        queue: &QueueName,
        call: for<'a> fn(&'a dyn Store, &'a QueueName) -> StoreFuture<'a, T>,
    ) -> Result<T, OperatorError> {
        let queue = queue.clone();
        self.read(move |store| {
            let queue = queue.clone();
            async move { call(&*store, &queue).await }
        })
        .await
    }

    /// A call that changes nothing, or may be sent twice.
    async fn read<T, F, Fut>(&self, call: F) -> Result<T, OperatorError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let reply = self.calls.until_answered_by(OPERATOR_TIMEOUT, call).await;
        reply.map_err(|error| OperatorError::of(error, OPERATOR_TIMEOUT))
    }
}

/// What an audit or a repair found by its scan, and the counts of the queue before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// The counts before the audit.
    pub before: CountCheck,
    /// What was wrong; empty when nothing was.
    pub findings: Vec<Finding>,
    /// The counts after the audit. After a repair they [add up](CountCheck::adds_up), unless a lease without a grant
    /// was found: such a lease is counted until it is reclaimed.
    pub after: CountCheck,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use futures_util::future::join_all;
    use retraced_jobs::job::{InstanceId, NewJob, RunAt};
    use retraced_jobs::store::memory::MemoryStore;
    use retraced_jobs::store::{
        Admin, CallId, Decorator, Ledger, Moved, QueueDeletion, ReplaySlots, Target, Transitions, UnfinishedJobs,
        WorkerRow,
    };
    use uuid::Uuid;

    use super::*;

    /// A store that never answers a redrive.
    struct Silent(MemoryStore);

    impl Decorator for Silent {
        fn inner(&self) -> &dyn Store {
            &self.0
        }

        fn redrive<'a>(
            &'a self,
            _: CallId,
            _: &'a QueueName,
            _: &'a OperatorName,
            _: &'a [Target],
        ) -> StoreFuture<'a, Vec<Moved>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_answered_while_calls_that_move_jobs_hold_all_replay_slots() {
        let (operator, queue) = (Operator::new(Silent(MemoryStore::new())), QueueName::new("email").unwrap());
        let job: JobId = "a".parse().unwrap();
        let redrives = join_all((0..OPERATOR_CALLS_MAX).map(|_| operator.redrive(&queue, [&job])));
        let reads = async { (operator.stats(&queue).await.unwrap(), operator.audit(&queue).await.unwrap()) };
        tokio::select! {
            biased;
            redriven = redrives => panic!("the reads waited for {redriven:?}"),
            (stats, audit) = reads => assert_eq!((stats.pending, audit.findings.len()), (0, 0)),
        }
    }

    /// A store whose first reply to a deletion is lost, after which a producer adds a job.
    struct LosesReply {
        inner: MemoryStore,
        deletions: AtomicU32,
    }

    impl Decorator for LosesReply {
        fn inner(&self) -> &dyn Store {
            &self.inner
        }

        fn delete_queue<'a>(
            &'a self,
            queue: &'a QueueName,
            unfinished: UnfinishedJobs,
        ) -> StoreFuture<'a, QueueDeletion> {
            Box::pin(async move {
                let deletion = self.inner.delete_queue(queue, unfinished).await?;
                if self.deletions.fetch_add(1, SeqCst) > 0 {
                    return Ok(deletion);
                }
                let call = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1).take().await.next_call();
                let job = NewJob { id: "new".parse().unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
                self.inner.enqueue(call, queue, &[job]).await?;
                Err(StoreError::Unavailable { operation: "delete_queue", cause: "the connection broke".into() })
            })
        }
    }

    /// A store that does not say its time.
    struct Timeless(MemoryStore);

    impl Decorator for Timeless {
        fn inner(&self) -> &dyn Store {
            &self.0
        }

        fn probe(&self) -> StoreFuture<'_, StoreFacts> {
            Box::pin(async move {
                let mut facts = self.0.probe().await?;
                facts.now_ms = None;
                Ok(facts)
            })
        }
    }

    #[tokio::test]
    async fn a_store_without_a_clock_does_not_let_a_queue_be_deleted_under_its_worker() {
        let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
        let mut row = WorkerRow::new(InstanceId::from(Uuid::from_u128(1)), 0);
        row.queues.push(queue.clone());
        store.heartbeat(&row).await.unwrap();
        let refused = Operator::new(Timeless(store)).delete_queue(&queue, UnfinishedJobs::Delete).await;
        assert!(matches!(refused, Err(OperatorError::QueueHasWorkers { .. })), "{refused:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_without_a_reply_is_not_sent_again_and_spares_the_jobs_that_came_since() {
        let store = Arc::new(LosesReply { inner: MemoryStore::new(), deletions: AtomicU32::new(0) });
        let (operator, queue) = (Operator::shared(store), QueueName::new("email").unwrap());
        let error = operator.delete_queue(&queue, UnfinishedJobs::Delete).await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("queue email may have been deleted") && said.contains("look at it"), "{said}");
        assert!(said.contains("the connection broke"), "{said}");
        assert_eq!(operator.stats(&queue).await.unwrap().pending, 1);
    }
}
