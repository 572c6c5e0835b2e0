//! The outcome of an attempt: a settlement for the store, and what logs, observers and the supervision tree are told.

use std::time::Duration;

use super::HandlerPanic;
use crate::failure::{Class, Code, Resource};
use crate::store::Settlement;

/// The outcome of an attempt.
#[derive(Debug)]
pub struct AttemptOutcome {
    /// What is written to the store.
    pub settlement: Settlement,
    /// The handler's panic, if there was one: the executor ends with this error.
    pub panic: Option<HandlerPanic>,
    /// Set when this worker cannot run the job: its kind, if there is no handler for it, or the error of its envelope, if a newer version sealed the envelope.
    pub unknown_kind: Option<String>,
    /// Why this worker cannot decode the job's payload; set only if the job was released for that.
    pub undecodable: Option<String>,
    /// The resource that this process lacked, if the job was released for that.
    pub lacked: Option<Resource>,
    /// Code and class of the failure, or of why the job was cancelled or rejected. `None` when it completed or was released.
    pub failure: Option<(Code, Class)>,
    /// The failure's message, cut at 512 bytes, for the worker's log. `None` unless a failure is counted, or the process lacked a resource.
    pub message: Option<String>,
    /// How long the attempt ran: its layers, its extractors, the wait for a thread and the handler. Zero if it ended before them.
    pub ran: Duration,
}
