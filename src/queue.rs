//! A queue that a runtime works, as its producers reach it: through the queue's front door.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use retraced_jobs::enqueue::{EnqueueAllError, EnqueueError, Outcome, OutcomeError, QueueProducer, Receipt};
use retraced_jobs::job::{JobId, NewJob, QueueName};
use retraced_jobs::store::BATCH_MAX;

use crate::outcome::Outcomes;

/// Enqueues across restarts of the queue actor.
pub(crate) struct WorkedQueue {
    pub(crate) handle: retraced_actors::FrontDoorHandle,
    pub(crate) outcomes: Outcomes,
}

impl QueueProducer for WorkedQueue {
    fn name(&self) -> &QueueName {
        self.handle.name()
    }

    fn enqueue(&self, job: NewJob, timeout: Duration) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
        self.handle.enqueue(job, timeout).boxed()
    }

    fn enqueue_all(
        &self,
        jobs: Vec<NewJob>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<Receipt>, EnqueueAllError>> {
        async move {
            let mut stored = Vec::with_capacity(jobs.len());
            for batch in jobs.chunks(BATCH_MAX) {
                // The front door gathers them into one flush, or two.
                for result in join_all(batch.iter().map(|job| self.handle.enqueue(job.clone(), timeout))).await {
                    match result {
                        Ok(receipt) => stored.push(receipt),
                        Err(error) => {
                            let remaining = jobs[stored.len()..].to_vec();
                            return Err(EnqueueAllError::new(stored, remaining, error));
                        }
                    }
                }
            }
            Ok(stored)
        }
        .boxed()
    }

    fn outcome(&self, id: JobId, timeout: Duration) -> BoxFuture<'_, Result<Outcome, OutcomeError>> {
        async move { self.outcomes.wait_for_end(self.handle.name(), &id, timeout).await }.boxed()
    }
}
