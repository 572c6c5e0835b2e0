//! The default methods of the store traits, for a store that does not implement every verb. Some defaults are built from other verbs; the others refuse the call.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use retraced_jobs::events::SupervisionEvent;
use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName, RunAt};
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{
    Admin, BATCH_MAX, CallId, ClaimRequest, Claims, CountCheck, Cursor, Enqueued, JobPage, JobView, Leases, Ledger,
    LedgerPage, Moved, Promoted, QueueStats, Reclaim, Reclaimed, Reconciled, Renewed, ReplaySlots, Settled, Settlement,
    Store, StoreError, StoreFacts, StoreFuture, Target, Transitions, TrimPolicy, Trimmed, UnfinishedJobs, Verdict,
    WorkerRow,
};
use retraced_jobs::trace::OperatorName;
use uuid::Uuid;

/// A store that implements only the required verbs, each by a memory store.
struct Minimal(MemoryStore);

/// Implements verbs by calling the same verb of the memory store.
macro_rules! from_memory {
    ($(fn $verb:ident $(<$of:lifetime>)? (& $($own:lifetime)? self $(, $name:ident: $type:ty)*) -> $returned:ty;)*) => {
        $(fn $verb$(<$of>)?(& $($own)? self $(, $name: $type)*) -> $returned {
            self.0.$verb($($name),*)
        })*
    };
}

impl Store for Minimal {
    from_memory! {
        fn probe(&self) -> StoreFuture<'_, StoreFacts>;
    }
}

impl Transitions for Minimal {
    from_memory! {
        fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>>;
        fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims>;
        fn settle<'a>(&'a self, call: CallId, queue: &'a QueueName, settlements: &'a [Settlement]) -> StoreFuture<'a, Vec<Settled>>;
        fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted>;
        fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed>;
        fn reconcile<'a>(&'a self, call: CallId, queue: &'a QueueName, instance: InstanceId, lost: &'a [Nonce], cursor: Option<Cursor>) -> StoreFuture<'a, Reconciled>;
    }
}

impl Leases for Minimal {
    from_memory! {
        fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;
        fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;
    }
}

impl Admin for Minimal {
    from_memory! {
        fn queues(&self) -> StoreFuture<'_, Vec<QueueName>>;
        fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats>;
        fn jobs<'a>(&'a self, queue: &'a QueueName, state: JobState, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, JobPage>;
        fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>>;
        fn redrive<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;
        fn cancel<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;
        fn discard<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;
        fn pause<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName) -> StoreFuture<'a, bool>;
        fn resume<'a>(&'a self, call: CallId, queue: &'a QueueName) -> StoreFuture<'a, bool>;
        fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed>;
        fn check_counts<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, CountCheck>;
    }
}

impl Ledger for Minimal {
    from_memory! {
        fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;
        fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()>;
        fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage>;
        fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()>;
        fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>>;
        fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;
    }
}

fn queue() -> QueueName {
    QueueName::new("email").unwrap()
}

fn new(id: &str) -> NewJob {
    NewJob { id: JobId::parse(id).unwrap(), run_at: RunAt::Now, envelope: "sealed".into() }
}

/// Goal: a `settle_and_claim` that is built from `settle` and `claim` can be sent again. Method: the same call twice, then the next call of the same replay slot.
#[tokio::test]
async fn a_store_without_settle_and_claim_settles_and_then_claims_once() {
    let (store, queue) = (Minimal(MemoryStore::new()), queue());
    let mut replay_slot = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1).take().await;
    store.enqueue(replay_slot.next_call(), &queue, &[new("a"), new("b"), new("c")]).await.unwrap();
    let request =
        |nonce| ClaimRequest { limit: 1, bytes_max: 1 << 20, lease: Duration::from_secs(30), nonce, numbered: false };
    let a = store.claim(replay_slot.next_call(), &queue, &request(*b"nonce  1")).await.unwrap().jobs.remove(0);
    let done =
        |id, token| [Settlement { id, token, verdict: Verdict::Complete { keep: false }, record: Default::default() }];
    let (call, settlements, second) = (replay_slot.next_call(), done(a.id, a.token), request(*b"nonce  2"));
    let first = store.settle_and_claim(call, &queue, &settlements, &second).await.unwrap();
    assert_eq!(first.0, [Settled::Done { state: JobState::Completed }]);
    assert_eq!(first.1.jobs[0].id.to_string(), "b");
    assert_eq!(store.settle_and_claim(call, &queue, &settlements, &second).await.unwrap(), first, "sent again");

    let b = first.1.jobs[0].clone();
    let (call, third) = (replay_slot.next_call(), request(*b"nonce  3"));
    let (settled, claims) = store.settle_and_claim(call, &queue, &done(b.id, b.token), &third).await.unwrap();
    assert_eq!((settled.len(), claims.jobs[0].id.to_string().as_str()), (1, "c"));
    assert_eq!(store.stats(&queue).await.unwrap().completed_total, 2);
}

#[tokio::test]
async fn settlements_that_were_applied_are_returned_even_if_the_claim_behind_them_is_refused() {
    let (store, queue) = (Minimal(MemoryStore::new()), queue());
    let mut replay_slot = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1).take().await;
    store.enqueue(replay_slot.next_call(), &queue, &[new("a")]).await.unwrap();
    let request = |limit| ClaimRequest {
        limit,
        bytes_max: 1 << 20,
        lease: Duration::from_secs(30),
        nonce: *b"nonce  1",
        numbered: false,
    };
    let a = store.claim(replay_slot.next_call(), &queue, &request(1)).await.unwrap().jobs.remove(0);
    let verdict = Verdict::Complete { keep: false };
    let done = [Settlement { id: a.id, token: a.token, verdict, record: Default::default() }];
    let too_many = request(BATCH_MAX + 1);
    let (settled, claims) = store.settle_and_claim(replay_slot.next_call(), &queue, &done, &too_many).await.unwrap();
    assert_eq!((settled, claims), (vec![Settled::Done { state: JobState::Completed }], Claims::default()));
    let refused = store.settle_and_claim(replay_slot.next_call(), &queue, &[], &too_many).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "nothing was settled: {refused:?}");
}

#[tokio::test]
async fn a_store_without_hints_inspection_and_watching_is_polled_and_refuses_repairs_and_deletion() {
    let (store, queue) = (Minimal(MemoryStore::new()), queue());
    let mut replay_slot = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1).take().await;
    let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
    store.enqueue(replay_slot.next_call(), &queue, &[new("a")]).await.unwrap();
    assert_eq!(hints.next().now_or_never(), None, "a stream without hints neither yields nor ends");
    let id = JobId::parse("a").unwrap();
    let seen = store.watch_outcome(&queue, &id, Duration::from_secs(9)).await.unwrap();
    assert_eq!(seen.map(|view| view.state), Some(JobState::Pending));
    assert_eq!(store.tombstone(&queue, &id).await.unwrap(), None);
    for refused in [store.scan(&queue).await, store.repair(&queue).await] {
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    }
    let refused = store.delete_queue(&queue, UnfinishedJobs::Delete).await.unwrap_err();
    assert!(
        refused.to_string().contains("the store refused delete_queue: this store does not support it"),
        "{refused}"
    );
    assert_eq!(store.stats(&queue).await.unwrap().pending, 1);
}
