//! Wraps a store to change some of its verbs.

use std::time::Duration;

use futures_util::stream::BoxStream;

use super::{
    Admin, CallId, ClaimRequest, Claims, CountCheck, Cursor, Enqueued, Hint, JobPage, Leases, Ledger, LedgerPage,
    Moved, Promoted, QueueDeletion, QueueStats, Reclaim, Reclaimed, Reconciled, Renewed, Report, Settled, Settlement,
    Store, StoreFacts, StoreFuture, Target, Tombstone, Transitions, TrimPolicy, Trimmed, UnfinishedJobs, WorkerRow,
};
use crate::events::{Finding, SupervisionEvent};
use crate::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName};
use crate::store::JobView;
use crate::trace::OperatorName;

/// Writes [`Decorator`] and implements the five store traits for every type that implements it, all from one list of verbs.
macro_rules! decorator {
    ($(trait $trait:ident {
        $(fn $verb:ident $(<$lifetime:lifetime>)? (& $($self_lifetime:lifetime)? self $(, $name:ident: $type:ty)*) -> $returned:ty;)*
    })*) => {
        /// A [`Store`] that wraps another store. Every verb that you do not override is passed on to the wrapped store, [`inner`](Self::inner). A decorator can
        /// be wrapped again.
        ///
        /// If you override `settle` or `claim`, override [`settle_and_claim`](Self::settle_and_claim) as well: it is passed on as one call, which never calls
        /// your two methods.
        ///
        /// ```
        /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        /// use std::sync::atomic::{AtomicUsize, Ordering};
        /// use retraced_jobs::job::{NewJob, QueueName};
        /// use retraced_jobs::store::memory::MemoryStore;
        /// use retraced_jobs::store::{CallId, Decorator, Admin, Enqueued, Store, StoreFuture};
        ///
        /// struct Counted { inner: MemoryStore, enqueued: AtomicUsize }
        ///
        /// impl Decorator for Counted {
        ///     fn inner(&self) -> &dyn Store {
        ///         &self.inner
        ///     }
        ///
        ///     fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        ///         self.enqueued.fetch_add(jobs.len(), Ordering::Relaxed);
        ///         self.inner().enqueue(call, queue, jobs)
        ///     }
        /// }
        ///
        /// let store = Counted { inner: MemoryStore::new(), enqueued: AtomicUsize::new(0) };
        /// assert_eq!(Admin::queues(&store).await.unwrap(), []);
        /// # });
        /// ```
        pub trait Decorator: Send + Sync + 'static {
            /// The wrapped store.
            fn inner(&self) -> &dyn Store;
            $($(
                #[doc = concat!("[`", stringify!($trait), "::", stringify!($verb), "`]; passed on to [`inner`](Self::inner) unless overridden.")]
                fn $verb$(<$lifetime>)?(& $($self_lifetime)? self $(, $name: $type)*) -> $returned {
                    $trait::$verb(self.inner() $(, $name)*)
                }
            )*)*
        }

        $(impl<D: Decorator> $trait for D {
            $(fn $verb$(<$lifetime>)?(& $($self_lifetime)? self $(, $name: $type)*) -> $returned {
                Decorator::$verb(self $(, $name)*)
            })*
        })*
    };
}

decorator! {
    trait Store {
        fn probe(&self) -> StoreFuture<'_, StoreFacts>;
        fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>>;
    }

    trait Transitions {
        fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>>;
        fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims>;
        fn settle<'a>(&'a self, call: CallId, queue: &'a QueueName, settlements: &'a [Settlement]) -> StoreFuture<'a, Vec<Settled>>;
        fn settle_and_claim<'a>(&'a self, call: CallId, queue: &'a QueueName, settlements: &'a [Settlement], request: &'a ClaimRequest) -> StoreFuture<'a, (Vec<Settled>, Claims)>;
        fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted>;
        fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed>;
        fn reconcile<'a>(&'a self, call: CallId, queue: &'a QueueName, instance: InstanceId, nonces: &'a [Nonce], cursor: Option<Cursor>) -> StoreFuture<'a, Reconciled>;
    }

    trait Leases {
        fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;
        fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed>;
        fn report<'a>(&'a self, queue: &'a QueueName, lease: Duration, reports: &'a [Report]) -> StoreFuture<'a, Renewed>;
    }

    trait Admin {
        fn queues(&self) -> StoreFuture<'_, Vec<QueueName>>;
        fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats>;
        fn jobs<'a>(&'a self, queue: &'a QueueName, state: JobState, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, JobPage>;
        fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>>;
        fn tombstone<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<Tombstone>>;
        fn redrive<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;
        fn cancel<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;
        fn discard<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>>;
        fn watch_outcome<'a>(&'a self, queue: &'a QueueName, id: &'a JobId, wait: Duration) -> StoreFuture<'a, Option<JobView>>;
        fn pause<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName) -> StoreFuture<'a, bool>;
        fn resume<'a>(&'a self, call: CallId, queue: &'a QueueName) -> StoreFuture<'a, bool>;
        fn delete_queue<'a>(&'a self, queue: &'a QueueName, unfinished: UnfinishedJobs) -> StoreFuture<'a, QueueDeletion>;
        fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed>;
        fn check_counts<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, CountCheck>;
        fn scan<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>>;
        fn repair<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>>;
    }

    trait Ledger {
        fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;
        fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()>;
        fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage>;
        fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()>;
        fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>>;
        fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()>;
    }
}
