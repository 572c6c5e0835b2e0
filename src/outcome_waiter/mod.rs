//! Waits until a job has ended. The job is read when a hint says that it has ended, and once per second in any case, because hints can be lost.

mod hints;

use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{CallError, StoreCalls};
use retraced_jobs::enqueue::{Outcome, OutcomeError};
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{Block, JobView, Store, StoreError};

use self::hints::{End, EndSubscriptions, Listener, PollReason};
use crate::limits::{OUTCOME_POLL_MAX, OUTCOME_POLL_MIN, OUTCOME_READ_TIMEOUT, OUTCOME_REGISTERED_WAIT};

/// Waits for the outcomes of jobs. Cheap to clone; clones share their subscriptions.
#[derive(Clone)]
pub(crate) struct OutcomeWaiter {
    calls: StoreCalls,
    subscriptions: EndSubscriptions,
}

impl OutcomeWaiter {
    pub(crate) fn new(calls: StoreCalls) -> Self {
        Self { calls, subscriptions: EndSubscriptions::default() }
    }

    /// Waits until the job has ended, for up to `timeout`. The wait also ends when the job is gone from the store, when the store refuses the read or a right is missing,
    /// and when the tokio runtime of the calls has ended. An outage of the store, or a block for another reason, does not end it.
    pub(crate) async fn wait_for_end(
        &self,
        queue: &QueueName,
        id: &JobId,
        timeout: Duration,
    ) -> Result<Outcome, OutcomeError> {
        let mut seen = None;
        let ended = tokio::time::timeout(timeout, self.poll_until_ended(queue, id, &mut seen)).await;
        ended.unwrap_or(Err(OutcomeError::TimedOut { timeout, state: seen }))
    }

    /// `seen` receives the state the job was last seen in.
    async fn poll_until_ended(
        &self,
        queue: &QueueName,
        id: &JobId,
        seen: &mut Option<JobState>,
    ) -> Result<Outcome, OutcomeError> {
        let mut listener = self.listen(queue);
        if let Some(listener) = &mut listener {
            // A job that ends before the subscription is live sends its hint to nobody.
            listener.wait_until_live(OUTCOME_POLL_MIN).await;
        }
        let (mut wait, mut hinted) = (OUTCOME_POLL_MIN, None);
        loop {
            let was_live = listener.as_ref().is_some_and(Listener::is_live);
            if was_live {
                wait = OUTCOME_POLL_MAX;
            }
            match self.poll(queue, id).await {
                Ok(job) => match Outcome::of(job.as_ref()) {
                    Some(Outcome::NotKept) => {
                        let hinted = hinted.or_else(|| listener.as_mut()?.end_of(id));
                        return outcome_of_gone(*seen, hinted);
                    }
                    Some(outcome) => return Ok(outcome),
                    // The job has not ended. A hint that it had ended was about an earlier run: the job was enqueued or redriven again.
                    None => (*seen, hinted) = (job.map(|job| job.state), None),
                },
                Err(error) => fail_unless_polling_helps(error)?,
            }
            match tokio::time::timeout(wait, next_poll_reason(&mut listener, id, was_live)).await {
                Ok(PollReason::Ended(end)) => hinted = Some(end),
                Ok(PollReason::Missed | PollReason::Live) | Err(_) => {}
            }
            wait = (wait * 2).min(OUTCOME_POLL_MAX);
        }
    }

    /// Reads the job once, and registers in the store that somebody waits for it.
    async fn poll(&self, queue: &QueueName, id: &JobId) -> Result<Option<JobView>, CallError> {
        let (queue, id) = (queue.clone(), id.clone());
        let watch =
            move |store: Arc<dyn Store>| async move { store.watch_outcome(&queue, &id, OUTCOME_REGISTERED_WAIT).await };
        self.calls.once_by(OUTCOME_READ_TIMEOUT, watch).await
    }

    /// Listens to the hints about a queue's jobs. `None` outside of a tokio runtime, and when there are too many subscriptions: the caller then has to poll.
    fn listen(&self, queue: &QueueName) -> Option<Listener> {
        self.subscriptions.listen(self.calls.store().clone(), queue, &self.calls.tokio()?)
    }
}

