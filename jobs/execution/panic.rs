//! Catching a handler's panic with its location and backtrace.
//!
//! A process-wide panic hook checks a thread-local counter that is above zero only while an attempt's user code runs on the thread. Inside an attempt the hook
//! keeps the panic's location and an unresolved backtrace and prints nothing: the supervision event and the job's trace report the panic. Outside attempts it calls
//! the hook that was set before it. If a program later sets a hook of its own that does not call this one, panics are still caught, but without location and
//! backtrace.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::task::{Context as PollContext, Poll};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::spawn::try_spawn_blocking;
use crate::context::AttemptControl;
use crate::failure::{Failure, MESSAGE_BYTES_MAX, bounded};
use crate::handler::{HandlerFuture, Output};
use crate::job::{JobId, QueueName};
use crate::limits::{BACKTRACE_RENDER_TIMEOUT, BACKTRACE_RENDERERS_MAX};
use crate::trace::BACKTRACE_BYTES_MAX;

static RENDERERS: Semaphore = Semaphore::const_new(BACKTRACE_RENDERERS_MAX);

/// A handler's panic. Its executor ends with this error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerPanic {
    /// The job's queue.
    pub queue: QueueName,
    /// The job.
    pub job: JobId,
    /// The number of the attempt, as in the trace.
    pub attempt: u32,
    /// The panic's message.
    pub message: String,
    /// File, line and column.
    pub location: Option<String>,
}

impl fmt::Display for HandlerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.location.as_deref().unwrap_or("an unknown location");
        write!(
            f,
            "job {} of queue {} panicked at {location} in attempt {}: {}",
            self.job, self.queue, self.attempt, self.message
        )
    }
}

impl std::error::Error for HandlerPanic {}

impl HandlerPanic {
    /// Prints the panic to standard error if the program has set no `tracing` subscriber, because nobody would see the panic then.
    pub(super) fn print_without_subscriber(&self) {
        if !tracing::dispatcher::has_been_set() {
            // Standard error may be closed; that is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{self}");
        }
    }
}

/// A panic that was caught.
#[derive(Debug)]
pub(super) struct CaughtPanic {
    pub(super) message: String,
    pub(super) location: Option<String>,
    backtrace: Option<Backtrace>,
}

impl CaughtPanic {
    /// The backtrace as text, made on a thread for blocking work; `None` after [`BACKTRACE_RENDER_TIMEOUT`].
    pub(super) async fn render(&mut self) -> Option<String> {
        let backtrace = self.backtrace.take()?;
        let rendered = async {
            // The closure takes the permit when it begins, and holds it to its end, even if nobody waits for it any more. If no thread can be started, the closure stays
            // queued: the permit is taken back here, and the closure, which finds none, does nothing when it runs later.
            let permit = Arc::new(Mutex::new(Some(RENDERERS.acquire().await.ok()?)));
            let permit_of_closure = permit.clone();
            let rendering = try_spawn_blocking(move || {
                let _held = take(&permit_of_closure)?;
                Some(bounded(&handler_frames(&backtrace.to_string()), BACKTRACE_BYTES_MAX))
            });
            if rendering.is_none() {
                take(&permit);
            }
            rendering?.await.ok().flatten()
        };
        timeout(BACKTRACE_RENDER_TIMEOUT, rendered).await.ok().flatten()
    }
}

fn take<T>(value: &Mutex<Option<T>>) -> Option<T> {
    value.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The handler's own frames, which stand between those of the panic machinery and those of this library. Each is a name, followed by a line with its location if that
/// is known.
fn handler_frames(rendered: &str) -> String {
    const NO_SYMBOLS: &str = "no frames: the program was built without symbols";
    let mut frames: Vec<(&str, Option<&str>)> = Vec::new();
    for line in rendered.lines().map(str::trim) {
        match (line.strip_prefix("at "), line.split_once(": ")) {
            (Some(location), _) => frames.iter_mut().next_back().into_iter().for_each(|frame| frame.1 = Some(location)),
            (None, Some((_number, name))) => frames.push((name, None)),
            (None, None) => {}
        }
    }
    // The standard library calls panic hooks inside a function of this name.
    let Some(hook) = frames.iter().position(|(name, _)| name.contains("__rust_end_short_backtrace")) else {
        return NO_SYMBOLS.to_owned();
    };
    let machinery = |name: &str| {
        ["rust_begin_unwind", "std::panicking::", "core::panicking::"].iter().any(|part| name.contains(part))
    };
    let shown = frames.into_iter().skip(hook + 1).skip_while(|(name, _)| machinery(name));
    let shown = shown.take_while(|(name, _)| !name.contains("attempt_begins_here"));
    let lines =
        shown.map(|(name, location)| location.map_or(name.to_owned(), |location| format!("{name}\n  at {location}")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Marks where the handler's own frames begin in a backtrace.
#[inline(never)]
fn attempt_begins_here<T>(run: impl FnOnce() -> T) -> T {
    let value = run();
    // Work after the call prevents a tail call, which would remove this frame.
    std::hint::black_box(());
    value
}

thread_local! {
    static THREAD_STATE: RefCell<ThreadState> = const { RefCell::new(ThreadState { depth: 0, noted: None }) };
}

/// What the panic hook uses on this thread.
struct ThreadState {
    /// How many attempts run on this thread, one within the other.
    depth: u32,
    /// The latest panic in the innermost attempt.
    noted: Option<Noted>,
}

/// What the hook saw of a panic.
struct Noted {
    message: Option<String>,
    location: Option<String>,
    backtrace: Backtrace,
}

fn install() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !note(info) {
                before(info);
            }
        }));
    });
}

