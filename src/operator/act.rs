//! What operators do: redrive, cancel and discard jobs; pause, resume, audit, repair and delete a queue.

use std::sync::Arc;

use retraced_actors::CallError;
use retraced_jobs::events::Finding;
use retraced_jobs::job::QueueName;
use retraced_jobs::store::{CallId, Moved, QueueDeletion, Store, StoreFuture, Target, UnfinishedJobs};
use retraced_jobs::trace::OperatorName;

use super::{Audit, Operator, OperatorError};
use crate::limits::{AUDIT_TIMEOUT, OPERATOR_TIMEOUT};

/// A method of the store that acts on jobs.
type Action =
    for<'a> fn(&'a dyn Store, CallId, &'a QueueName, &'a OperatorName, &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;

impl Operator {
    /// Gives dead, poisoned or cancelled jobs a fresh start with no failures, crashes and releases, and makes delayed ones pending now. One result per job; more than
    /// [`BATCH_MAX`](crate::store::BATCH_MAX) jobs are refused.
    ///
    /// Name a job by its id or, to be safe, by the [`JobSummary`](crate::job::JobSummary) you have read: then a job that was moved meanwhile is left alone, and its
    /// result is [`Moved::Refused`]. The same is true for [`cancel`](Self::cancel) and [`discard`](Self::discard).
    ///
    /// # Errors
    /// [`OperatorError`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use retraced::{Client, JobState, MemoryStore, Operator, QueueName, Store, store::{Moved, Target}};
    /// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    /// # let (admin, queue) = (Operator::shared(store.clone()), QueueName::new("email")?);
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
        self.act(queue, jobs, |store, call, queue, by, jobs| store.redrive(call, queue, by, jobs)).await
    }

    /// Cancels pending and delayed jobs. The handler of a running one is asked to stop; if it returns `Ok` all the same, the job completes. One result per job; more than
    /// [`BATCH_MAX`](crate::store::BATCH_MAX) jobs are refused.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn cancel<T: Into<Target>>(
        &self,
        queue: &QueueName,
        jobs: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Moved>, OperatorError> {
        self.act(queue, jobs, |store, call, queue, by, jobs| store.cancel(call, queue, by, jobs)).await
    }

    /// Removes jobs with their history, unless a worker holds them. What is left of each is a [`tombstone`](Self::tombstone). One result per job; more than
    /// [`BATCH_MAX`](crate::store::BATCH_MAX) jobs are refused.
    ///
    /// Jobs with large payloads are removed by several calls to the store, so that each is short.
    ///
    /// # Errors
    /// [`OperatorError`]. The first of the jobs may be removed all the same.
    pub async fn discard<T: Into<Target>>(
        &self,
        queue: &QueueName,
        jobs: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Moved>, OperatorError> {
        let jobs: Vec<Target> = jobs.into_iter().map(Into::into).collect();
        let mut moved = Vec::with_capacity(jobs.len());
        loop {
            let left = jobs[moved.len()..].iter().cloned();
            let next =
                self.act(queue, left, |store, call, queue, by, jobs| store.discard(call, queue, by, jobs)).await?;
            let is_last = next.is_empty();
            moved.extend(next);
            if is_last || moved.len() >= jobs.len() {
                return Ok(moved);
            }
        }
    }

    /// Pauses a queue: workers claim no further jobs from it, and run the jobs they hold. Returns whether the queue was paused before. If it was not,
    /// [`stats`](Self::stats) tells from now on since when it is paused, and that this operator ([`named`](Self::named)) paused it.
    ///
    /// # Errors
    /// [`OperatorError`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use retraced::{MemoryStore, Operator, QueueName};
    /// # let queue = QueueName::new("email")?;
    /// let operator = Operator::new(MemoryStore::new()).named("ada@laptop");
    /// assert!(!operator.pause(&queue).await?);
    /// assert_eq!(operator.stats(&queue).await?.paused_by.unwrap().as_str(), "ada@laptop");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause(&self, queue: &QueueName) -> Result<bool, OperatorError> {
        self.pause_or_resume(queue, |store, call, queue, by| store.pause(call, queue, by)).await
    }

    /// Resumes a paused queue. Returns whether the queue was paused before.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn resume(&self, queue: &QueueName) -> Result<bool, OperatorError> {
        self.pause_or_resume(queue, |store, call, queue, _| store.resume(call, queue)).await
    }

    /// Checks the counts of a queue, then scans all of it for damage that no transition causes: jobs in no container or in two, grants without a lease, entries of
    /// jobs that are not kept. Changes nothing. Workers continue meanwhile. Takes about 1 min for a million jobs, and fails after 15 min ([`AUDIT_TIMEOUT`]).
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn audit(&self, queue: &QueueName) -> Result<Audit, OperatorError> {
        self.audit_with(queue, |store, queue| store.scan(queue)).await
    }

    /// Audits a queue as [`audit`](Self::audit) does, and repairs what it finds: every job is in exactly one container again, and no job is deleted. A queue with jobs that
    /// is missing in the list of [`queues`](Self::queues) is then listed again; if that fails, it is logged. After a timeout, what was repaired until then stays repaired.
    ///
    /// # Errors
    /// [`OperatorError`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::sync::Arc;
    /// # use retraced::{Audit, MemoryStore, Operator, QueueName};
    /// # let admin = Operator::new(MemoryStore::new());
    /// let audit: Audit = admin.repair(&QueueName::new("email")?).await?;
    /// assert!(audit.after.adds_up() && audit.findings.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn repair(&self, queue: &QueueName) -> Result<Audit, OperatorError> {
        let audit = self.audit_with(queue, |store, queue| store.repair(queue)).await?;
        // A mistyped name has no jobs, and must not become known.
        if audit.after.jobs > 0 {
            self.list_again(queue).await;
        }
        Ok(audit)
    }

    /// Deletes a queue with everything kept of it: jobs, counters and its name. Returns how many jobs were kept. It takes the same time for a queue of any length.
    ///
    /// A queue that a live worker processes is refused, because the worker would make the queue again: stop it first. So would a worker that starts after this check.
    /// A worker that was killed counts as live until it is [stale](retraced_jobs::store::WorkerRow::is_stale), and so does any worker if the store does not say its time. A
    /// worker whose row cannot be read, because it has a newer version, may process any queue. Stop the producers too: one that goes on makes the queue again, and the
    /// new queue is listed once a worker processes it, or with the first enqueue of a client after at most a minute.
    ///
    /// # Errors
    /// [`OperatorError::QueueHasWorkers`] if a live worker processes the queue; [`OperatorError::QueueHasJobs`] if it has live, dead or poisoned jobs and `unfinished` is [`UnfinishedJobs::Refuse`];
    /// [`OperatorError::DeletionUnknown`] if no answer came: the deletion is sent only once. The others if the store does not support it, refuses or does not answer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use retraced::{Client, Job, MemoryStore, Operator, OperatorError, QueueName};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Welcome;
    /// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
    /// # let store = MemoryStore::new();
    /// # let (admin, queue) = (Operator::new(store.clone()), QueueName::new("email")?);
    /// # Client::new(store).queue("email")?.enqueue(Welcome).await?;
    /// use retraced::store::UnfinishedJobs;
    /// let refused = admin.delete_queue(&queue, UnfinishedJobs::Refuse).await;
    /// assert!(matches!(refused, Err(OperatorError::QueueHasJobs { pending: 1, .. })));
    /// assert_eq!(admin.delete_queue(&queue, UnfinishedJobs::Delete).await?, 1);
    /// assert!(admin.queues().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_queue(&self, queue: &QueueName, unfinished: UnfinishedJobs) -> Result<u64, OperatorError> {
        let rows = self.live_workers().await?;
        let workers: Vec<_> = rows.iter().filter(|row| row.may_process(queue)).map(|row| row.instance).collect();
        if !workers.is_empty() {
            return Err(OperatorError::QueueHasWorkers { queue: queue.clone(), workers });
        }
        let wanted = queue.clone();
        // Sent once: a second deletion would take the jobs that came in since the first.
        let deletion = self
            .calls
            .once_by(OPERATOR_TIMEOUT, move |store| async move { store.delete_queue(&wanted, unfinished).await });
        let deletion = deletion.await.map_err(|error| match error {
            CallError::OutcomeUnknown(cause) => OperatorError::DeletionUnknown { queue: queue.clone(), cause },
            error => OperatorError::of(error, OPERATOR_TIMEOUT),
        });
        match deletion? {
            QueueDeletion::Refused { pending, processing, delayed, dead, poisoned } => {
                Err(OperatorError::QueueHasJobs { queue: queue.clone(), pending, processing, delayed, dead, poisoned })
            }
            QueueDeletion::Deleted { jobs } => Ok(jobs),
            _ => Ok(0),
        }
    }

    async fn act<T: Into<Target>>(
        &self,
        queue: &QueueName,
        jobs: impl IntoIterator<Item = T>,
        action: Action,
    ) -> Result<Vec<Moved>, OperatorError> {
        let jobs: Arc<[Target]> = jobs.into_iter().map(Into::into).collect();
        let (queue, by) = (queue.clone(), self.name.clone());
        let moved = self.calls.until_known_by(OPERATOR_TIMEOUT, move |store, call| {
            let (queue, by, jobs) = (queue.clone(), by.clone(), jobs.clone());
            async move { action(&*store, call, &queue, &by, &jobs).await }
        });
        moved.await.map_err(|error| OperatorError::of(error, OPERATOR_TIMEOUT))
    }

    async fn pause_or_resume(
        &self,
        queue: &QueueName,
        action: for<'a> fn(&'a dyn Store, CallId, &'a QueueName, &'a OperatorName) -> StoreFuture<'a, bool>,
    ) -> Result<bool, OperatorError> {
        let (queue, by) = (queue.clone(), self.name.clone());
        let was_paused = self.calls.until_known_by(OPERATOR_TIMEOUT, move |store, call| {
            let (queue, by) = (queue.clone(), by.clone());
            async move { action(&*store, call, &queue, &by).await }
        });
        was_paused.await.map_err(|error| OperatorError::of(error, OPERATOR_TIMEOUT))
    }

    /// Lists a queue again if its name is lost. An error is only logged: it must not hide what a repair has found.
    async fn list_again(&self, queue: &QueueName) {
        let listed = match self.queues().await {
            Ok(names) if names.contains(queue) => Ok(()),
            Ok(_) => self.create_queue(queue).await,
            Err(error) => Err(error),
        };
        if let Err(error) = listed {
            tracing::warn!(target: "retraced", %queue, %error, "the queue may be missing in the list of queues");
        }
    }

    async fn audit_with(
        &self,
        queue: &QueueName,
        find: for<'a> fn(&'a dyn Store, &'a QueueName) -> StoreFuture<'a, Vec<Finding>>,
    ) -> Result<Audit, OperatorError> {
        let queue = queue.clone();
        let audit = self.calls.until_answered_by(AUDIT_TIMEOUT, move |store| {
            let queue = queue.clone();
            async move {
                let before = store.check_counts(&queue).await?;
                let findings = find(&*store, &queue).await?;
                Ok(Audit { before, findings, after: store.check_counts(&queue).await? })
            }
        });
        audit.await.map_err(|error| OperatorError::of(error, AUDIT_TIMEOUT))
    }
}
