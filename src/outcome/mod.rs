//! Waiting until a job has ended: by the store's hints, with a poll as the fallback.

mod hints;

use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{CallError, StoreCalls};
use retraced_jobs::enqueue::{Outcome, OutcomeError};
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::Store;
use retraced_jobs::trace::JobView;

use self::hints::{EndHints, Listener};
use crate::limits::{OUTCOME_POLL_MAX, OUTCOME_POLL_MIN, OUTCOME_READ_TIMEOUT};

/// The ends of jobs, for those who wait for them. Cheap to clone; clones share their subscriptions.
#[derive(Clone)]
pub(crate) struct Outcomes {
    calls: StoreCalls,
    hints: EndHints,
}

impl Outcomes {
    pub(crate) fn new(calls: StoreCalls) -> Self {
        Self { calls, hints: EndHints::default() }
    }

    /// Waits until the job has ended, for up to `timeout`. An outage of the store is waited out.
    pub(crate) async fn wait_for_end(
        &self,
        queue: &QueueName,
        id: &JobId,
        timeout: Duration,
    ) -> Result<Outcome, OutcomeError> {
        let mut seen = None;
        let ended = tokio::time::timeout(timeout, self.look_until_ended(queue, id, &mut seen)).await;
        ended.unwrap_or(Err(OutcomeError::TimedOut { timeout, state: seen }))
    }

    async fn look_until_ended(
        &self,
        queue: &QueueName,
        id: &JobId,
        seen: &mut Option<JobState>,
    ) -> Result<Outcome, OutcomeError> {
        let mut listener = self.listen(queue);
        let (mut wait, mut hinted) = (OUTCOME_POLL_MIN, None);
        loop {
            match self.look(queue, id, wait).await {
                Ok(job) => match Outcome::of(job.as_ref()) {
                    // Completed where completed jobs are not kept: the hint is the only sign of it.
                    Some(Outcome::NotKept) if hinted == Some(JobState::Completed) => {
                        return Ok(Outcome::Completed { output: None });
                    }
                    Some(outcome) => return Ok(outcome),
                    None => *seen = job.map(|job| job.state),
                },
                Err(CallError::Refused(error)) => return Err(OutcomeError::Store { source: Arc::new(error) }),
                Err(CallError::RuntimeEnded { .. }) => return Err(OutcomeError::RuntimeEnded),
                Err(_) => {}
            }
            if let Ok(state) = tokio::time::timeout(wait, end_of(&mut listener, id)).await {
                hinted = state;
            }
            wait = (wait * 2).min(OUTCOME_POLL_MAX);
        }
    }

    /// One look, which also asks for a hint until the next look is over.
    async fn look(&self, queue: &QueueName, id: &JobId, next_look: Duration) -> Result<Option<JobView>, CallError> {
        let (queue, id) = (queue.clone(), id.clone());
        let hints_for = next_look + OUTCOME_READ_TIMEOUT;
        let watch = move |store: Arc<dyn Store>| async move { store.watch_outcome(&queue, &id, hints_for).await };
        self.calls.call_once(OUTCOME_READ_TIMEOUT, watch).await
    }

    /// The ends of a queue's jobs, as the store hints at them; `None` when they have to be polled for.
    fn listen(&self, queue: &QueueName) -> Option<Listener> {
        self.hints.listen(self.calls.store().clone(), queue, &self.calls.runtime()?)
    }
}

