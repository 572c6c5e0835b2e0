//! One step of a trace, as data.

use serde::Serialize;

use crate::view::Timestamp;

/// One step of a [`Trace`](super::Trace): when it happened, what happened, and the decision that followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TraceStep {
    /// When it happened. `None` if no single instant applies: for attempts or acts that are not kept, and for a job that is pending.
    pub at: Option<Timestamp>,
    /// What happened.
    pub event: TraceEvent,
    /// The number of the attempt this step is about, whose details are in the job's history; `None` for a step that is about the job.
    pub attempt: Option<u32>,
    /// What happened, as a sentence. It may contain text from damaged data: print it through [`printable`](crate::view::printable).
    pub text: String,
    /// What was decided after a failure, with the numbers that went into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// What happened in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TraceEvent {
    /// The store accepted the job.
    Enqueued,
    /// Attempts that are only counted: those between the first three and the last seven. Also acts of operators before the latest five.
    NotKept,
    /// Attempts that did not start: the worker gave the job back, because no executor was free for a second, a job before it went back, or the worker stopped.
    NotStarted,
    /// An operator gave the job a fresh start.
    Redriven,
    /// An operator made the delayed job pending before it was due.
    Promoted,
    /// An operator cancelled the job while it waited.
    Cancelled,
    /// An operator requested the cancellation of the running job.
    CancelRequested,
    /// An attempt's handler returned `Ok`.
    Succeeded,
    /// An attempt failed or timed out.
    Failed,
    /// An attempt panicked.
    Panicked,
    /// The job was cancelled while an attempt ran, and the attempt ended with that. No failure is counted.
    AttemptCancelled,
    /// A worker released the job, without counting a failure.
    Released,
    /// A worker gave the job back unstarted, because another job that may crash its worker ran.
    Postponed,
    /// The lease expired after the handler had started: the worker died or lost its connection.
    Crashed,
    /// The lease expired, and the store has no record that the handler had started.
    Lost,
    /// A grant never reached its worker.
    Unclaimed,
    /// A newer version of ReTraced wrote the record, and this version does not know how the attempt ended.
    Unknown,
    /// The record of an attempt cannot be read.
    Unreadable,
    /// The job completed.
    Completed,
    /// The job's present state; only if it has not completed.
    Now,
}

pub(super) fn step(event: TraceEvent, at_ms: Option<u64>, text: impl Into<String>) -> TraceStep {
    let at = at_ms.map(Timestamp::from_ms);
    TraceStep { at, event, attempt: None, text: text.into(), explanation: None }
}
