//! [`Transitions`] and [`Leases`] on Redis.

use std::time::Duration;

use super::{RedisStore, scripts};
use crate::job::{InstanceId, Lease, NewJob, Nonce, QueueName};
use crate::store::batch::check_batch;
use crate::store::{
    CallId, ClaimRequest, Claims, Cursor, Enqueued, Leases, Promoted, Reclaim, Reclaimed, Reconciled, Renewed, Report,
    Settled, Settlement, StoreFuture, Transitions,
};

impl Transitions for RedisStore {
    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        Box::pin(async move {
            check_batch("enqueue", jobs.len())?;
            // Not over `work`, so that no settlement waits behind a large enqueue.
            scripts::enqueue(&self.0.general, &self.keys(queue), call, jobs).await
        })
    }

    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims> {
        Box::pin(async move {
            check_batch("claim", request.limit)?;
            scripts::claim(&self.0.work, &self.keys(queue), call, request).await
        })
    }

    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>> {
        Box::pin(async move {
            check_batch("settle", settlements.len())?;
            scripts::settle(&self.0.work, &self.keys(queue), call, settlements).await
        })
    }

    fn settle_and_claim<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
        request: &'a ClaimRequest,
    ) -> StoreFuture<'a, (Vec<Settled>, Claims)> {
        Box::pin(async move {
            check_batch("settle_and_claim", settlements.len())?;
            check_batch("settle_and_claim", request.limit)?;
            scripts::settle_and_claim(&self.0.work, &self.keys(queue), call, settlements, request).await
        })
    }

    fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted> {
        Box::pin(async move {
            check_batch("promote", limit)?;
            scripts::promote(&self.0.work, &self.keys(queue), call, limit).await
        })
    }

    fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed> {
        Box::pin(async move {
            check_batch("reclaim", request.limit)?;
            scripts::reclaim(&self.0.work, &self.keys(queue), call, request).await
        })
    }

    fn reconcile<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        instance: InstanceId,
        nonces: &'a [Nonce],
        cursor: Option<Cursor>,
    ) -> StoreFuture<'a, Reconciled> {
        Box::pin(async move {
            check_batch("reconcile", nonces.len())?;
            scripts::reconcile(&self.0.work, &self.keys(queue), call, instance, nonces, cursor).await
        })
    }
}

impl Leases for RedisStore {
    fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        Box::pin(async move {
            check_batch("renew", held.len())?;
            scripts::renew(&self.0.renewals, &self.keys(queue), lease, held).await
        })
    }

    fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        Box::pin(async move {
            check_batch("begin", held.len())?;
            scripts::begin(&self.0.renewals, &self.keys(queue), lease, held).await
        })
    }

    fn report<'a>(&'a self, queue: &'a QueueName, lease: Duration, reports: &'a [Report]) -> StoreFuture<'a, Renewed> {
        Box::pin(async move {
            check_batch("report", reports.len())?;
            scripts::report(&self.0.renewals, &self.keys(queue), lease, reports).await
        })
    }
}
