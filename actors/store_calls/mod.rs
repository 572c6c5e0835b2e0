//! Calls to the store, for the tree, for clients and for operators alike: replay slots, deadlines, health, and sending a call again until its outcome is known.
//!
//! A call that changes something carries the number of a replay slot, so that a store answers a repeated call without repeating its effect. It is therefore safe to send
//! a call again whenever its reply is lost, and every caller does: the tree's actors until the outcome is known (`unbounded`), all others until their deadline (`deadline`).

mod deadline;
mod error;
mod health;
mod unbounded;

pub use error::CallError;
pub(crate) use health::Health;

use std::pin::pin;
use std::sync::Arc;

use retraced_jobs::job::InstanceId;
use retraced_jobs::store::{ReplaySlots, Store, StoreError};
use tokio::runtime::Handle;
use uuid::Uuid;

/// The store, and what this process knows of its calls to it. Cheap to clone.
#[derive(Clone)]
pub struct StoreCalls {
    store: Arc<dyn Store>,
    slots: ReplaySlots,
    health: Health,
    /// Where calls with a deadline run: connections belong to the runtime that opened them. `None`: where the caller is.
    runtime: Option<Handle>,
}

impl StoreCalls {
    /// Calls without a tree, from a process instance of their own: at most `calls_max` of those that change something are open at a time, further ones wait. They run
    /// on `runtime`, or where each caller is.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, calls_max: u16, runtime: Option<Handle>) -> Self {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::new_v4()), calls_max);
        Self { store, slots, health: Health::unreported(), runtime }
    }

    /// The calls of a tree.
    pub(crate) fn of_tree(store: Arc<dyn Store>, slots: ReplaySlots, health: Health, tree: Handle) -> Self {
        Self { store, slots, health, runtime: Some(tree) }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The tokio runtime that calls with a deadline run on; `None` outside of any.
    #[must_use]
    pub fn runtime(&self) -> Option<Handle> {
        self.runtime.clone().or_else(|| Handle::try_current().ok())
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }
}

/// Sends a call again until it is answered or refused, an attempt runs out of time (`None`), or `give_up` ends while the store is unavailable.
async fn resend<T, Attempt>(
    health: &Health,
    attempt: impl Fn() -> Attempt,
    give_up: impl Future<Output = ()>,
) -> Result<T, CallError>
where
    Attempt: Future<Output = Option<Result<T, StoreError>>>,
{
    let (mut give_up, mut last) = (pin!(give_up), None);
    loop {
        match attempt().await {
            Some(Ok(reply)) => return Ok(reply),
            Some(Err(error)) if error.is_retryable() => last = Some(error),
            Some(Err(error)) => return Err(CallError::Refused(error)),
            None => return Err(CallError::OutcomeUnknown(last)),
        }
        tokio::select! {
            biased;
            () = &mut give_up => return Err(CallError::OutcomeUnknown(last)),
            () = health.wait_until_up() => {}
        }
    }
}

#[cfg(test)]
mod tests;
