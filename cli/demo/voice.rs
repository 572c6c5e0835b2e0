//! How the demo's handlers speak: what goes wrong in an attempt is told where it happens, as data.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use retraced::{Class, Code, Context, Failure, JobId, Stop};

/// What a handler said of its attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word {
    /// It failed.
    Failed { job: JobId, code: Code, message: String, next: Next },
    /// It hung, and was stopped.
    TimedOut { job: JobId, next: Next },
    /// It asks to be run later.
    Later { job: JobId, delay: Duration },
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another try, of so many.
    Try { n: u32, of: u32 },
    /// The dead letter queue, after so many tries.
    Dead { tries: u32 },
    /// It is set aside at once.
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

/// Given to every handler. Cheap to clone.
#[derive(Clone)]
pub(super) struct Voice(UnboundedSender<Word>);

impl Voice {
    /// A voice, and what it says. The demo's jobs say a few dozen words in all, so nothing bounds them.
    pub(super) fn new() -> (Self, UnboundedReceiver<Word>) {
        let (words, heard) = unbounded_channel();
        (Self(words), heard)
    }

    /// Says how an attempt failed, and gives the failure on.
    pub(super) fn failed(&self, ctx: &Context, failure: Failure) -> Result<(), Failure> {
        self.say(Word::Failed {
            job: ctx.id().clone(),
            code: failure.code(),
            message: failure.message().to_owned(),
            next: Next::of(ctx, failure.class()),
        });
        Err(failure)
    }

    /// Says that a job asks for later, and gives that on.
    pub(super) fn later(&self, ctx: &Context, delay: Duration) -> Result<(), Failure> {
        self.say(Word::Later { job: ctx.id().clone(), delay });
        Err(Failure::snooze(delay))
    }

    /// A guard that speaks when its handler is dropped because its time is up.
    pub(super) fn when_timed_out(&self, ctx: &Context) -> Hung {
        Hung { voice: self.clone(), ctx: ctx.clone() }
    }

    fn say(&self, word: Word) {
        // Nobody listens any more: the demo is over.
        let _ = self.0.send(word);
    }
}

/// A handler that hangs.
pub(super) struct Hung {
    voice: Voice,
    ctx: Context,
}

impl Drop for Hung {
    fn drop(&mut self) {
        if self.ctx.why_stopped() == Some(Stop::TimedOut) {
            let next = Next::of(&self.ctx, Class::Temporary);
            self.voice.say(Word::TimedOut { job: self.ctx.id().clone(), next });
        }
    }
}
