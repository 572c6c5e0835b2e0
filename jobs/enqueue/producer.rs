//! The traits behind [`QueueHandle`](super::QueueHandle). A runtime, a client and the test context each implement them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{EnqueueAllError, EnqueueError, Outcome, OutcomeError, Receipt};
use crate::job::{JobId, NewJob, QueueName};

/// Enqueues to one queue, and waits for the outcomes of its jobs.
pub trait QueueProducer: Send + Sync {
    /// The queue.
    fn name(&self) -> &QueueName;

    /// Enqueues one sealed job, waiting for its receipt for up to `timeout`.
    fn enqueue(&self, job: NewJob, timeout: Duration) -> BoxFuture<'_, Result<Receipt, EnqueueError>>;

    /// Enqueues many sealed jobs; one receipt per job, in order. `timeout` is the longest wait for the receipts of one batch.
    fn enqueue_all(&self, jobs: Vec<NewJob>, timeout: Duration)
    -> BoxFuture<'_, Result<Vec<Receipt>, EnqueueAllError>>;

    /// Waits until a job has ended, for up to `timeout`.
    fn outcome(&self, id: JobId, timeout: Duration) -> BoxFuture<'_, Result<Outcome, OutcomeError>>;
}

/// Gives a [`QueueProducer`] for any queue of a store. A handler's context enqueues through it.
///
/// ```
/// use std::sync::Arc;
/// use retraced_jobs::enqueue::{Producers, QueueHandle, QueueProducer};
/// use retraced_jobs::job::QueueName;
/// struct Only(Arc<dyn QueueProducer>);
/// impl Producers for Only {
///     fn producer(&self, _: &QueueName) -> Arc<dyn QueueProducer> { self.0.clone() }
/// }
/// fn email(producers: &dyn Producers) -> QueueHandle {
///     QueueHandle::new(producers.producer(&QueueName::new("email").unwrap()))
/// }
/// # let _ = (email, |p| Only(p));
/// ```
pub trait Producers: Send + Sync {
    /// The producer of a queue. The queue need not have been used before.
    fn producer(&self, queue: &QueueName) -> Arc<dyn QueueProducer>;
}

/// For a handler that runs without a runtime: every call fails.
pub(crate) struct NoProducers;

impl Producers for NoProducers {
    fn producer(&self, queue: &QueueName) -> Arc<dyn QueueProducer> {
        Arc::new(NoProducer(queue.clone()))
    }
}

struct NoProducer(QueueName);

impl QueueProducer for NoProducer {
    fn name(&self) -> &QueueName {
        &self.0
    }

    fn enqueue(&self, _: NewJob, _: Duration) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
        ready(Err(EnqueueError::NoProducer)).boxed()
    }

    fn enqueue_all(&self, jobs: Vec<NewJob>, _: Duration) -> BoxFuture<'_, Result<Vec<Receipt>, EnqueueAllError>> {
        ready(Err(EnqueueAllError::new(Vec::new(), jobs, EnqueueError::NoProducer))).boxed()
    }

    fn outcome(&self, _: JobId, _: Duration) -> BoxFuture<'_, Result<Outcome, OutcomeError>> {
        ready(Err(OutcomeError::RuntimeEnded)).boxed()
    }
}
