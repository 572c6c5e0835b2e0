//! Batches the enqueues of a client to one queue, so that many jobs at once cost few round trips.
//!
//! A job that arrives while fewer than [`BATCHER_CALLS_MAX`] calls to the store are under way is sent at once, alone. Otherwise the job waits in a buffer. Buffered
//! jobs share the next calls, up to [`BATCH_MAX`] jobs per call. The buffer has the bounds of a front door: while [`FRONT_DOOR_JOBS_MAX`] jobs or
//! [`FRONT_DOOR_BYTES_MAX`] bytes wait, callers of further jobs wait for capacity until their timeout. Then they fail with [`EnqueueError::QueueFull`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use retraced_actors::limits::{DEADLINE_MAX, FLUSH_BYTES_MAX, FRONT_DOOR_BYTES_MAX, FRONT_DOOR_JOBS_MAX};
use retraced_actors::{CallError, StoreCalls};
use retraced_jobs::enqueue::{EnqueueAllError, EnqueueError, Outcome, OutcomeError, QueueProducer, Receipt};
use retraced_jobs::job::{JobId, NewJob, QueueName};
use retraced_jobs::store::{BATCH_MAX, Store, StoreError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::chunks::chunks;
use crate::limits::{ANNOUNCE_INTERVAL, ANNOUNCE_TIMEOUT, BATCHER_CALLS_MAX};
use crate::outcome_waiter::OutcomeWaiter;

/// Sends the jobs of one queue to the store, for all handles of that queue.
pub(crate) struct Batcher {
    calls: StoreCalls,
    queue: QueueName,
    /// When the queue was last added to the store's list of queues.
    announced_at: Mutex<Option<Instant>>,
    buffer: Mutex<Buffer>,
    /// Wakes the callers that wait for capacity, after a batch was taken from the buffer.
    taken: Notify,
}

/// Jobs that wait for the next call, and the number of calls under way.
#[derive(Default)]
struct Buffer {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    calls_under_way: usize,
}

struct Waiting {
    job: NewJob,
    /// When the caller's timeout passes.
    deadline: Instant,
    reply: oneshot::Sender<Result<Receipt, SendError>>,
}

/// Why jobs got no receipts. [`for_job`](SendError::for_job) turns this into the error for the caller of one job.
#[derive(Debug, Clone)]
enum SendError {
    QueueFull,
    TooManyCalls,
    Refused(Arc<StoreError>),
    /// The tokio runtime of the calls has ended.
    ClientEnded,
    OutcomeUnknown,
}

impl SendError {
    fn for_job(self, queue: &QueueName, id: &JobId, timeout: Duration) -> EnqueueError {
        match self {
            SendError::QueueFull => EnqueueError::QueueFull { queue: queue.clone() },
            SendError::Refused(source) => EnqueueError::Refused { source },
            SendError::TooManyCalls => EnqueueError::TooManyCalls { queue: queue.clone() },
            SendError::ClientEnded => EnqueueError::ClientEnded { queue: queue.clone() },
            SendError::OutcomeUnknown => EnqueueError::OutcomeUnknown { id: id.clone(), timeout },
        }
    }
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) | CallError::Blocked(error) => SendError::Refused(Arc::new(error)),
            CallError::NoReplaySlot => SendError::TooManyCalls,
            CallError::RuntimeEnded { begun: false } => SendError::ClientEnded,
            CallError::OutcomeUnknown(last) => {
                let reason = last.map(|error| error.to_string());
                tracing::debug!(target: "retraced", reason, "the outcome of an enqueue is unknown");
                SendError::OutcomeUnknown
            }
            _ => SendError::OutcomeUnknown,
        }
    }
}

