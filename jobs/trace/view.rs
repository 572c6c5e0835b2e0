//! A job as a reader sees it.

use bytes::Bytes;

use super::StoredAttempt;
use crate::failure::Code;
use crate::job::{Counters, Incarnation, JobId, JobState, QueueName};

/// One line of a list of jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// The job.
    pub id: JobId,
    /// Where it is.
    pub state: JobState,
    /// What happened so far.
    pub counters: Counters,
    /// When the store accepted it, in ms since the Unix epoch; `None` when its header is damaged.
    pub enqueued_ms: Option<u64>,
    /// When it is due (`delayed`), its lease runs out (`processing`) or it ended (final states), in ms since the Unix epoch.
    pub at_ms: Option<u64>,
    /// The sealed envelope.
    pub envelope: Bytes,
    /// Its latest failure or crash.
    pub last_error: Option<LastError>,
}

/// The latest failure or crash of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// Why.
    pub code: Code,
    /// The error's text.
    pub message: String,
    /// When the store recorded it, in ms since the Unix epoch.
    pub at_ms: u64,
}

/// Who runs a job now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// The worker process.
    pub incarnation: Incarnation,
    /// Which grant, from 1.
    pub attempt: u32,
    /// When the lease runs out unless renewed, in ms since the Unix epoch.
    pub expires_ms: u64,
    /// Whether somebody asked to cancel it.
    pub cancel_asked: bool,
}

/// Everything the store knows of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Its queue.
    pub queue: QueueName,
    /// The job.
    pub id: JobId,
    /// Where it is.
    pub state: JobState,
    /// What happened so far.
    pub counters: Counters,
    /// Its place in the order of enqueueing.
    pub sequence: Option<u64>,
    /// When the store accepted it, in ms since the Unix epoch.
    pub enqueued_ms: Option<u64>,
    /// When it is due (`delayed`), its lease runs out (`processing`) or it ended (final states), in ms since the Unix epoch.
    pub at_ms: Option<u64>,
    /// The store's clock when it was read, in ms since the Unix epoch.
    pub now_ms: u64,
    /// Who runs it now.
    pub claimant: Option<Claimant>,
    /// The sealed envelope.
    pub envelope: Bytes,
    /// The attempts kept, oldest first.
    pub history: Vec<StoredAttempt>,
    /// Attempts that ended and are not kept: those between the first and the last ones, and those of which nothing was told.
    pub collapsed: u32,
}

impl JobView {
    /// The latest failure or crash in the history.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.history.iter().rev().find_map(StoredAttempt::error)
    }
}
