//! Putting a runtime together: queues, handlers, state, store and options, all checked before anything starts.

mod plan;
mod queue;
mod runtime_builder;

pub use queue::Queue;
pub use runtime_builder::RuntimeBuilder;
