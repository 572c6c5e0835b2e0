//! The context that a handler is given: facts about its attempt, and what it can do beside its work.

mod attempt_control;
mod latest_progress;
mod states;
mod stop;

pub use attempt_control::AttemptControl;
pub use states::{DuplicateState, States};
pub use stop::Stop;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::enqueue::{EnqueueError, IntoNewJob, JobHandle, Producers, QueueHandle};
use crate::failure::bounded;
use crate::job::{Counters, JobId, Kind, QueueName};
use crate::limits::HANDLER_ENQUEUE_TIMEOUT;
use crate::trace::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LogLine, Progress};
use crate::units::millis;

/// What a handler has beside its job: facts about its attempt, shared state, a log, progress, and a way to enqueue follow-up jobs. Cheap to clone.
///
/// ```
/// use retraced_jobs::context::Context;
/// async fn import(ctx: &Context, rows: u32) {
///     for row in 0..rows {
///         if ctx.is_stop_requested() {
///             return;
///         }
///         ctx.progress((row * 100 / rows) as u8, "importing");
///     }
///     ctx.log("all rows imported");
/// }
/// ```
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    info: AttemptInfo,
    started: Instant,
    states: Arc<States>,
    producers: Arc<dyn Producers>,
    control: Arc<AttemptControl>,
    notes: Mutex<Notes>,
}

/// The facts about an attempt that its context returns.
#[derive(Debug, Clone)]
pub(crate) struct AttemptInfo {
    pub(crate) id: JobId,
    pub(crate) queue: QueueName,
    pub(crate) kind: Kind,
    pub(crate) counters: Counters,
    pub(crate) max_attempts: u32,
    pub(crate) enqueued_ms: u64,
    pub(crate) started_ms: u64,
}

/// The lines that a handler logged in this attempt, and the progress it reported last, which is added when they are [taken](Context::take_notes).
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) lines: Vec<LogLine>,
    pub(crate) lines_dropped: u32,
    pub(crate) progress: Option<Progress>,
}

impl Context {
    pub(crate) fn new(
        info: AttemptInfo,
        started: Instant,
        states: Arc<States>,
        producers: Arc<dyn Producers>,
        control: Arc<AttemptControl>,
    ) -> Self {
        Self(Arc::new(Inner { info, started, states, producers, control, notes: Mutex::default() }))
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.0.info.id
    }

    /// The job's queue.
    #[must_use]
    pub fn queue_name(&self) -> &QueueName {
        &self.0.info.queue
    }

