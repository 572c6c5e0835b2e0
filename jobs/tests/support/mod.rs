//! Helpers for the tests of the stores. The tests of the root package include them by path.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod redis_server;
pub mod relay;
