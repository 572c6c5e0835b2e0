//! What operators see: queues, jobs, workers, events. What they do is in `act`.

mod act;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{CallError, StoreCalls};
use retraced_jobs::enqueue::{Outcome, OutcomeError};
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{
    AuditReport, CallId, Cursor, JobPage, JobView, LedgerPage, QueueStats, Store, StoreError, StoreFacts, StoreFuture,
    WorkerRow,
};
use retraced_jobs::trace::Finding;

use crate::limits::{OPERATOR_CALLS_MAX, OPERATOR_TIMEOUT};
use crate::outcome_waiter::OutcomeWaiter;

/// Shows queues and jobs, and acts on them. Cheap to clone. Every method waits at most 5 s (an audit 15 min) for a store that does not answer, and sends its call again
/// meanwhile under the same id, so that nothing is done twice.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use retraced::{MemoryStore, Operator, QueueName};
/// let admin = Operator::new(Arc::new(MemoryStore::new()));
/// let stats = admin.stats(&QueueName::new("email")?).await?;
/// assert_eq!((stats.pending, stats.dead), (0, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Operator {
    calls: StoreCalls,
    waiter: OutcomeWaiter,
}

impl Operator {
    /// An operator over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let calls = StoreCalls::new(store, OPERATOR_CALLS_MAX, None);
        Self::with_calls(calls.clone(), OutcomeWaiter::new(calls))
    }

    /// The operator of a runtime: its calls use the replay slots and the threads of the supervision tree.
    pub(crate) fn with_calls(calls: StoreCalls, waiter: OutcomeWaiter) -> Self {
        Self { calls, waiter }
    }

    /// Checks that the store answers, and returns what is known about it.
    ///
    /// # Errors
    /// [`OperatorError`], as with every method.
    pub async fn probe(&self) -> Result<StoreFacts, OperatorError> {
        self.call(|store, _| async move { store.probe().await }).await
    }

    /// All known queues, by name.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn queues(&self) -> Result<Vec<QueueName>, OperatorError> {
        self.call(|store, _| async move { store.queues().await }).await
    }

    /// Depths and counters of a queue, and whether it is paused.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn stats(&self, queue: &QueueName) -> Result<QueueStats, OperatorError> {
        self.on_queue(queue, |store, queue| store.stats(queue)).await
    }

    /// A page of the jobs in one state; at most [`BATCH_MAX`](crate::store::BATCH_MAX).
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
        self.call(move |store, _| {
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
        self.call(move |store, _| {
            let (queue, id) = (queue.clone(), id.clone());
            async move { store.job(&queue, &id).await }
        })
        .await
    }

    /// The supervision events in the ledger, latest first; at most [`BATCH_MAX`](crate::store::BATCH_MAX).
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn events(&self, from: Option<Cursor>, limit: usize) -> Result<LedgerPage, OperatorError> {
        self.call(move |store, _| {
            let from = from.clone();
            async move { store.events(from, limit).await }
        })
        .await
    }

    /// The workers that wrote a heartbeat within the last hour. A killed one stays listed that long: compare its `seen_at`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn workers(&self) -> Result<Vec<WorkerRow>, OperatorError> {
        self.call(|store, _| async move { store.workers().await }).await
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

    /// A call that needs nothing but the queue.
    async fn on_queue<T: Send + 'static>(
        &self,
        queue: &QueueName,
        call: for<'a> fn(&'a dyn Store, &'a QueueName) -> StoreFuture<'a, T>,
    ) -> Result<T, OperatorError> {
        let queue = queue.clone();
        self.call(move |store, _| {
            let queue = queue.clone();
            async move { call(&*store, &queue).await }
        })
        .await
    }

    async fn call<T, F, Fut>(&self, call: F) -> Result<T, OperatorError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>, CallId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.call_within(OPERATOR_TIMEOUT, call).await
    }

    async fn call_within<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, OperatorError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>, CallId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.calls.call(timeout, call).await.map_err(|error| match error {
            CallError::Refused(error) | CallError::OutcomeUnknown(Some(error)) => OperatorError::Store(error),
            CallError::RuntimeEnded { .. } => OperatorError::RuntimeEnded,
            _ => OperatorError::TimedOut { timeout },
        })
    }
}

/// What an audit found, and the state of the queue before and after.
///
/// Used in the example of [`Operator::audit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The counts before the audit.
    pub before: AuditReport,
    /// What was wrong; empty when nothing was.
    pub findings: Vec<Finding>,
    /// The counts after the audit: after a repair they [add up](AuditReport::adds_up).
    pub after: AuditReport,
}

/// Why an operator's call failed.
///
/// ```
/// use retraced::{OperatorError, store::StoreError};
/// let refused = StoreError::Refused { operation: "redrive", reason: "the password is wrong".into() };
/// let error = OperatorError::Store(refused);
/// assert_eq!(error.to_string(), "the store refused redrive: the password is wrong");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum OperatorError {
    /// The store refused the call, or did not answer: [`StoreError::is_retryable`] tells them apart.
    Store(StoreError),
    /// The store did not answer in time. A call that changes something may have been applied.
    TimedOut {
        /// How long the caller waited.
        timeout: Duration,
    },
    /// The runtime that this operator belongs to has ended. Make an operator that is independent of it with [`Operator::new`].
    RuntimeEnded,
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OperatorError::Store(error) => error.fmt(f),
            OperatorError::TimedOut { timeout } => write!(f, "the store did not answer within {timeout:?}"),
            OperatorError::RuntimeEnded => f.write_str(
                "the runtime this operator belongs to has ended; make an independent operator with Operator::new",
            ),
        }
    }
}

impl std::error::Error for OperatorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OperatorError::Store(error) => Some(error),
            _ => None,
        }
    }
}