    /// The job's kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.info.kind
    }

    /// Failures so far + 1, to be compared with [`max_attempts`](Self::max_attempts). Crashes and releases are not counted, so the trace may show a higher number
    /// for this attempt: the trace counts grants, as `attempts` in [`counters`](Self::counters) does.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.info.counters.attempt()
    }

    /// How many attempts may fail: when [`attempt`](Self::attempt) has reached this number, a failure is not retried.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.0.info.max_attempts
    }

    /// All four counters. `attempts` includes this attempt.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.info.counters
    }

    /// When the store accepted the job, in ms since the Unix epoch.
    #[must_use]
    pub fn enqueued_ms(&self) -> u64 {
        self.0.info.enqueued_ms
    }

    /// When this attempt started, in ms since the Unix epoch: this worker's estimate of the store's clock.
    #[must_use]
    pub fn started_ms(&self) -> u64 {
        self.0.info.started_ms
    }

    /// The value of this type that was given to the builder.
    ///
    /// # Panics
    /// When no such value was given: the attempt ends as `PANIC`, and the message names the type. If the handler takes the value as an argument
    /// [`State<T>`](crate::handler::State) instead, a missing value is found when the runtime starts.
    #[must_use]
    #[track_caller]
    pub fn state<T: Send + Sync + 'static>(&self) -> Arc<T> {
        match self.try_state() {
            Some(state) => state,
            None => panic!("no state of type {}; give one to the builder with .state(…)", std::any::type_name::<T>()),
        }
    }

    /// The value of this type that was given to the builder, if one was.
    #[must_use]
    pub fn try_state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.states.get()
    }

    /// Enqueues a follow-up job, and waits for its receipt. It goes to the default queue of its kind ([`JobDefaults::queue`](crate::typed_job::JobDefaults::queue)),
    /// or to this handler's own queue when the kind has none; [`queue`](Self::queue) reaches any other. The handler may run again: give the follow-up job an
    /// id of your own, and it is not stored a second time while the first is kept.
    ///
    /// It waits for up to 30 s ([`HANDLER_ENQUEUE_TIMEOUT`]). So an outage of the store that is shorter, or a shorter time in which it takes no new jobs (its memory is full,
    /// it became a replica, and so on), does not make the attempt fail.
    ///
    /// # Errors
    /// [`EnqueueError`]; at once if a right is missing. `?` turns it into a temporary failure of this attempt, or into a permanent one if the follow-up job is invalid.
    ///
    /// ```
    /// use retraced_jobs::context::Context;
    /// use retraced_jobs::enqueue::{EnqueueError, JobRequest};
    /// use retraced_jobs::failure::Failure;
    /// # use retraced_jobs::typed_job::Job;
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct MakeInvoice { order: u32 }
    /// # impl Job for MakeInvoice { const KIND: &'static str = "invoice.make"; }
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendInvoice { order: u32 }
    /// # impl Job for SendInvoice { const KIND: &'static str = "invoice.send"; }
    /// async fn make_invoice(job: MakeInvoice, ctx: Context) -> Result<(), Failure> {
    ///     let next = JobRequest::new(SendInvoice { order: job.order }).id(format!("invoice-{}", job.order));
    ///     ctx.enqueue(next).await?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn enqueue(&self, job: impl IntoNewJob) -> Result<JobHandle, EnqueueError> {
        let queue = job.default_queue()?.unwrap_or_else(|| self.queue_name().clone());
        self.handle(&queue).enqueue(job).await
    }

    /// A handle to any queue of this handler's store, to enqueue to, with the same timeout as [`enqueue`](Self::enqueue). The queue need not have workers in this
    /// process, nor have been used before.
    ///
    /// # Errors
    /// [`EnqueueError::InvalidQueue`] unless the name is 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn queue(&self, name: impl AsRef<str>) -> Result<QueueHandle, EnqueueError> {
        let name = QueueName::new(name).map_err(EnqueueError::InvalidQueue)?;
        Ok(self.handle(&name))
    }

    fn handle(&self, queue: &QueueName) -> QueueHandle {
        QueueHandle::new(self.0.producers.producer(queue)).enqueue_timeout(HANDLER_ENQUEUE_TIMEOUT)
    }

    /// Waits until the handler is asked to stop, for any [reason](Stop); [`why_stopped`](Self::why_stopped) returns the
    /// reason. Made for `tokio::select!`, next to work that may take long.
    pub async fn stop_requested(&self) {
        self.0.control.token().cancelled().await;
    }

    /// A token that is cancelled when the handler is asked to stop, for code that takes a `CancellationToken`.
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.0.control.token().clone()
    }

    /// Whether the handler is asked to stop, for any [reason](Stop).
    #[must_use]
    pub fn is_stop_requested(&self) -> bool {
        self.0.control.stop_reason().is_some()
    }

    /// Why the handler is asked to stop; `None` while it is not.
    #[must_use]
    pub fn why_stopped(&self) -> Option<Stop> {
        self.0.control.stop_reason()
    }

    /// How long the lease still lasts; each renewal extends it. Zero when the lease has expired or is lost: another worker may run the job by now.
    #[must_use]
    pub fn lease_remaining(&self) -> Duration {
        self.0.control.remaining()
    }

    /// Whether the lease has expired or is lost: another worker may run the job by now. If the job was reclaimed, the result of this handler will have no effect;
    /// otherwise it still counts. Whether to stop depends on what harm a second run would do.
    #[must_use]
    pub fn lease_ended(&self) -> bool {
        self.0.control.remaining().is_zero()
    }

    /// An idempotency key for calls to other systems, made of the queue and the job's id: the same in every attempt of this job, and different for every other id.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.0.info.queue, self.0.info.id)
    }

    /// Reports progress: 0 to 100 percent (more counts as 100) and a note, cut at 512 bytes. This only replaces the previous report in memory, so it may be called
    /// thousands of times per second. While the handler runs, the store is told of a new report within about 2 s, and operators see it in `retraced job show`, `trace` and
    /// `jobs`. The last report is kept with the attempt, unless the job completes.
    ///
    /// The first report that is stored also shows that the handler has started: if the worker dies, a crash is counted.
    pub fn progress(&self, percent: u8, note: impl AsRef<str>) {
        self.0.control.report(Progress::new(percent.min(100), bounded(note.as_ref(), LOG_LINE_BYTES_MAX)));
    }

    /// Writes a line, cut at 512 bytes, to the attempt's log. The first 32 lines are kept with the attempt, unless the job completes; later ones are only counted.
    pub fn log(&self, text: impl AsRef<str>) {
        let after_ms = millis(self.0.started.elapsed());
        let mut notes = self.notes();
        if notes.lines.len() < LOG_LINES_MAX {
            notes.lines.push(LogLine { after_ms, text: bounded(text.as_ref(), LOG_LINE_BYTES_MAX) });
        } else {
            notes.lines_dropped = notes.lines_dropped.saturating_add(1);
        }
    }

    pub(crate) fn take_notes(&self) -> Notes {
        let progress = self.0.control.progress();
        Notes { progress, ..std::mem::take(&mut *self.notes()) }
    }

    /// The latest progress the handler reported.
    #[cfg(feature = "testing")]
    pub(crate) fn latest_progress(&self) -> Option<Progress> {
        self.0.control.progress()
    }

    /// Reads what the handler has logged so far.
    #[cfg(feature = "testing")]
    pub(crate) fn with_notes<T>(&self, read: impl FnOnce(&Notes) -> T) -> T {
        read(&self.notes())
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("id", self.id()).field("attempt", &self.attempt()).finish_non_exhaustive()
    }
}
