//! Catching a handler's panic with its place and backtrace.
//!
//! A process-wide panic hook, chained to the one before it, checks a thread-local flag that is raised only while a handler is polled. Inside an attempt it
//! keeps the panic's place and an unresolved backtrace and stays silent: the supervision event and the job's trace report it. Outside attempts it passes
//! every panic on untouched. A program that sets a hook of its own later, without chaining, loses places and backtraces but no panic.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context as PollContext, Poll};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::context::LeaseWatch;
use crate::failure::{Failure, MESSAGE_BYTES_MAX, bounded};
use crate::handler::{HandlerFuture, Output};
use crate::job::{JobId, QueueName};
use crate::limits::{BACKTRACE_RENDER_TIMEOUT, BACKTRACE_RENDERERS_MAX};
use crate::trace::BACKTRACE_BYTES_MAX;

static RENDERERS: Semaphore = Semaphore::const_new(BACKTRACE_RENDERERS_MAX);

/// A handler panicked. The typed error its executor ends with.
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
    pub place: Option<String>,
}

impl fmt::Display for HandlerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_deref().unwrap_or("an unknown place");
        write!(
            f,
            "job {} of queue {} panicked at {place} in attempt {}: {}",
            self.job, self.queue, self.attempt, self.message
        )
    }
}

impl std::error::Error for HandlerPanic {}

impl HandlerPanic {
    /// Prints the panic to standard error in a program that never set a `tracing` subscriber: nothing else would report it there.
    pub(super) fn print_unless_traced(&self) {
        if !tracing::dispatcher::has_been_set() {
            // Standard error may be closed; that is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{self}");
        }
    }
}

/// What was caught.
#[derive(Debug)]
pub(super) struct Caught {
    pub(super) message: String,
    pub(super) place: Option<String>,
    backtrace: Option<Backtrace>,
}

impl Caught {
    /// The backtrace as text, made on a thread for blocking work; `None` when it is not ready in time.
    pub(super) async fn render(&mut self) -> Option<String> {
        let backtrace = self.backtrace.take()?;
        let rendered = async {
            let permit = RENDERERS.acquire().await.ok()?;
            let text = spawn_blocking(move || {
                let _held = permit;
                bounded(&handler_frames(&backtrace.to_string()), BACKTRACE_BYTES_MAX)
            });
            text.await.ok()
        };
        timeout(BACKTRACE_RENDER_TIMEOUT, rendered).await.ok().flatten()
    }
}

/// The frames between the panic machinery and ours: what the handler did. Each is a name, followed by a line with its place where that is known.
fn handler_frames(rendered: &str) -> String {
    const NO_SYMBOLS: &str = "no frames: the program was built without symbols";
    let mut frames: Vec<(&str, Option<&str>)> = Vec::new();
    for line in rendered.lines().map(str::trim) {
        match (line.strip_prefix("at "), line.split_once(": ")) {
            (Some(place), _) => frames.iter_mut().next_back().into_iter().for_each(|frame| frame.1 = Some(place)),
            (None, Some((_number, name))) => frames.push((name, None)),
            (None, None) => {}
        }
    }
    // Std's own mark, below the hook and whatever hooks were chained to it.
    let Some(hook) = frames.iter().position(|(name, _)| name.contains("__rust_end_short_backtrace")) else {
        return NO_SYMBOLS.to_owned();
    };
    let machinery = |name: &str| {
        ["rust_begin_unwind", "std::panicking::", "core::panicking::"].iter().any(|part| name.contains(part))
    };
    let shown = frames.into_iter().skip(hook + 1).skip_while(|(name, _)| machinery(name));
    let shown = shown.take_while(|(name, _)| !name.contains("attempt_begins_here"));
    let lines = shown.map(|(name, place)| place.map_or(name.to_owned(), |place| format!("{name}\n  at {place}")));
    lines.collect::<Vec<_>>().join("\n")
}

/// The frame below everything the handler did.
#[inline(never)]
fn attempt_begins_here<T>(run: impl FnOnce() -> T) -> T {
    let value = run();
    // Something to do after the call, or this frame may be replaced by it.
    std::hint::black_box(());
    value
}

thread_local! {
    static ATTEMPT: RefCell<Watch> = const { RefCell::new(Watch { depth: 0, noted: None }) };
}

/// What the hook knows of this thread.
struct Watch {
    depth: u32,
    noted: Option<Noted>,
}

