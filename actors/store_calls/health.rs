//! Whether the store answers, as all callers in one process see it. An outage is reported once, and no actor crashes because of it: callers wait a while for its
//! end before they send their call again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use retraced_jobs::events::EventKind;
use retraced_jobs::store::StoreError;
use retraced_jobs::units::millis;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::Address;
use crate::limits::{OUTAGE_WAIT_MAX, REFUSED_DELAY, REFUSED_REPORT_INTERVAL, RESEND_DELAY};
use crate::messages::StoreLinkMessage;
use crate::path;
use crate::supervision::event::Events;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreState {
    Up,
    Down { since: Instant },
}

/// The health of the store. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    state: watch::Sender<StoreState>,
    /// Where outages and refusals are reported; a process without a tree does not report them.
    events: Option<Events>,
    link: Address<StoreLinkMessage>,
    /// The refusal that was reported last, and when.
    refused: Mutex<Option<(String, Instant)>>,
    /// Cancelled when the tree has ended. After that no call of an actor is sent again.
    ended: CancellationToken,
    /// How long a caller waits for the end of an outage before it sends its call anyway.
    wait_max: Duration,
}

impl Health {
    pub(crate) fn new(events: Events, ended: CancellationToken) -> Self {
        Self::with(Some(events), ended, OUTAGE_WAIT_MAX)
    }

    /// For a process without a tree: outages are not reported, and no store link checks whether the store is back.
    pub(super) fn unreported() -> Self {
        Self::with(None, CancellationToken::new(), RESEND_DELAY)
    }

    fn with(events: Option<Events>, ended: CancellationToken, wait_max: Duration) -> Self {
        let (state, link) = (watch::Sender::new(StoreState::Up), Address::default());
        Self(Arc::new(Inner { state, events, link, refused: Mutex::new(None), ended, wait_max }))
    }

    /// The address of the store link, which checks whether the store is back.
    pub(crate) fn link(&self) -> &Address<StoreLinkMessage> {
        &self.0.link
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.0.state.borrow() == StoreState::Up
    }

    /// Learns from the result of a call whether the store answers.
    pub(super) fn observe<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => self.answered(),
            Err(error) if error.is_retryable() => self.unanswered(&error.to_string()),
            Err(_) => {}
        }
    }

    fn unanswered(&self, reason: &str) {
        let down = StoreState::Down { since: Instant::now() };
        let changed = self.0.state.send_if_modified(|state| {
            let up = *state == StoreState::Up;
            if up {
                *state = down;
            }
            up
        });
        if changed {
            self.report(EventKind::StoreUnreachable { reason: reason.to_owned() });
        }
        self.0.link.send(StoreLinkMessage::Unanswered);
    }

    fn answered(&self) {
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
            self.report(EventKind::StoreReachable { away_ms: millis(away) });
        }
    }

    /// Reports a refusal, which only operators can do something about. The refusal that was reported last is not reported again within
    /// [`REFUSED_REPORT_INTERVAL`].
    pub(super) fn report_refused(&self, error: &StoreError) {
        let reason = error.to_string();
        let mut reported = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let again =
            reported.as_ref().is_some_and(|(text, at)| *text == reason && at.elapsed() < REFUSED_REPORT_INTERVAL);
        if again {
            return;
        }
        *reported = Some((reason.clone(), Instant::now()));
        drop(reported);
        self.report(EventKind::StoreRefused { operation: error.operation().into(), reason });
    }

    fn report(&self, kind: EventKind) {
        if let Some(events) = &self.0.events {
            events.emit(path::STORE_LINK, kind);
        }
    }

    /// Waits for the end of an outage, for at most [`OUTAGE_WAIT_MAX`], or [`RESEND_DELAY`] without a tree. Returns at once if there is no outage.
    pub(crate) async fn wait_until_up(&self) {
        let mut state = self.0.state.subscribe();
        let _ = tokio::time::timeout(self.0.wait_max, state.wait_for(|s| *s == StoreState::Up)).await;
    }

    /// Waits for the end of the tree.
    pub(crate) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.is_cancelled()
    }

    /// Waits for [`REFUSED_DELAY`]. Returns `false` at once when the tree ends.
    pub(crate) async fn wait_after_refusal(&self) -> bool {
        self.wait(REFUSED_DELAY).await
    }

    async fn wait(&self, delay: Duration) -> bool {
        tokio::select! {
            () = self.0.ended.cancelled() => false,
            () = tokio::time::sleep(delay) => true,
        }
    }
}
