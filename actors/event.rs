//! Telling what happens in the tree: logged at once, broadcast at once, and handed to the ledger to be kept.
//!
//! Events do not live in a mailbox: whoever sees something calls [`Events::emit`], and the buffer outlives every actor.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use retraced_jobs::clock::Clock;
use retraced_jobs::job::InstanceId;
use retraced_jobs::trace::{EventKind, SupervisionEvent};
use tokio::sync::broadcast;

/// Most events waiting to be kept while the store is away; the oldest are dropped, and counted.
pub const EVENTS_UNKEPT_MAX: usize = 10_000;
/// How far a listener may fall behind the broadcast; then it is told how many it missed.
pub const EVENTS_BROADCAST_MAX: usize = 1_024;

/// The house's voice. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events(Arc<Inner>);

struct Inner {
    instance: InstanceId,
    clock: Arc<dyn Clock>,
    broadcast: broadcast::Sender<SupervisionEvent>,
    unkept: Mutex<VecDeque<SupervisionEvent>>,
    dropped: AtomicU64,
}

impl Events {
    pub(crate) fn new(instance: InstanceId, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            instance,
            clock,
            broadcast: broadcast::Sender::new(EVENTS_BROADCAST_MAX),
            unkept: Mutex::new(VecDeque::new()),
            dropped: AtomicU64::new(0),
        }))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.0.broadcast.subscribe()
    }

    pub(crate) fn emit(&self, path: &str, generation: u32, kind: EventKind) {
        let event = SupervisionEvent::new(self.0.clock.now_ms(), self.0.instance, path, generation, kind);
        log(&event);
        // No listener is no error.
        let _ = self.0.broadcast.send(event.clone());
        self.keep([event]);
    }

    /// Up to `most` events that wait to be kept, oldest first.
    pub(crate) fn take_unkept(&self, most: usize) -> Vec<SupervisionEvent> {
        let mut unkept = self.0.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.min(unkept.len());
        unkept.drain(..most).collect()
    }

    /// Puts back what could not be kept, in front.
    pub(crate) fn give_back(&self, events: Vec<SupervisionEvent>) {
        let mut unkept = self.0.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.into_iter().rev() {
            unkept.push_front(event);
        }
        self.trim(&mut unkept);
    }

    /// How many events were dropped since the last time this was asked, because the store was away too long.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.0.dropped.swap(0, Ordering::Relaxed)
    }

    fn keep(&self, events: impl IntoIterator<Item = SupervisionEvent>) {
        let mut unkept = self.0.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        unkept.extend(events);
        self.trim(&mut unkept);
    }

    fn trim(&self, unkept: &mut VecDeque<SupervisionEvent>) {
        while unkept.len() > EVENTS_UNKEPT_MAX {
            unkept.pop_front();
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What an operator must act on is an error, what they should know is a warning, the rest is information or detail.
fn log(event: &SupervisionEvent) {
    let SupervisionEvent { path, generation, kind, .. } = event;
    macro_rules! say {
        ($level:ident, $text:literal $(, $($field:tt)*)?) => {
            tracing::$level!(target: "retraced::supervision", actor = %path, generation, $($($field)*,)? $text)
        };
    }
    match kind {
        EventKind::Started => say!(debug, "started"),
        EventKind::Stopped => say!(debug, "stopped"),
        EventKind::HandlerPanicked { queue, job, attempt, message, place } => {
            say!(warn, "handler panicked", %queue, %job, attempt, panic = %message.escape_debug(), place = place.as_deref().unwrap_or("unknown"))
        }
        EventKind::Crashed { reason, failures, budget } => {
            say!(warn, "crashed", reason = %reason.escape_debug(), failures, budget)
        }
        EventKind::StartFailed { reason } => say!(warn, "could not be started", reason = %reason.escape_debug()),
        EventKind::RestartScheduled { delay_ms } => say!(info, "will be restarted", delay_ms),
        EventKind::Restarted => say!(info, "restarted"),
        EventKind::Escalated { child, failures, window_ms, reason } => {
            say!(error, "gave up on a child", child = %child, failures, window_ms, reason = %reason.escape_debug())
        }
        EventKind::QueueClosed { reopens_in_ms, reason } => {
            say!(error, "queue closed", reopens_in_ms, reason = %reason.escape_debug())
        }
        EventKind::QueueReopened => say!(info, "queue works again"),
        EventKind::StoreLost { reason } => say!(warn, "store lost, waiting for it", reason = %reason.escape_debug()),
        EventKind::StoreBack { away_ms } => say!(info, "store is back", away_ms),
        EventKind::Zombie { queue, job, attempt, ran_ms } => {
            say!(error, "handler ignores its timeout, attempts may overlap", %queue, %job, attempt, ran_ms)
        }
        EventKind::Stuck { queue, job, ran_ms } => say!(warn, "handler blocks its thread", %queue, %job, ran_ms),
        EventKind::LeaseReclaimed { queue, job, owner, crashes, charged, poisoned } => {
            let owner = owner.map(|o| o.short()).unwrap_or_default();
            say!(warn, "lease ran out, job taken back", %queue, %job, %owner, crashes, charged, poisoned)
        }
        EventKind::ClaimsLost { queue, claims, released } => {
            say!(warn, "claims came to a bad end, their jobs were handed back", %queue, claims, released)
        }
        EventKind::GraceGiven { queue, grace_ms } => {
            say!(warn, "nobody could renew, leases get a grace", %queue, grace_ms)
        }
        EventKind::LeaseLost { queue, job, attempt } => say!(warn, "lease lost", %queue, %job, attempt),
        EventKind::StaleSettlement { queue, job, attempt } => {
            say!(warn, "settlement came too late", %queue, %job, attempt)
        }
        EventKind::UnknownKind { queue, job, kind } => {
            say!(warn, "no handler for this kind", %queue, %job, kind = %kind.escape_debug())
        }
        EventKind::JobPoisoned { queue, job, code } => say!(warn, "job poisoned", %queue, %job, %code),
        EventKind::JobDied { queue, job, code } => say!(warn, "job given up", %queue, %job, %code),
        EventKind::Busy { refused } => say!(warn, "front door is full", refused),
        EventKind::AuditFailed { queue, difference } => {
            say!(error, "queue does not add up", %queue, difference)
        }
        EventKind::QueueRepaired { queue, findings } => {
            let found: Vec<_> = findings.iter().map(|finding| format!("{} {}", finding.count, finding.kind)).collect();
            say!(warn, "queue repaired", %queue, found = %found.join(", "))
        }
        EventKind::StoreRefused { operation, reason } => {
            say!(error, "store refuses", %operation, reason = %reason.escape_debug())
        }
        _ => say!(info, "event", event = ?kind),
    }
}
