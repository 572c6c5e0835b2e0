//! Supervision events: logged and broadcast at once, and buffered until the ledger has stored them.
//!
//! Events do not pass through a mailbox: whoever notices something calls [`Events::emit`]. The buffer outlives every actor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use retraced_jobs::clock::Clock;
use retraced_jobs::events::{EventKind, SupervisionEvent};
use retraced_jobs::job::CurrentInstance;
use tokio::sync::broadcast;

use super::registry::Registry;
use crate::limits::{EVENTS_BROADCAST_MAX, EVENTS_UNSTORED_MAX};
use crate::observer::GuardedObserver;

/// Where supervision events are reported. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events(Arc<Inner>);

struct Inner {
    instance: CurrentInstance,
    clock: Arc<dyn Clock>,
    broadcast: broadcast::Sender<SupervisionEvent>,
    observer: GuardedObserver,
    registry: Registry,
    unstored: Mutex<VecDeque<SupervisionEvent>>,
    dropped: AtomicU64,
}

impl Events {
    pub(crate) fn new(
        instance: impl Into<CurrentInstance>,
        clock: Arc<dyn Clock>,
        observer: GuardedObserver,
        registry: Registry,
    ) -> Self {
        Self(Arc::new(Inner {
            instance: instance.into(),
            clock,
            broadcast: broadcast::Sender::new(EVENTS_BROADCAST_MAX),
            observer,
            registry,
            unstored: Mutex::new(VecDeque::new()),
            dropped: AtomicU64::new(0),
        }))
    }

