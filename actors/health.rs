//! Whether the store answers, as everybody who calls it knows it: an outage is told once, waited for together, and is nobody's crash.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use retraced_jobs::store::{StoreError, StoreFuture};
use retraced_jobs::trace::EventKind;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::slot::Slot;
use crate::store_link::StoreLinkMessage;
use crate::supervisor::millis;

/// How long a call may go unanswered before it is sent again. The store's own time-outs are shorter; this bounds stores that have none.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a caller waits for the store link's word before it tries by itself.
pub const OUTAGE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a refused call waits before it is sent again.
pub const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// How often the same refusal is told, at most.
pub const REFUSED_TOLD_EVERY: Duration = Duration::from_secs(60);

const PATH: &str = "store-link";

/// The state everybody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreState {
    Up,
    Down { since: Instant },
}

/// Shared by all callers of the store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    state: watch::Sender<StoreState>,
    events: Events,
    link: Slot<StoreLinkMessage>,
    refused: Mutex<Option<(String, Instant)>>,
    /// Fired when the runtime ends: nobody resends after it.
    ended: CancellationToken,
}

impl Health {
    pub(crate) fn new(events: Events, ended: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            state: watch::Sender::new(StoreState::Up),
            events,
            link: Slot::default(),
            refused: Mutex::new(None),
            ended,
        }))
    }

    /// The place of the actor that finds out when the store is back.
    pub(crate) fn link(&self) -> &Slot<StoreLinkMessage> {
        &self.0.link
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.0.state.borrow() == StoreState::Up
    }

    /// A call was not answered.
    pub(crate) fn lost(&self, reason: &str) {
        let down = StoreState::Down { since: Instant::now() };
        let changed = self.0.state.send_if_modified(|state| {
            let up = *state == StoreState::Up;
            if up {
                *state = down;
            }
            up
        });
        if changed {
            self.0.events.emit(PATH, 0, EventKind::StoreLost { reason: reason.to_owned() });
        }
        self.0.link.tell(StoreLinkMessage::Lost);
    }

    /// A call was answered.
    pub(crate) fn answered(&self) {
        if self.is_up() {
            return;
        }
        let mut away = None;
        self.0.state.send_if_modified(|state| match *state {
            StoreState::Up => false,
            StoreState::Down { since } => {
                away = Some(since.elapsed());
                *state = StoreState::Up;
                true
            }
        });
        if let Some(away) = away {
            self.0.events.emit(PATH, 0, EventKind::StoreBack { away_ms: millis(away) });
        }
    }

    /// The store answered, and will not do it.
    pub(crate) fn refused(&self, error: &StoreError) {
        let reason = error.to_string();
        let mut told = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let again = told.as_ref().is_some_and(|(text, at)| *text == reason && at.elapsed() < REFUSED_TOLD_EVERY);
        if !again {
            *told = Some((reason.clone(), Instant::now()));
            self.0.events.emit(PATH, 0, EventKind::StoreRefused { operation: error.operation().into(), reason });
        }
    }

    /// Waits until the store is said to be back, for a while.
    pub(crate) async fn wait_until_up(&self) {
        let mut state = self.0.state.subscribe();
        let _ = tokio::time::timeout(OUTAGE_WAIT_MAX, state.wait_for(|s| *s == StoreState::Up)).await;
    }

    /// One try of a call, with what it says about the store told to everybody.
    pub(crate) async fn attempt<T>(&self, operation: &'static str, call: StoreFuture<'_, T>) -> Result<T, StoreError> {
        self.attempt_within(CALL_TIMEOUT, operation, call).await
    }

    /// One try of a call that is of no use any more after `limit`.
    pub(crate) async fn attempt_within<T>(
        &self,
        limit: Duration,
        operation: &'static str,
        call: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let result = match tokio::time::timeout(limit, call).await {
            Ok(result) => result,
            Err(elapsed) => Err(StoreError::Unavailable { operation, cause: Box::new(elapsed) }),
        };
        match &result {
            Ok(_) => self.answered(),
            Err(error) if error.is_retryable() => self.lost(&error.to_string()),
            Err(error) => self.refused(error),
        }
        result
    }

    /// Sends a call again and again until its outcome is known: a reply, or a refusal. `None` when the runtime ends first.
    pub(crate) async fn until_known<'a, T>(
        &self,
        operation: &'static str,
        call: impl Fn() -> StoreFuture<'a, T>,
    ) -> Option<Result<T, StoreError>> {
        loop {
            match self.attempt(operation, call()).await {
                Err(error) if error.is_retryable() => {
                    tokio::select! {
                        () = self.0.ended.cancelled() => return None,
                        () = self.wait_until_up() => {}
                    }
                }
                known => return Some(known),
            }
        }
    }

    /// Waits a while after a refusal. Gives whether the runtime goes on.
    pub(crate) async fn wait_after_refusal(&self) -> bool {
        tokio::select! {
            () = self.0.ended.cancelled() => false,
            () = tokio::time::sleep(REFUSED_WAIT) => true,
        }
    }
}
