//! Hints about the ends of jobs: one subscription per queue, shared by all who wait for jobs of that queue.
//!
//! A subscription stays for [`OUTCOME_SUBSCRIPTION_IDLE`] after its last listener is gone, so that a caller who waits for one job after the other does not subscribe
//! for each of them.

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

/// The subscriptions of one client, operator or runtime. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub(super) struct EndSubscriptions(Arc<Mutex<HashMap<QueueName, Subscription>>>);

/// A job that has ended, and its state; `None` if it was discarded.
type EndHint = (JobId, Option<JobState>);

struct Subscription {
    ends: broadcast::Sender<EndHint>,
    /// How many listeners there have ever been, to notice one that came and went during the idle wait.
    listeners: Arc<AtomicU64>,
    /// Whether the store sends hints now. Closed when the forwarding task has ended.
    live: watch::Receiver<bool>,
    forwarding: AbortOnDropHandle<()>,
}

impl Subscription {
    fn start(store: Arc<dyn Store>, queue: QueueName, tokio: &Handle) -> Self {
        let ends = broadcast::Sender::new(OUTCOME_HINTS_MAX);
        let (is_live, live) = watch::channel(false);
        let listeners = Arc::default();
        let forwarding = Forwarding { store, queue, ends: ends.clone(), listeners: Arc::clone(&listeners), is_live };
        let forwarding = AbortOnDropHandle::new(tokio.spawn(forwarding.run()));
        Self { ends, listeners, live, forwarding }
    }

    /// Whether the forwarding task still runs. It ends after an idle time, and with the tokio runtime it was started on.
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

/// Receives the hints about one queue's jobs, for one caller that waits.
pub(super) struct Listener {
    ends: broadcast::Receiver<EndHint>,
    live: watch::Receiver<bool>,
}

impl EndSubscriptions {
    /// Starts to listen to a queue; `None` when there are too many subscriptions, so that the caller has to poll.
    pub(super) fn listen(&self, store: Arc<dyn Store>, queue: &QueueName, tokio: &Handle) -> Option<Listener> {
        let mut subscriptions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscription) = subscriptions.get(queue).filter(|subscription| subscription.is_running()) {
            return Some(subscription.listen());
        }
        subscriptions.retain(|other, subscription| subscription.is_running() && other != queue);
        if subscriptions.len() >= OUTCOME_SUBSCRIPTIONS_MAX {
            let idle = subscriptions.iter().find(|(_, subscription)| subscription.is_idle());
            let idle_queue = idle.map(|(queue, _)| queue.clone())?;
            subscriptions.remove(&idle_queue);
        }
        let subscription = Subscription::start(store, queue.clone(), tokio);
        let listener = subscription.listen();
        subscriptions.insert(queue.clone(), subscription);
        Some(listener)
    }
}

impl Listener {
    /// Whether the store sends hints now.
    pub(super) fn is_live(&self) -> bool {
        // An error means that the forwarding task has ended.
        self.live.has_changed().is_ok() && *self.live.borrow()
    }

    /// Waits until the store sends hints, for at most `timeout`.
    pub(super) async fn wait_until_live(&mut self, timeout: Duration) {
        let _ = tokio::time::timeout(timeout, becomes_live(&mut self.live)).await;
    }

    /// Waits for the next reason to poll this job; `was_live` is the value of [`is_live`](Self::is_live) before the last poll. Without a reason this never returns, so the
    /// caller needs a timeout.
    pub(super) async fn next(&mut self, id: &JobId, was_live: bool) -> PollReason {
        tokio::select! {
            reason = next_of(&mut self.ends, id) => reason,
            () = becomes_live(&mut self.live), if !was_live => PollReason::Live,
        }
    }

    /// The end of this job, if a hint about it has already arrived.
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

/// A reason to poll a job now.
pub(super) enum PollReason {
    /// A hint says that the job has ended.
    Ended(End),
    /// Hints were missed, and one of them may have been about the job.
    Missed,
    /// The store sends hints from now on; the job may have ended before that.
    Live,
}

/// How a job ended, according to a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Completed,
    Discarded,
    /// It is dead, poisoned or cancelled. Such a job is kept, so the store says how it ended.
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
    // When the forwarding task has ended, its last value stays, and may be `true`.
    let is_live = live.wait_for(|live| *live).await.is_ok() && live.has_changed().is_ok();
    if !is_live {
        std::future::pending().await
    }
}

async fn next_of(ends: &mut broadcast::Receiver<EndHint>, id: &JobId) -> PollReason {
    loop {
        match ends.recv().await {
            Ok((ended, state)) if ended == *id => return PollReason::Ended(End::of(state)),
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return PollReason::Missed,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The background task of a subscription.
struct Forwarding {
    store: Arc<dyn Store>,
    queue: QueueName,
    ends: broadcast::Sender<EndHint>,
    listeners: Arc<AtomicU64>,
    is_live: watch::Sender<bool>,
}

impl Forwarding {
    /// Forwards hints until there have been no listeners for [`OUTCOME_SUBSCRIPTION_IDLE`].
    async fn run(self) {
        tokio::select! {
            () = self.forward() => {}
            () = self.until_idle() => {}
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

    /// Returns when there have been no listeners for [`OUTCOME_SUBSCRIPTION_IDLE`].
    async fn until_idle(&self) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_ended_while_live_gives_no_reason_to_poll() {
        let ends = broadcast::Sender::new(1);
        let (is_live, live) = watch::channel(true);
        let mut listener = Listener { ends: ends.subscribe(), live };
        drop(is_live);
        assert!(!listener.is_live());
        let id = JobId::parse("a").unwrap();
        let next = tokio::time::timeout(OUTCOME_POLL_MAX, listener.next(&id, false)).await;
        assert!(next.is_err(), "a waiter would poll without a pause");
    }
}
