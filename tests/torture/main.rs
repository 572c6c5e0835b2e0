//! Torture tests: real worker processes, a real Redis server, a proxy between them that injects faults, and a log of executions outside of all of them.
//! A scenario injects faults into a worker or its server. Its report, from the log and the store, shows whether a job was lost, is stuck, or ran again without a
//! reason.
//!
//! Scenarios have the numbers of the list in `docs/torture.md`. `make test` runs some in a quick form; `make torture` (`RETRACED_SCALE=full`) runs all at
//! full size and writes that page from their reports. `SEED=n` runs with that seed.
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
