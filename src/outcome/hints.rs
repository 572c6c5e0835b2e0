//! One subscription per queue to the ends of its jobs, shared by all who wait there; it ends with the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::StreamExt;
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{Hint, Store};
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

use crate::limits::{OUTCOME_HINTS_MAX, OUTCOME_POLL_MAX, OUTCOME_SUBSCRIPTIONS_MAX};

/// The subscriptions of one caller of the store. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct EndHints(Arc<Mutex<HashMap<QueueName, Weak<Subscription>>>>);

type Ended = (JobId, Option<JobState>);

struct Subscription {
    ends: broadcast::Sender<Ended>,
    _forwarding: AbortOnDropHandle<()>,
}

/// The ends of one queue's jobs, as one waiter hears of them.
pub(super) struct Listener {
    ends: broadcast::Receiver<Ended>,
    _subscription: Arc<Subscription>,
}

impl EndHints {
    /// Listens to a queue; `None` when too many queues are listened to, so that the waiter has to poll.
    pub(super) fn listen(&self, store: Arc<dyn Store>, queue: &QueueName, runtime: &Handle) -> Option<Listener> {
        let mut subscriptions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscription) = subscriptions.get(queue).and_then(Weak::upgrade) {
            return Some(Listener { ends: subscription.ends.subscribe(), _subscription: subscription });
        }
        subscriptions.retain(|_, subscription| subscription.strong_count() > 0);
        if subscriptions.len() >= OUTCOME_SUBSCRIPTIONS_MAX {
            return None;
        }
        let (sender, ends) = broadcast::channel(OUTCOME_HINTS_MAX);
        let forwarding = runtime.spawn(forward(store, queue.clone(), sender.clone()));
        let subscription = Subscription { ends: sender, _forwarding: AbortOnDropHandle::new(forwarding) };
        let subscription = Arc::new(subscription);
        subscriptions.insert(queue.clone(), Arc::downgrade(&subscription));
        Some(Listener { ends, _subscription: subscription })
    }
}

impl Listener {
    /// Waits until this job is said to have ended, with its state if it is known. Never returns when there is nothing to hear: poll as well.
    pub(super) async fn end_of(&mut self, id: &JobId) -> Option<JobState> {
        loop {
            match self.ends.recv().await {
                Ok((ended, state)) if ended == *id => return state,
                Ok(_) => {}
                // What was missed may have been about this job.
                Err(RecvError::Lagged(_)) => return None,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Forwards hints, subscribing again whenever the subscription is lost.
async fn forward(store: Arc<dyn Store>, queue: QueueName, ends: broadcast::Sender<Ended>) {
    loop {
        if let Ok(mut hints) = store.hints(std::slice::from_ref(&queue)).await {
            while let Some(hint) = hints.next().await {
                if let Hint::Ended { id, state, .. } = hint {
                    let _ = ends.send((id, state));
                }
            }
        }
        tokio::time::sleep(OUTCOME_POLL_MAX).await;
    }
}
