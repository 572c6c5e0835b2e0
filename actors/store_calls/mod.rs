//! Calls to the store, for the tree, for clients and for operators alike: replay slots, deadlines, health, and sending a call again until its outcome is known.
//!
//! A call that changes something carries the number of a replay slot, so that a store answers a repeated call without repeating its effect. It is therefore safe to send
//! a call again whenever its reply is lost, and every caller does: until the outcome is known, or until its deadline.

mod error;
mod health;

pub use error::CallError;
pub(crate) use health::Health;

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::job::InstanceId;
use retraced_jobs::store::{CallId, ReplaySlots, Store, StoreError, StoreFuture};
use tokio::time::Instant;

use crate::limits::{CALL_TIMEOUT, RESEND_DELAY};

/// The store, and what this process knows of its calls to it. Cheap to clone.
#[derive(Clone)]
pub struct StoreCalls {
    store: Arc<dyn Store>,
    slots: ReplaySlots,
    health: Health,
}

impl StoreCalls {
    /// Calls of a process without a tree: at most `calls_max` are open at a time, further ones wait.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, instance: InstanceId, calls_max: u16) -> Self {
        Self::with_health(store, ReplaySlots::new(instance, calls_max), Health::unreported())
    }

    pub(crate) fn with_health(store: Arc<dyn Store>, slots: ReplaySlots, health: Health) -> Self {
        Self { store, slots, health }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The replay slots of this process.
    #[must_use]
    pub fn replay_slots(&self) -> &ReplaySlots {
        &self.slots
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Sends a call of a replay slot again and again until its outcome is known: a reply or a refusal. Returns `None` if the runtime ends first.
    pub(crate) async fn until_known<'a, T>(
        &'a self,
        operation: &'static str,
        call: impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, T>,
    ) -> Option<Result<T, StoreError>> {
        let mut slot = self.slots.take().await;
        let id = slot.next_call();
        self.resend(operation, |store| call(store, id)).await
    }

    /// The same for a call that may be repeated without a replay slot.
    pub(crate) async fn resend<'a, T>(
        &'a self,
        operation: &'static str,
        call: impl Fn(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Option<Result<T, StoreError>> {
        loop {
            match self.once(operation, &call).await {
                Err(error) if error.is_retryable() => {
                    tokio::select! {
                        () = self.health.ended() => return None,
                        () = self.health.wait_until_up() => {}
                    }
                }
                known => return Some(known),
            }
        }
    }

    /// Sends a call once.
    pub(crate) async fn once<'a, T>(
        &'a self,
        operation: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, StoreError> {
        self.once_within(CALL_TIMEOUT, operation, call).await
    }

    /// Sends a call once that is useless after `limit`.
    pub(crate) async fn once_within<'a, T>(
        &'a self,
        limit: Duration,
        operation: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, StoreError> {
        let result = match tokio::time::timeout(limit, call(&*self.store)).await {
            Ok(result) => result,
            Err(elapsed) => Err(StoreError::Unavailable { operation, cause: Box::new(elapsed) }),
        };
        self.health.observe(&result);
        result
    }

    /// Sends a call of a replay slot until its outcome is known, for at most `limit` in all.
    ///
    /// # Errors
    /// [`CallError::Store`] if the store refuses, or if the last answer before the deadline was that it is unavailable; [`CallError::TimedOut`] if there was none.
    pub async fn until<'a, T>(
        &'a self,
        limit: Duration,
        call: impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, T>,
    ) -> Result<T, CallError> {
        let deadline = Instant::now() + limit;
        let slot = tokio::time::timeout_at(deadline, self.slots.take()).await;
        let mut slot = slot.map_err(|_| CallError::TimedOut { limit })?;
        let id = slot.next_call();
        self.resend_until(deadline, limit, |store| call(store, id)).await
    }

    /// The same for a call that may be repeated without a replay slot.
    ///
    /// # Errors
    /// As [`until`](Self::until).
    pub async fn read_until<'a, T>(
        &'a self,
        limit: Duration,
        call: impl Fn(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, CallError> {
        self.resend_until(Instant::now() + limit, limit, call).await
    }

    async fn resend_until<'a, T>(
        &'a self,
        deadline: Instant,
        limit: Duration,
        call: impl Fn(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, CallError> {
        let mut last = None;
        loop {
            match tokio::time::timeout_at(deadline, call(&*self.store)).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) if error.is_retryable() && Instant::now() + RESEND_DELAY < deadline => {
                    last = Some(error);
                    tokio::time::sleep(RESEND_DELAY).await;
                }
                Ok(Err(error)) => return Err(CallError::Store(error)),
                Err(_) => return Err(last.map_or(CallError::TimedOut { limit }, CallError::Store)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
