//! Runs the contract suite on the memory store.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{Harness, check, for_each_guarantee};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use retraced_jobs::clock::Clock;
use retraced_jobs::job::Kind;
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{Store, WORKER_ROW_AGE_MAX, WorkerRow};

/// A clock that a test advances.
#[derive(Clone)]
struct ManualClock(Arc<AtomicU64>);

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct MemoryHarness {
    store: MemoryStore,
    clock: ManualClock,
}

impl MemoryHarness {
    fn new() -> Self {
        let clock = ManualClock(Arc::new(AtomicU64::new(1_700_000_000_000)));
        Self { store: MemoryStore::with_clock(Arc::new(clock.clone())), clock }
    }
}

impl Harness for MemoryHarness {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn advance(&self, by: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.clock.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
        }
        .boxed()
    }

    fn set_back(&self, by: Duration) {
        self.clock.0.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

macro_rules! test_each_guarantee {
    ($($area:ident: $($guarantee:ident),+;)+) => {
        $(mod $area {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $guarantee() {
                let harness = super::MemoryHarness::new();
                super::check(&harness, |worker| super::contract::$area::$guarantee(&harness, worker)).await;
            })+
        })+
    };
}

for_each_guarantee!(test_each_guarantee);

/// Not in the contract suite: on a store with a server's clock this would take an hour.
#[tokio::test]
async fn a_worker_without_a_heartbeat_for_too_long_is_no_longer_listed() {
    let harness = MemoryHarness::new();
    let worker = (&harness as &dyn Harness).worker(1);
    let mut row = WorkerRow::new(worker.instance, 1);
    row.host = "a host".into();
    row.pid = 42;
    row.version = "0.1.0".into();
    row.build = "mailer 1.4.2".into();
    row.kinds = vec![Kind::new("email.send").unwrap()];
    row.kinds_total = 1;
    row.every_kind = true;
    row.queues = vec![worker.queue.clone()];
    row.seen_ms = 0;
    row.concurrency = 10;
    row.running = 3;
    worker.store.heartbeat(&row).await.unwrap();
    harness.advance(WORKER_ROW_AGE_MAX).await;
    assert_eq!(worker.store.workers().await.unwrap().len(), 1);
    harness.advance(Duration::from_millis(1)).await;
    assert_eq!(worker.store.workers().await.unwrap(), []);
}
