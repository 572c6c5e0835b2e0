//! Settlements on their way to the store.

use std::sync::Arc;

use retraced_jobs::job::JobState;
use retraced_jobs::store::{Settled, Settlement};

use super::grant::GrantId;
use super::shared::Inflight;

/// A batch of settlements. If it is dropped without [`confirm`](Self::confirm), they return to the table.
pub(crate) struct Settling {
    inflight: Arc<Inflight>,
    grants: Vec<GrantId>,
    pub(crate) settlements: Vec<Settlement>,
}

/// What has to be reported of a batch that the store has answered.
#[derive(Default)]
pub(crate) struct Confirmed {
    /// The jobs that went to the dead letter queue, or were poisoned, with that state.
    pub(crate) given_up: Vec<(Settlement, JobState)>,
    /// These came too late and changed nothing.
    pub(crate) stale: Vec<Settlement>,
}

impl Inflight {
    /// Takes a batch of the settlements that wait; `None` if fewer than `least` wait.
    pub(crate) fn take_settlements(self: &Arc<Self>, least: usize) -> Option<Settling> {
        let (grants, settlements) = self.table().take_settlements(least);
        (!grants.is_empty()).then(|| Settling { inflight: self.clone(), grants, settlements })
    }
}

impl Settling {
    /// The store has answered: the jobs leave the table.
    pub(crate) fn confirm(mut self, results: &[Settled]) -> Confirmed {
        self.inflight.confirmed(&std::mem::take(&mut self.grants));
        let mut confirmed = Confirmed::default();
        for (settlement, result) in std::mem::take(&mut self.settlements).into_iter().zip(results) {
            match result {
                Settled::Stale => confirmed.stale.push(settlement),
                Settled::Done { state: state @ (JobState::Dead | JobState::Poisoned) } => {
                    confirmed.given_up.push((settlement, *state));
                }
                _ => {}
            }
        }
        confirmed
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
