//! Outcomes on their way to the store.

use std::sync::Arc;

use retraced_jobs::store::{Settled, Settlement};

use super::{Grant, Inflight};

/// A batch of outcomes. Dropped before [`confirm`](Self::confirm), they return to the table.
pub(crate) struct Settling {
    pub(super) inflight: Arc<Inflight>,
    pub(super) grants: Vec<Grant>,
    pub(crate) settlements: Vec<Settlement>,
}

impl Settling {
    /// The store has answered: the jobs leave the table. Returns the settlements that came too late.
    pub(crate) fn confirm(mut self, results: &[Settled]) -> Vec<Settlement> {
        self.inflight.confirmed(&std::mem::take(&mut self.grants));
        let settlements = std::mem::take(&mut self.settlements);
        settlements.into_iter().zip(results).filter(|(_, r)| matches!(r, Settled::Stale)).map(|(s, _)| s).collect()
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if !self.grants.is_empty() {
            self.inflight.unconfirmed(&self.grants);
        }
    }
}
