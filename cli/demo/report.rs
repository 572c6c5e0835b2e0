//! What the demo's handlers report: what goes wrong in an attempt, as data.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use retraced::{Class, Code, Context, Failure, JobId, Stop};

/// What a handler reports about its attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Report {
    /// It failed.
    Failed { job: JobId, code: Code, message: String, next: Next },
    /// It hung, and was stopped.
    TimedOut { job: JobId, next: Next },
    /// It asks to be run later.
    Later { job: JobId, delay: Duration },
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another try, out of this many.
    Try { n: u32, of: u32 },
    /// The dead letter queue, after this many tries.
    Dead { tries: u32 },
    /// It is poisoned at once.
    Poisoned,
}

impl Next {
    fn of(ctx: &Context, class: Class) -> Self {
        let (n, of) = (ctx.attempt(), ctx.max_attempts());
        match class {
            Class::Permanent => Next::Poisoned,
            Class::Temporary if n < of => Next::Try { n: n + 1, of },
            Class::Temporary | Class::Unknown => Next::Dead { tries: n },
        }
    }
}

/// Passed to every handler. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reporter(UnboundedSender<Report>);

impl Reporter {
    /// A reporter, and its reports. The demo's jobs send a few dozen in all, so the channel is unbounded.
    pub(super) fn new() -> (Self, UnboundedReceiver<Report>) {
        let (reports, heard) = unbounded_channel();
        (Self(reports), heard)
    }

    /// Reports how an attempt failed, and returns the failure.
    pub(super) fn failed(&self, ctx: &Context, failure: Failure) -> Result<(), Failure> {
        self.send(Report::Failed {
            job: ctx.id().clone(),
            code: failure.code(),
            message: failure.message().to_owned(),
            next: Next::of(ctx, failure.class()),
        });
        Err(failure)
    }

    /// Reports that a job asks to be run later, and returns that failure.
    pub(super) fn later(&self, ctx: &Context, delay: Duration) -> Result<(), Failure> {
        self.send(Report::Later { job: ctx.id().clone(), delay });
        Err(Failure::snooze(delay))
    }

    /// A guard that reports when its handler is dropped because its timeout expired.
    pub(super) fn when_timed_out(&self, ctx: &Context) -> Hung {
        Hung { reporter: self.clone(), ctx: ctx.clone() }
    }

    fn send(&self, report: Report) {
        // The demo is over if there is no receiver.
        let _ = self.0.send(report);
    }
}

/// A handler that hangs.
pub(super) struct Hung {
    reporter: Reporter,
    ctx: Context,
}

impl Drop for Hung {
    fn drop(&mut self) {
        if self.ctx.why_stopped() == Some(Stop::TimedOut) {
            let next = Next::of(&self.ctx, Class::Temporary);
            self.reporter.send(Report::TimedOut { job: self.ctx.id().clone(), next });
        }
    }
}
