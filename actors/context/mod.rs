//! What the actors of one runtime share, and what the actors of one queue share. A context outlives all of its actors.

mod claims_stop;
mod exhaustion;
mod postponed_report;
mod queue;
mod runtime;
mod trim_report;

pub(crate) use queue::QueueContext;
pub(crate) use runtime::{RuntimeContext, RuntimeParts};
