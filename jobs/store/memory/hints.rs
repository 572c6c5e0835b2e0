//! Sends hints to listeners.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::job::{JobId, JobState, QueueName};
use crate::limits::HINTS_BUFFERED_MAX;
use crate::store::Hint;

/// The hints about one change of a queue, which are sent after the change.
#[derive(Debug, Default)]
pub(super) struct UnsentHints {
    /// Something may be claimed.
    pub(super) pending: bool,
    /// A job was delayed that is due before all others.
    pub(super) due: bool,
    /// Processing jobs whose cancellation was requested.
    pub(super) cancel: Vec<JobId>,
    /// Jobs that ended while a client waited for any outcome, with their final states; `None` for a discarded job.
    pub(super) ended: Vec<(JobId, Option<JobState>)>,
}

/// The channels to all listeners. A full channel drops its oldest hint. Hints about ended jobs can be many, so they have a channel of their own: otherwise they could
/// push out the hint that a running job shall be cancelled.
pub(super) struct Hints {
    ended: broadcast::Sender<Hint>,
    others: broadcast::Sender<Hint>,
}

impl Hints {
    pub(super) fn new() -> Self {
        Self { ended: broadcast::Sender::new(HINTS_BUFFERED_MAX), others: broadcast::Sender::new(HINTS_BUFFERED_MAX) }
    }

    pub(super) fn send(&self, queue: &QueueName, hints: UnsentHints) {
        let pending = hints.pending.then(|| Hint::Pending(queue.clone()));
        let due = hints.due.then(|| Hint::Due(queue.clone()));
        let cancel = hints.cancel.into_iter().map(|id| Hint::Cancel(queue.clone(), id));
        // An error means that there are no listeners.
        for hint in pending.into_iter().chain(due).chain(cancel) {
            let _ = self.others.send(hint);
        }
        for (id, state) in hints.ended {
            let _ = self.ended.send(Hint::Ended { queue: queue.clone(), id, state });
        }
    }

    pub(super) fn listen(&self, queues: Vec<QueueName>) -> BoxStream<'static, Hint> {
        let (ended, others) = (self.ended.subscribe(), self.others.subscribe());
        let listener = Listener { queues, ended, others, substitutes: VecDeque::new() };
        stream::unfold(listener, |mut listener| async move { listener.next().await.map(|hint| (hint, listener)) })
            .boxed()
    }
}

struct Listener {
    queues: Vec<QueueName>,
    ended: broadcast::Receiver<Hint>,
    others: broadcast::Receiver<Hint>,
    /// Hints in place of those that this listener lost because it was too slow. A lost hint to cancel needs none: the next renewal reports the request.
    substitutes: VecDeque<Hint>,
}

impl Listener {
    async fn next(&mut self) -> Option<Hint> {
        loop {
            if let Some(hint) = self.substitutes.pop_front() {
                return Some(hint);
            }
            let (hint, is_about_ended_job) = tokio::select! {
                biased;
                hint = self.others.recv() => (hint, false),
                hint = self.ended.recv() => (hint, true),
            };
            match hint {
                Ok(hint) if self.queues.contains(queue_of(&hint)) => return Some(hint),
                Ok(_) => {}
                // Lost hints about ended jobs are not replaced: a client that waits for an outcome polls as well.
                Err(RecvError::Lagged(_)) if is_about_ended_job => {}
                Err(RecvError::Lagged(_)) => {
                    let all = |queue: &QueueName| [Hint::Pending(queue.clone()), Hint::Due(queue.clone())];
                    self.substitutes.extend(self.queues.iter().flat_map(all));
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
    async fn a_listener_that_fell_behind_gets_hints_to_poll_all_its_queues() {
        let (ours, other) = (QueueName::new("ours").unwrap(), QueueName::new("other").unwrap());
        let hints = Hints::new();
        let heard = hints.listen(vec![ours.clone()]);
        for _ in 0..=HINTS_BUFFERED_MAX {
            hints.send(&other, UnsentHints { pending: true, ..UnsentHints::default() });
        }
        drop(hints);
        let heard: Vec<Hint> = heard.collect().await;
        assert_eq!(heard, [Hint::Pending(ours.clone()), Hint::Due(ours)]);
    }

    #[tokio::test]
    async fn hints_about_ended_jobs_never_replace_a_hint_to_cancel() {
        let (queue, id) = (QueueName::new("ours").unwrap(), JobId::parse("welcome-42").unwrap());
        let hints = Hints::new();
        let mut heard = hints.listen(vec![queue.clone()]);
        hints.send(&queue, UnsentHints { cancel: vec![id.clone()], ..UnsentHints::default() });
        let ended = vec![(id.clone(), Some(JobState::Dead)); 2 * HINTS_BUFFERED_MAX];
        hints.send(&queue, UnsentHints { ended, ..UnsentHints::default() });
        assert_eq!(heard.next().await, Some(Hint::Cancel(queue.clone(), id.clone())));
        assert_eq!(heard.next().await, Some(Hint::Ended { queue, id, state: Some(JobState::Dead) }));
    }
}
