//! A stored job, and the container that holds it.

use bytes::Bytes;

use super::acts::Acts;
use super::history::History;
use crate::job::{Counters, InstanceId, JobState, Token};
use crate::limits::{HEADER_BYTES, KEPT_BYTES_MIN};
use crate::trace::StoredProgress;

/// A job with everything kept about it.
pub(super) struct StoredJob {
    /// The number of the job in the order in which the jobs of the queue were stored, from 1.
    pub(super) sequence: u64,
    pub(super) enqueued_ms: u64,
    pub(super) envelope: Bytes,
    pub(super) counters: Counters,
    pub(super) history: History,
    pub(super) acts: Acts,
    pub(super) progress: Option<StoredProgress>,
    pub(super) container: Container,
}

/// The container a job is in, which decides its state, and what orders the job in this container.
#[derive(Debug, Clone)]
pub(super) enum Container {
    Pending { position: i64 },
    Processing(Grant),
    Delayed { due_ms: u64 },
    Completed { at_ms: u64 },
    Dead { at_ms: u64 },
    Poisoned { at_ms: u64 },
    Cancelled { at_ms: u64 },
}

/// What a claim gave for a job: its lease and token, and what is known about the running attempt.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) token: Token,
    pub(super) instance: InstanceId,
    pub(super) claimed_ms: u64,
    pub(super) expires_ms: u64,
    pub(super) cancel_asked: bool,
    /// Whether the handler is known to have started ([`Leases::begin`](crate::store::Leases::begin)).
    pub(super) begun: bool,
}

impl Container {
    pub(super) fn state(&self) -> JobState {
        match self {
            Container::Pending { .. } => JobState::Pending,
            Container::Processing(_) => JobState::Processing,
            Container::Delayed { .. } => JobState::Delayed,
            Container::Completed { .. } => JobState::Completed,
            Container::Dead { .. } => JobState::Dead,
            Container::Poisoned { .. } => JobState::Poisoned,
            Container::Cancelled { .. } => JobState::Cancelled,
        }
    }

    /// When the job is due, its lease expires, or it ended.
    pub(super) fn at_ms(&self) -> Option<u64> {
        match self {
            Container::Pending { .. } => None,
            Container::Processing(grant) => Some(grant.expires_ms),
            Container::Delayed { due_ms } => Some(*due_ms),
            Container::Completed { at_ms }
            | Container::Dead { at_ms }
            | Container::Poisoned { at_ms }
            | Container::Cancelled { at_ms } => Some(*at_ms),
        }
    }
}

impl StoredJob {
    /// What the job counts for retention, in bytes: the same as on Redis.
    pub(super) fn bytes(&self) -> u64 {
        kept_bytes(&self.envelope)
    }

    pub(super) fn grant(&self) -> Option<&Grant> {
        match &self.container {
            Container::Processing(grant) => Some(grant),
            _ => None,
        }
    }
}

pub(super) fn kept_bytes(envelope: &[u8]) -> u64 {
    KEPT_BYTES_MIN.max((HEADER_BYTES + envelope.len()) as u64)
}
