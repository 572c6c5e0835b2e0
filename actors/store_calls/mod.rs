//! Calls to the store, for the tree, for clients and for operators alike: replay slots, deadlines, health, and sending a call again until its outcome is known.
//!
//! A call that changes something carries a replay slot and a sequence number. From these the store recognizes a repeated call and answers it without applying
//! it again. So every caller sends a call again when the reply is lost: actors until the outcome is known (`actor_calls`), all others until their deadline
//! (`deadline`).

mod actor_calls;
mod call_ids;
mod call_watch;
mod deadline;
mod error;
mod failing;
mod first_sending;
mod health;
mod store_status;

pub(crate) use call_watch::CallWatch;
pub use error::CallError;
pub(crate) use first_sending::FirstSending;
pub(crate) use health::Health;
pub use store_status::StoreStatus;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::store::{Block, ReplaySlots, Store, StoreError};
use tokio::runtime::Handle;

use crate::limits::{OUTAGE_WAIT_MAX, RESEND_DELAY};
use crate::random::new_instance;

/// The store, with what calls to it need: replay slots, its health, and the tokio runtime they run on. Cheap to clone.
#[derive(Clone)]
pub struct StoreCalls {
    store: Arc<dyn Store>,
    slots: ReplaySlots,
    health: Health,
    /// Where calls with a deadline run, because connections belong to the tokio runtime that opened them. `None`: on the caller's.
    tokio: Option<Handle>,
    /// What a call with a deadline does while the store is blocked.
    when_blocked: WhenBlocked,
}

impl StoreCalls {
    /// For a process without a tree. The calls get a process instance of their own and run on `tokio`, or on the tokio runtime of each caller. At most
    /// `calls_max` calls that change something are open at a time; further ones wait until their deadline.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, calls_max: u16, tokio: Option<Handle>) -> Self {
        let slots = ReplaySlots::new(new_instance(), calls_max);
        Self { store, slots, health: Health::unreported(), tokio, when_blocked: WhenBlocked::ReturnError }
    }

    /// For a process with a tree.
    pub(crate) fn of_tree(store: Arc<dyn Store>, slots: ReplaySlots, health: Health, tree: Handle) -> Self {
        Self { store, slots, health, tokio: Some(tree), when_blocked: WhenBlocked::ReturnError }
    }

    /// The same calls, with the same replay slots. But while the store is blocked, those that change something and have a deadline are sent again until then, as in an
    /// outage. A missing right is returned at once.
    #[must_use]
    pub fn waiting_while_blocked(self) -> Self {
        Self { when_blocked: WhenBlocked::SendAgain, ..self }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The tokio runtime that calls with a deadline run on: the one it was made with, or else that of the caller; `None` if the caller is on none.
    #[must_use]
    pub fn tokio(&self) -> Option<Handle> {
        self.tokio.clone().or_else(|| Handle::try_current().ok())
    }

    /// Waits until the store is up, but for this time at least: the success of another call ends an outage at once, and this call would then be sent again without a
    /// pause.
    async fn pause(&self, least: Duration) {
        tokio::join!(tokio::time::sleep(least), self.health.wait_until_up());
    }

    /// How the store is, as the last calls found it.
    #[must_use]
    pub fn store_status(&self) -> StoreStatus {
        self.health.status()
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }
}

/// What a caller does when the store answers that it is blocked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenBlocked {
    /// It sends the call again. But a missing right ends the call: it may concern one queue or one kind of calls only, and the caller has others to make.
    SendAgain,
    /// It gets the error. But the call is sent again if the block is [transient](retraced_jobs::store::Block::is_transient), or if an earlier sending had no answer: that
    /// one may have been applied.
    ReturnError,
}

/// Calls `send` again and again, with a `pause` between. Ends when the call is answered or refused, when `send` returns `None` because its time is over, or when
/// `give_up` ends during a pause. `pause` gets the least duration of a pause, which grows while the store is blocked: each call has its own backoff.
async fn resend<T, Sending, Pause>(
    when_blocked: WhenBlocked,
    send: impl Fn() -> Sending,
    pause: impl Fn(Duration) -> Pause,
    give_up: impl Future<Output = ()>,
) -> Result<T, CallError>
where
    Sending: Future<Output = Option<Result<T, StoreError>>>,
    Pause: Future,
{
    let (mut give_up, mut unanswered, mut blocked) = (pin!(give_up), None, None);
    let mut delay = RESEND_DELAY;
    loop {
        match send().await {
            Some(Ok(reply)) => return Ok(reply),
            Some(Err(error @ StoreError::Blocked { by, .. }))
                if by != Block::Rights || when_blocked == WhenBlocked::ReturnError =>
            {
                if when_blocked == WhenBlocked::ReturnError && unanswered.is_none() && !by.is_transient() {
                    return Err(CallError::Blocked(error));
                }
                delay = if blocked.is_some() { (delay * 2).min(OUTAGE_WAIT_MAX) } else { RESEND_DELAY };
                blocked = Some(error);
            }
            Some(Err(error @ StoreError::Unavailable { .. })) => {
                delay = RESEND_DELAY;
                unanswered = Some(error);
            }
            // The sending without an answer may have been applied. No refusal of a later one says anything about it: the store refuses before it looks at the replay
            // slot, or because another process has made the next call of the slot.
            Some(Err(error)) if unanswered.is_some() => return Err(CallError::OutcomeUnknown(Some(error))),
            Some(Err(error @ StoreError::Blocked { .. })) => return Err(CallError::Blocked(error)),
            Some(Err(error)) => return Err(CallError::Refused(error)),
            // This sending has no answer, whatever those before it got.
            None => return Err(CallError::OutcomeUnknown(unanswered)),
        }
        tokio::select! {
            biased;
            () = &mut give_up => return Err(given_up(unanswered, blocked)),
            _ = pause(delay) => {}
        }
    }
}

/// The error of a call whose time is over: if every sending was answered, it was not applied.
fn given_up(unanswered: Option<StoreError>, blocked: Option<StoreError>) -> CallError {
    match (unanswered, blocked) {
        (None, Some(error)) => CallError::Blocked(error),
        (unanswered, _) => CallError::OutcomeUnknown(unanswered),
    }
}

#[cfg(test)]
mod tests;
