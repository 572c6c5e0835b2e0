//! The observer: how metrics, spans and tests see what the tree does, as it happens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retraced_jobs::events::SupervisionEvent;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{JobId, QueueName};
use retraced_jobs::store::Verdict;
use retraced_jobs::trace::ExecutorId;

/// Sees what one runtime does. Every method does nothing by default.
///
/// The methods are called where things happen, on the threads of the tree and of the handlers: return at once, and hand longer work to another task. A
/// runtime without an observer pays one branch per call. A panic of an observer is caught, and the first one is logged.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use retraced_actors::{AttemptEnded, AttemptStarted, Observer};
///
/// #[derive(Default)]
/// struct Busy(AtomicU64);
///
/// impl Observer for Busy {
///     fn attempt_started(&self, _: &AttemptStarted<'_>) {
///         self.0.fetch_add(1, Ordering::Relaxed);
///     }
///     fn attempt_ended(&self, _: &AttemptEnded<'_>) {
///         self.0.fetch_sub(1, Ordering::Relaxed);
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A claim was answered with this many jobs: zero if the queue had none or is paused, or if the claim ended early among entries that cannot be granted.
    fn claimed(&self, queue: &QueueName, jobs: usize) {
        let _ = (queue, jobs);
    }

    /// An attempt begins. Its handler may never run: the job may be unreadable, too large or of an unknown kind, a layer or an extractor may end the attempt, or no
    /// thread may be free for a blocking handler. Exactly one [`attempt_ended`](Self::attempt_ended) follows, unless the tree ends without a shutdown: with an error,
    /// because its runtime is dropped, or because its root supervisor is killed.
    fn attempt_started(&self, attempt: &AttemptStarted<'_>) {
        let _ = attempt;
    }

    /// An attempt has ended: its handler returned, panicked, timed out, was interrupted or was not run. The store may have settled it already: this
    /// call and [`settled`](Self::settled) come in any order. If the executor ended during the attempt, this is called within
    /// [`WATCH_INTERVAL`](crate::limits::WATCH_INTERVAL).
    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        let _ = attempt;
    }

    /// The store has answered a settlement: `confirmed` outcomes took effect, `stale` ones came too late.
    fn settled(&self, queue: &QueueName, confirmed: usize, stale: usize) {
        let _ = (queue, confirmed, stale);
    }

    /// The store has answered renewals, those that bring progress included: `kept` leases are renewed, and `lost` ones no longer belong to this worker. A lease that is gone because its attempt has ended
    /// is not counted, nor is a renewal that records the start of a handler (`Store::begin`).
    fn leases_renewed(&self, queue: &QueueName, kept: usize, lost: usize) {
        let _ = (queue, kept, lost);
    }

    /// A supervision event: an actor started or crashed, the store became unreachable, an expired lease was reclaimed, and so on. The same events
    /// are logged and broadcast.
    fn supervision(&self, event: &SupervisionEvent) {
        let _ = event;
    }
}

/// The observer of a runtime, if there is one. A panic of the observer does not end the actor that calls it.
#[derive(Clone, Default)]
pub(crate) struct GuardedObserver {
    observer: Option<Arc<dyn Observer>>,
    panicked: Arc<AtomicBool>,
}

impl GuardedObserver {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self { observer, panicked: Arc::default() }
    }

    /// Calls the observer, if there is one.
    pub(crate) fn notify(&self, call: impl FnOnce(&dyn Observer)) {
        let Some(observer) = &self.observer else { return };
        let called = catch_unwind(AssertUnwindSafe(|| call(&**observer)));
        if called.is_err() && !self.panicked.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "retraced", "the observer panicked; its further panics are not logged");
        }
    }
}

/// The start of an attempt.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AttemptStarted<'a> {
    /// The queue.
    pub queue: &'a QueueName,
    /// The job.
    pub job: &'a JobId,
    /// Which attempt this is, counting every grant, from 1.
    pub attempt: u32,
    /// The executor that runs it.
    pub executor: ExecutorId,
}

/// The end of an attempt.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AttemptEnded<'a> {
    /// The queue.
    pub queue: &'a QueueName,
    /// The job.
    pub job: &'a JobId,
    /// Which attempt this is, counting every grant, from 1.
    pub attempt: u32,
    /// The executor that ran it.
    pub executor: ExecutorId,
    /// How long the attempt ran: its layers, its extractors, the wait for a thread and the handler. Zero if this worker has no handler for the job or cannot read it.
    pub ran: Duration,
    /// What becomes of the job.
    pub verdict: Verdict,
    /// The code of the failure, or why the job was cancelled or rejected. `None` if it completed or was released.
    pub failure: Option<Code>,
}
