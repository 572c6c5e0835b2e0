//! A handler's context without a worker, for tests of handlers. Only with the feature `testing`.

mod attempt;
mod recorder;

pub use self::attempt::{TestAttempt, TestContext};
pub use crate::limits::{TEST_LEASE, TEST_START_MS};
