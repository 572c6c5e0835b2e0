//! Catching a handler's panic with its place and backtrace.
//!
//! A process-wide panic hook, chained to the one before it, looks at a thread-local flag that is raised only while a handler is polled. Inside an attempt it
//! keeps the panic's place and an unresolved backtrace and stays silent: the supervision event and the job's trace tell it. Outside attempts it passes
//! every panic on untouched.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context as PollContext, Poll};
use std::time::Duration;

use crate::context::LeaseWatch;
use crate::failure::{Failure, MESSAGE_BYTES_MAX, bounded};
use crate::handler::HandlerFuture;
use crate::job::{JobId, QueueName};
use crate::trace::BACKTRACE_BYTES_MAX;

/// How long an attempt waits for its backtrace to become text; past it the attempt is settled without one.
pub const BACKTRACE_RENDER_MAX: Duration = Duration::from_millis(50);

/// A handler panicked. The typed error its executor ends with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerPanic {
    /// The job's queue.
    pub queue: QueueName,
    /// The job.
    pub job: JobId,
    /// The attempt: failures before + 1.
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
        let text =
            tokio::task::spawn_blocking(move || bounded(&handler_frames(&backtrace.to_string()), BACKTRACE_BYTES_MAX));
        tokio::time::timeout(BACKTRACE_RENDER_MAX, text).await.ok()?.ok()
    }
}

/// The frames between the panic machinery and ours: what the handler did.
fn handler_frames(rendered: &str) -> String {
    const PANIC_ENTRY: [&str; 2] = ["rust_begin_unwind", "begin_panic_handler"];
    let lines: Vec<&str> = rendered.lines().collect();
    let begin = lines.iter().rposition(|line| PANIC_ENTRY.iter().any(|entry| line.contains(entry)));
    let end = lines.iter().position(|line| line.contains("retraced_jobs::execution"));
    let begin = begin.map_or(0, |at| at + 1);
    let frames = lines.get(begin..end.filter(|end| *end > begin).unwrap_or(lines.len())).unwrap_or(&lines);
    // The entry's own "at …" line belongs to it.
    let skip = usize::from(frames.first().is_some_and(|line| line.trim_start().starts_with("at ")));
    frames[skip..].join("\n")
}

thread_local! {
    static ATTEMPT: RefCell<Watch> = const { RefCell::new(Watch { depth: 0, caught: None }) };
}

struct Watch {
    depth: u32,
    caught: Option<(Option<String>, Backtrace)>,
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

/// Keeps a panic's place, if an attempt is being polled on this thread. Gives whether it is.
fn note(info: &PanicHookInfo<'_>) -> bool {
    ATTEMPT.with(|watch| {
        // A panic while this is borrowed would be ours; pass it on.
        let Ok(mut watch) = watch.try_borrow_mut() else { return false };
        if watch.depth == 0 {
            return false;
        }
        let place = info.location().map(|at| format!("{}:{}:{}", at.file(), at.line(), at.column()));
        watch.caught = Some((place, Backtrace::force_capture()));
        true
    })
}

struct Armed;

impl Armed {
    fn arm() -> Self {
        ATTEMPT.with(|watch| watch.borrow_mut().depth += 1);
        Self
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        ATTEMPT.with(|watch| watch.borrow_mut().depth -= 1);
    }
}

/// Runs user code on this thread, and catches its panic.
pub(super) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Caught> {
    install();
    let armed = Armed::arm();
    let result = catch_unwind(AssertUnwindSafe(run));
    drop(armed);
    result.map_err(|payload| {
        let noted = ATTEMPT.with(|watch| watch.borrow_mut().caught.take());
        let (place, backtrace) = noted.map_or((None, None), |(place, backtrace)| (place, Some(backtrace)));
        Caught { message: bounded(&message_of(payload), MESSAGE_BYTES_MAX), place, backtrace }
    })
}

fn message_of(payload: Box<dyn Any + Send>) -> String {
    let payload = match payload.downcast::<String>() {
        Ok(text) => return *text,
        Err(payload) => payload,
    };
    let payload = match payload.downcast::<&'static str>() {
        Ok(text) => return (*text).to_owned(),
        Err(payload) => payload,
    };
    // Dropping a payload may run user code that panics again.
    match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        Ok(()) => "a panic whose payload is no text".into(),
        Err(again) => {
            // Its payload is leaked rather than dropped: that could go on for ever.
            std::mem::forget(again);
            "a panic whose payload is no text and panicked again when it was dropped".into()
        }
    }
}

/// A handler's future, each poll of it watched: panics are caught, and a poll that does not end is seen by the watchdog.
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
            Some(future) => catch(|| drop(future)),
            None => Ok(()),
        }
    }
}

impl Future for Watched<'_> {
    type Output = Result<Result<(), Failure>, Caught>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(future) = this.future.as_mut() else { return Poll::Pending };
        this.lease.poll_begins();
        let polled = catch(|| future.as_mut().poll(cx));
        let ready = match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(this.discard().map(|()| output)),
            Err(caught) => {
                // What the handler holds is dropped now; a second panic there changes nothing.
                let _ = this.discard();
                Poll::Ready(Err(caught))
            }
        };
        this.lease.poll_ends();
        ready
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let _ = catch(|| drop(future));
        }
    }
}