    /// Receives every event from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.0.broadcast.subscribe()
    }

    /// Reports an event of the actor that was started last at `path`.
    pub(crate) fn emit(&self, path: &str, kind: EventKind) {
        self.emit_of_generation(path, self.0.registry.generation(path), kind);
    }

    /// Reports an event of this generation of the actor at `path`: logs it, broadcasts it, buffers it for the ledger, and calls the observer.
    pub(crate) fn emit_of_generation(&self, path: &str, generation: u32, kind: EventKind) {
        let event = SupervisionEvent::new(self.0.clock.now_ms(), self.0.instance.get(), path, generation, kind);
        log(&event);
        // It is no error if nobody listens.
        let _ = self.0.broadcast.send(event.clone());
        self.buffer(event.clone());
        self.0.observer.notify(|observer| observer.supervision(&event));
    }

    /// Removes up to `most` events that are not stored yet, oldest first.
    pub(crate) fn take_unstored(&self, most: usize) -> Vec<SupervisionEvent> {
        let mut unstored = self.0.unstored.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(unstored.len());
        unstored.drain(..most).collect()
    }

    /// Puts events that could not be stored back to the front of the buffer.
    pub(crate) fn give_back(&self, events: Vec<SupervisionEvent>) {
        let mut unstored = self.0.unstored.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.into_iter().rev() {
            unstored.push_front(event);
        }
        self.trim(&mut unstored);
    }

    /// How many events were dropped since this was called last, because they could not be stored in time.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.0.dropped.swap(0, Ordering::Relaxed)
    }

    fn buffer(&self, event: SupervisionEvent) {
        let mut unstored = self.0.unstored.lock().unwrap_or_else(PoisonError::into_inner);
        unstored.push_back(event);
        self.trim(&mut unstored);
    }

    fn trim(&self, unstored: &mut VecDeque<SupervisionEvent>) {
        while unstored.len() > EVENTS_UNSTORED_MAX {
            unstored.pop_front();
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

macro_rules! say {
    ($level:ident, $event:ident, $text:literal $(, $($field:tt)*)?) => {
        tracing::$level!(
            target: "retraced::supervision",
            path = %$event.path,
            generation = $event.generation,
            $($($field)*,)?
            $text
        )
    };
}

/// Logs an event: as an error if an operator must act on it, as a warning if an operator should know about it, otherwise as information or debug output.
fn log(event: &SupervisionEvent) {
    match &event.kind {
        EventKind::Started => say!(debug, event, "started"),
        EventKind::Stopped => say!(debug, event, "stopped"),
        EventKind::Crashed { reason, failures, budget } => {
            say!(warn, event, "crashed", reason, failures, budget)
        }
        EventKind::StartFailed { reason } => say!(warn, event, "could not start", reason),
        EventKind::RestartScheduled { delay_ms } => say!(info, event, "restart scheduled", delay_ms),
        EventKind::Restarted => say!(info, event, "restarted"),
        EventKind::Escalated { child, failures, window_ms, reason } => {
            say!(error, event, "supervisor gives up", child = %child, failures, window_ms, reason)
        }
        EventKind::SupervisorClosed { reopens_in_ms, reason } => {
            say!(error, event, "closed; jobs can still be enqueued", reopens_in_ms, reason)
        }
        EventKind::SupervisorReopened => say!(info, event, "reopened"),
        EventKind::StoreUnreachable { reason } => {
            say!(warn, event, "store unreachable", reason)
        }
        EventKind::StoreReachable { away_ms } => say!(info, event, "store reachable again", away_ms),
        EventKind::StoreCallFailing { operation, reason } => {
            say!(error, event, "the store answers, but not to these calls; they are sent again", %operation, reason)
        }
        EventKind::StoreCallRecovered { operation, failed_ms } => {
            say!(info, event, "these calls to the store fail no longer", %operation, failed_ms)
        }
        EventKind::StoreBlocked { reason } => say!(warn, event, "store blocked", reason),
        EventKind::StoreUnblocked { blocked_ms } => say!(info, event, "store no longer blocked", blocked_ms),
        EventKind::EnqueuesDropped { dropped, reason } => {
            say!(warn, event, "Enqueue messages dropped", dropped, %reason)
        }
        EventKind::InstanceReplaced { old, reason } => {
            let new = event.instance;
            say!(warn, event, "another process uses the process instance of this one, which takes a new one", %old, %new, reason)
        }
        EventKind::StoreRefused { operation, reason } => {
            say!(error, event, "store refused a call", %operation, reason)
        }
        _ => log_job_event(event),
    }
}

/// Logs an event about single jobs.
fn log_job_event(event: &SupervisionEvent) {
    match &event.kind {
        EventKind::HandlerPanicked { queue, job, attempt, message, location } => {
            say!(warn, event, "handler panicked", %queue, %job, attempt, panic = message, location = location.as_deref().unwrap_or("unknown"))
        }
        EventKind::Zombie { queue, job, attempt, ran_ms } => {
            say!(error, event, "handler ignores its timeout; attempts may overlap", %queue, %job, attempt, ran_ms)
        }
        EventKind::Stuck { queue, job, ran_ms } => say!(warn, event, "handler blocks its thread", %queue, %job, ran_ms),
        EventKind::LeaseReclaimed { queue, job, held_by, crashes, counted, poisoned } => {
            let worker = held_by.map(|instance| instance.short()).unwrap_or_default();
            if *poisoned {
                say!(warn, event, "job poisoned, its workers crashed too often or its leases were lost too often", %queue, %job, %worker, crashes, counted)
            } else {
                say!(warn, event, "lease expired, job reclaimed", %queue, %job, %worker, crashes, counted)
            }
        }
        EventKind::ClaimsLost { queue, claims, released } => {
            say!(warn, event, "claims of unknown outcome, their jobs were released", %queue, claims, released)
        }
        EventKind::LeaseLost { queue, job, attempt } => say!(warn, event, "lease lost", %queue, %job, attempt),
        EventKind::StaleSettlement { queue, job, attempt } => {
            say!(warn, event, "late settlement had no effect", %queue, %job, attempt)
        }
        EventKind::UnknownKind { queue, job, kind } => {
            say!(warn, event, "no handler for this kind", %queue, %job, kind)
        }
        EventKind::Undecodable { queue, job, error } => {
            say!(warn, event, "payload cannot be decoded here, job released", %queue, %job, error)
        }
        EventKind::JobsPostponed { queue, count, job, delay_ms } => {
            say!(warn, event, "a job runs that may crash its worker, and jobs that must not run beside it are delayed", %queue, count, example = %job, delay_ms)
        }
        EventKind::OutOfResources { queue, resource, error } => {
            let remedy = resource.remedy();
            say!(error, event, "this process has run out of a resource, jobs are released and executors pause", %queue, %resource, error, remedy)
        }
        EventKind::JobPoisoned { queue, job, code } => say!(warn, event, "job poisoned", %queue, %job, %code),
        EventKind::JobDied { queue, job, code } => {
            say!(warn, event, "job moved to the dead letter queue", %queue, %job, %code)
        }
        _ => log_queue_event(event),
    }
}

/// Logs an event about a queue as a whole.
fn log_queue_event(event: &SupervisionEvent) {
    match &event.kind {
        EventKind::ClaimsStopped { queue, unsettled, reason } => {
            say!(error, event, "the store does not settle, so the queue claims no more jobs", %queue, unsettled, reason)
        }
        EventKind::ClaimsResumed { queue } => {
            say!(info, event, "the store settles again, and the queue claims", %queue)
        }
        EventKind::LeaseGraceGiven { queue, grace_ms } => {
            say!(warn, event, "no worker looked at expired leases for more than half of the shortest lease, lease grace given", %queue, grace_ms)
        }
        EventKind::LeasesShortened { queue, leases } => {
            say!(warn, event, "the store's clock was set back, leases shortened to the longest lease in use", %queue, leases)
        }
        EventKind::JobsTrimmed { queue, state, count, reason, oldest_ms } => {
            say!(warn, event, "jobs trimmed by retention, they cannot be redriven any more", %queue, %state, count, %reason, oldest_ms)
        }
        EventKind::AuditFailed { queue, difference } => {
            say!(error, event, "queue audit failed", %queue, difference)
        }
        EventKind::DataLost { queue, jobs_before, jobs, enqueued_before, enqueued, counted_before_ms } => {
            say!(error, event, "the store has lost data: it was emptied or restored from an older copy, or the queue was deleted; docs/operating.md says what to do", %queue, jobs_before, jobs, enqueued_before, enqueued, counted_before_ms)
        }
        EventKind::QueueRepaired { queue, findings } => {
            let found: Vec<_> = findings.iter().map(ToString::to_string).collect();
            say!(warn, event, "queue repaired", %queue, found = %found.join(", "))
        }
        kind => say!(info, event, "event", event = ?kind),
    }
}

#[cfg(test)]
mod tests;
