//! The two sides of every measurement: ReTraced, and the bare loop. What is measured is written once, for either.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::book::Book;
use super::letter::Letter;
use crate::error::CliError;

/// Which side a figure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Peer {
    Retraced,
    Floor,
}

impl Peer {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Peer::Retraced => "retraced",
            Peer::Floor => "floor",
        }
    }
}

/// Takes letters in, and works them.
pub(super) trait Side: Clone + Send + Sync + 'static {
    /// What works letters until it is ended.
    type Worker;

    /// Enqueues one letter.
    fn enqueue(&self, letter: Letter) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Enqueues many with one call.
    fn enqueue_all(&self, letters: Vec<Letter>) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Enqueues many with one call, each due at its instant.
    fn enqueue_due(&self, letters: Vec<Letter>) -> impl Future<Output = Result<(), CliError>> + Send;

    /// Begins to hand letters to the book, `concurrency` at a time where that is the worker's to choose.
    fn work(&self, concurrency: usize, book: Arc<Book>) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Begins to wait for jobs in so many queues that have none.
    fn wait(&self, queues: usize, book: Arc<Book>) -> impl Future<Output = Result<Self::Worker, CliError>> + Send;

    /// Ends the worker after all that it has handled is settled.
    fn end(worker: Self::Worker) -> impl Future<Output = Result<(), CliError>> + Send;
}
