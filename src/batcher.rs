//! A client's calls to one queue: jobs that arrive while calls are under way share the next one, so that many at once cost few round trips.
//!
//! A job that arrives while fewer than [`BATCHER_CALLS_MAX`] calls are under way is sent at once, alone. Bounds: [`BATCHER_CALLS_MAX`] calls; while
//! [`FRONT_DOOR_JOBS_MAX`] jobs or [`FRONT_DOOR_BYTES_MAX`] bytes wait, further ones are answered [`EnqueueError::QueueFull`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use retraced_actors::limits::{FLUSH_BYTES_MAX, FRONT_DOOR_BYTES_MAX, FRONT_DOOR_JOBS_MAX};
use retraced_actors::{CallError, StoreCalls};
use retraced_jobs::enqueue::{EnqueueAllError, EnqueueError, Outcome, OutcomeError, QueueProducer, Receipt};
use retraced_jobs::job::{JobId, NewJob, QueueName};
use retraced_jobs::store::{BATCH_MAX, Store, StoreError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::chunks::chunks;
use crate::limits::BATCHER_CALLS_MAX;
use crate::outcome::Outcomes;

/// The calls to one queue. It outlives each of them.
pub(crate) struct Batcher {
    calls: StoreCalls,
    queue: QueueName,
    /// Whether operators know of this queue by now; until then each call announces it again.
    announced: AtomicBool,
    buffer: Mutex<Buffer>,
}

/// Jobs that wait for the next call.
#[derive(Default)]
struct Buffer {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    calls_under_way: usize,
}

struct Waiting {
    job: NewJob,
    /// When nobody waits any more.
    until: Instant,
    reply: oneshot::Sender<Result<Receipt, SendError>>,
}

/// Why a call brought no receipts; each of its jobs gets its own error from it.
#[derive(Debug, Clone)]
enum SendError {
    QueueFull,
    Refused(Arc<StoreError>),
    RuntimeEnded,
    OutcomeUnknown,
}

impl SendError {
    fn for_job(self, queue: &QueueName, id: &JobId, timeout: Duration) -> EnqueueError {
        match self {
            SendError::QueueFull => EnqueueError::QueueFull { queue: queue.clone() },
            SendError::Refused(source) => EnqueueError::Refused { source },
            SendError::RuntimeEnded => EnqueueError::ShuttingDown { queue: queue.clone() },
            SendError::OutcomeUnknown => EnqueueError::OutcomeUnknown { id: id.clone(), timeout },
        }
    }
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(error) => SendError::Refused(Arc::new(error)),
            CallError::NoReplaySlot => SendError::QueueFull,
            CallError::RuntimeEnded { begun: false } => SendError::RuntimeEnded,
            CallError::OutcomeUnknown(last) => {
                tracing::debug!(target: "retraced", "the outcome of an enqueue is unknown: {last:?}");
                SendError::OutcomeUnknown
            }
            _ => SendError::OutcomeUnknown,
        }
    }
}

