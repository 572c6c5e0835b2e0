//! Wake-ups for listeners.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::job::{JobId, JobState, QueueName};
use crate::limits::HINTS_BUFFERED_MAX;
use crate::store::Hint;

/// The hints a step leads to.
#[derive(Debug, Default)]
pub(super) struct PendingHints {
    /// Something may be claimed.
    pub(super) pending: bool,
    /// A job is the earliest of `delayed` now.
    pub(super) due: bool,
    /// Running jobs that were asked to stop.
    pub(super) cancel: Vec<JobId>,
    /// Jobs that ended while a client waits for an outcome, with their final states; `None` for a discarded one.
    pub(super) ended: Vec<(JobId, Option<JobState>)>,
}

pub(super) struct Hints(broadcast::Sender<Hint>);

impl Hints {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(HINTS_BUFFERED_MAX))
    }

    pub(super) fn send(&self, queue: &QueueName, hints: PendingHints) {
        let pending = hints.pending.then(|| Hint::Pending(queue.clone()));
        let due = hints.due.then(|| Hint::Due(queue.clone()));
        let cancel = hints.cancel.into_iter().map(|id| Hint::Cancel(queue.clone(), id));
        let ended = hints.ended.into_iter().map(|(id, state)| Hint::Ended { queue: queue.clone(), id, state });
        for hint in pending.into_iter().chain(due).chain(cancel).chain(ended) {
            // An error means that there are no listeners.
            let _ = self.0.send(hint);
        }
    }

    pub(super) fn listen(&self, queues: Vec<QueueName>) -> BoxStream<'static, Hint> {
        let listener = Listener { queues, hints: self.0.subscribe(), missed: VecDeque::new() };
        stream::unfold(listener, |mut listener| async move { listener.next().await.map(|hint| (hint, listener)) })
            .boxed()
    }
}

struct Listener {
    queues: Vec<QueueName>,
    hints: broadcast::Receiver<Hint>,
    /// Replaces hints that were lost because this listener was slow.
    missed: VecDeque<Hint>,
}

impl Listener {
    async fn next(&mut self) -> Option<Hint> {
        loop {
            if let Some(hint) = self.missed.pop_front() {
                return Some(hint);
            }
            match self.hints.recv().await {
                Ok(hint) if self.queues.contains(queue_of(&hint)) => return Some(hint),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    let everything = |queue: &QueueName| [Hint::Pending(queue.clone()), Hint::Due(queue.clone())];
                    self.missed.extend(self.queues.iter().flat_map(everything));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn queue_of(hint: &Hint) -> &QueueName {
    match hint {
        Hint::Pending(queue) | Hint::Due(queue) | Hint::Cancel(queue, _) | Hint::Ended { queue, .. } => queue,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_listener_that_fell_behind_is_asked_to_check_everything() {
        let (ours, other) = (QueueName::new("ours").unwrap(), QueueName::new("other").unwrap());
        let hints = Hints::new();
        let heard = hints.listen(vec![ours.clone()]);
        for _ in 0..=HINTS_BUFFERED_MAX {
            hints.send(&other, PendingHints { pending: true, ..PendingHints::default() });
        }
        drop(hints);
        let heard: Vec<Hint> = heard.collect().await;
        assert_eq!(heard, [Hint::Pending(ours.clone()), Hint::Due(ours)]);
    }
}
