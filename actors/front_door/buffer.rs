//! The buffer: jobs that wait to be sent to the store. A flush sends one batch after the other until the buffer is empty. At most [`FLUSHES_MAX`] flushes run at a
//! time; jobs that arrive meanwhile go into the next batch.
//!
//! Bounds: once it holds [`FRONT_DOOR_JOBS_MAX`] jobs or [`FRONT_DOOR_BYTES_MAX`] bytes, a job with a reply is answered with [`EnqueueError::QueueFull`], and one
//! without a reply is dropped, counted and reported. One without a reply that the store refuses is counted and reported too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::events::{DropReason, EventKind};
use retraced_jobs::job::{NewJob, QueueName};
use retraced_jobs::store::{BATCH_MAX, Enqueued, StoreError};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::enqueue::{Enqueue, Reply};
use crate::address::Address;
use crate::limits::{
    CAPACITY_RETRY_DELAY, DROPPED_REPORT_INTERVAL, FLUSH_BYTES_MAX, FLUSHES_MAX, FRONT_DOOR_BYTES_MAX,
    FRONT_DOOR_JOBS_MAX,
};
use crate::path;
use crate::store_calls::{CallError, StoreCalls};
use crate::supervision::event::Events;

/// The front door of one queue. It outlives the queue actor.
pub(crate) struct FrontDoor {
    queue: QueueName,
    calls: StoreCalls,
    events: Events,
    /// Where flushes run: connections to the store belong to the tree's runtime, not to the caller's.
    tree: Handle,
    /// The queue actor, which takes [`Enqueue`] messages.
    pub(super) actor: Address<Enqueue>,
    buffer: Mutex<Buffer>,
    /// Wakes those who wait for capacity or for an empty buffer: a batch was taken and answered, or a flush has ended.
    flushed: Notify,
}

#[derive(Default)]
struct Buffer {
    jobs: VecDeque<Enqueue>,
    bytes: usize,
    flushes: usize,
    /// What a blocked store answered to the last batch, until a flush tries again. Callers that come meanwhile get it at once.
    refusal: Option<EnqueueError>,
    dropped: Dropped,
    closed: bool,
}

impl Buffer {
    fn is_full(&self) -> bool {
        self.jobs.len() >= FRONT_DOOR_JOBS_MAX || self.bytes >= FRONT_DOOR_BYTES_MAX
    }

    /// Removes the next batch: up to [`BATCH_MAX`] jobs, and no more once they have [`FLUSH_BYTES_MAX`] bytes. Empty if none wait.
    fn take_batch(&mut self) -> (Vec<NewJob>, Vec<Option<Reply>>) {
        let (mut jobs, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        while jobs.len() < BATCH_MAX && (jobs.is_empty() || bytes < FLUSH_BYTES_MAX) {
            let Some(Enqueue { job, reply }) = self.jobs.pop_front() else { break };
            bytes += job.envelope.len();
            jobs.push(job);
            replies.push(reply);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        (jobs, replies)
    }
}

/// Messages without a reply that were dropped since the last report, by reason.
#[derive(Default)]
struct Dropped {
    numbers: Vec<(DropReason, u64)>,
    /// When dropped messages were reported last.
    reported: Option<Instant>,
}

impl Dropped {
    /// Counts a message that was dropped. Returns what to report now.
    fn add(&mut self, reason: DropReason) -> Vec<EventKind> {
        self.count(reason, 1);
        let due = self.reported.is_none_or(|at| at.elapsed() >= DROPPED_REPORT_INTERVAL);
        if due { self.take() } else { Vec::new() }
    }

    /// Counts messages that were dropped, for a later report.
    fn count(&mut self, reason: DropReason, messages: u64) {
        match self.numbers.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, dropped)) => *dropped += messages,
            None if messages > 0 => self.numbers.push((reason, messages)),
            None => {}
        }
    }

    /// The messages dropped since the last report, to be reported now: one event per reason.
    fn take(&mut self) -> Vec<EventKind> {
        let counted = std::mem::take(&mut self.numbers).into_iter();
        let events: Vec<_> = counted.map(|(reason, dropped)| EventKind::EnqueuesDropped { dropped, reason }).collect();
        if !events.is_empty() {
            self.reported = Some(Instant::now());
        }
        events
    }
}

