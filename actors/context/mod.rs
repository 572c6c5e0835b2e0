//! What the actors of one runtime, and of one queue, share. It outlives all of them.

mod queue;
mod runtime;

pub(crate) use queue::QueueContext;
pub(crate) use runtime::{RuntimeContext, RuntimeParts};
