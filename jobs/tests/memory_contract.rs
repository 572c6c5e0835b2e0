//! The contract, kept by the store in memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::{World, for_each_guarantee, hold};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use retraced_jobs::clock::Clock;
use retraced_jobs::store::Store;
use retraced_jobs::store::memory::MemoryStore;

/// A clock that stands still until it is told to move.
#[derive(Clone)]
struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct MemoryWorld {
    store: MemoryStore,
    clock: HandClock,
}

impl MemoryWorld {
    fn new() -> Self {
        let clock = HandClock(Arc::new(AtomicU64::new(1_700_000_000_000)));
        Self { store: MemoryStore::with_clock(Arc::new(clock.clone())), clock }
    }
}

impl World for MemoryWorld {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn advance(&self, by: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.clock.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
        }
        .boxed()
    }
}

macro_rules! keeps_each_guarantee {
    ($($area:ident: $($guarantee:ident),+;)+) => {
        $(mod $area {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $guarantee() {
                let world = super::MemoryWorld::new();
                super::hold(&world, |worker| super::contract::$area::$guarantee(&world, worker)).await;
            })+
        })+
    };
}

for_each_guarantee!(keeps_each_guarantee);
