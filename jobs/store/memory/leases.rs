//! [`Leases`] in memory.

use std::time::Duration;

use futures_util::FutureExt;

use super::queue::Queue;
use super::store::MemoryStore;
use crate::job::{Lease, QueueName};
use crate::store::batch::check_batch;
use crate::store::{Leases, Renewal, Renewed, Report, StoreFuture};
use crate::units::millis;

impl Leases for MemoryStore {
    fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        async move {
            check_batch("renew", held.len())?;
            Ok(self.extend(queue, lease, held, false))
        }
        .boxed()
    }

    fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        async move {
            check_batch("begin", held.len())?;
            Ok(self.extend(queue, lease, held, true))
        }
        .boxed()
    }

    fn report<'a>(&'a self, queue: &'a QueueName, lease: Duration, reports: &'a [Report]) -> StoreFuture<'a, Renewed> {
        async move {
            check_batch("report", reports.len())?;
            Ok(self.extend_each(queue, lease, reports, |state, report, expires_ms, now| {
                let renewal = state.renew(&report.lease, expires_ms, true);
                if renewal != Renewal::Stale {
                    state.note_progress(&report.lease.id, &report.progress, now);
                }
                renewal
            }))
        }
        .boxed()
    }
}

impl MemoryStore {
    /// `records_start`: also record that the handlers are about to start.
    fn extend(&self, queue: &QueueName, lease: Duration, held: &[Lease], records_start: bool) -> Renewed {
        self.extend_each(queue, lease, held, |state, held, expires_ms, _| state.renew(held, expires_ms, records_start))
    }

    /// Calls `renew` for each item with the new expiry and the present time.
    fn extend_each<T>(
        &self,
        queue: &QueueName,
        lease: Duration,
        items: &[T],
        renew: impl Fn(&mut Queue, &T, u64, u64) -> Renewal,
    ) -> Renewed {
        self.write(queue, |state, now| {
            let expires_ms = now.saturating_add(millis(lease));
            let results: Vec<Renewal> = items.iter().map(|item| renew(state, item, expires_ms, now)).collect();
            if results.iter().any(|renewal| *renewal != Renewal::Stale) {
                state.lease_lengths.note_in_use(millis(lease), now);
            }
            Renewed { now_ms: now, results }
        })
    }
}

impl Queue {
    /// Extends the lease if it is held under this token. One that has expired but was not reclaimed is extended, too.
    fn renew(&mut self, lease: &Lease, expires_ms: u64, records_start: bool) -> Renewal {
        match self.grant(&lease.id) {
            Some(grant) if grant.token == lease.token => {
                let cancel_asked = grant.cancel_asked;
                self.change_grant(&lease.id, |grant| {
                    grant.expires_ms = expires_ms;
                    grant.begun |= records_start;
                });
                Renewal::Kept { cancel_asked }
            }
            _ => Renewal::Stale,
        }
    }
}