/// Fails if the wait is to end with this error: after a refusal, after a missing right, and when the runtime has ended. After any other block, an outage, or a call that was
/// not sent, the next poll may succeed.
///
/// A missing right and a refused login can both be mended at the server while this process runs. But a login is only a [`Block`] if it was accepted before: something has
/// changed and may change back. A right is often missing from the start, so the caller learns of it at once instead of waiting in vain.
fn fail_unless_polling_helps(error: CallError) -> Result<(), OutcomeError> {
    match error {
        CallError::Refused(error) | CallError::Blocked(error @ StoreError::Blocked { by: Block::Rights, .. }) => {
            Err(OutcomeError::Store { source: Arc::new(error) })
        }
        CallError::RuntimeEnded { .. } => Err(OutcomeError::RuntimeEnded),
        _ => Ok(()),
    }
}

/// The outcome of a job that is not in the store. The store remembers only for a while that such a job completed; an earlier hint may say how it ended.
fn outcome_of_gone(seen: Option<JobState>, hinted: Option<End>) -> Result<Outcome, OutcomeError> {
    match (seen, hinted) {
        (_, Some(End::Completed)) => Ok(Outcome::Completed { output: None }),
        // `None`: no poll has found the job. It was removed before, perhaps long ago, or was never there.
        (None, _) | (_, Some(End::Discarded)) => Ok(Outcome::NotKept),
        // `Kept`: the job was kept when it ended, so it was removed since.
        (Some(seen), Some(End::Kept) | None) => Err(OutcomeError::EndUnknown { seen }),
    }
}

