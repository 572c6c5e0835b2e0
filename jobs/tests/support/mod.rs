//! Helpers for the tests of the stores. The tests of the root package include them by path.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "redis")]
pub mod documented_user;
#[cfg(feature = "redis")]
pub mod redis_harness;
pub mod redis_server;
pub mod relay;
#[cfg(feature = "tls")]
pub mod tls_server;
