//! Enqueueing to a queue of a runtime, through the queue's front door.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, join_all};
use retraced_jobs::enqueue::{EnqueueAllError, EnqueueError, Outcome, OutcomeError, QueueProducer, Receipt};
use retraced_jobs::job::{JobId, NewJob, QueueName};

use crate::chunks::chunks;
use crate::outcome_waiter::OutcomeWaiter;

/// What a [`QueueHandle`](crate::QueueHandle) of a runtime uses. Enqueues also while the queue's actor is being restarted.
pub(crate) struct FrontDoorProducer {
    pub(crate) handle: retraced_actors::FrontDoorHandle,
    pub(crate) waiter: OutcomeWaiter,
}

impl QueueProducer for FrontDoorProducer {
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
            let mut sent = 0;
            for batch in chunks(&jobs) {
                sent += batch.len();
                // The front door may send a batch in several flushes, and some of them may fail.
                let results = join_all(batch.iter().map(|job| self.handle.enqueue(job.clone(), timeout))).await;
                let BatchResult { receipts, mut remaining, first_error } = batch_result(batch, results);
                stored.extend(receipts);
                if let Some(error) = first_error {
                    remaining.extend_from_slice(&jobs[sent..]);
                    return Err(EnqueueAllError::new(stored, remaining, error));
                }
            }
            Ok(stored)
        }
        .boxed()
    }

    fn outcome(&self, id: JobId, timeout: Duration) -> BoxFuture<'_, Result<Outcome, OutcomeError>> {
        async move { self.waiter.wait_for_end(self.handle.name(), &id, timeout).await }.boxed()
    }
}

/// The result of a batch: some of its jobs may have no receipt.
struct BatchResult {
    receipts: Vec<Receipt>,
    remaining: Vec<NewJob>,
    first_error: Option<EnqueueError>,
}

/// Separates the receipts from the jobs without one. Receipts that come after an error are kept too.
fn batch_result(batch: &[NewJob], results: Vec<Result<Receipt, EnqueueError>>) -> BatchResult {
    let mut separated =
        BatchResult { receipts: Vec::with_capacity(batch.len()), remaining: Vec::new(), first_error: None };
    for (job, result) in batch.iter().zip(results) {
        match result {
            Ok(receipt) => separated.receipts.push(receipt),
            Err(error) => {
                separated.remaining.push(job.clone());
                separated.first_error.get_or_insert(error);
            }
        }
    }
    separated
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::job::{JobState, RunAt};
    use retraced_jobs::store::Enqueued;

    use super::*;

    #[test]
    fn a_batch_that_fails_in_part_keeps_every_receipt_and_only_the_jobs_without_one() {
        let queue = QueueName::new("q").unwrap();
        let ids: Vec<_> = (0..4).map(|n| JobId::parse(&format!("j-{n}")).unwrap()).collect();
        let job = |id: &JobId| NewJob { id: id.clone(), run_at: RunAt::Now, envelope: bytes::Bytes::new() };
        let batch: Vec<_> = ids.iter().map(job).collect();
        let created = Enqueued::Created { state: JobState::Pending };
        let receipt = |n: usize| Receipt::new(queue.clone(), ids[n].clone(), created);
        let full = EnqueueError::QueueFull { queue: queue.clone() };
        let results = vec![Ok(receipt(0)), Err(full), Ok(receipt(2)), Err(EnqueueError::StoreUnavailable)];
        let result = batch_result(&batch, results);
        assert_eq!(result.receipts, [receipt(0), receipt(2)]);
        assert_eq!(result.remaining, [batch[1].clone(), batch[3].clone()]);
        assert!(matches!(result.first_error, Some(EnqueueError::QueueFull { .. })));
    }
}
