//! The instant from which the lease of a claim counts, if the claim was sent several times.

use std::sync::{Mutex, MutexGuard, PoisonError};

use retraced_jobs::store::StoreError;
use tokio::time::Instant;

/// Finds the earliest sending of a call that the store may have applied. The lease that the call grants is counted from it. A sending that was answered by
/// [`StoreError::Blocked`] or by a [conflict of call ids](StoreError::is_call_id_conflict) was not applied.
#[derive(Default)]
pub(crate) struct FirstSending(Mutex<State>);

#[derive(Default)]
struct State {
    at: Option<Instant>,
    /// Some sending got no answer. It may have been applied, and a later refusal says nothing about it.
    unanswered: bool,
}

impl FirstSending {
    /// Sends once. Notes when that began, and whether it was refused.
    pub(crate) async fn track<T>(&self, sending: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.begins();
        let result = sending.await;
        if let Err(error) = &result
            && (matches!(error, StoreError::Blocked { .. }) || error.is_call_id_conflict())
        {
            self.was_refused();
        }
        result
    }

    /// When the earliest sending began that may have been applied; now if there is none.
    pub(crate) fn at(&self) -> Instant {
        self.state().at.unwrap_or_else(Instant::now)
    }

    fn begins(&self) {
        let mut state = self.state();
        // A refusal would have removed the instant, so the sending before had no answer.
        state.unanswered |= state.at.is_some();
        state.at.get_or_insert_with(Instant::now);
    }

    fn was_refused(&self) {
        let mut state = self.state();
        if !state.unanswered {
            state.at = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use retraced_jobs::store::Block;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn refused() -> Result<(), StoreError> {
        Err(StoreError::Blocked { operation: "test", by: Block::Disk, said: "MISCONF".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_only_refused_so_far_counts_from_its_next_sending() {
        let first = FirstSending::default();
        for _ in 0..3 {
            assert!(first.track(refused()).await.is_err());
            tokio::time::sleep(SECOND).await;
        }
        let sent = Instant::now();
        assert!(first.track(async { Ok(()) }).await.is_ok());
        tokio::time::sleep(SECOND).await;
        assert_eq!(first.at(), sent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sending_without_an_answer_counts_whatever_is_refused_later() {
        let first = FirstSending::default();
        let sent = Instant::now();
        let hangs = first.track(std::future::pending::<Result<(), StoreError>>());
        assert!(tokio::time::timeout(SECOND, hangs).await.is_err());
        for _ in 0..2 {
            assert!(first.track(refused()).await.is_err());
            tokio::time::sleep(SECOND).await;
        }
        assert!(first.track(async { Ok(()) }).await.is_ok());
        assert_eq!(first.at(), sent);
    }
}
