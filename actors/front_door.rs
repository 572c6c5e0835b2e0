//! The front door's buffer: jobs on their way in, flushed as soon as the flush before has returned, so that many enqueues share a round trip.
//!
//! Bounds: [`FRONT_DOOR_JOBS_MAX`] jobs and [`FRONT_DOOR_BYTES_MAX`] bytes wait; past that a job with somebody waiting for its receipt is answered
//! [`EnqueueError::QueueFull`], one without is dropped, counted and told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::job::{NewJob, QueueName};
use retraced_jobs::store::{BATCH_MAX, Enqueued, ReplaySlots, Store, StoreError};
use retraced_jobs::trace::EventKind;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::event::Events;
use crate::health::Health;

/// Most jobs that wait for a flush.
pub const FRONT_DOOR_JOBS_MAX: usize = 10_000;
/// Most bytes of envelopes that wait for a flush.
pub const FRONT_DOOR_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of envelopes in one flush; one job goes whatever its size.
pub const FLUSH_BYTES_MAX: usize = 1024 * 1024;
/// How often refusals that nobody waits for are told, at most; each event says how many there were since the one before.
pub const REFUSALS_TOLD_EVERY: Duration = Duration::from_secs(1);
/// Flushes under way at a time.
pub const FLUSHES_MAX: usize = 2;

/// Where somebody waits for a receipt.
pub(crate) type Reply = oneshot::Sender<Result<Receipt, EnqueueError>>;

/// A job at the door, and who waits for its receipt.
pub(crate) struct Arrival {
    pub(crate) job: NewJob,
    pub(crate) reply: Option<Reply>,
}

/// The buffer. It outlives the queue actor.
pub(crate) struct FrontDoor {
    queue: QueueName,
    store: Arc<dyn Store>,
    replay_slots: ReplaySlots,
    health: Health,
    events: Events,
    buffer: Mutex<Buffer>,
    room: Notify,
}

#[derive(Default)]
struct Buffer {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
    flushes: usize,
    /// Messages refused that nobody was told of, since the last event that told.
    refused: u64,
    told: Option<Instant>,
    closed: bool,
}

impl Buffer {
    fn is_full(&self) -> bool {
        self.arrivals.len() >= FRONT_DOOR_JOBS_MAX || self.bytes >= FRONT_DOOR_BYTES_MAX
    }
}

impl FrontDoor {
    pub(crate) fn new(
        queue: QueueName,
        store: Arc<dyn Store>,
        replay_slots: ReplaySlots,
        health: Health,
        events: Events,
    ) -> Arc<Self> {
        Arc::new(Self { queue, store, replay_slots, health, events, buffer: Mutex::default(), room: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job in, or refuses it. Never waits.
    pub(crate) fn arrive(self: &Arc<Self>, arrival: Arrival) {
        let mut buffer = self.lock();
        let refusal = match &arrival.reply {
            _ if buffer.closed => Some(EnqueueError::ShuttingDown { queue: self.queue.clone() }),
            _ if buffer.is_full() => Some(EnqueueError::QueueFull { queue: self.queue.clone() }),
            Some(_) if !self.health.is_up() => Some(EnqueueError::StoreUnavailable),
            _ => None,
        };
        match (refusal, arrival.reply) {
            (Some(refusal), Some(reply)) => {
                let _ = reply.send(Err(refusal));
            }
            (Some(_), None) => {
                buffer.refused += 1;
                if buffer.told.is_none_or(|told| told.elapsed() >= REFUSALS_TOLD_EVERY) {
                    self.tell_refused(&mut buffer);
                }
            }
            (None, reply) => {
                buffer.bytes += arrival.job.envelope.len();
                buffer.arrivals.push_back(Arrival { job: arrival.job, reply });
                if buffer.flushes < FLUSHES_MAX {
                    buffer.flushes += 1;
                    tokio::spawn(self.clone().flush());
                }
            }
        }
    }

    /// Waits for room, or for the store. Put it under a timeout.
    pub(crate) async fn room(&self) {
        // Asked for before the look: what changes after it is not missed.
        let room = self.room.notified();
        if !self.health.is_up() {
            return self.health.wait_until_up().await;
        }
        let full = self.lock().is_full();
        if full {
            room.await;
        }
    }

    /// No more arrivals; what has arrived is still flushed.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Waits until everything that arrived has been stored, at most until the deadline.
    pub(crate) async fn wait_until_empty(&self, deadline: Instant) {
        loop {
            let flushed = self.room.notified();
            let empty = {
                let buffer = self.lock();
                buffer.arrivals.is_empty() && buffer.flushes == 0
            };
            if empty || tokio::time::timeout_at(deadline, flushed).await.is_err() {
                return;
            }
        }
    }

    async fn flush(self: Arc<Self>) {
        let mut flushing = Flushing { door: &self, over: false };
        while let Some((jobs, replies)) = flushing.next_batch() {
            let mut replay_slot = self.replay_slots.take().await;
            let call = replay_slot.next_call();
            let sent = self.health.until_known("enqueue", || self.store.enqueue(call, &self.queue, &jobs)).await;
            self.room.notify_waiters();
            match sent {
                Some(result) => answer(&self.queue, jobs, replies, result),
                None => break,
            }
        }
    }

    fn next_batch(&self) -> Option<(Vec<NewJob>, Vec<Option<Reply>>)> {
        let mut buffer = self.lock();
        let (mut jobs, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        while jobs.len() < BATCH_MAX && (jobs.is_empty() || bytes < FLUSH_BYTES_MAX) {
            let Some(arrival) = buffer.arrivals.pop_front() else { break };
            bytes += arrival.job.envelope.len();
            jobs.push(arrival.job);
            replies.push(arrival.reply);
        }
        buffer.bytes = buffer.bytes.saturating_sub(bytes);
        if jobs.is_empty() {
            buffer.flushes -= 1;
            self.tell_refused(&mut buffer);
            self.room.notify_waiters();
            return None;
        }
        Some((jobs, replies))
    }

    fn tell_refused(&self, buffer: &mut Buffer) {
        let refused = std::mem::take(&mut buffer.refused);
        if refused > 0 {
            buffer.told = Some(Instant::now());
            self.events.emit(self.queue.as_str(), 0, EventKind::Busy { refused });
        }
    }
}

/// A flush under way. However it ends, another may take its place.
struct Flushing<'a> {
    door: &'a FrontDoor,
    over: bool,
}

impl Flushing<'_> {
    fn next_batch(&mut self) -> Option<(Vec<NewJob>, Vec<Option<Reply>>)> {
        let batch = self.door.next_batch();
        // The place was given up in the same look that found nothing left.
        self.over = batch.is_none();
        batch
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.door.lock().flushes -= 1;
            self.door.room.notify_waiters();
        }
    }
}

fn answer(
    queue: &QueueName,
    jobs: Vec<NewJob>,
    replies: Vec<Option<Reply>>,
    result: Result<Vec<Enqueued>, StoreError>,
) {
    match result {
        Ok(results) => {
            for ((job, reply), enqueued) in jobs.into_iter().zip(replies).zip(results) {
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(Receipt::new(queue.clone(), job.id, enqueued)));
                }
            }
        }
        Err(error) => {
            let source = Arc::new(error);
            for reply in replies.into_iter().flatten() {
                let _ = reply.send(Err(EnqueueError::Refused { source: source.clone() }));
            }
        }
    }
}
