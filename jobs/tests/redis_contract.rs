//! Runs the contract suite on the Redis store. Each guarantee gets a server of its own, for every server program that is installed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod support;

use std::sync::Arc;
use std::time::Duration;

use contract::{Harness, TIMEOUT, check, for_each_guarantee};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use retraced_jobs::store::Store;
use retraced_jobs::store::redis::RedisStore;
use support::documented_user::documented;
use support::redis_server::RedisServer;

struct RedisHarness {
    store: RedisStore,
    prefix: &'static str,
    server: Arc<RedisServer>,
}

impl RedisHarness {
    /// One harness for each installed server program, and one for another application in the same database, with a prefix of its own and the user that `docs/redis.md`
    /// recommends for workers. Panics if there is none.
    async fn each() -> Vec<Self> {
        let programs = RedisServer::binaries();
        assert!(!programs.is_empty(), "these tests need redis-server or valkey-server on the path");
        let mut harnesses = Vec::new();
        for program in programs {
            let server = RedisServer::start_binary(program, &[]);
            let store = RedisStore::connect(&server.url()).await.unwrap();
            harnesses.push(Self { store, prefix: "retraced", server: Arc::new(server) });
        }
        let server = harnesses[0].server.clone();
        let prefix = "Shop_2.test-er";
        harnesses.push(Self { store: documented(&server, "worker", prefix).await, prefix, server });
        harnesses
    }
}

impl Harness for RedisHarness {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn advance(&self, by: Duration) -> BoxFuture<'_, ()> {
        assert!(by < TIMEOUT, "the test would wait too long for the server's clock");
        tokio::time::sleep(by).boxed()
    }

    fn set_back(&self, by: Duration) {
        self.server.set_clock_back(self.prefix, "contract", by);
    }
}

macro_rules! test_each_guarantee {
    ($($area:ident: $($guarantee:ident),+;)+) => {
        $(mod $area {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $guarantee() {
                for harness in super::RedisHarness::each().await {
                    super::check(&harness, |worker| super::contract::$area::$guarantee(&harness, worker)).await;
                }
            })+
        })+
    };
}

for_each_guarantee!(test_each_guarantee);
