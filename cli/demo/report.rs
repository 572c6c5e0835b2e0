//! What the demo's handlers report about their attempts to the timeline.

use std::time::Duration;

use retraced::{Class, Code, Context, Failure, JobId, OnUnknown, Stop};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a handler reports about its attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Report {
    /// The attempt failed.
    Failed { job: JobId, code: Code, message: String, next: Next },
    /// The handler hung, and was stopped at its timeout.
    TimedOut { job: JobId, next: Next },
    /// The handler asks to run its job again later.
    Later { job: JobId, delay: Duration },
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The job is retried; in its next attempt `Context::attempt` is `n`, and `Context::max_attempts` is `of`.
    Attempt { n: u32, of: u32 },
    /// The job is moved to the dead letter queue after this many failed attempts.
    Dead { attempts: u32 },
    /// The job is poisoned at once.
    Poisoned,
}

impl Next {
    fn of(ctx: &Context, class: Class) -> Self {
        Self::after(ctx.attempt(), ctx.max_attempts(), class)
    }

    fn after(n: u32, of: u32, class: Class) -> Self {
        // By default an unknown class is treated as temporary, and the demo's queues keep this default. `Unknown` is left only with `OnUnknown::DeadLetter`.
        match OnUnknown::default().treats(class) {
            Class::Permanent => Next::Poisoned,
            Class::Temporary if n < of => Next::Attempt { n: n + 1, of },
            Class::Temporary | Class::Unknown => Next::Dead { attempts: n },
        }
    }
}

/// Sends the reports of the handlers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reporter(UnboundedSender<Report>);

impl Reporter {
    /// A reporter, and the receiver of its reports. The demo's jobs send fewer than 20 reports in all, so the channel is unbounded.
    pub(super) fn new() -> (Self, UnboundedReceiver<Report>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
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

    /// Reports that a handler snoozes its job, and returns the failure that does so.
    pub(super) fn later(&self, ctx: &Context, delay: Duration) -> Result<(), Failure> {
        self.send(Report::Later { job: ctx.id().clone(), delay });
        Err(Failure::snooze(delay))
    }

    /// A guard that reports the timeout if the handler is dropped because its timeout has passed.
    pub(super) fn when_timed_out(&self, ctx: &Context) -> TimeoutGuard {
        TimeoutGuard { reporter: self.clone(), ctx: ctx.clone() }
    }

    fn send(&self, report: Report) {
        // The demo is over if there is no receiver.
        let _ = self.0.send(report);
    }
}

/// See [`Reporter::when_timed_out`].
pub(super) struct TimeoutGuard {
    reporter: Reporter,
    ctx: Context,
}

impl Drop for TimeoutGuard {
    fn drop(&mut self) {
        if self.ctx.why_stopped() == Some(Stop::TimedOut) {
            let next = Next::of(&self.ctx, Class::Temporary);
            self.reporter.send(Report::TimedOut { job: self.ctx.id().clone(), next });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_an_unknown_class_is_retried_like_a_temporary_one() {
        for class in [Class::Temporary, Class::Unknown] {
            assert_eq!(Next::after(2, 3, class), Next::Attempt { n: 3, of: 3 });
            assert_eq!(Next::after(3, 3, class), Next::Dead { attempts: 3 });
        }
        assert_eq!(Next::after(1, 3, Class::Permanent), Next::Poisoned);
    }
}
