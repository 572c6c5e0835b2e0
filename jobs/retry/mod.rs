//! When to try again, decided by arithmetic on integers with the jitter passed in, and recorded with all its inputs.

mod decision;
mod on_unknown;
mod policy;
pub(crate) mod short_names;
#[cfg(test)]
mod tests;

pub use decision::{Decision, Outcome, Why, decide};
pub use on_unknown::OnUnknown;
pub use policy::{InvalidRetry, Retry, RetryOverrides, Strategy};
