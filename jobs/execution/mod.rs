//! One attempt as a pipeline: decode → run → classify → decide → outcome. Each step takes data and gives data; the actor around it stays dumb.

mod outcome;
mod panic;
mod rules;
mod run;
mod runner;
#[cfg(test)]
mod tests;

pub use outcome::AttemptOutcome;
pub use panic::{BACKTRACE_RENDER_MAX, BACKTRACE_RENDERERS_MAX, HandlerPanic};
pub use rules::Rules;
pub use runner::{AttemptInput, Runner};
