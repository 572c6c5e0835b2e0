//! Calls to the store, for the tree, for clients and for operators alike: replay slots, deadlines, health, and sending a call again until its outcome is known.
//!
//! A call that changes something carries a replay slot and a sequence number. From these the store recognizes a repeated call and answers it without applying
//! it again. So every caller sends a call again when the reply is lost: actors until the outcome is known (`actor_calls`), all others until their deadline
//! (`deadline`).

mod actor_calls;
mod deadline;
mod error;
mod health;

pub use error::CallError;
pub(crate) use health::Health;

use std::pin::pin;
use std::sync::Arc;

use retraced_jobs::job::InstanceId;
use retraced_jobs::store::{ReplaySlots, Store, StoreError};
use tokio::runtime::Handle;
use uuid::Uuid;

/// The store, with what calls to it need: replay slots, its health, and the tokio runtime they run on. Cheap to clone.
#[derive(Clone)]
pub struct StoreCalls {
    store: Arc<dyn Store>,
    slots: ReplaySlots,
    health: Health,
    /// Where calls with a deadline run, because connections belong to the tokio runtime that opened them. `None`: on the caller's.
    tokio: Option<Handle>,
}

impl StoreCalls {
    /// For a process without a tree. The calls get a process instance of their own and run on `tokio`, or on the tokio runtime of each caller. At most
    /// `calls_max` calls that change something are open at a time; further ones wait until their deadline.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, calls_max: u16, tokio: Option<Handle>) -> Self {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::new_v4()), calls_max);
        Self { store, slots, health: Health::unreported(), tokio }
    }

    /// For a process with a tree.
    pub(crate) fn of_tree(store: Arc<dyn Store>, slots: ReplaySlots, health: Health, tree: Handle) -> Self {
        Self { store, slots, health, tokio: Some(tree) }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The tokio runtime that calls with a deadline run on; `None` if that is the caller's and there is none here.
    #[must_use]
    pub fn tokio(&self) -> Option<Handle> {
        self.tokio.clone().or_else(|| Handle::try_current().ok())
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }
}

/// Calls `send` again and again, with a `pause` between. Ends when the call is answered or refused, when `send` returns `None` because its time is over, or when
/// `give_up` ends during a pause.
async fn resend<T, Sending, Pause>(
    send: impl Fn() -> Sending,
    pause: impl Fn() -> Pause,
    give_up: impl Future<Output = ()>,
) -> Result<T, CallError>
where
    Sending: Future<Output = Option<Result<T, StoreError>>>,
    Pause: Future,
{
    let (mut give_up, mut last) = (pin!(give_up), None);
    loop {
        match send().await {
            Some(Ok(reply)) => return Ok(reply),
            Some(Err(error)) if error.is_retryable() => last = Some(error),
            Some(Err(error)) => return Err(CallError::Refused(error)),
            None => return Err(CallError::OutcomeUnknown(last)),
        }
        tokio::select! {
            biased;
            () = &mut give_up => return Err(CallError::OutcomeUnknown(last)),
            _ = pause() => {}
        }
    }
}

#[cfg(test)]
mod tests;
