//! The supervision tree as a whole, on the memory store, in paused time unless a test says otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod backpressure;
mod closing;
mod kills;
mod ledger;
mod lifecycle;
mod maintenance;
mod observer;
mod order;
mod outage;
mod progress;
mod quarantine;
mod regressions;
mod replies;
mod resources;
mod shared_store;
mod shutdown;
mod simulation;
mod snapshot;
mod support;
mod unsettled;
mod zombies;