impl Batcher {
    pub(crate) fn new(calls: StoreCalls, queue: QueueName) -> Arc<Self> {
        Arc::new(Self { calls, queue, announced_at: Mutex::default(), buffer: Mutex::default(), taken: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enqueues one job, alone or with others.
    pub(crate) async fn enqueue(self: &Arc<Self>, job: NewJob, timeout: Duration) -> Result<Receipt, EnqueueError> {
        let id = job.id.clone();
        let result = match self.admit(job, timeout) {
            Admission::Full(job) => Box::pin(self.enqueue_when_free(job, timeout)).await,
            admitted => self.enqueue_admitted(admitted, timeout).await,
        };
        result.map_err(|error| error.for_job(&self.queue, &id, timeout))
    }

    /// Enqueues a job as soon as the buffer has capacity for it.
    async fn enqueue_when_free(self: &Arc<Self>, mut job: NewJob, timeout: Duration) -> Result<Receipt, SendError> {
        let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
        loop {
            // Registered before the check, so that a batch taken after it is not missed.
            let mut taken = std::pin::pin!(self.taken.notified());
            taken.as_mut().enable();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.admit(job, left) {
                Admission::Full(refused) => job = refused,
                admitted => return self.enqueue_admitted(admitted, left).await,
            }
            tokio::time::timeout_at(deadline, taken).await.map_err(|_| SendError::QueueFull)?;
        }
    }

    async fn enqueue_admitted(&self, admission: Admission, timeout: Duration) -> Result<Receipt, SendError> {
        match admission {
            Admission::SendNow(job, permit) => {
                let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
                // Boxed, because a job that is buffered should not pay for the size of a call.
                let sent = Box::pin(self.send(Arc::new([job]), timeout)).await;
                // The jobs that were buffered meanwhile are sent now.
                drop(permit);
                if sent.is_ok() && self.must_announce() {
                    Box::pin(self.announce(deadline)).await;
                }
                sent.and_then(|receipts| receipts.into_iter().next().ok_or(SendError::OutcomeUnknown))
            }
            Admission::Buffered(reply) => match tokio::time::timeout(timeout, reply).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => Err(SendError::OutcomeUnknown),
            },
            Admission::Full(_) => Err(SendError::QueueFull),
        }
    }

    /// Enqueues many jobs in calls that carry no other jobs, each call with this timeout; one receipt per job, in order.
    pub(crate) async fn enqueue_all(
        &self,
        jobs: Vec<NewJob>,
        timeout: Duration,
    ) -> Result<Vec<Receipt>, EnqueueAllError> {
        let mut stored = Vec::with_capacity(jobs.len());
        for batch in chunks(&jobs) {
            let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
            match self.send(batch.into(), timeout).await {
                Ok(receipts) => {
                    stored.extend(receipts);
                    self.announce(deadline).await;
                }
                Err(error) => {
                    let error = error.for_job(&self.queue, &batch[0].id, timeout);
                    let remaining = jobs[stored.len()..].to_vec();
                    return Err(EnqueueAllError::new(stored, remaining, error));
                }
            }
        }
        Ok(stored)
    }

    fn admit(self: &Arc<Self>, job: NewJob, timeout: Duration) -> Admission {
        let mut buffer = self.lock();
        if buffer.calls_under_way < BATCHER_CALLS_MAX {
            buffer.calls_under_way += 1;
            let tokio = self.calls.tokio();
            return Admission::SendNow(job, DirectPermit { batcher: self.clone(), tokio });
        }
        if buffer.waiting.len() >= FRONT_DOOR_JOBS_MAX || buffer.bytes >= FRONT_DOOR_BYTES_MAX {
            return Admission::Full(job);
        }
        let (reply, receiver) = oneshot::channel();
        let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
        buffer.bytes += job.envelope.len();
        buffer.waiting.push_back(Waiting { job, deadline, reply });
        Admission::Buffered(receiver)
    }

    /// Makes one call, sent again until its outcome is known or the timeout has passed.
    async fn send(&self, jobs: Arc<[NewJob]>, timeout: Duration) -> Result<Vec<Receipt>, SendError> {
        let (queue, sent) = (self.queue.clone(), jobs.clone());
        let enqueue = move |store: Arc<dyn Store>, call| {
            let (queue, jobs) = (queue.clone(), sent.clone());
            async move { store.enqueue(call, &queue, &jobs).await }
        };
        let results = self.calls.until_known_by(timeout, enqueue).await?;
        let receipt = |(job, result): (&NewJob, _)| Receipt::new(self.queue.clone(), job.id.clone(), result);
        Ok(jobs.iter().zip(results).map(receipt).collect())
    }

    /// Whether the queue has not been announced yet, or [`ANNOUNCE_INTERVAL`] ago: it may have been deleted meanwhile, or the store may have lost its data.
    fn must_announce(&self) -> bool {
        self.announced_at().is_none_or(|at| at.elapsed() >= ANNOUNCE_INTERVAL)
    }

    /// Adds the queue to the store's list of queues, if that is due, so that operators see a queue that has no worker yet. A caller waits for it, because the process may end
    /// with the receipt, but not beyond its own deadline. After a failure the next call announces again.
    async fn announce(&self, deadline: Instant) {
        if !self.must_announce() {
            return;
        }
        let timeout = deadline.saturating_duration_since(Instant::now()).min(ANNOUNCE_TIMEOUT);
        let queue = self.queue.clone();
        let announce = |store: Arc<dyn Store>| async move { store.announce(&[queue]).await };
        if self.calls.once_by(timeout, announce).await.is_ok() {
            *self.announced_at() = Some(Instant::now());
        }
    }

    fn announced_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.announced_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the buffered jobs until none are left.
    async fn send_buffered(self: Arc<Self>, mut permit: SenderPermit) {
        while let Some(batch) = self.next_batch(&mut permit) {
            self.send_batch(batch).await;
        }
    }

    /// The next jobs whose callers still wait. When there are none, the permit is released under the same lock, so that the next job to arrive is sent at once.
    fn next_batch(&self, permit: &mut SenderPermit) -> Option<Vec<Waiting>> {
        let mut buffer = self.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_MAX && (batch.is_empty() || bytes < FLUSH_BYTES_MAX) {
            let Some(next) = buffer.waiting.pop_front() else { break };
            buffer.bytes = buffer.bytes.saturating_sub(next.job.envelope.len());
            if !next.reply.is_closed() {
                bytes += next.job.envelope.len();
                batch.push(next);
            }
        }
        self.taken.notify_waiters();
        if batch.is_empty() {
            buffer.calls_under_way -= 1;
            permit.released = true;
            return None;
        }
        Some(batch)
    }

    async fn send_batch(&self, batch: Vec<Waiting>) {
        let deadline = batch.iter().map(|waiting| waiting.deadline).max().unwrap_or_else(Instant::now);
        let (jobs, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.job, waiting.reply)).unzip();
        match self.send(jobs.into(), deadline.saturating_duration_since(Instant::now())).await {
            Ok(receipts) => {
                // The receipts come first: nobody who waits for one should wait for the announcement.
                replies.into_iter().zip(receipts).for_each(|(reply, receipt)| drop(reply.send(Ok(receipt))));
                self.announce(Instant::now() + ANNOUNCE_TIMEOUT).await;
            }
            Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
        }
    }
}

/// What happens to a job that arrives.
enum Admission {
    SendNow(NewJob, DirectPermit),
    Buffered(oneshot::Receiver<Result<Receipt, SendError>>),
    Full(NewJob),
}

/// The right of a caller to one of the [`BATCHER_CALLS_MAX`] calls under way, for its own job. When it is dropped, because the call has ended or the caller has dropped
/// it, the right goes to a task that sends the jobs that were buffered meanwhile.
struct DirectPermit {
    batcher: Arc<Batcher>,
    /// The tokio runtime that sends the buffered jobs: a `DirectPermit` may be dropped outside of any runtime.
    tokio: Option<Handle>,
}

impl Drop for DirectPermit {
    fn drop(&mut self) {
        let any_waiting = {
            let mut buffer = self.batcher.lock();
            let any_waiting = !buffer.waiting.is_empty();
            if !any_waiting {
                buffer.calls_under_way -= 1;
            }
            any_waiting
        };
        if any_waiting {
            let permit = SenderPermit { batcher: self.batcher.clone(), released: false };
            // Without a runtime, or on one that has ended, the permit is dropped here, so one call fewer is under way: the buffered jobs are sent after the next direct call.
            if let Some(tokio) = &self.tokio {
                tokio.spawn(self.batcher.clone().send_buffered(permit));
            }
        }
    }
}

/// The right of the task that sends buffered jobs, taken over from a [`DirectPermit`].
struct SenderPermit {
    batcher: Arc<Batcher>,
    released: bool,
}

impl Drop for SenderPermit {
    fn drop(&mut self) {
        if !self.released {
            self.batcher.lock().calls_under_way -= 1;
        }
    }
}

/// What a [`QueueHandle`](crate::QueueHandle) of a client uses: the batcher of its queue, and the waiter for outcomes.
pub(crate) struct BatchedProducer {
    pub(crate) batcher: Arc<Batcher>,
    pub(crate) waiter: OutcomeWaiter,
}

impl QueueProducer for BatchedProducer {
    fn name(&self) -> &QueueName {
        &self.batcher.queue
    }

