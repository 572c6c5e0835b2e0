//! A job that is asked for.

use std::time::Duration;

use bytes::Bytes;

use super::JobId;

/// When a new job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunAt {
    /// As soon as it is its turn.
    #[default]
    Now,
    /// This long after the store accepted it, by the store's clock.
    After(Duration),
    /// At this instant of the store's clock, in milliseconds since the Unix epoch; an instant that has passed means now.
    At(u64),
}

/// One job on its way into a queue, sealed: stores keep the envelope and never look inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Made by the producer, so that sending the job again cannot make a second one.
    pub id: JobId,
    /// When it may run.
    pub run_at: RunAt,
    /// What [`codec`](crate::codec) sealed: kind, payload and the options that differ from the queue's.
    pub envelope: Bytes,
}
