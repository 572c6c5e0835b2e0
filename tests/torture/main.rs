//! Torture tests: real worker processes, a real Redis server, a proxy between them that injects faults, and an execution log that no fault touches.
//! A scenario injects faults into a worker, its connections or its server. Its report, made from the log and the store, says whether a job was lost, is stuck, or
//! ran again without a reason.
//!
//! The scenarios have the same numbers as in `docs/torture.md`. `make test` runs some of them in a quick form; `make torture` (`RETRACED_SCALE=full`) runs all of
//! them at full size and writes that page from their reports. `SEED=n` sets the seed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod execution_log;
mod page;
mod proxy;
mod report;
mod resp;
mod scenario;
mod seed;
mod worker;

mod contention;
mod handlers;
mod job_data;
mod kill_points;
mod lost_replies;
mod outages;
mod worker_kills;
