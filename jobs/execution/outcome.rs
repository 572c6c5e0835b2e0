//! What an attempt comes to: a settlement for the store, and what the tree should know.

use std::time::Duration;

use bytes::Bytes;

use super::HandlerPanic;
use crate::failure::{Class, Code};
use crate::store::Settlement;

/// The end of an attempt.
#[derive(Debug)]
pub struct AttemptOutcome {
    /// What is written to the store.
    pub settlement: Settlement,
    /// The handler panicked: the executor ends with this.
    pub panic: Option<HandlerPanic>,
    /// No handler here knows this kind.
    pub unknown_kind: Option<String>,
    /// What went wrong, if something did.
    pub failure: Option<(Code, Class)>,
    /// What the failure said, cut at 512 bytes, for the worker's log.
    pub why: Option<String>,
    /// What the handler returned, if it completed with a value.
    pub output: Option<Bytes>,
    /// How long the handler ran.
    pub ran: Duration,
}
