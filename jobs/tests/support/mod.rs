//! What the tests of both stores share. The tests of the root package use it too, by path.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod redis_server;
