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

/// Shows queues and jobs, and acts on them. Cheap to clone. Every method except [`outcome`](Self::outcome) waits at most 5 s (an audit or repair 15 min) for a store that
/// does not answer. Meanwhile it sends its call again; a call that changes something has the same id each time, so that nothing is done twice.
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
        Self { calls, waiter }
    }

    /// Checks that the store answers and is usable, and returns its name and its warnings.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn probe(&self) -> Result<StoreFacts, OperatorError> {
        self.call(|store, _| async move { store.probe().await }).await
    }

    /// All queues that a worker or a producer has ever announced, ordered by name.
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

    /// A page of the jobs in one state: at most `limit`, and at most [`BATCH_MAX`](crate::store::BATCH_MAX).
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

    /// A page of the stored supervision events, latest first: at most `limit`, and at most [`BATCH_MAX`](crate::store::BATCH_MAX).
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

    /// The workers that wrote a heartbeat within the last hour and have not been shut down since. A worker that was killed stays listed for that hour: see its `seen_ms`.
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
            CallError::NoReplaySlot => OperatorError::TooManyCalls { timeout },
            _ => OperatorError::TimedOut { timeout },
        })
    }
}

/// What an audit found, and the counts of the queue before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// The counts before the audit.
    pub before: AuditReport,
    /// What was wrong; empty when nothing was.
    pub findings: Vec<Finding>,
    /// The counts after the audit. After a repair they [add up](AuditReport::adds_up), unless a lease without a grant
    /// was found: such a lease is counted until it is reclaimed.
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
    /// The store refused the call, or could not be reached: then [`StoreError::is_retryable`] is true, and a call that changes something may have been applied.
    Store(StoreError),
    /// The store was silent. A call that changes something may have been applied.
    TimedOut {
        /// How long the caller waited.
        timeout: Duration,
    },
    /// Too many other calls were under way the whole time. Nothing was sent: try again later.
    TooManyCalls {
        /// How long the caller waited.
        timeout: Duration,
    },
    /// The runtime that this operator belongs to has ended. Make an operator that is independent of it with [`Operator::new`].
    RuntimeEnded,
}

impl OperatorError {
    /// Whether the same call may succeed later. One that changes something may have been applied already.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            OperatorError::Store(error) => error.is_retryable(),
            OperatorError::TimedOut { .. } | OperatorError::TooManyCalls { .. } => true,
            OperatorError::RuntimeEnded => false,
        }
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OperatorError::Store(error) => error.fmt(f),
            OperatorError::TimedOut { timeout } => write!(f, "the store did not answer within {timeout:?}"),
            OperatorError::TooManyCalls { timeout } => {
                write!(
                    f,
                    "too many calls to the store were under way for {timeout:?}; nothing was sent, try again later"
                )
            }
            OperatorError::RuntimeEnded => f.write_str(
                "the runtime this operator belongs to has ended; make an independent operator with Operator::new",
            ),
        }
    }
}

impl std::error::Error for OperatorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OperatorError::Store(error) => error.source(),
            _ => None,
        }
    }
}
