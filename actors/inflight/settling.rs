//! Settlements on their way to the store.

use std::sync::Arc;

use retraced_jobs::store::{Settled, Settlement};

use super::grant::GrantId;
use super::shared::Inflight;

/// A batch of settlements. If it is dropped without [`confirm`](Self::confirm), they return to the table.
pub(crate) struct Settling {
    inflight: Arc<Inflight>,
    grants: Vec<GrantId>,
    pub(crate) settlements: Vec<Settlement>,
}

impl Inflight {
    /// Takes a batch of the settlements that wait; `None` if fewer than `least` wait.
    pub(crate) fn take_settlements(self: &Arc<Self>, least: usize) -> Option<Settling> {
        let (grants, settlements) = self.table().take_settlements(least);
        (!grants.is_empty()).then(|| Settling { inflight: self.clone(), grants, settlements })
    }
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
            let (grants, settlements) = (std::mem::take(&mut self.grants), std::mem::take(&mut self.settlements));
            self.inflight.unconfirmed(grants, settlements);
        }
    }
}