impl FrontDoor {
    pub(crate) fn new(queue: QueueName, calls: StoreCalls, events: Events, tree: Handle) -> Arc<Self> {
        let (actor, buffer, flushed) = (Address::default(), Mutex::default(), Notify::new());
        Arc::new(Self { queue, calls, events, tree, actor, buffer, flushed })
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Whether the runtime has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.calls.health().has_ended()
    }

    /// Accepts or refuses a job. Never waits.
    pub(super) fn accept(self: &Arc<Self>, message: Enqueue) {
        let mut buffer = self.lock();
        let refusal = match &message.reply {
            _ if buffer.closed || self.has_ended() => Some(EnqueueError::ShuttingDown { queue: self.queue.clone() }),
            None if buffer.is_full() => Some(EnqueueError::QueueFull { queue: self.queue.clone() }),
            None => None,
            Some(_) => match buffer.refusal.clone() {
                Some(refusal) => Some(refusal),
                None if buffer.is_full() => Some(EnqueueError::QueueFull { queue: self.queue.clone() }),
                None if !self.calls.health().is_reachable() => Some(EnqueueError::StoreUnavailable),
                None => None,
            },
        };
        let mut dropped = Vec::new();
        match (refusal, message.reply) {
            (Some(refusal), Some(reply)) => {
                let _ = reply.send(Err(refusal));
            }
            (Some(EnqueueError::ShuttingDown { .. }), None) => dropped = buffer.dropped.add(DropReason::ShuttingDown),
            (Some(_), None) => dropped = buffer.dropped.add(DropReason::BufferFull),
            (None, reply) => {
                buffer.bytes += message.job.envelope.len();
                buffer.jobs.push_back(Enqueue { job: message.job, reply });
            }
        }
        // Also if this job was refused: after panics of the flushes a full buffer would otherwise stay full.
        let flush = !buffer.jobs.is_empty() && buffer.flushes < FLUSHES_MAX;
        if flush {
            buffer.flushes += 1;
        }
        drop(buffer);
        self.report_dropped(dropped);
        if flush {
            self.tree.spawn(Flush { door: self.clone(), casts: 0, over: false }.run());
        }
    }

    /// Why a job that was accepted was not sent.
    fn not_sent(&self) -> EnqueueError {
        match self.has_ended() {
            true => EnqueueError::ShuttingDown { queue: self.queue.clone() },
            false => EnqueueError::StoreUnavailable,
        }
    }

    /// Waits until the buffer may have capacity, or the store may be back. The caller sets the deadline.
    pub(super) async fn wait_for_capacity(&self) {
        // Registered before the check, so that a change after it is not missed.
        let flushed = self.flushed.notified();
        let is_refused = self.lock().refusal.is_some();
        if is_refused || !self.calls.health().is_reachable() {
            return self.calls.health().wait_until_up().await;
        }
        let full = self.lock().is_full();
        if full {
            flushed.await;
        } else {
            tokio::time::sleep(CAPACITY_RETRY_DELAY).await;
        }
    }

    /// A store that is blocked has refused a batch. Callers that wait for a receipt get the refusal at once, also those of later batches. Jobs without a reply return to
    /// the front of the buffer.
    fn put_back(&self, jobs: Vec<NewJob>, replies: Vec<Option<Reply>>, error: StoreError) {
        let refusal = refused(error);
        let batch = jobs.into_iter().zip(replies).map(|(job, reply)| Enqueue { job, reply });
        let mut buffer = self.lock();
        let waiting = std::mem::take(&mut buffer.jobs);
        for message in batch.chain(waiting) {
            match message.reply {
                Some(reply) => drop(reply.send(Err(refusal.clone()))),
                None => buffer.jobs.push_back(message),
            }
        }
        buffer.bytes = buffer.jobs.iter().map(|message| message.job.envelope.len()).sum();
        buffer.refusal = Some(refusal);
    }

    /// Accepts no more jobs. The jobs in the buffer are still flushed.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Waits until no accepted job waits for the store any more, at most until the deadline. Then reports the messages that were dropped meanwhile. Those that are left when
    /// the runtime has ended and no flush is under way are dropped too.
    pub(crate) async fn wait_until_empty(&self, deadline: Instant) {
        loop {
            let flushed = self.flushed.notified();
            let over = {
                let buffer = self.lock();
                buffer.flushes == 0 && (buffer.jobs.is_empty() || self.has_ended())
            };
            if over || tokio::time::timeout_at(deadline, flushed).await.is_err() {
                break;
            }
        }
        let dropped = {
            let mut buffer = self.lock();
            if self.has_ended() {
                let left = std::mem::take(&mut buffer.jobs);
                let casts = left.iter().filter(|message| message.reply.is_none()).count() as u64;
                buffer.dropped.count(DropReason::ShuttingDown, casts);
                buffer.bytes = 0;
            }
            buffer.dropped.take()
        };
        self.report_dropped(dropped);
    }

