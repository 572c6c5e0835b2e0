//! Calls with a deadline, of clients, operators and whoever waits for an outcome. What is refused is reported to the caller alone; an outage, to the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use retraced_jobs::store::{CallId, Store, StoreError};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{CallError, StoreCalls, resend};

impl StoreCalls {
    /// Sends a call of a replay slot until its outcome is known, for at most `timeout` in all. Dropping this gives up the wait, not always the call.
    ///
    /// # Errors
    /// [`CallError`]; only [`CallError::OutcomeUnknown`], and [`CallError::RuntimeEnded`] if the call had begun, leave open whether it was applied.
    pub async fn call<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>, CallId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let calls = self.clone();
        self.run(async move {
            let deadline = Instant::now() + timeout;
            let slot = timeout_at(deadline, calls.slots.take()).await;
            let mut slot = slot.map_err(|_| CallError::NoReplaySlot)?;
            let id = slot.next_call();
            let attempt = || calls.attempt(deadline, call(calls.store.clone(), id));
            resend(&calls.health, attempt, sleep_until(deadline)).await
        })
        .await
    }

    /// Sends a call once that changes nothing, or may be done twice.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn call_once<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Store>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let calls = self.clone();
        self.run(async move {
            match calls.attempt(Instant::now() + timeout, call(calls.store.clone())).await {
                Some(Err(error)) if error.is_retryable() => Err(CallError::OutcomeUnknown(Some(error))),
                Some(reply) => reply.map_err(CallError::Refused),
                None => Err(CallError::OutcomeUnknown(None)),
            }
        })
        .await
    }

    /// One attempt; `None` if there is no answer by the deadline. That says more of the caller's patience than of the store: it is no outage.
    async fn attempt<T>(
        &self,
        deadline: Instant,
        sent: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<Result<T, StoreError>> {
        let answer = timeout_at(deadline, sent).await.ok()?;
        self.health.observe(&answer);
        Some(answer)
    }

    async fn run<T: Send + 'static>(
        &self,
        sent: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, CallError> {
        match &self.runtime {
            Some(runtime) => spawned(runtime, sent).await,
            None => sent.await,
        }
    }
}

/// Runs a call on another runtime. A store that panics has an unknown outcome, like one that does not answer: that runtime goes on.
async fn spawned<T: Send + 'static>(
    runtime: &Handle,
    sent: impl Future<Output = Result<T, CallError>> + Send + 'static,
) -> Result<T, CallError> {
    let begun = Arc::new(AtomicBool::new(false));
    let begins = begun.clone();
    let call = runtime.spawn(async move {
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
