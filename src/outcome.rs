//! Waiting until a job has ended.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::enqueue::{Outcome, OutcomeError};
use retraced_jobs::job::{JobId, QueueName};

use crate::limits::{OUTCOME_POLL_MAX, OUTCOME_POLL_MIN, OUTCOME_READ_TIMEOUT};
use crate::store_calls::{CallError, StoreCalls};

/// Waits until the job has ended, for up to `timeout`. An outage of the store is waited out.
pub(crate) async fn wait_for_end(
    calls: &StoreCalls,
    queue: &QueueName,
    id: &JobId,
    timeout: Duration,
) -> Result<Outcome, OutcomeError> {
    let mut state = None;
    let look_until_ended = async {
        let mut wait = OUTCOME_POLL_MIN;
        loop {
            let (queue, id) = (queue.clone(), id.clone());
            match calls.once(OUTCOME_READ_TIMEOUT, |store| async move { store.job(&queue, &id).await }).await {
                Ok(job) => match Outcome::of(job.as_ref()) {
                    Some(outcome) => return Ok(outcome),
                    None => state = job.map(|job| job.state),
                },
                Err(CallError::Refused(error)) => return Err(OutcomeError::Store { source: Arc::new(error) }),
                Err(CallError::RuntimeEnded) => return Err(OutcomeError::RuntimeEnded),
                Err(CallError::OutcomeUnknown(_) | CallError::NoReplaySlot) => {}
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(OUTCOME_POLL_MAX);
        }
    };
    let ended = tokio::time::timeout(timeout, look_until_ended).await;
    ended.unwrap_or(Err(OutcomeError::TimedOut { timeout, state }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::job::{JobState, NewJob, RunAt};
    use retraced_jobs::store::Store;
    use retraced_jobs::store::memory::MemoryStore;
    use tokio::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn id() -> JobId {
        JobId::parse("welcome-42").unwrap()
    }

    fn world() -> (StoreCalls, QueueName) {
        (StoreCalls::new(Arc::new(MemoryStore::new()), 4, None), QueueName::new("email").unwrap())
    }

    async fn enqueue(calls: &StoreCalls, queue: &QueueName) {
        let queue = queue.clone();
        let job = NewJob { id: id(), run_at: RunAt::Now, envelope: bytes::Bytes::from_static(b"letter") };
        let enqueue = move |store: Arc<dyn Store>, call| {
            let (queue, job) = (queue.clone(), job.clone());
            async move { store.enqueue(call, &queue, &[job]).await }
        };
        calls.call(TIMEOUT, enqueue).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_job_is_learned_at_most_a_poll_later() {
        let (calls, queue) = world();
        enqueue(&calls, &queue).await;
        let cancel = async {
            tokio::time::sleep(TIMEOUT / 2).await;
            let queue = queue.clone();
            let cancel = move |store: Arc<dyn Store>, call| {
                let queue = queue.clone();
                async move { store.cancel(call, &queue, &[id().into()]).await }
            };
            calls.call(TIMEOUT, cancel).await.unwrap();
            Instant::now()
        };
        let waiter = async {
            let outcome = wait_for_end(&calls, &queue, &id(), TIMEOUT).await.unwrap();
            (outcome, Instant::now())
        };
        let (cancelled_at, (outcome, learned_at)) = tokio::join!(cancel, waiter);
        assert_eq!(outcome, Outcome::Cancelled { error: None });
        assert!(learned_at - cancelled_at <= OUTCOME_POLL_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_has_not_ended_in_time_is_said_to_be_where_it_was_seen() {
        let (calls, queue) = world();
        enqueue(&calls, &queue).await;
        let late = wait_for_end(&calls, &queue, &id(), TIMEOUT).await;
        let Err(OutcomeError::TimedOut { timeout, state }) = late else { panic!("{late:?}") };
        assert_eq!((timeout, state), (TIMEOUT, Some(JobState::Pending)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_nobody_knows_is_not_kept() {
        let (calls, queue) = world();
        let outcome = wait_for_end(&calls, &queue, &id(), Duration::MAX).await.unwrap();
        assert_eq!(outcome, Outcome::NotKept);
    }
}
