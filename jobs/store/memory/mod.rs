//! The store in this process: it needs no server, and nothing survives the process. It is the default for a first run, the store of most tests, and the
//! executable specification that the Redis store is compared with.
//!
//! | file | duty |
//! | --- | --- |
//! | `queue` | one queue: its jobs, its containers, and the one function that moves a job between them |
//! | `transitions` `leases` `admin` `ledger` | the traits, one file each |
//! | `timeline` | jobs in order of an instant |
//! | `history` | the attempts kept of a job |
//! | `replay` | the last call of each replay slot, and its reply |
//! | `hints` | wake-ups for listeners |

mod admin;
mod hints;
mod history;
mod leases;
mod ledger;
mod queue;
mod replay;
mod timeline;
mod transitions;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use self::hints::Hints;
use self::ledger::GlobalRecords;
use self::queue::Queue;
use super::{BATCH_MAX, CallId, Cursor, Hint, Store, StoreError, StoreFacts, StoreFuture};
use crate::clock::{Clock, SystemClock, TokioClock};
use crate::job::QueueName;

/// A store in this process. Clones share their contents, which live as long as the last clone and take as much memory as the jobs in them.
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

/// What the lock guards. It is held for one step, and never across an await.
#[derive(Default)]
struct Contents {
    queues: BTreeMap<QueueName, Queue>,
    global: GlobalRecords,
}

impl MemoryStore {
    /// An empty store whose clock starts at the wall clock and moves with tokio's: it stands still where tokio's time is paused.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(TokioClock::starting_at(SystemClock.now_ms())))
    }

    /// An empty store with this clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { clock, hints: Hints::new(), contents: Mutex::default() }))
    }

    fn now(&self) -> u64 {
        self.0.clock.now_ms()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing under the lock panics. If it ever does, what is there serves the other users of the store better than one panic each.
        self.0.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a queue; an unknown one is empty.
    fn read<T>(&self, name: &QueueName, read: impl FnOnce(&Queue, u64) -> T) -> T {
        let contents = self.contents();
        let now = self.now();
        match contents.queues.get(name) {
            Some(queue) => read(queue, now),
            None => read(&Queue::default(), now),
        }
    }

    /// Changes a queue in one step, then sends the hints.
    fn write<T>(&self, name: &QueueName, step: impl FnOnce(&mut Queue, u64) -> T) -> T {
        let mut contents = self.contents();
        let now = self.now();
        let queue = contents.queues.entry(name.clone()).or_default();
        let result = step(queue, now);
        let hints = queue.take_hints();
        drop(contents);
        self.0.hints.send(name, hints);
        result
    }

    /// [`write`](Self::write), once per call: the same call again returns the same reply and changes nothing.
    fn write_once<T: Clone + Send + 'static>(
        &self,
        operation: &'static str,
        call: CallId,
        name: &QueueName,
        step: impl FnOnce(&mut Queue, u64) -> T,
    ) -> Result<T, StoreError> {
        self.write(name, |queue, now| queue.once(operation, call, now, |queue| step(queue, now)))
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
        async { Ok(StoreFacts { name: "memory".into(), warnings: Vec::new() }) }.boxed()
    }

    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let queues = queues.to_vec();
        async move { Ok(self.0.hints.listen(queues)) }.boxed()
    }
}

/// Refuses a call that carries, or asks for, more than [`BATCH_MAX`] items.
fn bounded(operation: &'static str, items: usize) -> Result<(), StoreError> {
    if items <= BATCH_MAX {
        return Ok(());
    }
    let reason = format!("{items} items are more than the {BATCH_MAX} one call may carry; split it");
    Err(StoreError::Refused { operation, reason })
}

/// The position a cursor stands for, read with `parse`.
fn parse_cursor<T>(
    operation: &'static str,
    from: Option<Cursor>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    from.map(|cursor| {
        let refused = || StoreError::Refused {
            operation,
            reason: "this cursor was not made by this store; start again without one".into(),
        };
        parse(cursor.as_str()).ok_or_else(refused)
    })
    .transpose()
}

/// Whole milliseconds; a fraction is dropped.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
