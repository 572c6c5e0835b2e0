//! The live view: one aligned line for each thing that goes wrong or is mended. What just works is only counted.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use retraced_jobs::failure::Class;
use retraced_jobs::trace::{EventKind, SupervisionEvent};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::cli::output::printable;
use crate::{Context, Failure};

/// What a line is about, which gives its mark.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Failed,
    Mended,
    Later,
    Note,
}

/// How handlers speak to the view. Cheap to clone.
#[derive(Clone)]
pub(super) struct Voice(Arc<Inner>);

struct Inner {
    begun: Instant,
    lines: UnboundedSender<String>,
    colour: bool,
}

impl Voice {
    /// A voice, and what it says, line by line. The demo says a few dozen lines in all, so nothing bounds them.
    pub(super) fn new(colour: bool) -> (Self, UnboundedReceiver<String>) {
        let (lines, heard) = unbounded_channel();
        (Self(Arc::new(Inner { begun: Instant::now(), lines, colour })), heard)
    }

    /// One line: when, who, what.
    pub(super) fn say(&self, mark: Mark, who: impl Display, what: impl Display) {
        let (glyph, colour) = match mark {
            Mark::Failed => ("✗", "31"),
            Mark::Mended => ("↻", "32"),
            Mark::Later => ("⏲", "33"),
            Mark::Note => ("·", "2"),
        };
        let glyph = if self.0.colour { format!("\u{1b}[{colour}m{glyph}\u{1b}[0m") } else { glyph.to_owned() };
        let at = self.0.begun.elapsed().as_secs_f64();
        let line = format!("{at:5.2}s {glyph} {:<16} {}", who.to_string(), printable(&what.to_string()));
        // Nobody listens any more: the demo is over.
        let _ = self.0.lines.send(line);
    }

    /// Says how an attempt failed, and gives the failure on.
    pub(super) fn failed(&self, ctx: &Context, failure: Failure) -> Result<(), Failure> {
        let next = self.next(ctx, failure.class());
        self.say(Mark::Failed, who(ctx), format_args!("{}: {} {next}", failure.code(), failure.message()));
        Err(failure)
    }

    pub(super) fn snoozed(&self, ctx: &Context, delay: Duration) {
        self.say(Mark::Later, who(ctx), format_args!("not ready yet, asks to be run again in {delay:?}"));
    }

    /// A guard that speaks when its handler is stopped.
    pub(super) fn when_stopped(&self, ctx: &Context) -> Stopped {
        Stopped { voice: self.clone(), ctx: ctx.clone() }
    }

    fn next(&self, ctx: &Context, class: Class) -> String {
        let (n, of) = (ctx.attempt(), ctx.max_attempts());
        match class {
            Class::Permanent => "→ poisoned, no retry".into(),
            Class::Temporary if n < of => format!("→ try {} of {of} follows", n + 1),
            Class::Temporary => format!("→ dead after {of} tries"),
            Class::Unknown => "→ dead".into(),
        }
    }

    /// What of the tree's own events a newcomer wants to see.
    pub(super) fn supervision(&self, event: &SupervisionEvent) {
        let who = &event.path;
        match &event.kind {
            EventKind::HandlerPanicked { job, message, place, .. } => {
                let place = place.as_deref().unwrap_or("an unknown place");
                self.say(Mark::Failed, job, format_args!("PANIC: {message}"));
                self.say(Mark::Failed, who, format_args!("ended by this panic at {place}"));
            }
            EventKind::Restarted => {
                self.say(Mark::Mended, who, format_args!("started again (generation {})", event.generation));
            }
            EventKind::Crashed { reason, failures, budget } => {
                let left = format_args!("{failures} of {budget} restarts used");
                self.say(Mark::Failed, who, format_args!("crashed: {reason} ({left})"));
            }
            EventKind::QueueClosed { reason, .. } => self.say(Mark::Failed, who, format_args!("closed: {reason}")),
            EventKind::QueueReopened => self.say(Mark::Mended, who, "works again"),
            EventKind::Escalated { child, reason, .. } => {
                self.say(Mark::Failed, who, format_args!("gave up on {child}: {reason}"));
            }
            _ => {}
        }
    }
}

fn who(ctx: &Context) -> String {
    ctx.id().to_string()
}

/// Says, when it is dropped, that its handler ran out of time.
pub(super) struct Stopped {
    voice: Voice,
    ctx: Context,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let next = self.voice.next(&self.ctx, Class::Temporary);
        self.voice.say(Mark::Failed, who(&self.ctx), format_args!("TIMEOUT: it hung and was stopped {next}"));
    }
}