/// What the hook saw of a panic.
struct Noted {
    message: Option<String>,
    place: Option<String>,
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

/// Keeps a panic's place, if an attempt is being polled on this thread. Returns whether it is.
fn note(info: &PanicHookInfo<'_>) -> bool {
    // A thread that is ending may have dropped its thread-locals, and a panic in here would abort the process.
    let noted = ATTEMPT.try_with(|watch| {
        let Ok(mut watch) = watch.try_borrow_mut() else { return false };
        if watch.depth == 0 {
            return false;
        }
        let message = text_of(info.payload());
        let place = info.location().map(|at| format!("{}:{}:{}", at.file(), at.line(), at.column()));
        watch.noted = Some(Noted { message, place, backtrace: Backtrace::force_capture() });
        true
    });
    noted.unwrap_or(false)
}

/// A panic's message; `None` when its payload is no text.
fn text_of(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&'static str>().copied())?;
    Some(bounded(text, MESSAGE_BYTES_MAX))
}

/// While it lives, panics on this thread are an attempt's. An attempt within an attempt leaves the outer one's notes alone.
struct Armed {
    outer: Option<Noted>,
}

impl Armed {
    fn arm() -> Self {
        ATTEMPT.with_borrow_mut(|watch| {
            watch.depth += 1;
            Self { outer: watch.noted.take() }
        })
    }

    fn noted(&self) -> Option<Noted> {
        ATTEMPT.with_borrow_mut(|watch| watch.noted.take())
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        ATTEMPT.with_borrow_mut(|watch| {
            watch.depth -= 1;
            watch.noted = self.outer.take();
        });
    }
}

/// Runs user code on this thread, and catches its panic.
pub(super) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Caught> {
    install();
    let armed = Armed::arm();
    let result = catch_unwind(AssertUnwindSafe(|| attempt_begins_here(run)));
    let noted = armed.noted();
    match result {
        Ok(value) => {
            drop(armed);
            if let Some(noted) = noted {
                handled(&noted);
            }
            Ok(value)
        }
        Err(payload) => {
            let message = text_of(&*payload);
            // A payload may be thrown on without the hook: what it saw last is then another panic's.
            let noted = noted.filter(|noted| noted.message == message);
            let mut message = message.unwrap_or_else(|| "a panic whose payload is no text".to_owned());
            if !dropped(payload) {
                message.push_str(", and that panicked again when it was dropped");
            }
            let (place, backtrace) = noted.map_or((None, None), |noted| (noted.place, Some(noted.backtrace)));
            Err(Caught { message, place, backtrace })
        }
    }
}

/// A handler that catches a panic itself continues, so nothing else would report it.
fn handled(noted: &Noted) {
    let message = noted.message.as_deref().unwrap_or("a panic whose payload is no text");
    tracing::warn!(place = noted.place, message, "a handler caught a panic of its own");
}

/// Drops a panic's payload, which may run user code. Returns whether that went well.
fn dropped(payload: Box<dyn Any + Send>) -> bool {
    match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        Ok(()) => true,
        Err(again) => {
            // It may do the same without end: it is leaked rather than dropped.
            std::mem::forget(again);
            false
        }
    }
}

/// [`catch`], seen by the watchdog when it does not end.
pub(super) fn watched<T>(lease: &LeaseWatch, run: impl FnOnce() -> T) -> Result<T, Caught> {
    lease.poll_begins();
    let result = catch(run);
    lease.poll_ends();
    result
}

/// A handler's future, each poll and its end [`watched`].
pub(super) struct Watched<'a> {
    future: Option<HandlerFuture>,
    lease: &'a LeaseWatch,
}

impl<'a> Watched<'a> {
    pub(super) fn new(future: HandlerFuture, lease: &'a LeaseWatch) -> Self {
        Self { future: Some(future), lease }
    }

    /// Drops the future, catching a panic of its destructors.
    pub(super) fn discard(&mut self) -> Result<(), Caught> {
        match self.future.take() {
            Some(future) => watched(self.lease, || drop(future)),
            None => Ok(()),
        }
    }

    /// [`discard`](Self::discard) where the attempt has come to an end already, which a panic does not change.
    fn discard_late(&mut self) {
        if let Err(caught) = self.discard() {
            let Caught { message, place, .. } = caught;
            tracing::warn!(place, message, "a handler panicked while it was dropped after its end");
        }
    }
}

impl Future for Watched<'_> {
    type Output = Result<Result<Output, Failure>, Caught>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut() else { return Poll::Pending };
        let ended = match watched(this.lease, || future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(caught) => Err(caught),
        };
        // What the handler holds is dropped now.
        this.discard_late();
        Poll::Ready(ended)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.discard_late();
    }
}
