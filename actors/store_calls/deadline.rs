//! Calls with a deadline, for clients, operators and waiters for an outcome. A refusal is returned to the caller only; an outage is reported to the whole
//! process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retraced_jobs::store::{CallId, Store, StoreError};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::call_ids::Sendings;
use super::{CallError, StoreCalls, resend};
use crate::limits::DEADLINE_MAX;

impl StoreCalls {
    /// Sends a call under a replay slot again and again until its outcome is known, by a deadline: `timeout` from now, at most [`DEADLINE_MAX`]. Dropping the future
    /// ends the wait; the call may still be applied.
    ///
    /// # Errors
    /// [`CallError`]; only [`CallError::OutcomeUnknown`], [`CallError::RuntimeEnded`] if the call had begun, and [`CallError::Refused`] with a
    /// [`StoreError::Corrupt`] leave open whether it was applied.
    pub async fn until_known_by<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>, CallId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let calls = self.clone();
        self.run(async move {
            let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
            let slot = timeout_at(deadline, calls.slots.take()).await;
            let mut slot = slot.map_err(|_| CallError::NoReplaySlot)?;
            let (calls, call) = (&calls, &call);
            let send =
                |sendings: Sendings| calls.resend_by(deadline, move || call(calls.store.clone(), sendings.next()));
            calls.under(&mut slot, send).await
        })
        .await
    }

    /// As [`until_known_by`](Self::until_known_by), for a call that needs no replay slot, because it only reads, or because sending it twice does no harm.
    ///
    /// # Errors
    /// As [`until_known_by`](Self::until_known_by), except [`CallError::NoReplaySlot`].
    pub async fn until_answered_by<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let calls = self.clone();
        self.run(async move {
            let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
            calls.resend_by(deadline, || call(calls.store.clone())).await
        })
        .await
    }

    /// Sends a call once, for a call without a replay slot.
    ///
    /// # Errors
    /// As [`until_answered_by`](Self::until_answered_by).
    pub async fn once_by<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Store>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let calls = self.clone();
        self.run(async move {
            let deadline = Instant::now() + timeout.min(DEADLINE_MAX);
            match calls.answer_by(deadline, call(calls.store.clone())).await {
                Some(Err(error @ StoreError::Blocked { .. })) => Err(CallError::Blocked(error)),
                Some(Err(error)) if error.is_retryable() => Err(CallError::OutcomeUnknown(Some(error))),
                Some(reply) => reply.map_err(CallError::Refused),
                None => Err(CallError::OutcomeUnknown(None)),
            }
        })
        .await
    }

    async fn resend_by<T, Fut>(&self, deadline: Instant, call: impl Fn() -> Fut) -> Result<T, CallError>
    where
        Fut: Future<Output = Result<T, StoreError>>,
    {
        let send = || self.answer_by(deadline, call());
        resend(self.when_blocked, send, |least| self.pause(least), sleep_until(deadline)).await
    }

    /// The answer to one sending, or `None` if there is none by the deadline. A missed deadline is not taken as an outage: the caller's timeout may be very
    /// short.
    async fn answer_by<T>(
        &self,
        deadline: Instant,
        sent: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<Result<T, StoreError>> {
        let sent_at = Instant::now();
        let answer = timeout_at(deadline, sent).await.ok()?;
        self.health.observe(sent_at, &answer);
        Some(answer)
    }

    async fn run<T: Send + 'static>(
        &self,
        sent: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, CallError> {
        match &self.tokio {
            Some(tokio) => spawned(tokio, sent).await,
            None => sent.await,
        }
    }
}

/// Runs a call on the tokio runtime that the connections of the store belong to. If the store panics, the outcome is unknown, as if the store had not answered.
async fn spawned<T: Send + 'static>(
    tokio: &Handle,
    sent: impl Future<Output = Result<T, CallError>> + Send + 'static,
) -> Result<T, CallError> {
    let begun = Arc::new(AtomicBool::new(false));
    let begins = begun.clone();
    let call = tokio.spawn(async move {
        begins.store(true, Ordering::Release);
        sent.await
    });
    call.await.unwrap_or_else(|error| match error.is_panic() {
        true => {
            let cause = "it panicked; the panic's message is on standard error".into();
            Err(CallError::OutcomeUnknown(Some(StoreError::Unavailable { operation: "a call", cause })))
        }
        false => Err(CallError::RuntimeEnded { begun: begun.load(Ordering::Acquire) }),
    })
}
