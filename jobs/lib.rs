//! What a job is, what may happen to it, and where it is kept. Applications use the crate [`retraced`], which re-exports what they need.
//!
//! From the lowest layer up: [`limits`] has the bounds; [`job`], [`failure`], [`retry`], [`trace`] and [`events`] are pure (clock and randomness are arguments); then come
//! [`clock`] and [`codec`]; [`store`] has the traits of a store and two stores; [`typed_job`], [`enqueue`], [`context`] and [`handler`] are what applications write and call;
//! [`execution`] runs one attempt. This crate depends on no actor.
//!
//! [`retraced`]: https://docs.rs/retraced

pub mod clock;
pub mod codec;
pub mod context;
pub mod enqueue;
pub mod events;
pub mod execution;
pub mod failure;
pub mod handler;
pub mod job;
pub mod limits;
pub mod random;
pub mod retry;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;
pub mod typed_job;
pub mod units;
