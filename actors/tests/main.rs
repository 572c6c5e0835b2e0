//! The supervision tree as a whole, on the memory store, in paused time unless a test says otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod kills;
mod life;
mod replies;
mod support;