impl Batcher {
    pub(crate) fn new(calls: StoreCalls, queue: QueueName) -> Arc<Self> {
        Arc::new(Self { calls, queue, announced: AtomicBool::new(false), buffer: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enqueues one job, alone or with others.
    pub(crate) async fn enqueue(self: &Arc<Self>, job: NewJob, timeout: Duration) -> Result<Receipt, EnqueueError> {
        let id = job.id.clone();
        let result = match self.admit(job, timeout) {
            Admission::SendNow(job, call) => {
                let sent = self.send(Arc::new([job]), timeout).await;
                drop(call);
                sent.and_then(|receipts| receipts.into_iter().next().ok_or(SendError::OutcomeUnknown))
            }
            Admission::Buffered(reply) => match tokio::time::timeout(timeout, reply).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => Err(SendError::OutcomeUnknown),
            },
            Admission::Full => Err(SendError::QueueFull),
        };
        result.map_err(|error| error.for_job(&self.queue, &id, timeout))
    }

    /// Enqueues many, in calls of their own; one receipt per job, in order.
    pub(crate) async fn enqueue_all(
        &self,
        jobs: Vec<NewJob>,
        timeout: Duration,
    ) -> Result<Vec<Receipt>, EnqueueAllError> {
        let mut stored = Vec::with_capacity(jobs.len());
        for batch in chunks(&jobs) {
            match self.send(batch.into(), timeout).await {
                Ok(receipts) => stored.extend(receipts),
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
            let runtime = self.calls.runtime();
            return Admission::SendNow(job, DirectCall { batcher: self.clone(), runtime });
        }
        if buffer.waiting.len() >= FRONT_DOOR_JOBS_MAX || buffer.bytes >= FRONT_DOOR_BYTES_MAX {
            return Admission::Full;
        }
        let (reply, receiver) = oneshot::channel();
        buffer.bytes += job.envelope.len();
        buffer.waiting.push_back(Waiting { job, until: Instant::now() + timeout, reply });
        Admission::Buffered(receiver)
    }

    /// One call, sent again until its outcome is known or the timeout is over.
    async fn send(&self, jobs: Arc<[NewJob]>, timeout: Duration) -> Result<Vec<Receipt>, SendError> {
        let (queue, sent) = (self.queue.clone(), jobs.clone());
        let enqueue = move |store: Arc<dyn Store>, call| {
            let (queue, jobs) = (queue.clone(), sent.clone());
            async move { store.enqueue(call, &queue, &jobs).await }
        };
        let (results, ()) = tokio::join!(self.calls.call(timeout, enqueue), self.announce(timeout));
        let receipt = |(job, result): (&NewJob, _)| Receipt::new(self.queue.clone(), job.id.clone(), result);
        Ok(jobs.iter().zip(results?).map(receipt).collect())
    }

    /// Makes the queue known to operators, who would not see one that has no worker yet. What fails is done again with the next call.
    async fn announce(&self, timeout: Duration) {
        if self.announced.load(Ordering::Relaxed) {
            return;
        }
        let queue = self.queue.clone();
        let announce = |store: Arc<dyn Store>| async move { store.announce(&[queue]).await };
        if self.calls.call_once(timeout, announce).await.is_ok() {
            self.announced.store(true, Ordering::Relaxed);
        }
    }

    /// Sends what is buffered, until nothing is left.
    async fn send_buffered(self: Arc<Self>, mut permit: CallPermit) {
        while let Some(batch) = self.next_batch(&mut permit) {
            self.send_batch(batch).await;
        }
    }

    /// The next jobs for which somebody still waits; the permit is released under the same lock that finds none.
    fn next_batch(&self, permit: &mut CallPermit) -> Option<Vec<Waiting>> {
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
        if batch.is_empty() {
            buffer.calls_under_way -= 1;
            permit.released = true;
            return None;
        }
        Some(batch)
    }

    async fn send_batch(&self, batch: Vec<Waiting>) {
        let until = batch.iter().map(|waiting| waiting.until).max().unwrap_or_else(Instant::now);
        let (jobs, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.job, waiting.reply)).unzip();
        match self.send(jobs.into(), until.saturating_duration_since(Instant::now())).await {
            Ok(receipts) => {
                replies.into_iter().zip(receipts).for_each(|(reply, receipt)| drop(reply.send(Ok(receipt))))
            }
            Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
        }
    }
}

/// What becomes of a job that arrives.
enum Admission {
    SendNow(NewJob, DirectCall),
    Buffered(oneshot::Receiver<Result<Receipt, SendError>>),
    Full,
}

/// A call that one producer makes itself. However it ends, jobs that were buffered meanwhile are sent with its permit.
struct DirectCall {
    batcher: Arc<Batcher>,
    /// Where they are sent: whoever drops this may be outside of any runtime.
    runtime: Option<Handle>,
}

impl Drop for DirectCall {
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
            let permit = CallPermit { batcher: self.batcher.clone(), released: false };
            // Without a runtime, or in one that ends, it is released at once; the next job to arrive then sends those that wait.
            if let Some(runtime) = &self.runtime {
                runtime.spawn(self.batcher.clone().send_buffered(permit));
            }
        }
    }
}

/// The right to have one of the calls under way.
struct CallPermit {
    batcher: Arc<Batcher>,
    released: bool,
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        if !self.released {
            self.batcher.lock().calls_under_way -= 1;
        }
    }
}

