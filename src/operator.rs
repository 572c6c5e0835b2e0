//! What operators see and do: queues, jobs, the dead letter queue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{CallError, StoreCalls};
use retraced_jobs::enqueue::{Outcome, OutcomeError};
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{
    AuditReport, CallId, Cursor, JobPage, LedgerPage, Moved, QueueStats, Store, StoreError, StoreFacts, Target,
    WorkerRow,
};
use retraced_jobs::trace::{Finding, JobView};

use crate::limits::{AUDIT_TIMEOUT, OPERATOR_CALLS_MAX, OPERATOR_TIMEOUT};
use crate::outcome::Outcomes;

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
    outcomes: Outcomes,
}

impl Operator {
    /// An operator over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        let calls = StoreCalls::new(store, OPERATOR_CALLS_MAX, None);
        Self::with_calls(calls.clone(), Outcomes::new(calls))
    }

    /// The operator of a runtime: its calls use the replay slots and the threads of the supervision tree.
    pub(crate) fn with_calls(calls: StoreCalls, outcomes: Outcomes) -> Self {
        Self { calls, outcomes }
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
        let queue = queue.clone();
        self.call(move |store, _| {
            let queue = queue.clone();
            async move { store.stats(&queue).await }
        })
        .await
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

    /// Gives dead, poisoned or cancelled jobs a fresh start, and makes delayed ones pending now; one result per job, at most [`BATCH_MAX`](crate::store::BATCH_MAX) jobs.
    ///
    /// Name a job by its id or, to be safe, by the [`JobSummary`](crate::job::JobSummary) you have read: then a job that somebody else moved meanwhile is left alone,
    /// and its result is [`Moved::Refused`]. The same is true for [`cancel`](Self::cancel) and [`discard`](Self::discard).
    ///
    /// # Errors
    /// [`OperatorError`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use retraced::{Client, MemoryStore, Operator, QueueName, store::{Moved, Store, Target}, JobState};
    /// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    /// # let (admin, queue) = (Operator::new(store.clone()), QueueName::new("email")?);
    /// # let client = Client::shared(store);
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Welcome;
    /// # impl retraced::Job for Welcome { const KIND: &'static str = "welcome"; }
    /// # let id = client.queue("email")?.enqueue(Welcome).await?.id.clone();
    /// admin.cancel(&queue, [&id]).await?;
    /// let page = admin.jobs(&queue, JobState::Cancelled, None, 100).await?;
    /// admin.redrive(&queue, [&id]).await?; // somebody else acts first
    /// let moved = admin.discard(&queue, &page.jobs).await?;
    /// assert_eq!(moved, [Moved::Refused { state: JobState::Pending }]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn redrive<T: Into<Target>>(
        &self,
        queue: &QueueName,
        jobs: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Moved>, OperatorError> {
        let (queue, jobs): (_, Arc<[Target]>) = (queue.clone(), jobs.into_iter().map(Into::into).collect());
        self.call(move |store, call| {
            let (queue, jobs) = (queue.clone(), jobs.clone());
            async move { store.redrive(call, &queue, &jobs).await }
        })
        .await
    }

    /// Cancels jobs; the handlers of running ones are asked to stop. One result per job, at most [`BATCH_MAX`](crate::store::BATCH_MAX) jobs.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn cancel<T: Into<Target>>(
        &self,
        queue: &QueueName,
        jobs: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Moved>, OperatorError> {
        let (queue, jobs): (_, Arc<[Target]>) = (queue.clone(), jobs.into_iter().map(Into::into).collect());
        self.call(move |store, call| {
            let (queue, jobs) = (queue.clone(), jobs.clone());
            async move { store.cancel(call, &queue, &jobs).await }
        })
        .await
    }

    /// Removes jobs with their history, unless they run. One result per job, at most [`BATCH_MAX`](crate::store::BATCH_MAX) jobs.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn discard<T: Into<Target>>(
        &self,
        queue: &QueueName,
        jobs: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Moved>, OperatorError> {
        let (queue, jobs): (_, Arc<[Target]>) = (queue.clone(), jobs.into_iter().map(Into::into).collect());
        self.call(move |store, call| {
            let (queue, jobs) = (queue.clone(), jobs.clone());
            async move { store.discard(call, &queue, &jobs).await }
        })
        .await
    }

    /// Pauses a queue: workers claim no further jobs from it, and running jobs continue. Returns whether the queue was paused before.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn pause(&self, queue: &QueueName) -> Result<bool, OperatorError> {
        let queue = queue.clone();
        self.call(move |store, _| {
            let queue = queue.clone();
            async move { store.pause(&queue).await }
        })
        .await
    }

    /// Resumes a paused queue. Returns whether the queue was paused before.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn resume(&self, queue: &QueueName) -> Result<bool, OperatorError> {
        let queue = queue.clone();
        self.call(move |store, _| {
            let queue = queue.clone();
            async move { store.resume(&queue).await }
        })
        .await
    }

    /// Searches a whole queue for damage that no transition causes: jobs in no container or in two, grants without a lease, entries of jobs that are not kept.
    /// Changes nothing. Workers continue meanwhile. Takes about 1 min for a million jobs, and fails after [`AUDIT_TIMEOUT`].
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn audit(&self, queue: &QueueName) -> Result<Audit, OperatorError> {
        let queue = queue.clone();
        self.call_within(AUDIT_TIMEOUT, move |store, _| {
            let queue = queue.clone();
            async move {
                let before = store.audit(&queue).await?;
                let findings = store.inspect(&queue).await?;
                Ok(Audit { before, findings, after: store.audit(&queue).await? })
            }
        })
        .await
    }

    /// Audits a queue as [`audit`](Self::audit) does, and repairs what it finds: every job is in exactly one container again, and no job is deleted. After a timeout,
    /// what was repaired until then stays repaired.
    ///
    /// # Errors
    /// [`OperatorError`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use retraced::{Audit, MemoryStore, Operator, QueueName};
    /// # let admin = Operator::new(Arc::new(MemoryStore::new()));
    /// let audit: Audit = admin.repair(&QueueName::new("email")?).await?;
    /// assert!(audit.after.adds_up() && audit.findings.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn repair(&self, queue: &QueueName) -> Result<Audit, OperatorError> {
        let queue = queue.clone();
        self.call_within(AUDIT_TIMEOUT, move |store, _| {
            let queue = queue.clone();
            async move {
                let before = store.audit(&queue).await?;
                let findings = store.repair(&queue).await?;
                Ok(Audit { before, findings, after: store.audit(&queue).await? })
            }
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
        self.outcomes.wait_for_end(queue, id, timeout).await
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
