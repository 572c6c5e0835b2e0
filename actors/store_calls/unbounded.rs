//! Calls of the tree's actors: they have no deadline, and are sent again as long as the tree lives.

use std::time::Duration;

use retraced_jobs::store::{CallId, Store, StoreError, StoreFuture};

use super::{CallError, StoreCalls, resend};
use crate::limits::CALL_TIMEOUT;

impl StoreCalls {
    /// Sends a call of a replay slot again and again until its outcome is known: a reply or a refusal. Returns `None` if the tree ends first.
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
        let attempt = || async { Some(self.once(operation, &call).await) };
        match resend(&self.health, attempt, self.health.ended()).await {
            Ok(reply) => Some(Ok(reply)),
            Err(CallError::Refused(error)) => Some(Err(error)),
            Err(_) => None,
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
        if let Err(error) = &result
            && !error.is_retryable()
        {
            self.health.report_refused(error);
        }
        result
    }
}