/// A client's queue, as its producers reach it.
pub(crate) struct BatchedProducer {
    pub(crate) batcher: Arc<Batcher>,
    pub(crate) outcomes: Outcomes,
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
        async move { self.outcomes.wait_for_end(&self.batcher.queue, &id, timeout).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::job::{JobState, RunAt};
    use retraced_jobs::store::memory::MemoryStore;
    use retraced_jobs::store::{Admin, CallId, Decorator, Enqueued, StoreFuture, Transitions};
    use tokio::sync::Semaphore;
    use tokio::task::{JoinSet, yield_now};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    /// Notes the size of each call, and lets it through when it is told to.
    struct Gate {
        inner: MemoryStore,
        open: Semaphore,
        calls: Mutex<Vec<usize>>,
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
                self.open.acquire().await.unwrap().forget();
                self.inner.enqueue(call, queue, jobs).await
            })
        }
    }

    struct World {
        gate: Arc<Gate>,
        batcher: Arc<Batcher>,
        callers: JoinSet<(u128, Result<Receipt, EnqueueError>)>,
    }

    impl World {
        fn new() -> Self {
            let gate = Gate { inner: MemoryStore::new(), open: Semaphore::new(0), calls: Mutex::default() };
            let gate = Arc::new(gate);
            let batcher = Batcher::new(StoreCalls::new(gate.clone(), 4, None), QueueName::new("q").unwrap());
            Self { gate, batcher, callers: JoinSet::new() }
        }

        /// Calls at the same time, until each has come as far as it can.
        async fn enqueue(&mut self, numbers: std::ops::Range<u128>) {
            for number in numbers {
                let batcher = self.batcher.clone();
                self.callers.spawn(async move { (number, batcher.enqueue(new(number), TIMEOUT).await) });
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

    fn new(number: u128) -> NewJob {
        NewJob { id: id(number), run_at: RunAt::Now, envelope: bytes::Bytes::from_static(b"letter") }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_a_call_is_under_way_shares_the_next_one() {
        let mut world = World::new();
        world.enqueue(0..50).await;
        assert_eq!(world.calls(), [1, 1], "the first two wait for nobody");
        world.gate.open.add_permits(1);
        world.enqueue(50..60).await;
        assert_eq!(world.calls(), [1, 1, 58]);
        world.gate.open.add_permits(10);
        while let Some(caller) = world.callers.join_next().await {
            let (number, receipt) = caller.unwrap();
            let receipt = receipt.unwrap();
            assert_eq!((receipt.id, receipt.created, receipt.state), (id(number), true, JobState::Pending));
        }
        assert_eq!((world.calls().len(), world.pending().await), (3, 60));
        world.enqueue(60..61).await;
        assert_eq!(world.calls(), [1, 1, 58, 1], "nothing is left under way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_carries_what_a_store_takes_and_no_more() {
        let mut world = World::new();
        world.enqueue(0..2 * (BATCH_MAX as u128 + 1) + 9).await;
        world.gate.open.add_permits(10);
        while world.callers.join_next().await.is_some() {}
        assert_eq!(world.calls(), [1, 1, BATCH_MAX, BATCH_MAX, 9]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_hands_its_place_on_and_one_that_left_is_not_served() {
        let mut world = World::new();
        world.enqueue(0..2).await;
        let alone = std::mem::take(&mut world.callers);
        world.enqueue(2..3).await;
        let left = std::mem::take(&mut world.callers);
        world.enqueue(3..5).await;
        drop(left);
        drop(alone);
        world.gate.open.add_permits(1);
        while let Some(caller) = world.callers.join_next().await {
            assert!(caller.unwrap().1.is_ok());
        }
        assert_eq!((world.calls(), world.pending().await), (vec![1, 1, 2], 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_does_not_answer_leaves_every_outcome_open_and_the_next_caller_is_served() {
        let mut world = World::new();
        world.enqueue(0..3).await;
        while let Some(caller) = world.callers.join_next().await {
            let (number, receipt) = caller.unwrap();
            let Err(EnqueueError::OutcomeUnknown { id: open, timeout }) = receipt else { panic!("{receipt:?}") };
            assert_eq!((open, timeout), (id(number), TIMEOUT));
        }
        world.gate.open.add_permits(10);
        world.enqueue(3..4).await;
        assert!(world.callers.join_next().await.unwrap().unwrap().1.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bulk_that_breaks_off_says_what_is_stored_and_holds_the_rest() {
        let world = World::new();
        world.gate.open.add_permits(2);
        let jobs: Vec<_> = (0..2 * BATCH_MAX as u128 + 9).map(new).collect();
        let failed = world.batcher.enqueue_all(jobs, TIMEOUT).await.unwrap_err();
        assert_eq!((failed.stored.len(), failed.remaining.len()), (2 * BATCH_MAX, 9));
        assert!(
            matches!(&failed.error, EnqueueError::OutcomeUnknown { id: open, .. } if *open == id(2 * BATCH_MAX as u128))
        );
        assert_eq!(failed.stored[0].id, id(0));
        world.gate.open.add_permits(1);
        assert_eq!(world.batcher.enqueue_all(failed.remaining, TIMEOUT).await.unwrap().len(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bulk_of_large_jobs_goes_in_calls_of_bounded_bytes() {
        let world = World::new();
        world.gate.open.add_permits(10);
        let large = |number| NewJob { envelope: vec![0; FLUSH_BYTES_MAX / 2].into(), ..new(number) };
        assert_eq!(world.batcher.enqueue_all((0..5).map(large).collect(), TIMEOUT).await.unwrap().len(), 5);
        assert_eq!(world.calls(), [2, 2, 1]);
    }

    #[test]
    fn who_enqueues_when_the_runtime_of_the_calls_has_ended_is_refused_for_good() {
        let ended = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let calls = StoreCalls::new(Arc::new(MemoryStore::new()), 4, Some(ended.handle().clone()));
        let batcher = Batcher::new(calls, QueueName::new("q").unwrap());
        drop(ended);
        let callers = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = callers.block_on(batcher.enqueue(new(1), TIMEOUT)).unwrap_err();
        assert!(matches!(error, EnqueueError::ShuttingDown { .. }) && !error.is_retryable(), "{error:?}");
    }

    #[test]
    fn those_who_wait_when_their_runtime_ends_do_not_hold_up_the_next() {
        let mut world = World::new();
        let first = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        first.block_on(world.enqueue(0..3));
        drop(std::mem::take(&mut world.callers));
        drop(first);
        world.gate.open.add_permits(10);
        let second = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        second.block_on(async {
            let receipt = tokio::time::timeout(TIMEOUT, world.batcher.enqueue(new(9), TIMEOUT)).await.unwrap();
            assert!(receipt.unwrap().created);
        });
    }
}
