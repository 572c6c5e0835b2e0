//! What is in flight in one queue: every job of it that this worker holds, from the grant until the store confirms its outcome.
//!
//! The [table](table) lives outside of the actors, so nothing is lost when a fetcher, a settler or a pool ends. Executors take their next job from the table,
//! and it holds the [credits]: how many jobs the queue may claim now. [`Inflight`] is the table behind a lock, which is never held over an await.

mod claim;
mod credits;
mod executors;
mod grant;
mod outcomes;
mod phase;
mod quarantine;
mod reply_order;
mod settling;
mod shared;
mod table;
mod waiting;

pub(crate) use claim::{ClaimResult, OpenClaim};
pub(crate) use credits::UnresolvedClaim;
pub(crate) use executors::PoolEpoch;
pub(crate) use phase::{AskReason, EndedAttempt, HandlerRun, NextJob};
pub(crate) use settling::{Confirmed, Settling};
pub(crate) use shared::Inflight;
