//! The context of a handler without a worker, for tests that call the handler as a function. Only with the feature `testing`.

mod attempt;
mod recorder;

pub use self::attempt::{TestAttempt, TestContext};
pub use crate::limits::{TEST_LEASE, TEST_START_MS};
