//! The result of an attempt: a settlement for the store, and what the supervision tree needs to know.

use std::time::Duration;

use bytes::Bytes;

use super::HandlerPanic;
use crate::failure::{Class, Code};
use crate::store::Settlement;

/// The result of an attempt.
#[derive(Debug)]
pub struct AttemptOutcome {
    /// What is written to the store.
    pub settlement: Settlement,
    /// The handler's panic, if there was one: the executor ends with this error.
    pub panic: Option<HandlerPanic>,
    /// The job's kind, when no handler here knows it; or the error of its envelope, when a newer version sealed that. `None` for all other jobs.
    pub unknown_kind: Option<String>,
    /// Code and class of the failure; `None` when the job completed or was released.
    pub failure: Option<(Code, Class)>,
    /// The failure's message, cut at 512 bytes, for the worker's log.
    pub why: Option<String>,
    /// What the handler returned, if it completed with a value.
    pub output: Option<Bytes>,
    /// How long the handler ran.
    pub ran: Duration,
}
