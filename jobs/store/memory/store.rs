//! The store itself: its data behind one lock, and functions that read or change a queue while they hold the lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::hints::Hints;
use super::queue::Queue;
use super::records::GlobalRecords;
use super::replay::SlotCall;
use crate::clock::{Clock, SystemClock, TokioClock};
use crate::job::QueueName;
use crate::store::{Hint, Store, StoreError, StoreFacts, StoreFuture};

/// A store in the memory of this process. Clones share the jobs, which are kept until the last clone is dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
/// use retraced_jobs::store::memory::MemoryStore;
/// use retraced_jobs::store::{Enqueued, ReplaySlots, Transitions};
///
/// let store = MemoryStore::new();
/// let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
/// let queue = QueueName::new("email").unwrap();
/// let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
///
/// let call = replay_slots.take().await.next_call();
/// let created = store.enqueue(call, &queue, &[job.clone()]).await.unwrap();
/// assert_eq!(created, [Enqueued::Created { state: JobState::Pending }]);
///
/// let call = replay_slots.take().await.next_call();
/// let again = store.enqueue(call, &queue, &[job]).await.unwrap();
/// assert_eq!(again, [Enqueued::Exists { state: JobState::Pending }]);
/// # });
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    hints: Hints,
    contents: Mutex<Contents>,
}

/// The data behind the lock. The lock is never held across an await.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) queues: BTreeMap<QueueName, Queue>,
    pub(super) global: GlobalRecords,
}

impl MemoryStore {
    /// An empty store, whose clock is a [`TokioClock`] that starts at the system's time.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(TokioClock::starting_at(SystemClock.now_ms())))
    }

    /// An empty store with this clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { clock, hints: Hints::new(), contents: Mutex::default() }))
    }

    pub(super) fn now(&self) -> u64 {
        self.0.clock.now_ms()
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        // A poisoned lock is not an error: if a caller ever panics while it holds the lock, the other callers can still use the data.
        self.0.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a queue, given the present time. An unknown queue is read as an empty one.
    pub(super) fn read<T>(&self, name: &QueueName, read: impl FnOnce(&Queue, u64) -> T) -> T {
        let contents = self.contents();
        let now = self.now();
        match contents.queues.get(name) {
            Some(queue) => read(queue, now),
            None => read(&Queue::default(), now),
        }
    }

    /// Changes a queue, which is created if it is unknown. Sends the hints about the change after it has released the lock.
    pub(super) fn write<T>(&self, name: &QueueName, step: impl FnOnce(&mut Queue, u64) -> T) -> T {
        let mut contents = self.contents();
        let now = self.now();
        let queue = contents.queues.entry(name.clone()).or_default();
        let result = step(queue, now);
        let hints = queue.take_hints();
        drop(contents);
        self.0.hints.send(name, hints);
        result
    }

    /// Like [`write`](Self::write), but sends no hints, and returns `None` for an unknown queue instead of creating it.
    pub(super) fn write_existing<T>(&self, name: &QueueName, step: impl FnOnce(&mut Queue, u64) -> T) -> Option<T> {
        let mut contents = self.contents();
        let now = self.now();
        contents.queues.get_mut(name).map(|queue| step(queue, now))
    }

    /// Like [`write`](Self::write), but a call that is sent again gets the same reply and changes nothing.
    pub(super) fn write_once<T: Clone + Send + 'static>(
        &self,
        call: SlotCall,
        name: &QueueName,
        step: impl FnOnce(&mut Queue, u64) -> T,
    ) -> Result<T, StoreError> {
        self.write(name, |queue, now| queue.apply_once(call, now, |queue| step(queue, now)))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn probe(&self) -> StoreFuture<'_, StoreFacts> {
        async { Ok(StoreFacts { name: "memory".into(), now_ms: Some(self.now()), ..StoreFacts::default() }) }.boxed()
    }

    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let queues = queues.to_vec();
        async move { Ok(self.0.hints.listen(queues)) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::job::JobId;
    use crate::store::Admin;

    #[tokio::test]
    async fn waiting_for_an_unknown_job_creates_no_queue() {
        let (store, id) = (MemoryStore::new(), JobId::parse("welcome-42").unwrap());
        for n in 0..9 {
            let queue = QueueName::new(format!("queue-{n}")).unwrap();
            assert_eq!(store.watch_outcome(&queue, &id, Duration::from_secs(9)).await.unwrap(), None);
        }
        assert_eq!(store.contents().queues.len(), 0);
    }
}
