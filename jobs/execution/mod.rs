//! Runs one attempt: decodes the job, calls its handler within layers, and decides from the result what becomes of the job. The executor, an actor, only calls
//! [`Runner::attempt`] and passes its outcome on.

mod attempt_outcome;
mod ended;
mod layer;
mod panic;
mod rules;
mod run;
mod runner;
mod span;
mod spawn;
#[cfg(test)]
mod tests;
mod thread;

pub use attempt_outcome::AttemptOutcome;
pub use layer::{Layer, Layers, Next};
pub use panic::HandlerPanic;
pub use rules::Rules;
pub use runner::{AttemptInput, RanBy, Runner};
pub use span::AttemptSpan;

pub use crate::limits::{BACKTRACE_RENDER_TIMEOUT, BACKTRACE_RENDERERS_MAX};
