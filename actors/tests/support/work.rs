//! The job all tests use: a script of what its handler does, one step per execution.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use retraced_jobs::typed_job::Job;

/// What a handler does in its n-th execution; the last step applies to all further ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Work {
    pub steps: Vec<Step>,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

/// Waits, then performs the action.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Step {
    pub wait_ms: u64,
    pub then: Action,
}

/// How an execution ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Action {
    Succeed,
    FailTemporary,
    /// Reports its progress this many times, 1 ms apart, then fails.
    ReportAndFail(u32),
    /// Reports its progress this many times, 1 ms apart, then never returns.
    ReportAndHang(u32),
    /// Fails, and asks to be retried after this many ms.
    FailAskingFor(u64),
    FailPermanent,
    FailUnknown,
    /// Fails because this process has too many open files.
    FailWithoutFiles,
    /// Snoozes for this many ms.
    Snooze(u64),
    Panic,
    /// Waits to be asked to stop, then fails.
    StopWhenAsked,
    /// Waits to be asked to stop, then succeeds anyway.
    SucceedWhenAsked,
    /// Never returns.
    Hang,
    /// Blocks a thread and ignores every request to stop until the harness's gate is open. Only where handlers are [blocking](super::HarnessBuilder::blocking).
    Block,
    /// Blocks the thread it is polled on for this many ms.
    BlockFor(u64),
}

impl Work {
    pub fn succeed() -> Self {
        Self::then(Action::Succeed)
    }

    pub fn lasting(wait: Duration) -> Self {
        Self::step(wait, Action::Succeed)
    }

    pub fn then(then: Action) -> Self {
        Self::step(Duration::ZERO, then)
    }

    pub fn step(wait: Duration, then: Action) -> Self {
        Self { steps: vec![Step { wait_ms: wait.as_millis() as u64, then }] }
    }

    /// Adds a step for the next execution.
    pub fn and(mut self, wait: Duration, then: Action) -> Self {
        self.steps.extend(Self::step(wait, then).steps);
        self
    }
}
