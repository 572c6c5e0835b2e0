//! The leases of the jobs in the table, and of those in replies that are held back.

use std::sync::Arc;

use retraced_jobs::context::AttemptControl;
use retraced_jobs::job::{InstanceId, JobId, Lease};

use super::Table;
use crate::inflight::executors::ExecutorPort;
use crate::inflight::phase::{Held, Phase};

impl<X: ExecutorPort> Table<X> {
    /// Every lease held and not lost, from the grant until the outcome is confirmed.
    pub(in crate::inflight) fn leases(&self, instance: InstanceId) -> Vec<(Lease, Arc<AttemptControl>)> {
        self.leases_if(instance, |_| true)
    }

    /// Those of them whose handlers run.
    pub(in crate::inflight) fn running_leases(&self, instance: InstanceId) -> Vec<(Lease, Arc<AttemptControl>)> {
        self.leases_if(instance, |phase| matches!(phase, Phase::Running(_)))
    }

    fn leases_if(&self, instance: InstanceId, wanted: impl Fn(&Phase) -> bool) -> Vec<(Lease, Arc<AttemptControl>)> {
        let held = self.jobs().filter(|held| wanted(&held.phase) && !held.control.is_lost());
        held.map(|held| (held.job.lease(instance), held.control.clone())).collect()
    }

    /// Whether a lease of this job is held and not lost.
    pub(in crate::inflight) fn holds(&self, id: &JobId) -> bool {
        self.jobs().any(|held| held.job.id == *id && !held.control.is_lost())
    }

    /// Whether the job of this lease waits or runs here. A job whose outcome is known does not count: the store may have settled it already, and the
    /// reply be on its way.
    pub(in crate::inflight) fn is_active(&self, lease: &Lease) -> bool {
        self.jobs().any(|held| {
            held.job.token == lease.token
                && held.job.id == lease.id
                && matches!(held.phase, Phase::Waiting { .. } | Phase::Starting { .. } | Phase::Running(_))
        })
    }

    /// The jobs in the table, and those of replies that are held back.
    fn jobs(&self) -> impl Iterator<Item = &Held> {
        self.held.values().chain(self.replies.held_back())
    }
}