    fn enqueue(&self, job: NewJob, timeout: Duration) -> BoxFuture<'_, Result<Receipt, EnqueueError>> {
        self.batcher.enqueue(job, timeout).boxed()
    }

    fn enqueue_all(
        &self,
        jobs: Vec<NewJob>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<Receipt>, EnqueueAllError>> {
        self.batcher.enqueue_all(jobs, timeout).boxed()
    }

    fn outcome(&self, id: JobId, timeout: Duration) -> BoxFuture<'_, Result<Outcome, OutcomeError>> {
        async move { self.waiter.wait_for_end(&self.batcher.queue, &id, timeout).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;

    use retraced_jobs::job::{JobState, RunAt};
    use retraced_jobs::store::memory::MemoryStore;
    use retraced_jobs::store::{Admin, CallId, Decorator, Enqueued, Ledger, StoreFuture, Transitions};
    use tokio::sync::Semaphore;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    /// A store that records the size of each enqueue call and holds the call until the test adds a permit.
    struct Gate {
        inner: MemoryStore,
        permits: Semaphore,
        calls: Mutex<Vec<usize>>,
        /// Whether announcements are never answered.
        is_deaf: AtomicBool,
    }

    impl Decorator for Gate {
        fn inner(&self) -> &dyn Store {
            &self.inner
        }

        fn enqueue<'a>(
            &'a self,
            call: CallId,
            queue: &'a QueueName,
            jobs: &'a [NewJob],
        ) -> StoreFuture<'a, Vec<Enqueued>> {
            self.calls.lock().unwrap().push(jobs.len());
            Box::pin(async move {
                self.permits.acquire().await.unwrap().forget();
                self.inner.enqueue(call, queue, jobs).await
            })
        }

        fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
            match self.is_deaf.load(SeqCst) {
                true => Box::pin(std::future::pending()),
                false => self.inner.announce(queues),
            }
        }
    }

    struct Fixture {
        gate: Arc<Gate>,
        batcher: Arc<Batcher>,
        callers: JoinSet<(u128, Result<Receipt, EnqueueError>)>,
    }

    impl Fixture {
        fn new() -> Self {
            let gate = Arc::new(Gate {
                inner: MemoryStore::new(),
                permits: Semaphore::new(0),
                calls: Mutex::default(),
                is_deaf: AtomicBool::new(false),
            });
            let batcher = Batcher::new(StoreCalls::new(gate.clone(), 4, None), QueueName::new("q").unwrap());
            Self { gate, batcher, callers: JoinSet::new() }
        }

        /// Enqueues these jobs at the same time, and lets each caller run until it waits.
        async fn enqueue(&mut self, numbers: std::ops::Range<u128>) {
            for number in numbers {
                let batcher = self.batcher.clone();
                self.callers.spawn(async move { (number, batcher.enqueue(new_job(number), TIMEOUT).await) });
            }
            for _ in 0..10 {
                yield_now().await;
            }
        }

        fn calls(&self) -> Vec<usize> {
            self.gate.calls.lock().unwrap().clone()
        }

        async fn pending(&self) -> usize {
            let queue = QueueName::new("q").unwrap();
            self.gate.inner.jobs(&queue, JobState::Pending, None, BATCH_MAX).await.unwrap().jobs.len()
        }
    }

    fn id(number: u128) -> JobId {
        JobId::parse(&format!("job-{number}")).unwrap()
    }

    fn new_job(number: u128) -> NewJob {
        NewJob { id: id(number), run_at: RunAt::Now, envelope: bytes::Bytes::from_static(b"letter") }
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_that_arrive_while_calls_are_under_way_share_the_next_call() {
        let mut fixture = Fixture::new();
        fixture.enqueue(0..50).await;
        assert_eq!(fixture.calls(), [1, 1], "the first two are sent at once");
        fixture.gate.permits.add_permits(1);
        fixture.enqueue(50..60).await;
        assert_eq!(fixture.calls(), [1, 1, 58]);
        fixture.gate.permits.add_permits(10);
        while let Some(caller) = fixture.callers.join_next().await {
            let (number, receipt) = caller.unwrap();
            let receipt = receipt.unwrap();
            assert_eq!((receipt.id, receipt.created, receipt.state), (id(number), true, JobState::Pending));
        }
        assert_eq!((fixture.calls().len(), fixture.pending().await), (3, 60));
        fixture.enqueue(60..61).await;
        assert_eq!(fixture.calls(), [1, 1, 58, 1], "all calls have ended, so the job is sent at once");
    }

    /// Goal: no caller waits beyond its timeout for the announcement of its queue, and no receipt is lost to it. Method: announcements are not answered, and each enqueue
    /// takes most of its timeout; two jobs are sent at once, a third is buffered.
    #[tokio::test(start_paused = true)]
    async fn no_receipt_is_late_or_lost_because_the_queue_is_not_announced() {
        let mut fixture = Fixture::new();
        fixture.gate.is_deaf.store(true, SeqCst);
        let begun = Instant::now();
        fixture.enqueue(0..2).await;
        tokio::time::sleep(TIMEOUT / 4).await;
        fixture.enqueue(2..3).await;
        tokio::time::sleep(TIMEOUT / 2).await;
        fixture.gate.permits.add_permits(10);
        while let Some(caller) = fixture.callers.join_next().await {
            let (number, receipt) = caller.unwrap();
            assert!(
                receipt.is_ok() && begun.elapsed() <= TIMEOUT * 5 / 4,
                "{number}: {receipt:?} after {:?}",
                begun.elapsed()
            );
        }
        assert_eq!(fixture.calls(), [1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_may_wait_for_ever_directly_and_in_the_buffer() {
        let fixture = Fixture::new();
        let enqueues = (0..5).map(|number| fixture.batcher.enqueue(new_job(number), Duration::MAX));
        let (receipts, ()) = tokio::join!(futures_util::future::join_all(enqueues), async {
            yield_now().await;
            fixture.gate.permits.add_permits(10);
        });
        assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
        assert_eq!(fixture.calls(), [1, 1, 3]);
    }

    /// Allocators serve blocks of up to 1 KiB from a cache of the thread. A buffered job that paid for the future of a whole call cost its producer 14 % more instructions.
    #[test]
    fn the_future_of_an_enqueue_is_small() {
        let fixture = Fixture::new();
        let size = size_of_val(&fixture.batcher.enqueue(new_job(1), TIMEOUT));
        assert!(size <= 1_024, "{size} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_carries_at_most_batch_max_jobs() {
        let mut fixture = Fixture::new();
        fixture.enqueue(0..2 * (BATCH_MAX as u128 + 1) + 9).await;
        fixture.gate.permits.add_permits(10);
        while fixture.callers.join_next().await.is_some() {}
        assert_eq!(fixture.calls(), [1, 1, BATCH_MAX, BATCH_MAX, 9]);
    }

    /// The buffer is filled by its bytes, which takes few jobs.
    #[tokio::test(start_paused = true)]
    async fn a_job_that_finds_the_buffer_full_is_never_refused_before_its_timeout() {
        let fixture = Fixture::new();
        let large = |number| NewJob { envelope: vec![0; FRONT_DOOR_BYTES_MAX / 2].into(), ..new_job(number) };
        let enqueue = |job, timeout| {
            let batcher = fixture.batcher.clone();
            let begun = Instant::now();
            tokio::spawn(async move { (batcher.enqueue(job, timeout).await, begun.elapsed()) })
        };
        let filling: Vec<_> = (0..4).map(|number| enqueue(large(number), 4 * TIMEOUT)).collect();
        for _ in 0..10 {
            yield_now().await;
        }
        let (impatient, patient) = (enqueue(new_job(4), TIMEOUT), enqueue(new_job(5), 4 * TIMEOUT));
        let (refused, waited) = impatient.await.unwrap();
        assert!(matches!(refused, Err(EnqueueError::QueueFull { .. })), "{refused:?}");
        assert!(waited >= TIMEOUT && waited < 2 * TIMEOUT, "{waited:?}");
        fixture.gate.permits.add_permits(10);
        assert!(patient.await.unwrap().0.unwrap().created);
        for filled in filling {
            assert!(filled.await.unwrap().0.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_direct_caller_leaves_buffered_jobs_are_sent_except_those_whose_callers_left() {
        let mut fixture = Fixture::new();
        fixture.enqueue(0..2).await;
        let direct = std::mem::take(&mut fixture.callers);
        fixture.enqueue(2..3).await;
        let buffered = std::mem::take(&mut fixture.callers);
        fixture.enqueue(3..5).await;
        drop(buffered);
        drop(direct);
        fixture.gate.permits.add_permits(1);
        while let Some(caller) = fixture.callers.join_next().await {
            assert!(caller.unwrap().1.is_ok());
        }
        assert_eq!((fixture.calls(), fixture.pending().await), (vec![1, 1, 2], 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_leaves_every_outcome_unknown_and_the_next_caller_is_served() {
        let mut fixture = Fixture::new();
        fixture.enqueue(0..3).await;
        while let Some(caller) = fixture.callers.join_next().await {
            let (number, receipt) = caller.unwrap();
            let Err(EnqueueError::OutcomeUnknown { id: unknown, timeout }) = receipt else { panic!("{receipt:?}") };
            assert_eq!((unknown, timeout), (id(number), TIMEOUT));
        }
        fixture.gate.permits.add_permits(10);
        fixture.enqueue(3..4).await;
        assert!(fixture.callers.join_next().await.unwrap().unwrap().1.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bulk_enqueue_that_fails_returns_what_is_stored_and_what_remains() {
        let fixture = Fixture::new();
        fixture.gate.permits.add_permits(2);
        let jobs: Vec<_> = (0..2 * BATCH_MAX as u128 + 9).map(new_job).collect();
        let failed = fixture.batcher.enqueue_all(jobs, TIMEOUT).await.unwrap_err();
        assert_eq!((failed.stored.len(), failed.remaining.len()), (2 * BATCH_MAX, 9));
        assert!(
            matches!(&failed.error, EnqueueError::OutcomeUnknown { id: first, .. } if *first == id(2 * BATCH_MAX as u128))
        );
        assert_eq!(failed.stored[0].id, id(0));
        fixture.gate.permits.add_permits(1);
        assert_eq!(fixture.batcher.enqueue_all(failed.remaining, TIMEOUT).await.unwrap().len(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bulk_enqueue_of_large_jobs_is_split_into_calls_of_bounded_bytes() {
        let fixture = Fixture::new();
        fixture.gate.permits.add_permits(10);
        let large = |number| NewJob { envelope: vec![0; FLUSH_BYTES_MAX / 2].into(), ..new_job(number) };
        assert_eq!(fixture.batcher.enqueue_all((0..5).map(large).collect(), TIMEOUT).await.unwrap().len(), 5);
        assert_eq!(fixture.calls(), [2, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_enqueue_that_gets_no_replay_slot_says_that_nothing_was_stored() {
        let fixture = Fixture::new();
        let mut callers = JoinSet::new();
        for number in 0..6 {
            let queue = QueueName::new(format!("q-{number}")).unwrap();
            let batcher = Batcher::new(fixture.batcher.calls.clone(), queue);
            let timeout = if number < 4 { TIMEOUT } else { TIMEOUT / 2 };
            callers.spawn(async move { batcher.enqueue(new_job(number), timeout).await.unwrap_err() });
        }
        let errors = callers.join_all().await;
        let refused = errors.iter().filter(|error| matches!(error, EnqueueError::TooManyCalls { .. })).count();
        assert_eq!((refused, fixture.calls().len()), (2, 4), "{errors:?}");
        assert!(errors.iter().all(EnqueueError::is_retryable), "{errors:?}");
    }

    #[test]
    fn an_enqueue_after_the_runtime_of_the_calls_has_ended_is_refused_and_not_retryable() {
        let ended = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let calls = StoreCalls::new(Arc::new(MemoryStore::new()), 4, Some(ended.handle().clone()));
        let batcher = Batcher::new(calls, QueueName::new("q").unwrap());
        drop(ended);
        let callers = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = callers.block_on(batcher.enqueue(new_job(1), TIMEOUT)).unwrap_err();
        assert!(matches!(error, EnqueueError::ClientEnded { .. }) && !error.is_retryable(), "{error:?}");
    }

    #[test]
    fn jobs_left_in_the_buffer_by_a_runtime_that_ended_do_not_block_the_next_job() {
        let mut fixture = Fixture::new();
        let first = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        first.block_on(fixture.enqueue(0..3));
        drop(std::mem::take(&mut fixture.callers));
        drop(first);
        fixture.gate.permits.add_permits(10);
        let second = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        second.block_on(async {
            let receipt = tokio::time::timeout(TIMEOUT, fixture.batcher.enqueue(new_job(9), TIMEOUT)).await.unwrap();
            assert!(receipt.unwrap().created);
        });
    }
}
