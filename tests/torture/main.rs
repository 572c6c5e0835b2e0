//! Torture: real worker processes, a real Redis server, a proxy between them that loses what it is told to lose, and a book of executions kept outside of it all.
//! A scenario does something bad to a worker or its server; its verdict, from the book and the store, says whether a job was lost, is stuck, or ran again without a
//! reason.
//!
//! Scenarios are named by their number in the list of `docs/torture.md`. `make test` plays some in a quick form; `make torture` (`RETRACED_SCALE=full`) plays all at
//! full size and writes that page from their verdicts. `SEED=n` plays with that seed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod book;
mod page;
mod proxy;
mod resp;
mod seed;
mod stage;
mod verdict;
mod worker;

mod contents;
mod crowds;
mod deaths;
mod handlers;
mod outages;
mod replies;
mod steps;
