//! Whether and when a failed job is retried. The decision is integer arithmetic with the random number as an argument, and is recorded with all its inputs.

pub(crate) mod compact;
mod decision;
mod on_undecodable;
mod on_unknown;
mod policy;
#[cfg(test)]
mod tests;

pub use decision::{Decision, RetryOutcome, Why, decide};
pub use on_undecodable::OnUndecodable;
pub use on_unknown::OnUnknown;
pub use policy::{InvalidRetry, Retry, RetryOverrides, Strategy};
