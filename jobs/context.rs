//! What a handler knows of its attempt, and the lease it runs under.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::enqueue::{EnqueueError, IntoNewJob, JobHandle, Producers, QueueHandle};
use crate::failure::bounded;
use crate::handler::States;
use crate::job::{Counters, InvalidName, JobId, Kind, QueueName};
use crate::trace::{LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LogLine, Progress};

/// Why a handler is asked to stop.
///
/// ```
/// use retraced_jobs::context::{Context, Stop};
/// use retraced_jobs::failure::{Code, Failure};
/// async fn copy(ctx: &Context) -> Result<(), Failure> {
///     tokio::select! {
///         () = tokio::time::sleep(std::time::Duration::from_secs(60)) => Ok(()),
///         () = ctx.cancelled() => match ctx.why_stopped() {
///             // Another worker may copy by now: leave everything as it is.
///             Some(Stop::LeaseLost) => Ok(()),
///             why => Err(Failure::new(Code::Interrupted, format!("stopped by {why:?}"))),
///         },
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The worker shuts down, or what ran the handler was restarted. An error returned now costs nothing: the job goes back to the front of its queue.
    Shutdown,
    /// The job was cancelled. An error returned now leaves it `cancelled`; `Ok` completes it.
    Cancelled,
    /// Its timeout is over, or a layer around it no longer awaits it. An error returned now is a failed attempt.
    TimedOut,
    /// Its lease is lost: another worker may run the job by now, and the result of this handler will not count.
    LeaseLost,
}

/// A lease as its attempt and the lease keeper share it: how long it lasts, whether it is lost, and whether the handler is asked to stop.
#[derive(Debug)]
pub struct LeaseWatch {
    origin: Instant,
    /// When the lease expires, in microseconds after the origin.
    expires_us: AtomicU64,
    lost: AtomicBool,
    stop: OnceLock<Stop>,
    /// Made for the first who asks: most handlers never do.
    token: OnceLock<CancellationToken>,
    timeout: OnceLock<Duration>,
    /// When the poll of the handler under way began, in microseconds after the origin, plus one; 0 between polls.
    polling_us: AtomicU64,
}

impl LeaseWatch {
    /// A lease that expires at `expires` unless it is extended.
    #[must_use]
    pub fn new(expires: Instant) -> Self {
        Self::granted(Instant::now(), expires)
    }

    /// The same, with a clock reading the caller already has.
    #[must_use]
    pub fn granted(now: Instant, expires: Instant) -> Self {
        let origin = now;
        Self {
            origin,
            expires_us: AtomicU64::new(micros(expires.saturating_duration_since(origin))),
            lost: AtomicBool::new(false),
            stop: OnceLock::new(),
            token: OnceLock::new(),
            timeout: OnceLock::new(),
            polling_us: AtomicU64::new(0),
        }
    }

    /// It was renewed: it now expires at `expires`.
    pub fn extend(&self, expires: Instant) {
        self.expires_us.store(micros(expires.saturating_duration_since(self.origin)), Ordering::Relaxed);
    }

    /// How long it lasts unless renewed; zero once lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.remaining_at(Instant::now())
    }

    /// The same, with a clock reading the caller already has.
    #[must_use]
    pub fn remaining_at(&self, now: Instant) -> Duration {
        if self.is_lost() {
            return Duration::ZERO;
        }
        let expires = Duration::from_micros(self.expires_us.load(Ordering::Relaxed));
        expires.saturating_sub(now.saturating_duration_since(self.origin))
    }

    /// Another worker took it: the handler is asked to stop.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.stop(Stop::LeaseLost);
    }

    /// Whether it is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Asks the handler to stop. The first reason stays.
    pub fn stop(&self, why: Stop) {
        let _ = self.stop.set(why);
        // With the fence in `token`: of the two, at least one sees what the other wrote.
        fence(Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    /// Why the handler is asked to stop, if it is.
    #[must_use]
    pub fn stopped(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    /// The attempt's timeout; `None` before it starts.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.get().copied()
    }

    /// How long the handler has not yielded to its runtime; `None` between polls.
    #[must_use]
    pub fn unyielding_for(&self, now: Instant) -> Option<Duration> {
        let began = self.polling_us.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.origin + Duration::from_micros(began)))
    }

    pub(crate) fn begin(&self, timeout: Duration) {
        let _ = self.timeout.set(timeout);
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        fence(Ordering::SeqCst);
        // It may have been stopped before there was a token.
        if self.stop.get().is_some() {
            token.cancel();
        }
        token
    }

    pub(crate) fn poll_begins(&self) {
        self.polling_us.store(micros(self.origin.elapsed()) + 1, Ordering::Relaxed);
    }

    pub(crate) fn poll_ends(&self) {
        self.polling_us.store(0, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What a handler knows of its attempt, and how it speaks about it. Cheap to clone.
///
/// ```
/// use retraced_jobs::context::Context;
/// async fn import(ctx: &Context, rows: u32) {
///     for row in 0..rows {
///         if ctx.is_cancelled() {
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
    about: About,
    started: Instant,
    states: Arc<States>,
    producers: Arc<dyn Producers>,
    lease: Arc<LeaseWatch>,
    notes: Mutex<Notes>,
}

/// What an attempt is about; what a context is made of.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) id: JobId,
    pub(crate) queue: QueueName,
    pub(crate) kind: Kind,
    pub(crate) counters: Counters,
    pub(crate) max_attempts: u32,
    pub(crate) enqueued_ms: u64,
    pub(crate) started_ms: u64,
}

