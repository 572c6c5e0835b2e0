//! What is a job, what may happen to it, and where is it kept? Applications use the crate [`retraced`], which re-exports what they need.
//!
//! From the ground up: [`job`], [`failure`], [`retry`] and [`trace`] are pure (clock and randomness are arguments); [`clock`], [`codec`],
//! [`handler`] and [`context`] touch the world one thing at a time; [`store`] is the port with its two backends; [`execution`] runs one
//! attempt as a pipeline. No actor is known here.
//!
//! [`retraced`]: https://docs.rs/retraced

pub mod clock;
pub mod codec;
pub mod context;
pub mod execution;
pub mod failure;
pub mod handler;
pub mod job;
pub mod retry;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
