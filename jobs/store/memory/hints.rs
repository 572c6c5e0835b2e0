//! Sends hints to listeners.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::job::{JobId, JobState, QueueName};
use crate::limits::HINTS_BUFFERED_MAX;
use crate::store::Hint;

/// The hints that a step leads to; sent after the step.
#[derive(Debug, Default)]
pub(super) struct PendingHints {
    /// Something may be claimed.
    pub(super) pending: bool,
    /// The earliest job of `delayed` has changed.
    pub(super) due: bool,
    /// Running jobs whose cancellation was requested.
    pub(super) cancel: Vec<JobId>,
    /// Jobs that ended while a client waits for an outcome, with their final states; `None` for a discarded one.
    pub(super) ended: Vec<(JobId, Option<JobState>)>,
}

/// The channels to all listeners. Hints that jobs ended have their own channel, because many of them must not push out a hint that a job is cancelled.
pub(super) struct Hints {
    others: broadcast::Sender<Hint>,
    ends: broadcast::Sender<Hint>,
}

impl Hints {
    pub(super) fn new() -> Self {
        Self { others: broadcast::Sender::new(HINTS_BUFFERED_MAX), ends: broadcast::Sender::new(HINTS_BUFFERED_MAX) }
    }

    pub(super) fn send(&self, queue: &QueueName, hints: PendingHints) {
        let pending = hints.pending.then(|| Hint::Pending(queue.clone()));
        let due = hints.due.then(|| Hint::Due(queue.clone()));
        let cancel = hints.cancel.into_iter().map(|id| Hint::Cancel(queue.clone(), id));
        // An error means that there are no listeners.
        for hint in pending.into_iter().chain(due).chain(cancel) {
            let _ = self.others.send(hint);
        }
        for (id, state) in hints.ended {
            let _ = self.ends.send(Hint::Ended { queue: queue.clone(), id, state });
        }
    }

    pub(super) fn listen(&self, queues: Vec<QueueName>) -> BoxStream<'static, Hint> {
        let (others, ends) = (self.others.subscribe(), self.ends.subscribe());
        let listener = Listener { queues, others, ends, missed: VecDeque::new() };
        stream::unfold(listener, |mut listener| async move { listener.next().await.map(|hint| (hint, listener)) })
            .boxed()
    }
}

struct Listener {
    queues: Vec<QueueName>,
    others: broadcast::Receiver<Hint>,
    ends: broadcast::Receiver<Hint>,
    /// Hints in place of those that this listener lost because it was too slow.
    missed: VecDeque<Hint>,
}

impl Listener {
    async fn next(&mut self) -> Option<Hint> {
        loop {
            if let Some(hint) = self.missed.pop_front() {
                return Some(hint);
            }
            let (hint, is_end) = tokio::select! {
                biased;
                hint = self.others.recv() => (hint, false),
                hint = self.ends.recv() => (hint, true),
            };
            match hint {
                Ok(hint) if self.queues.contains(queue_of(&hint)) => return Some(hint),
                Ok(_) => {}
                // Lost hints about ended jobs are not replaced: a client that waits for an outcome polls as well.
                Err(RecvError::Lagged(_)) if is_end => {}
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

    #[tokio::test]
    async fn hints_of_ended_jobs_never_push_out_a_hint_to_cancel() {
        let (queue, id) = (QueueName::new("ours").unwrap(), JobId::parse("welcome-42").unwrap());
        let hints = Hints::new();
        let mut heard = hints.listen(vec![queue.clone()]);
        hints.send(&queue, PendingHints { cancel: vec![id.clone()], ..PendingHints::default() });
        let ended = vec![(id.clone(), Some(JobState::Dead)); 2 * HINTS_BUFFERED_MAX];
        hints.send(&queue, PendingHints { ended, ..PendingHints::default() });
        assert_eq!(heard.next().await, Some(Hint::Cancel(queue.clone(), id.clone())));
        assert_eq!(heard.next().await, Some(Hint::Ended { queue, id, state: Some(JobState::Dead) }));
    }
}