async fn end_of(listener: &mut Option<Listener>, id: &JobId) -> Option<JobState> {
    match listener {
        Some(listener) => listener.end_of(id).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::StreamExt;
    use futures_util::stream::BoxStream;
    use retraced_jobs::job::{JobState, NewJob, RunAt};
    use retraced_jobs::store::memory::MemoryStore;
    use retraced_jobs::store::{Decorator, Hint, StoreFuture};
    use tokio::time::Instant;

    use crate::limits::OUTCOME_SUBSCRIPTIONS_MAX;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn id() -> JobId {
        JobId::parse("welcome-42").unwrap()
    }

    fn over(store: impl Store) -> Outcomes {
        Outcomes::new(StoreCalls::new(Arc::new(store), 4, None))
    }

    fn world() -> (Outcomes, QueueName) {
        (over(MemoryStore::new()), QueueName::new("email").unwrap())
    }

    async fn enqueue(outcomes: &Outcomes, queue: &QueueName) {
        let queue = queue.clone();
        let job = NewJob { id: id(), run_at: RunAt::Now, envelope: bytes::Bytes::from_static(b"letter") };
        let enqueue = move |store: Arc<dyn Store>, call| {
            let (queue, job) = (queue.clone(), job.clone());
            async move { store.enqueue(call, &queue, &[job]).await }
        };
        outcomes.calls.call(TIMEOUT, enqueue).await.unwrap();
    }

    /// A store without hints.
    struct Silent(MemoryStore);

    impl Decorator for Silent {
        fn inner(&self) -> &dyn Store {
            &self.0
        }

        fn hints(&self, _: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
            Box::pin(async { Ok(futures_util::stream::pending().boxed()) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_job_is_learned_by_a_hint() {
        let (outcomes, queue) = world();
        assert_eq!(learned_after(&outcomes, &queue).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn without_hints_the_end_of_a_job_is_learned_at_most_a_poll_later() {
        let outcomes = over(Silent(MemoryStore::new()));
        let late = learned_after(&outcomes, &world().1).await;
        assert!(!late.is_zero() && late <= OUTCOME_POLL_MAX, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_in_a_queue_share_a_subscription_that_ends_with_them() {
        let (outcomes, queue) = world();
        let listeners: Vec<_> = (0..9).map(|_| outcomes.listen(&queue)).collect();
        assert!(listeners.iter().all(Option::is_some));
        let others: Vec<QueueName> = (1..OUTCOME_SUBSCRIPTIONS_MAX).map(|n| format!("q{n}").parse().unwrap()).collect();
        let more: Vec<_> = others.iter().map(|queue| outcomes.listen(queue)).collect();
        assert!(more.iter().all(Option::is_some));
        let one_more = "one-more".parse().unwrap();
        assert!(outcomes.listen(&one_more).is_none(), "who comes too late polls");
        drop(listeners);
        assert!(outcomes.listen(&one_more).is_some());
    }

    /// How long after its end a job's waiter learns of it.
    async fn learned_after(outcomes: &Outcomes, queue: &QueueName) -> Duration {
        enqueue(outcomes, queue).await;
        let cancel = async {
            tokio::time::sleep(TIMEOUT / 2 + Duration::from_millis(1)).await;
            let queue = queue.clone();
            let cancel = move |store: Arc<dyn Store>, call| {
                let queue = queue.clone();
                async move { store.cancel(call, &queue, &[id().into()]).await }
            };
            outcomes.calls.call(TIMEOUT, cancel).await.unwrap();
            Instant::now()
        };
        let waiter = async {
            let outcome = outcomes.wait_for_end(queue, &id(), TIMEOUT).await.unwrap();
            (outcome, Instant::now())
        };
        let (cancelled_at, (outcome, learned_at)) = tokio::join!(cancel, waiter);
        assert_eq!(outcome, Outcome::Cancelled { error: None });
        learned_at - cancelled_at
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_has_not_ended_in_time_is_said_to_be_where_it_was_seen() {
        let (outcomes, queue) = world();
        enqueue(&outcomes, &queue).await;
        let late = outcomes.wait_for_end(&queue, &id(), TIMEOUT).await;
        let Err(OutcomeError::TimedOut { timeout, state }) = late else { panic!("{late:?}") };
        assert_eq!((timeout, state), (TIMEOUT, Some(JobState::Pending)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_nobody_knows_is_not_kept() {
        let (outcomes, queue) = world();
        let outcome = outcomes.wait_for_end(&queue, &id(), Duration::MAX).await.unwrap();
        assert_eq!(outcome, Outcome::NotKept);
    }
}
