//! Confirms cancellations. A hint about one proves nothing: anybody who may publish can send it, and it may be about a job of another worker. So the lease of the
//! job is renewed at once, and the handler is asked to stop only if the store answers that its cancellation was requested.
//!
//! Bounds: one call at a time, [`CANCEL_HINTS_MAX`] hints that wait. A hint beyond that is dropped: the next renewal of the lease says the same.

use std::collections::HashSet;

use retraced_jobs::job::{JobId, QueueName};
use retraced_jobs::store::BATCH_MAX;
use tokio::sync::mpsc;

use super::lease_keeper::renew_leases;
use crate::context::RuntimeContext;
use crate::limits::{CANCEL_HINTS_MAX, RENEW_RETRY_DELAY_MAX};

/// Where hints about cancellations wait.
pub(super) struct CancelHints(mpsc::Sender<(QueueName, JobId)>);

/// A queue for hints, and its other end for [`confirm_all`].
pub(super) fn channel() -> (CancelHints, mpsc::Receiver<(QueueName, JobId)>) {
    let (hints, waiting) = mpsc::channel(CANCEL_HINTS_MAX);
    (CancelHints(hints), waiting)
}

impl CancelHints {
    /// Adds a hint, if this worker holds the job.
    pub(super) fn add(&self, runtime: &RuntimeContext, queue: QueueName, id: JobId) {
        if runtime.queue(&queue).is_some_and(|context| context.inflight.holds(&id)) {
            let _ = self.0.try_send((queue, id));
        }
    }
}

/// Confirms the cancellations that are hinted at, until the other end of the channel is dropped.
pub(super) async fn confirm_all(runtime: &RuntimeContext, mut waiting: mpsc::Receiver<(QueueName, JobId)>) {
    let mut hinted = Vec::new();
    while waiting.recv_many(&mut hinted, BATCH_MAX).await > 0 {
        let hinted: HashSet<_> = hinted.drain(..).collect();
        for queue in &runtime.queues {
            loop {
                let mut held = queue.inflight.leases(runtime.instance.get());
                held.retain(|(lease, _)| hinted.contains(&(queue.name.clone(), lease.id.clone())));
                if renew_leases(runtime, queue, &held).await || runtime.calls.health().has_ended() {
                    break;
                }
                runtime.calls.health().wait_until_up().await;
                tokio::time::sleep(RENEW_RETRY_DELAY_MAX).await;
            }
        }
    }
}
