//! A client's calls to one queue: who enqueues while calls are under way shares the next one, so that many at once cost few round trips.
//!
//! Whoever meets fewer than [`CALLS_MAX`] under way sends its job itself and waits for nobody. Bounds: [`CALLS_MAX`] calls; while
//! [`FRONT_DOOR_JOBS_MAX`] jobs or [`FRONT_DOOR_BYTES_MAX`] bytes wait, further ones are answered [`EnqueueError::QueueFull`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use retraced_actors::bounds::{FLUSH_BYTES_MAX, FRONT_DOOR_BYTES_MAX, FRONT_DOOR_JOBS_MAX};
use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::job::{JobId, NewJob, QueueName};
use retraced_jobs::store::{BATCH_MAX, ReplaySlots, Store, StoreError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::operator::{OperatorError, until_known};

/// Calls under way at a time, but for those of [`enqueue_all`](Batcher::enqueue_all): while the server works on one the other is made up or read.
const CALLS_MAX: usize = 2;

/// The calls to one queue. It outlives each of them.
pub(crate) struct Batcher {
    store: Arc<dyn Store>,
    replay_slots: ReplaySlots,
    queue: QueueName,
    /// Whether operators know of this queue by now; until then each call says so again.
    announced: AtomicBool,
    gathered: Mutex<Gathered>,
}

/// Jobs that wait for the next call.
#[derive(Default)]
struct Gathered {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    calls: usize,
}

struct Waiting {
    job: NewJob,
    /// When nobody waits any more.
    until: Instant,
    reply: oneshot::Sender<Result<Receipt, Fault>>,
}

/// Why a call brought no receipts.
#[derive(Debug, Clone)]
enum Fault {
    Busy,
    Refused(Arc<StoreError>),
    Unknown,
}

impl Fault {
    fn of(self, queue: &QueueName, id: &JobId, patience: Duration) -> EnqueueError {
        match self {
            Fault::Busy => EnqueueError::QueueFull { queue: queue.clone() },
            Fault::Refused(source) => EnqueueError::Refused { source },
            Fault::Unknown => EnqueueError::OutcomeUnknown { id: id.clone(), timeout: patience },
        }
    }
}

impl Batcher {
    pub(crate) fn new(store: Arc<dyn Store>, replay_slots: ReplaySlots, queue: QueueName) -> Arc<Self> {
        Arc::new(Self { store, replay_slots, queue, announced: AtomicBool::new(false), gathered: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enqueues one job, alone or with others.
    pub(crate) async fn enqueue(self: &Arc<Self>, job: NewJob, patience: Duration) -> Result<Receipt, EnqueueError> {
        let id = job.id.clone();
        let result = match self.arrive(job, patience) {
            Arrived::Alone(job, turn) => {
                let sent = self.send(std::slice::from_ref(&job), patience).await;
                drop(turn);
                sent.and_then(|receipts| receipts.into_iter().next().ok_or(Fault::Unknown))
            }
            Arrived::Waits(reply) => match tokio::time::timeout(patience, reply).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => Err(Fault::Unknown),
            },
            Arrived::NoRoom => Err(Fault::Busy),
        };
        result.map_err(|fault| fault.of(&self.queue, &id, patience))
    }

    /// Enqueues many, in calls of their own; one receipt a job, in order.
    pub(crate) async fn enqueue_all(&self, jobs: &[NewJob], patience: Duration) -> Result<Vec<Receipt>, EnqueueError> {
        let mut receipts = Vec::with_capacity(jobs.len());
        for slice in jobs.chunks(BATCH_MAX) {
            let sent = self.send(slice, patience).await;
            receipts.extend(sent.map_err(|fault| fault.of(&self.queue, &slice[0].id, patience))?);
        }
        Ok(receipts)
    }

    fn arrive(self: &Arc<Self>, job: NewJob, patience: Duration) -> Arrived {
        let mut gathered = self.lock();
        if gathered.calls < CALLS_MAX {
            gathered.calls += 1;
            return Arrived::Alone(job, Turn { batcher: self.clone(), runtime: Handle::try_current().ok() });
        }
        if gathered.waiting.len() >= FRONT_DOOR_JOBS_MAX || gathered.bytes >= FRONT_DOOR_BYTES_MAX {
            return Arrived::NoRoom;
        }
        let (reply, receiver) = oneshot::channel();
        gathered.bytes += job.envelope.len();
        gathered.waiting.push_back(Waiting { job, until: Instant::now() + patience, reply });
        Arrived::Waits(receiver)
    }

    /// One call, sent again until its outcome is known or patience is over.
    async fn send(&self, jobs: &[NewJob], patience: Duration) -> Result<Vec<Receipt>, Fault> {
        let Ok(mut replay_slot) = tokio::time::timeout(patience, self.replay_slots.take()).await else {
            return Err(Fault::Busy);
        };
        let sent = until_known(patience, replay_slot.next_call(), |call| self.store.enqueue(call, &self.queue, jobs));
        let (sent, ()) = tokio::join!(sent, self.announce(patience));
        match sent {
            Ok(results) => {
                let receipt = |(job, result): (&NewJob, _)| Receipt::new(self.queue.clone(), job.id.clone(), result);
                Ok(jobs.iter().zip(results).map(receipt).collect())
            }
            Err(error @ (OperatorError::Store(StoreError::Unavailable { .. }) | OperatorError::TimedOut { .. })) => {
                tracing::debug!(target: "retraced", queue = %self.queue, "the outcome of an enqueue is unknown: {error}");
                Err(Fault::Unknown)
            }
            Err(OperatorError::Store(error)) => Err(Fault::Refused(Arc::new(error))),
            Err(OperatorError::Gone { .. }) => Err(Fault::Unknown),
        }
    }

    /// Makes the queue known to operators, who would not see one that has no worker yet. What fails is said again with the next call.
    async fn announce(&self, patience: Duration) {
        if self.announced.load(Ordering::Relaxed) {
            return;
        }
        let said = self.store.announce(std::slice::from_ref(&self.queue));
        if let Ok(Ok(())) = tokio::time::timeout(patience, said).await {
            self.announced.store(true, Ordering::Relaxed);
        }
    }

    /// Sends those who gathered, until nobody is left.
    async fn serve(self: Arc<Self>, mut place: Place) {
        while let Some(batch) = self.next_batch(&mut place) {
            self.send_together(batch).await;
        }
    }

    /// The next jobs for which somebody still waits; the place is given up in the same look that finds none.
    fn next_batch(&self, place: &mut Place) -> Option<Vec<Waiting>> {
        let mut gathered = self.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_MAX && (batch.is_empty() || bytes < FLUSH_BYTES_MAX) {
            let Some(next) = gathered.waiting.pop_front() else { break };
            gathered.bytes = gathered.bytes.saturating_sub(next.job.envelope.len());
            if !next.reply.is_closed() {
                bytes += next.job.envelope.len();
                batch.push(next);
            }
        }
        if batch.is_empty() {
            gathered.calls -= 1;
            place.given_up = true;
            return None;
        }
        Some(batch)
    }

    async fn send_together(&self, batch: Vec<Waiting>) {
        let until = batch.iter().map(|waiting| waiting.until).max().unwrap_or_else(Instant::now);
        let (jobs, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|waiting| (waiting.job, waiting.reply)).unzip();
        match self.send(&jobs, until.saturating_duration_since(Instant::now())).await {
            Ok(receipts) => {
                replies.into_iter().zip(receipts).for_each(|(reply, receipt)| drop(reply.send(Ok(receipt))))
            }
            Err(fault) => replies.into_iter().for_each(|reply| drop(reply.send(Err(fault.clone())))),
        }
    }
}

enum Arrived {
    Alone(NewJob, Turn),
    Waits(oneshot::Receiver<Result<Receipt, Fault>>),
    NoRoom,
}

/// A call of one's own. However it ends, those who gathered meanwhile have its place.
struct Turn {
    batcher: Arc<Batcher>,
    /// Where they are served: whoever drops this may be outside of any runtime.
    runtime: Option<Handle>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let anybody = {
            let mut gathered = self.batcher.lock();
            let anybody = !gathered.waiting.is_empty();
            if !anybody {
                gathered.calls -= 1;
            }
            anybody
        };
        if anybody {
            let place = Place { batcher: self.batcher.clone(), given_up: false };
            // Without a runtime, or in one that ends, it is given up at once; whoever comes next then serves those who wait.
            if let Some(runtime) = &self.runtime {
                runtime.spawn(self.batcher.clone().serve(place));
            }
        }
    }
}

/// One of the calls that may be under way.
struct Place {
    batcher: Arc<Batcher>,
    given_up: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.given_up {
            self.batcher.lock().calls -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::job::{InstanceId, JobState, RunAt};
    use retraced_jobs::store::memory::MemoryStore;
    use retraced_jobs::store::{Admin, CallId, Decorator, Enqueued, StoreFuture, Transitions};
    use tokio::sync::Semaphore;
    use tokio::task::{JoinSet, yield_now};
    use uuid::Uuid;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

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
            let (gate, replay_slots) = (Arc::new(gate), ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 4));
            let batcher = Batcher::new(gate.clone(), replay_slots, QueueName::new("q").unwrap());
            Self { gate, batcher, callers: JoinSet::new() }
        }

        /// Calls at the same time, until each has come as far as it can.
        async fn enqueue(&mut self, numbers: std::ops::Range<u128>) {
            for number in numbers {
                let batcher = self.batcher.clone();
                self.callers.spawn(async move { (number, batcher.enqueue(new(number), PATIENCE).await) });
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
            assert_eq!((open, timeout), (id(number), PATIENCE));
        }
        world.gate.open.add_permits(10);
        world.enqueue(3..4).await;
        assert!(world.callers.join_next().await.unwrap().unwrap().1.is_ok());
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
            let receipt = tokio::time::timeout(PATIENCE, world.batcher.enqueue(new(9), PATIENCE)).await.unwrap();
            assert!(receipt.unwrap().created);
        });
    }
}
