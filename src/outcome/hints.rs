//! One subscription per queue to the ends of its jobs, shared by all who wait there. It outlives the last of them for a while, so that those who wait for one job after
//! the other do not subscribe for each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{Hint, Store};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::limits::{OUTCOME_HINTS_MAX, OUTCOME_POLL_MAX, OUTCOME_SUBSCRIPTION_IDLE, OUTCOME_SUBSCRIPTIONS_MAX};

/// The subscriptions of one caller of the store. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct EndHints(Arc<Mutex<HashMap<QueueName, Subscription>>>);

type Ended = (JobId, Option<JobState>);

struct Subscription {
    ends: broadcast::Sender<Ended>,
    /// How many have ever listened.
    listeners: Arc<AtomicU64>,
    live: watch::Receiver<bool>,
    forwarding: AbortOnDropHandle<()>,
}

impl Subscription {
    fn start(store: Arc<dyn Store>, queue: QueueName, runtime: &Handle) -> Self {
        let ends = broadcast::Sender::new(OUTCOME_HINTS_MAX);
        let (is_live, live) = watch::channel(false);
        let listeners = Arc::default();
        let forwarding = Forwarding { store, queue, ends: ends.clone(), listeners: Arc::clone(&listeners), is_live };
        let forwarding = AbortOnDropHandle::new(runtime.spawn(forwarding.run()));
        Self { ends, listeners, live, forwarding }
    }

    /// Whether it still forwards. Its task ends when it was idle, and with the runtime it was started on.
    fn is_running(&self) -> bool {
        !self.forwarding.is_finished() && self.live.has_changed().is_ok()
    }

    fn is_idle(&self) -> bool {
        self.ends.receiver_count() == 0
    }

    fn listen(&self) -> Listener {
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listener { ends: self.ends.subscribe(), live: self.live.clone() }
    }
}

/// The ends of one queue's jobs, as one waiter hears of them.
pub(super) struct Listener {
    ends: broadcast::Receiver<Ended>,
    live: watch::Receiver<bool>,
}

impl EndHints {
    /// Listens to a queue; `None` when too many queues are listened to, so that the waiter has to poll.
    pub(super) fn listen(&self, store: Arc<dyn Store>, queue: &QueueName, runtime: &Handle) -> Option<Listener> {
        let mut subscriptions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscription) = subscriptions.get(queue).filter(|subscription| subscription.is_running()) {
            return Some(subscription.listen());
        }
        subscriptions.retain(|other, subscription| subscription.is_running() && other != queue);
        if subscriptions.len() >= OUTCOME_SUBSCRIPTIONS_MAX {
            let idle = subscriptions.iter().find(|(_, subscription)| subscription.is_idle());
            let idle = idle.map(|(queue, _)| queue.clone())?;
            subscriptions.remove(&idle);
        }
        let subscription = Subscription::start(store, queue.clone(), runtime);
        let listener = subscription.listen();
        subscriptions.insert(queue.clone(), subscription);
        Some(listener)
    }
}

impl Listener {
    /// Whether the store sends hints now.
    pub(super) fn is_live(&self) -> bool {
        // An error: the task that forwards has ended.
        self.live.has_changed().is_ok() && *self.live.borrow()
    }

    /// Waits until the store sends hints, for at most `timeout`.
    pub(super) async fn live_within(&mut self, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, becomes_live(&mut self.live)).await;
    }

    /// Waits for the next sign that concerns this job; `was_live` is what [`is_live`](Self::is_live) said before the last look. Never returns when there is nothing to
    /// hear: poll as well.
    pub(super) async fn next(&mut self, id: &JobId, was_live: bool) -> Sign {
        tokio::select! {
            sign = next_of(&mut self.ends, id) => sign,
            () = becomes_live(&mut self.live), if !was_live => Sign::Live,
        }
    }

    /// The end of this job, if a hint of it has arrived already.
    pub(super) fn end_of(&mut self, id: &JobId) -> Option<End> {
        loop {
            match self.ends.try_recv() {
                Ok((ended, state)) if ended == *id => return Some(End::of(state)),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
impl Listener {
    pub(super) async fn forwarding_ended(&self) {
        let mut live = self.live.clone();
        while live.changed().await.is_ok() {}
    }
}

/// A reason to look at a job now.
pub(super) enum Sign {
    /// It has ended.
    Ended(End),
    /// Hints were missed, and may have been about it.
    Missed,
    /// The store sends hints from now on: what ended before sent one to nobody.
    Live,
}

/// How a job ended, as far as a hint says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    Discarded,
    /// It is kept: the store says how it ended.
    Kept,
}

impl End {
    fn of(state: Option<JobState>) -> Self {
        match state {
            Some(JobState::Completed) => Self::Completed,
            Some(_) => Self::Kept,
            None => Self::Discarded,
        }
    }
}

async fn becomes_live(live: &mut watch::Receiver<bool>) {
    let ended = live.wait_for(|live| *live).await.is_err();
    if ended {
        std::future::pending().await
    }
}

async fn next_of(ends: &mut broadcast::Receiver<Ended>, id: &JobId) -> Sign {
    loop {
        match ends.recv().await {
            Ok((ended, state)) if ended == *id => return Sign::Ended(End::of(state)),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return Sign::Missed,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The task behind a subscription.
struct Forwarding {
    store: Arc<dyn Store>,
    queue: QueueName,
    ends: broadcast::Sender<Ended>,
    listeners: Arc<AtomicU64>,
    is_live: watch::Sender<bool>,
}

impl Forwarding {
    /// Forwards hints until nobody has listened for a while.
    async fn run(self) {
        tokio::select! {
            () = self.forward() => {}
            () = self.idle() => {}
        }
    }

    /// Forwards hints, subscribing again whenever the subscription is lost.
    async fn forward(&self) {
        loop {
            if let Ok(mut hints) = self.store.hints(std::slice::from_ref(&self.queue)).await {
                self.is_live.send_replace(true);
                while let Some(hint) = hints.next().await {
                    if let Hint::Ended { id, state, .. } = hint {
                        let _ = self.ends.send((id, state));
                    }
                }
                self.is_live.send_replace(false);
            }
            tokio::time::sleep(OUTCOME_POLL_MAX).await;
        }
    }

    /// Ends when nobody has listened for [`OUTCOME_SUBSCRIPTION_IDLE`].
    async fn idle(&self) {
        loop {
            self.ends.closed().await;
            let before = self.listeners.load(Ordering::Relaxed);
            tokio::time::sleep(OUTCOME_SUBSCRIPTION_IDLE).await;
            if self.ends.receiver_count() == 0 && self.listeners.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}