/// Keeps a panic's message, location and backtrace if an attempt runs on this thread. Returns whether one does.
fn note(info: &PanicHookInfo<'_>) -> bool {
    // A thread that is ending may have dropped its thread-locals, and a panic in the hook would abort the process.
    let noted = THREAD_STATE.try_with(|state| {
        let Ok(mut state) = state.try_borrow_mut() else { return false };
        if state.depth == 0 {
            return false;
        }
        let message = text_of(info.payload());
        let location = info.location().map(|at| format!("{}:{}:{}", at.file(), at.line(), at.column()));
        state.noted = Some(Noted { message, location, backtrace: Backtrace::force_capture() });
        true
    });
    noted.unwrap_or(false)
}

/// A panic's message; `None` when its payload is not text.
fn text_of(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&'static str>().copied())?;
    Some(bounded(text, MESSAGE_BYTES_MAX))
}

/// While this guard lives, panics on this thread belong to an attempt. It keeps the panic noted for an outer attempt, and restores it when it is dropped.
struct Armed {
    outer: Option<Noted>,
}

impl Armed {
    fn arm() -> Self {
        THREAD_STATE.with_borrow_mut(|state| {
            state.depth += 1;
            Self { outer: state.noted.take() }
        })
    }

    fn noted(&self) -> Option<Noted> {
        THREAD_STATE.with_borrow_mut(|state| state.noted.take())
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        THREAD_STATE.with_borrow_mut(|state| {
            state.depth -= 1;
            state.noted = self.outer.take();
        });
    }
}

/// Runs user code on this thread, and catches its panic.
pub(super) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    install();
    let armed = Armed::arm();
    let result = catch_unwind(AssertUnwindSafe(|| attempt_begins_here(run)));
    let noted = armed.noted();
    match result {
        Ok(value) => {
            drop(armed);
            if let Some(noted) = noted {
                log_caught_by_handler(&noted);
            }
            Ok(value)
        }
        Err(payload) => {
            let message = text_of(&*payload);
            // `resume_unwind` throws a payload without calling the hook: the panic that the hook noted last is then another one.
            let noted = noted.filter(|noted| noted.message == message);
            let mut message = message.unwrap_or_else(|| "a panic whose payload is not text".to_owned());
            if !drop_payload(payload) {
                message.push_str("; dropping its payload panicked too");
            }
            let (location, backtrace) = noted.map_or((None, None), |noted| (noted.location, Some(noted.backtrace)));
            Err(CaughtPanic { message, location, backtrace })
        }
    }
}

/// Logs a panic that the handler caught itself: the handler continues, so nothing else reports it.
fn log_caught_by_handler(noted: &Noted) {
    let message = noted.message.as_deref().unwrap_or("a panic whose payload is not text");
    tracing::warn!(location = noted.location, message, "a handler caught a panic of its own");
}

/// Drops a panic's payload, which may run user code. Returns whether it was dropped without a panic.
fn drop_payload(payload: Box<dyn Any + Send>) -> bool {
    match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        Ok(()) => true,
        Err(again) => {
            // The payload of the second panic may panic in the same way, without end: it is leaked instead of dropped.
            std::mem::forget(again);
            false
        }
    }
}

/// [`catch`], recorded as a poll in the [`AttemptControl`], where the watchdog sees it if `run` does not return.
pub(super) fn watched<T>(control: &AttemptControl, run: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    control.poll_begins();
    let result = catch(run);
    control.poll_ends();
    result
}

/// A handler's future. Each poll of it and its drop are [`watched`].
pub(super) struct Watched<'a> {
    future: Option<HandlerFuture>,
    control: &'a AttemptControl,
}

impl<'a> Watched<'a> {
    pub(super) fn new(future: HandlerFuture, control: &'a AttemptControl) -> Self {
        Self { future: Some(future), control }
    }

    /// Drops the future, catching a panic of its destructors.
    pub(super) fn discard(&mut self) -> Result<(), CaughtPanic> {
        match self.future.take() {
            Some(future) => watched(self.control, || drop(future)),
            None => Ok(()),
        }
    }
}

/// Logs a panic in the destructors of a handler that had already ended, whose outcome it does not change.
fn log_late_panic(dropped: Result<(), CaughtPanic>) {
    if let Err(CaughtPanic { message, location, .. }) = dropped {
        tracing::warn!(location, message, "a handler that had already ended panicked while it was dropped");
    }
}

impl Future for Watched<'_> {
    type Output = Result<Result<Output, Failure>, CaughtPanic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(mut future) = this.future.take() else { return Poll::Pending };
        this.control.poll_begins();
        let polled =
            catch(|| future.as_mut().poll(cx)).map_or_else(|caught| Poll::Ready(Err(caught)), |poll| poll.map(Ok));
        match polled {
            Poll::Pending => this.future = Some(future),
            // What the handler holds is dropped before its end is reported.
            Poll::Ready(_) => log_late_panic(catch(|| drop(future))),
        }
        this.control.poll_ends();
        polled
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        log_late_panic(self.discard());
    }
}
