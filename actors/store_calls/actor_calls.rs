//! Calls of the tree's actors: sent again until they are answered or the tree has ended, or once with a timeout.

use std::time::Duration;

use retraced_jobs::store::{Block, CallId, Store, StoreError, StoreFuture};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::call_ids::Sendings;
use super::{CallError, CallWatch, StoreCalls, WhenBlocked, resend};
use crate::limits::ACTOR_CALL_TIMEOUT;

impl StoreCalls {
    /// Sends a call under a replay slot again and again until its outcome is known: a reply, a refusal, or a missing right. While the store is blocked for another
    /// reason, it is sent again. If an earlier sending had no answer, a refusal leaves the outcome unknown. Returns `None` if the tree has ended before. After a
    /// [conflict of call ids](StoreError::is_call_id_conflict) the call is made again under a new id if no sending can have been applied; otherwise, or if the new id meets a
    /// conflict too, that error is returned and the outcome stays unknown.
    pub(crate) async fn until_known<'a, T>(
        &'a self,
        operation: &'static str,
        call: impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, T>,
    ) -> Option<Result<T, StoreError>> {
        known(self.resend_under_slot(WhenBlocked::SendAgain, operation, call).await)
    }

    /// As [`until_known`](Self::until_known), for a call that needs no replay slot, because sending it twice does no harm.
    pub(crate) async fn until_answered<'a, T>(
        &'a self,
        operation: &'static str,
        call: impl Fn(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Option<Result<T, StoreError>> {
        known(self.resend_until_ended(WhenBlocked::SendAgain, operation, call).await)
    }

    /// As [`until_known`](Self::until_known), but the error is returned if the store is blocked, unless the block is transient or an earlier sending had no answer. It tells
    /// refusals and unknown outcomes apart. That the tree has ended before is an unknown outcome too.
    pub(crate) async fn until_known_or_blocked<'a, T>(
        &'a self,
        operation: &'static str,
        call: impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, T>,
    ) -> Result<T, CallError> {
        self.resend_under_slot(WhenBlocked::ReturnError, operation, call).await
    }

    async fn resend_under_slot<'a, T>(
        &'a self,
        when_blocked: WhenBlocked,
        operation: &'static str,
        call: impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, T>,
    ) -> Result<T, CallError> {
        let mut slot = self.slots.take().await;
        let call = &call;
        let send = |sendings: Sendings| {
            self.resend_until_ended(when_blocked, operation, move |store| call(store, sendings.next()))
        };
        self.under(&mut slot, send).await
    }

    async fn resend_until_ended<'a, T>(
        &'a self,
        when_blocked: WhenBlocked,
        operation: &'static str,
        call: impl Fn(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, CallError> {
        let watch = self.watch(operation);
        let send = || async {
            let sent = Instant::now();
            let result = self.send(ACTOR_CALL_TIMEOUT, operation, &call).await;
            watch.observe(sent, &result);
            Some(result)
        };
        resend(when_blocked, send, |least| self.pause(least), self.health.ended()).await
    }

    /// Runs calls of an actor that lives on the tokio runtime of the handlers on that of the tree. A connection belongs to the tokio runtime of the call that opens it: a
    /// handler that blocks its thread would block the connection too. Returns `None` if the tokio runtime of the tree has ended. Dropping the future ends the calls.
    pub(crate) async fn on_tokio_of_tree<T: Send + 'static>(
        &self,
        calls: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let Some(tokio) = &self.tokio else { return Some(calls.await) };
        match AbortOnDropHandle::new(tokio.spawn(calls)).await {
            Ok(result) => Some(result),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    /// Sends a call once, and waits for the answer for at most [`ACTOR_CALL_TIMEOUT`].
    pub(crate) async fn once<'a, T>(
        &'a self,
        operation: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, StoreError> {
        self.once_within(ACTOR_CALL_TIMEOUT, operation, call).await
    }

    /// Watches an operation that is tried again until it succeeds: it is reported if it fails for long although the store answers other calls.
    pub(crate) fn watch(&self, operation: &'static str) -> CallWatch {
        CallWatch::new(self.health.clone(), operation)
    }

    /// Sends a call once, and waits for the answer for at most `limit`.
    pub(crate) async fn once_within<'a, T>(
        &'a self,
        limit: Duration,
        operation: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, StoreError> {
        let sent = Instant::now();
        let result = self.send(limit, operation, call).await;
        self.health.watch_verb(operation, sent, &result);
        result
    }

    async fn send<'a, T>(
        &'a self,
        limit: Duration,
        operation: &'static str,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T>,
    ) -> Result<T, StoreError> {
        let sent = Instant::now();
        let result = match tokio::time::timeout(limit, call(&*self.store)).await {
            Ok(result) => result,
            Err(elapsed) => Err(StoreError::Unavailable { operation, cause: Box::new(elapsed) }),
        };
        self.health.observe(sent, &result);
        if let Err(error) = &result
            && !error.is_retryable()
            // Reported when this process takes a new instance.
            && !error.is_call_id_conflict()
        {
            self.health.report_refused(error);
        }
        result
    }
}

/// What an actor gets of the result of a call: nothing if the tree has ended before its outcome was known. Actors need not know whether a call that ended with an error was
/// applied: they make a new one under the same tokens, and remember claims as unresolved.
fn known<T>(result: Result<T, CallError>) -> Option<Result<T, StoreError>> {
    match result {
        Ok(reply) => Some(Ok(reply)),
        // Another block ends no call: the tree has ended while the store was blocked.
        Err(CallError::Blocked(error)) if !is_missing_right(&error) => None,
        Err(CallError::OutcomeUnknown(Some(StoreError::Unavailable { .. }))) => None,
        Err(CallError::Refused(error) | CallError::Blocked(error) | CallError::OutcomeUnknown(Some(error))) => {
            Some(Err(error))
        }
        Err(_) => None,
    }
}

fn is_missing_right(error: &StoreError) -> bool {
    matches!(error, StoreError::Blocked { by: Block::Rights, .. })
}
