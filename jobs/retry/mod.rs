//! When to try again, decided by arithmetic on integers with the jitter passed in, and recorded with all its inputs.

mod decision;
mod policy;
pub(crate) mod short_names;
#[cfg(test)]
mod tests;

pub use decision::{Decision, Outcome, Why, decide};
pub use policy::{InvalidRetry, Retry, RetryOverrides, Strategy};
