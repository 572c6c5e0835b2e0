//! Calls to the store from beside the tree: with a replay slot, a deadline, and sent again until the outcome is known.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::job::{InstanceId, QueueName};
use retraced_jobs::store::{CallId, ReplaySlots, Store, StoreError};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::limits::RESEND_WAIT;
use crate::outcome::{EndHints, Listener};

/// A store, and what its callers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StoreCalls {
    store: Arc<dyn Store>,
    replay_slots: ReplaySlots,
    /// Where the calls run: connections belong to the runtime that opened them. `None`: where the caller is.
    runtime: Option<Handle>,
    end_hints: EndHints,
}

/// Why a call brought no reply.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The store answered, and did not do it.
    Refused(StoreError),
    /// No answer came in time: the call may have been applied. With the last error, if one came.
    OutcomeUnknown(Option<StoreError>),
    /// Too many calls were under way until the deadline. Nothing was sent.
    NoReplaySlot,
    /// The tokio runtime that calls run on has ended.
    RuntimeEnded,
}

impl StoreCalls {
    /// Calls from a process instance of their own.
    pub(crate) fn new(store: Arc<dyn Store>, calls_max: u16, runtime: Option<Handle>) -> Self {
        let replay_slots = ReplaySlots::new(InstanceId::from(Uuid::new_v4()), calls_max);
        Self { store, replay_slots, runtime, end_hints: EndHints::default() }
    }

    /// Calls that share a tree's replay slots and threads.
    pub(crate) fn beside_tree(store: Arc<dyn Store>, replay_slots: ReplaySlots, runtime: Handle) -> Self {
        Self { store, replay_slots, runtime: Some(runtime), end_hints: EndHints::default() }
    }

    /// The tokio runtime that calls run on, when it is not the caller's.
    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }

    /// Sends the same call again until its outcome is known or the timeout is over, so that nothing is done twice.
    pub(crate) async fn call<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Store>, CallId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (store, replay_slots) = (self.store.clone(), self.replay_slots.clone());
        self.run(async move {
            let deadline = Instant::now() + timeout;
            let slot = timeout_at(deadline, replay_slots.take()).await;
            let mut slot = slot.map_err(|_| CallError::NoReplaySlot)?;
            let id = slot.next_call();
            until_known(deadline, || call(store.clone(), id)).await
        })
        .await
    }

    /// One attempt of a call that changes nothing, or may be done twice.
    pub(crate) async fn once<T, F, Fut>(&self, timeout: Duration, call: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<dyn Store>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let store = self.store.clone();
        self.run(async move {
            match tokio::time::timeout(timeout, call(store)).await {
                Ok(Err(error)) if error.is_retryable() => Err(CallError::OutcomeUnknown(Some(error))),
                Ok(reply) => reply.map_err(CallError::Refused),
                Err(_) => Err(CallError::OutcomeUnknown(None)),
            }
        })
        .await
    }

    /// The ends of a queue's jobs, as the store hints at them; `None` when they have to be polled for.
    pub(crate) fn listen_to_ends(&self, queue: &QueueName) -> Option<Listener> {
        let runtime = self.runtime.clone().or_else(|| Handle::try_current().ok())?;
        self.end_hints.listen(self.store.clone(), queue, &runtime)
    }

    async fn run<T: Send + 'static>(
        &self,
        sent: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> Result<T, CallError> {
        match &self.runtime {
            Some(runtime) => runtime.spawn(sent).await.unwrap_or(Err(CallError::RuntimeEnded)),
            None => sent.await,
        }
    }
}

async fn until_known<T, Fut>(deadline: Instant, call: impl Fn() -> Fut) -> Result<T, CallError>
where
    Fut: Future<Output = Result<T, StoreError>>,
{
    let mut last = None;
    loop {
        match timeout_at(deadline, call()).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) if !error.is_retryable() => return Err(CallError::Refused(error)),
            Ok(Err(error)) => last = Some(error),
            Err(_) => return Err(CallError::OutcomeUnknown(last)),
        }
        if Instant::now() + RESEND_WAIT >= deadline {
            return Err(CallError::OutcomeUnknown(last));
        }
        tokio::time::sleep(RESEND_WAIT).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use retraced_jobs::store::memory::MemoryStore;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn calls(max: u16) -> StoreCalls {
        StoreCalls::new(Arc::new(MemoryStore::new()), max, None)
    }

    fn unavailable() -> StoreError {
        StoreError::Unavailable { operation: "claim", cause: "connection refused".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_answered_is_sent_again_as_the_same_call() {
        let ids = Arc::new(Mutex::new(Vec::new()));
        let (seen, calls) = (ids.clone(), calls(1));
        let reply = calls.call(TIMEOUT, move |_, id| {
            let mut ids = seen.lock().unwrap();
            ids.push(id);
            let reply = if ids.len() < 3 { Err(unavailable()) } else { Ok(ids.len()) };
            async move { reply }
        });
        assert_eq!(reply.await.unwrap(), 3);
        let ids = ids.lock().unwrap();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_is_unknown_at_the_deadline_and_not_before() {
        let begun = Instant::now();
        let failed = calls(1).call(TIMEOUT, |_, _| async { Err::<(), _>(unavailable()) }).await;
        assert!(matches!(failed, Err(CallError::OutcomeUnknown(Some(_)))), "{failed:?}");
        assert!((TIMEOUT - RESEND_WAIT * 2..=TIMEOUT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        let silent = calls(1).call(TIMEOUT, |_, _| std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(silent, Err(CallError::OutcomeUnknown(None))), "{silent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let begun = Instant::now();
        let refuse = || StoreError::Refused { operation: "claim", reason: "the password is wrong".into() };
        let refused = calls(1).call(TIMEOUT, move |_, _| async move { Err::<(), _>(refuse()) }).await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_finds_no_replay_slot_was_not_sent() {
        let calls = calls(1);
        let first = calls.call(TIMEOUT * 10, |_, _| std::future::pending::<Result<(), _>>());
        let second = calls.call(TIMEOUT, |_, _| async { Ok(()) });
        let (_, second) = tokio::join!(tokio::time::timeout(TIMEOUT * 2, first), second);
        assert!(matches!(second, Err(CallError::NoReplaySlot)), "{second:?}");
    }

    #[test]
    fn calls_on_threads_that_have_ended_say_so() {
        let other = tokio::runtime::Runtime::new().unwrap();
        let calls = StoreCalls::new(Arc::new(MemoryStore::new()), 1, Some(other.handle().clone()));
        drop(other);
        let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = here.block_on(calls.call(TIMEOUT, |_, _| async { Ok(()) }));
        assert!(matches!(ended, Err(CallError::RuntimeEnded)), "{ended:?}");
    }
}
