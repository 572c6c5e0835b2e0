//! The job of all tests: a script of what its handler does, one step an execution.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use retraced_jobs::handler::Job;

/// What a handler does in its n-th execution; the last step holds for all further ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Work {
    pub steps: Vec<Step>,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

/// First wait, then this.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Step {
    pub wait_ms: u64,
    pub then: Do,
}

/// How an execution ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Do {
    Succeed,
    FailTemporary,
    /// Comes back after so many ms.
    FailAskingFor(u64),
    FailPermanent,
    FailUnknown,
    Snooze(u64),
    Panic,
    /// Waits to be asked to stop, then fails.
    StopWhenAsked,
    /// Waits to be asked to stop, then succeeds all the same.
    SucceedWhenAsked,
    /// Never returns.
    Hang,
    /// Blocks a thread, deaf to everything, until the world's gate is open. Only where handlers are [blocking](super::WorldBuilder::blocking).
    Block,
    /// Blocks the thread it is polled on for so many ms.
    BlockFor(u64),
}

impl Work {
    pub fn succeed() -> Self {
        Self::then(Do::Succeed)
    }

    pub fn lasting(wait: Duration) -> Self {
        Self::step(wait, Do::Succeed)
    }

    pub fn then(then: Do) -> Self {
        Self::step(Duration::ZERO, then)
    }

    pub fn step(wait: Duration, then: Do) -> Self {
        Self { steps: vec![Step { wait_ms: wait.as_millis() as u64, then }] }
    }

    /// The next execution does this.
    pub fn and(mut self, wait: Duration, then: Do) -> Self {
        self.steps.extend(Self::step(wait, then).steps);
        self
    }
}
