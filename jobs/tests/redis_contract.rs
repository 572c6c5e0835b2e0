//! The contract, kept by the store on Redis: on every server program this machine has, each guarantee on a server of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod support;

use std::sync::Arc;
use std::time::Duration;

use contract::{Harness, TIMEOUT, for_each_guarantee, hold};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use retraced_jobs::store::Store;
use retraced_jobs::store::redis::RedisStore;
use support::redis_server::RedisServer;

struct RedisWorld {
    store: RedisStore,
    _server: RedisServer,
}

impl RedisWorld {
    /// One harness for each server program found; at least one.
    async fn each() -> Vec<Self> {
        let programs = RedisServer::binaries();
        assert!(!programs.is_empty(), "these tests need redis-server or valkey-server on the path");
        let mut worlds = Vec::new();
        for program in programs {
            let server = RedisServer::start_binary(program, &[]);
            let store = RedisStore::connect(&server.url()).await.unwrap();
            worlds.push(Self { store, _server: server });
        }
        worlds
    }
}

impl Harness for RedisWorld {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn advance(&self, by: Duration) -> BoxFuture<'_, ()> {
        assert!(by < TIMEOUT, "a server's clock is waited for");
        tokio::time::sleep(by).boxed()
    }
}

macro_rules! keeps_each_guarantee {
    ($($area:ident: $($guarantee:ident),+;)+) => {
        $(mod $area {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $guarantee() {
                for harness in super::RedisWorld::each().await {
                    super::hold(&harness, |worker| super::contract::$area::$guarantee(&harness, worker)).await;
                }
            })+
        })+
    };
}

for_each_guarantee!(keeps_each_guarantee);