/// Waits for a reason to poll again, as [`Listener::next`]. Without a listener it never returns, so the caller needs a timeout.
async fn next_poll_reason(listener: &mut Option<Listener>, id: &JobId, was_live: bool) -> PollReason {
    match listener {
        Some(listener) => listener.next(id, was_live).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt;
    use futures_util::stream::BoxStream;
    use retraced_jobs::job::{JobState, NewJob, RunAt};
    use retraced_jobs::store::memory::MemoryStore;
    use retraced_jobs::store::{CallId, ClaimRequest, Decorator, Hint, Settlement, StoreFuture, Verdict};
    use tokio::time::Instant;

    use crate::limits::{OUTCOME_SUBSCRIPTION_IDLE, OUTCOME_SUBSCRIPTIONS_MAX};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn id() -> JobId {
        JobId::parse("welcome-42").unwrap()
    }

    fn waiter_on(store: impl Store) -> OutcomeWaiter {
        OutcomeWaiter::new(StoreCalls::new(Arc::new(store), 4, None))
    }

    fn waiter_and_queue() -> (OutcomeWaiter, QueueName) {
        (waiter_on(MemoryStore::new()), QueueName::new("email").unwrap())
    }

    async fn enqueue(waiter: &OutcomeWaiter, queue: &QueueName) {
        let queue = queue.clone();
        let job = NewJob { id: id(), run_at: RunAt::Now, envelope: bytes::Bytes::from_static(b"letter") };
        let enqueue = move |store: Arc<dyn Store>, call| {
            let (queue, job) = (queue.clone(), job.clone());
            async move { store.enqueue(call, &queue, &[job]).await }
        };
        waiter.calls.until_known_by(TIMEOUT, enqueue).await.unwrap();
    }

    /// A store that never sends a hint.
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
    async fn with_hints_the_end_of_a_job_is_reported_at_once() {
        let (waiter, queue) = waiter_and_queue();
        assert_eq!(learned_after(&waiter, &queue).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn without_hints_the_end_of_a_job_is_reported_at_most_one_poll_later() {
        let waiter = waiter_on(Silent(MemoryStore::new()));
        let late = learned_after(&waiter, &waiter_and_queue().1).await;
        assert!(!late.is_zero() && late <= OUTCOME_POLL_MAX, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn listeners_of_a_queue_share_a_subscription_and_an_idle_one_is_replaced() {
        let (waiter, queue) = waiter_and_queue();
        let listeners: Vec<_> = (0..9).map(|_| waiter.listen(&queue)).collect();
        assert!(listeners.iter().all(Option::is_some));
        let others: Vec<QueueName> = (1..OUTCOME_SUBSCRIPTIONS_MAX).map(|n| format!("q{n}").parse().unwrap()).collect();
        let more: Vec<_> = others.iter().map(|queue| waiter.listen(queue)).collect();
        assert!(more.iter().all(Option::is_some));
        let one_more = "one-more".parse().unwrap();
        assert!(waiter.listen(&one_more).is_none(), "a listener of one queue too many has to poll");
        drop(listeners);
        assert!(waiter.listen(&one_more).is_some());
    }

    /// Enqueues a job, waits for its end, and cancels it meanwhile. Checks the outcome, and returns how long after the cancellation the waiter learned of it.
    async fn learned_after(waiter: &OutcomeWaiter, queue: &QueueName) -> Duration {
        enqueue(waiter, queue).await;
        let cancel = async {
            tokio::time::sleep(TIMEOUT / 2 + Duration::from_millis(1)).await;
            let queue = queue.clone();
            let cancel = move |store: Arc<dyn Store>, call| {
                let queue = queue.clone();
                async move { store.cancel(call, &queue, &"ada".into(), &[id().into()]).await }
            };
            waiter.calls.until_known_by(TIMEOUT, cancel).await.unwrap();
            Instant::now()
        };
        let learn = async {
            let outcome = waiter.wait_for_end(queue, &id(), TIMEOUT).await.unwrap();
            (outcome, Instant::now())
        };
        let (cancelled_at, (outcome, learned_at)) = tokio::join!(cancel, learn);
        assert_eq!(outcome, Outcome::Cancelled { error: None });
        learned_at - cancelled_at
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_times_out_returns_the_state_the_job_was_last_seen_in() {
        let (waiter, queue) = waiter_and_queue();
        enqueue(&waiter, &queue).await;
        let late = waiter.wait_for_end(&queue, &id(), TIMEOUT).await;
        let Err(OutcomeError::TimedOut { timeout, state }) = late else { panic!("{late:?}") };
        assert_eq!((timeout, state), (TIMEOUT, Some(JobState::Pending)));
    }

    /// A store whose user may not wait for outcomes.
    struct Forbidden(MemoryStore);

    impl Decorator for Forbidden {
        fn inner(&self) -> &dyn Store {
            &self.0
        }

        fn watch_outcome<'a>(
            &'a self,
            _: &'a QueueName,
            _: &'a JobId,
            _: Duration,
        ) -> StoreFuture<'a, Option<JobView>> {
            let (operation, said) = ("watch_outcome", "NOPERM".to_owned());
            Box::pin(async move { Err(StoreError::Blocked { operation, by: Block::Rights, said }) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_outcome_that_he_may_not_read() {
        let (waiter, queue) = (waiter_on(Forbidden(MemoryStore::new())), waiter_and_queue().1);
        let (begun, outcome) = (Instant::now(), waiter.wait_for_end(&queue, &id(), Duration::MAX).await);
        let Err(OutcomeError::Store { source }) = outcome else { panic!("{outcome:?}") };
        assert!(source.to_string().contains("a right is missing"), "{source}");
        assert!(begun.elapsed() < OUTCOME_POLL_MAX, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_job_is_reported_as_not_kept() {
        let (waiter, queue) = waiter_and_queue();
        let outcome = waiter.wait_for_end(&queue, &id(), Duration::MAX).await.unwrap();
        assert_eq!(outcome, Outcome::NotKept);
    }

    /// A store with given answers to the polls and given hints; it counts polls and subscriptions. The last answer is repeated.
    #[derive(Clone)]
    struct Scripted {
        memory: MemoryStore,
        answers: Arc<[Option<JobState>]>,
        polled: Arc<AtomicUsize>,
        subscribed: Arc<AtomicUsize>,
        hints: Arc<[Option<JobState>]>,
    }

    impl Scripted {
        fn new(answers: &[Option<JobState>], hints: &[Option<JobState>]) -> Self {
            let (polled, subscribed) = Default::default();
            Self { memory: MemoryStore::new(), answers: answers.into(), polled, subscribed, hints: hints.into() }
        }

        async fn outcome(&self) -> Result<Outcome, OutcomeError> {
            waiter_on(self.clone()).wait_for_end(&waiter_and_queue().1, &id(), TIMEOUT).await
        }
    }

    impl Decorator for Scripted {
        fn inner(&self) -> &dyn Store {
            &self.memory
        }

        fn watch_outcome<'a>(
            &'a self,
            queue: &'a QueueName,
            id: &'a JobId,
            _: Duration,
        ) -> StoreFuture<'a, Option<JobView>> {
            let n = self.polled.fetch_add(1, Ordering::Relaxed);
            let state = self.answers[n.min(self.answers.len() - 1)];
            Box::pin(async move { Ok(state.map(|state| JobView::new(queue.clone(), id.clone(), state))) })
        }

        fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
            self.subscribed.fetch_add(1, Ordering::Relaxed);
            let queue = queues[0].clone();
            let ended = move |state| Hint::Ended { queue: queue.clone(), id: id(), state };
            let hints: Vec<Hint> = self.hints.iter().copied().map(ended).collect();
            // Delayed, because a hint sent at once would come before the listener.
            let hints = futures_util::stream::iter(hints).then(|hint| async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                hint
            });
            Box::pin(async move { Ok(hints.chain(futures_util::stream::pending()).boxed()) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_completion_that_is_not_kept_is_reported_without_hints() {
        let (waiter, queue) = (waiter_on(Silent(MemoryStore::new())), waiter_and_queue().1);
        enqueue(&waiter, &queue).await;
        let complete = async {
            tokio::time::sleep(TIMEOUT / 2).await;
            let queue = queue.clone();
            let complete = move |store: Arc<dyn Store>, call: CallId| {
                let queue = queue.clone();
                async move {
                    let next = CallId { sequence: call.sequence + 1, ..call };
                    let request =
                        ClaimRequest { limit: 1, bytes_max: 1, lease: TIMEOUT, nonce: *b"8 random", numbered: false };
                    let job = store.claim(call, &queue, &request).await?.jobs.remove(0);
                    let verdict = Verdict::Complete { keep: false };
                    let end = [Settlement { id: job.id, token: job.token, verdict, record: Default::default() }];
                    store.settle(next, &queue, &end).await
                }
            };
            waiter.calls.until_known_by(TIMEOUT, complete).await.unwrap();
        };
        let id = id();
        let ((), outcome) = tokio::join!(complete, waiter.wait_for_end(&queue, &id, TIMEOUT));
        assert_eq!(outcome.unwrap(), Outcome::Completed { output: None });
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_was_seen_and_is_gone_has_an_unknown_end_unless_a_hint_says_it() {
        let there = Some(JobState::Processing);
        let gone = Scripted::new(&[there, None], &[]).outcome().await;
        assert!(matches!(gone, Err(OutcomeError::EndUnknown { seen: JobState::Processing })), "{gone:?}");
        let hinted = |state| async move { Scripted::new(&[there, None], &[state]).outcome().await };
        assert_eq!(hinted(Some(JobState::Completed)).await.unwrap(), Outcome::Completed { output: None });
        assert_eq!(hinted(None).await.unwrap(), Outcome::NotKept, "an operator discarded it");
        let trimmed = hinted(Some(JobState::Dead)).await;
        assert!(matches!(trimmed, Err(OutcomeError::EndUnknown { .. })), "{trimmed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_about_an_earlier_job_with_the_same_id_is_ignored() {
        let there = Some(JobState::Pending);
        let gone = Scripted::new(&[there, there, None], &[Some(JobState::Completed)]).outcome().await;
        assert!(matches!(gone, Err(OutcomeError::EndUnknown { .. })), "{gone:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn with_hints_a_waiter_polls_once_per_second() {
        let store = Scripted::new(&[Some(JobState::Pending)], &[]);
        let late = waiter_on(store.clone()).wait_for_end(&waiter_and_queue().1, &id(), OUTCOME_POLL_MAX * 10).await;
        assert!(matches!(late, Err(OutcomeError::TimedOut { .. })), "{late:?}");
        let polled = store.polled.load(Ordering::Relaxed);
        assert!((9..=11).contains(&polled), "{polled} polls in 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_in_quick_succession_share_a_subscription_and_an_idle_one_ends() {
        let store = Scripted::new(&[Some(JobState::Dead)], &[]);
        let (waiter, queue) = (waiter_on(store.clone()), waiter_and_queue().1);
        for _ in 0..9 {
            waiter.wait_for_end(&queue, &id(), TIMEOUT).await.unwrap();
            tokio::time::sleep(OUTCOME_SUBSCRIPTION_IDLE / 2).await;
        }
        assert_eq!(store.subscribed.load(Ordering::Relaxed), 1);
        tokio::time::sleep(OUTCOME_SUBSCRIPTION_IDLE * 2).await;
        waiter.wait_for_end(&queue, &id(), TIMEOUT).await.unwrap();
        assert_eq!(store.subscribed.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_subscription_whose_runtime_has_ended_is_replaced() {
        let (subscriptions, queue) = (EndSubscriptions::default(), waiter_and_queue().1);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let first = subscriptions.listen(store.clone(), &queue, other.handle()).unwrap();
        other.shutdown_background();
        first.forwarding_ended().await;
        let mut second = subscriptions.listen(store, &queue, &tokio::runtime::Handle::current()).unwrap();
        second.wait_until_live(TIMEOUT).await;
        assert!(second.is_live() && !first.is_live());
    }
}