/// What a handler wrote down.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) lines: Vec<LogLine>,
    pub(crate) dropped: u32,
    pub(crate) progress: Option<Progress>,
}

impl Context {
    pub(crate) fn new(
        about: About,
        started: Instant,
        states: Arc<States>,
        producers: Arc<dyn Producers>,
        lease: Arc<LeaseWatch>,
    ) -> Self {
        Self(Arc::new(Inner { about, started, states, producers, lease, notes: Mutex::default() }))
    }

    /// The job.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.0.about.id
    }

    /// Its queue.
    #[must_use]
    pub fn queue_name(&self) -> &QueueName {
        &self.0.about.queue
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.about.kind
    }

    /// Which try this is: failures so far + 1. What crashed or was interrupted is not counted.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.about.counters.attempt()
    }

    /// How many tries the job has in all.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.0.about.max_attempts
    }

    /// All four counters; `attempts` counts this grant already.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.about.counters
    }

    /// When the store accepted the job, in ms since the Unix epoch.
    #[must_use]
    pub fn enqueued_ms(&self) -> u64 {
        self.0.about.enqueued_ms
    }

    /// When this attempt started, in ms since the Unix epoch, on the store's clock as this worker knows it.
    #[must_use]
    pub fn started_ms(&self) -> u64 {
        self.0.about.started_ms
    }

    /// The value of this type that was given to the builder.
    ///
    /// # Panics
    /// When there is none: the attempt ends as `PANIC`, naming the type. Take it as an argument [`State<T>`](crate::handler::State) to have that
    /// found when the runtime starts.
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

    /// Enqueues a follow-up job, and waits for its receipt. It goes to the default queue of its kind ([`JobDefaults::queue`](crate::handler::JobDefaults::queue)),
    /// or to this handler's own queue when the kind has none; [`queue`](Self::queue) reaches any other. This attempt may run again: give the job an id of its own,
    /// and it is stored once.
    ///
    /// # Errors
    /// [`EnqueueError`]. `?` makes it a failure of this attempt that is retried where that makes sense.
    ///
    /// ```
    /// use retraced_jobs::context::Context;
    /// use retraced_jobs::enqueue::{EnqueueError, JobRequest};
    /// use retraced_jobs::failure::Failure;
    /// # use retraced_jobs::handler::Job;
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
        let default = job.default_queue().map(QueueName::new).transpose().map_err(EnqueueError::InvalidQueue)?;
        let queue = default.as_ref().unwrap_or(self.queue_name());
        QueueHandle::new(self.0.producers.producer(queue)).enqueue(job).await
    }

    /// Any queue of this handler's store, to enqueue to. It need not be one this process works, nor have been used before.
    ///
    /// # Errors
    /// [`InvalidName`] unless the name is 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn queue(&self, name: impl AsRef<str>) -> Result<QueueHandle, InvalidName> {
        Ok(QueueHandle::new(self.0.producers.producer(&QueueName::new(name)?)))
    }

    /// Waits until the handler should stop; [`why_stopped`](Self::why_stopped) says why. Made for `tokio::select!`, beside what may take long.
    pub async fn cancelled(&self) {
        self.0.lease.token().cancelled().await;
    }

    /// Fired when the handler should stop, for those who take a token along; [`cancelled`](Self::cancelled) waits for it.
    #[must_use]
    pub fn cancellation(&self) -> CancellationToken {
        self.0.lease.token().clone()
    }

    /// Whether the handler should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.lease.stopped().is_some()
    }

    /// Why the handler should stop, if it should.
    #[must_use]
    pub fn why_stopped(&self) -> Option<Stop> {
        self.0.lease.stopped()
    }

    /// How long the lease lasts: until then no other worker runs the job. Grows with each renewal; zero means that another worker may run it by now.
    #[must_use]
    pub fn lease_remaining(&self) -> Duration {
        self.0.lease.remaining()
    }

    /// Whether the lease is lost, or could not be renewed in time: another worker may run the job by now. If one does, the result of this handler will not
    /// count; otherwise it will. Whether to stop or to continue depends on the effects of a second run.
    #[must_use]
    pub fn lease_lost(&self) -> bool {
        self.0.lease.remaining().is_zero()
    }

    /// A key for systems that remember what they have done: the same in every attempt of this job, different for every other.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.0.about.queue, self.0.about.id)
    }

    /// Reports progress: 0 to 100 percent (more is 100) and a note, cut at 512 bytes. The last report is kept with the attempt.
    pub fn progress(&self, percent: u8, note: impl AsRef<str>) {
        let progress = Progress { percent: percent.min(100), note: bounded(note.as_ref(), LOG_LINE_BYTES_MAX) };
        self.notes().progress = Some(progress);
    }

    /// Writes a line, cut at 512 bytes, to be kept with the attempt. The first 32 are kept, the rest is counted. A job that completes keeps no log.
    pub fn log(&self, text: impl AsRef<str>) {
        let after_ms = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut notes = self.notes();
        if notes.lines.len() < LOG_LINES_MAX {
            notes.lines.push(LogLine { after_ms, text: bounded(text.as_ref(), LOG_LINE_BYTES_MAX) });
        } else {
            notes.dropped = notes.dropped.saturating_add(1);
        }
    }

    pub(crate) fn take_notes(&self) -> Notes {
        std::mem::take(&mut *self.notes())
    }

    /// What the handler wrote down so far.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_lease_lasts_until_it_expires_or_is_extended() {
        let watch = LeaseWatch::new(Instant::now() + 30 * SECOND);
        tokio::time::advance(10 * SECOND).await;
        assert_eq!(watch.remaining(), 20 * SECOND);
        watch.extend(Instant::now() + 30 * SECOND);
        assert_eq!(watch.remaining(), 30 * SECOND);
        tokio::time::advance(31 * SECOND).await;
        assert_eq!((watch.remaining(), watch.is_lost()), (Duration::ZERO, false), "expired is not yet lost");
        watch.extend(Instant::now() + SECOND);
        assert_eq!(watch.remaining(), SECOND, "it was not reclaimed: a late renewal counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_lease_stays_lost_and_stops_the_handler() {
        let watch = LeaseWatch::new(Instant::now() + 30 * SECOND);
        watch.lose();
        watch.extend(Instant::now() + 30 * SECOND);
        assert_eq!((watch.remaining(), watch.is_lost()), (Duration::ZERO, true));
        assert_eq!(watch.stopped(), Some(Stop::LeaseLost));
        assert!(watch.token().is_cancelled());
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_stays() {
        let watch = LeaseWatch::new(Instant::now());
        assert_eq!((watch.stopped(), watch.token().is_cancelled()), (None, false));
        watch.stop(Stop::Cancelled);
        watch.stop(Stop::Shutdown);
        watch.lose();
        assert_eq!((watch.stopped(), watch.is_lost()), (Some(Stop::Cancelled), true));
    }

    #[tokio::test]
    async fn an_expiry_that_has_passed_or_never_comes_is_no_trouble() {
        let watch = LeaseWatch::new(Instant::now() - SECOND);
        assert_eq!(watch.remaining(), Duration::ZERO);
        watch.extend(Instant::now() + Duration::from_secs(u64::from(u32::MAX)));
        assert!(watch.remaining() > SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_under_way_is_measured() {
        let watch = LeaseWatch::new(Instant::now());
        assert_eq!(watch.unyielding_for(Instant::now()), None);
        watch.poll_begins();
        assert_eq!(watch.unyielding_for(Instant::now() + 3 * SECOND), Some(3 * SECOND));
        assert_eq!(watch.unyielding_for(Instant::now() - 3 * SECOND), Some(Duration::ZERO));
        watch.poll_ends();
        assert_eq!(watch.unyielding_for(Instant::now() + SECOND), None);
    }
}