    fn report_dropped(&self, dropped: Vec<EventKind>) {
        for kind in dropped {
            self.events.emit(&path::queue(&self.queue), kind);
        }
    }
}

/// A flush under way. When it is dropped, even by a panic, it no longer counts and another one may begin.
struct Flush {
    door: Arc<FrontDoor>,
    /// Messages without a reply in the batch that is being sent.
    casts: u64,
    over: bool,
}

impl Flush {
    async fn run(mut self) {
        while let Some((jobs, replies)) = self.next_batch() {
            self.casts = replies.iter().filter(|reply| reply.is_none()).count() as u64;
            let door = &*self.door;
            let enqueue =
                door.calls.until_known_or_blocked("enqueue", |store, call| store.enqueue(call, &door.queue, &jobs));
            let result = enqueue.await;
            door.flushed.notify_waiters();
            match result {
                Err(CallError::Blocked(error)) => {
                    self.casts = 0;
                    door.put_back(jobs, replies, error);
                    door.calls.health().wait_until_up().await;
                    door.lock().refusal = None;
                    if door.has_ended() {
                        break;
                    }
                }
                Err(CallError::OutcomeUnknown(_)) if door.has_ended() => break,
                result => {
                    let casts = std::mem::take(&mut self.casts);
                    if let Err(error) = &result {
                        door.lock().dropped.count(reason_of(error), casts);
                    }
                    answer(&door.queue, jobs, replies, result);
                }
            }
        }
    }

    /// The next jobs. If there are none the flush is over. The check and the end happen under one lock, so that no job is missed.
    fn next_batch(&mut self) -> Option<(Vec<NewJob>, Vec<Option<Reply>>)> {
        let mut buffer = self.door.lock();
        let (jobs, replies) = buffer.take_batch();
        if !jobs.is_empty() {
            return Some((jobs, replies));
        }
        buffer.flushes -= 1;
        self.over = true;
        let dropped = buffer.dropped.take();
        drop(buffer);
        self.door.report_dropped(dropped);
        self.door.flushed.notify_waiters();
        None
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let reason = if self.door.has_ended() { DropReason::ShuttingDown } else { DropReason::Unanswered };
        let mut buffer = self.door.lock();
        buffer.flushes -= 1;
        buffer.dropped.count(reason, self.casts);
        let dropped = buffer.dropped.take();
        let mut unsent = Vec::new();
        if buffer.flushes == 0 {
            // No flush is left. Callers that wait for a receipt learn at once that their jobs were not sent; jobs without a reply wait for the next flush.
            for message in std::mem::take(&mut buffer.jobs) {
                match message.reply {
                    Some(reply) => unsent.push(reply),
                    None => buffer.jobs.push_back(message),
                }
            }
            buffer.bytes = buffer.jobs.iter().map(|message| message.job.envelope.len()).sum();
        }
        drop(buffer);
        self.door.report_dropped(dropped);
        for reply in unsent {
            let _ = reply.send(Err(self.door.not_sent()));
        }
        self.door.flushed.notify_waiters();
    }
}

fn answer(queue: &QueueName, jobs: Vec<NewJob>, replies: Vec<Option<Reply>>, result: Result<Vec<Enqueued>, CallError>) {
    match result {
        Ok(results) => {
            for ((job, reply), enqueued) in jobs.into_iter().zip(replies).zip(results) {
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(Receipt::new(queue.clone(), job.id, enqueued)));
                }
            }
        }
        Err(CallError::Refused(error) | CallError::Blocked(error)) => {
            let refusal = refused(error);
            for reply in replies.into_iter().flatten() {
                let _ = reply.send(Err(refusal.clone()));
            }
        }
        // It is unknown whether the jobs are stored: without an answer the callers send them again, under the same ids.
        Err(_) => {}
    }
}

/// Why messages without a reply are lost after this answer.
fn reason_of(error: &CallError) -> DropReason {
    match error {
        CallError::Refused(error) if !matches!(error, StoreError::Corrupt { .. }) => DropReason::Refused,
        _ => DropReason::Unanswered,
    }
}

fn refused(error: StoreError) -> EnqueueError {
    EnqueueError::Refused { source: Arc::new(error) }
}
