//! Connections of the Redis store that die without a word.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use futures_util::StreamExt;
use retraced_jobs::job::{InstanceId, JobId, NewJob, QueueName, RunAt};
use retraced_jobs::store::redis::{RedisOptions, RedisStore};
use retraced_jobs::store::{Admin, Hint, Leases, ReplaySlots, Store, StoreError, Transitions};
use support::redis_server::RedisServer;
use support::relay::Relay;
use tokio::time::timeout;

/// As long as an enqueue waits by default: shorter than the store's own timeout of a call.
const IMPATIENT: Duration = Duration::from_millis(800);
const LEASE: Duration = Duration::from_secs(6);

/// Goal: callers with short timeouts do not keep a dead connection. Method: all connections go silent without being closed; then each of them is used by callers who give
/// up after 800 ms. The first cannot know better, the second must be answered.
#[tokio::test]
async fn a_silent_connection_is_replaced_although_no_caller_waits_for_the_timeout_of_the_store() {
    let server = RedisServer::start();
    let relay = Relay::to(server.socket());
    let store = RedisStore::connect(&relay.url()).await.unwrap();
    let queue = QueueName::new("q").unwrap();
    let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    let job =
        [NewJob { id: JobId::parse("a").unwrap(), run_at: RunAt::Now, envelope: bytes::Bytes::from_static(b"letter") }];
    store.enqueue(replay_slot.next_call(), &queue, &job).await.unwrap();
    store.renew(&queue, LEASE, &[]).await.unwrap();

    relay.freeze();
    assert!(timeout(IMPATIENT, store.stats(&queue)).await.is_err(), "the connection is dead");
    assert_eq!(timeout(IMPATIENT, store.stats(&queue)).await.unwrap().unwrap().pending, 1);
    assert!(timeout(IMPATIENT, store.renew(&queue, LEASE, &[])).await.is_err(), "renewals have another connection");
    timeout(IMPATIENT, store.renew(&queue, LEASE, &[])).await.unwrap().unwrap();
}

/// Goal: a worker does not wait for hints on a connection that is dead. Method: an idle subscription outlives several pings; then its connection goes silent without being
/// closed, as behind a firewall that has forgotten it.
#[tokio::test]
async fn a_half_open_subscription_ends_and_an_idle_one_does_not() {
    let server = RedisServer::start();
    let relay = Relay::to(server.socket());
    let options = RedisOptions::default().call_timeout(IMPATIENT);
    let store = RedisStore::open(&relay.url(), options).unwrap();
    let queue = QueueName::new("q").unwrap();
    let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
    assert!(timeout(Duration::from_secs(11), hints.next()).await.is_err(), "nothing happens for two pings");
    let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    let later = [NewJob {
        id: JobId::parse("a").unwrap(),
        run_at: RunAt::After(LEASE),
        envelope: bytes::Bytes::from_static(b"letter"),
    }];
    store.enqueue(replay_slot.next_call(), &queue, &later).await.unwrap();
    let hint = timeout(Duration::from_secs(5), hints.next()).await.expect("no hint");
    assert_eq!(hint, Some(Hint::Due(queue.clone())));

    relay.freeze();
    assert_eq!(timeout(Duration::from_secs(30), hints.next()).await.expect("a dead connection is believed"), None);
}

/// Goal: workers do not claim and settle on a connection that depends on the tokio runtime of whoever checked the server. Method: the server is checked on a runtime that then stands still.
#[test]
fn a_check_never_opens_the_connection_of_workers() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start();
    let checks = runtime();
    let opened = RedisStore::open(&server.url(), RedisOptions::default()).unwrap();
    checks.block_on(opened.check()).unwrap().usable().unwrap();
    let connected = checks.block_on(RedisStore::connect(&server.url())).unwrap();
    let tree = runtime();
    for store in [opened, connected] {
        // A connection that depends on `checks` carries nothing now.
        tree.block_on(async { timeout(IMPATIENT * 4, store.probe()).await.expect("no answer").unwrap() });
    }
    drop(checks);
}

/// Goal: a process without a free thread does not lose an actor each time a connection is opened. Method: the system refuses a stack of this size, so no thread for the lookup of
/// the server's name can be started.
#[test]
fn a_name_that_cannot_be_looked_up_for_want_of_a_thread_is_an_outage_and_no_panic() {
    let stack = usize::MAX / 4 + 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(stack).build().unwrap();
    let store = RedisStore::open("redis://localhost:1", RedisOptions::default()).unwrap();
    let probed = runtime.block_on(store.probe()).unwrap_err();
    assert!(matches!(probed, StoreError::Unavailable { .. }), "{probed:?}");
    assert!(probed.to_string().contains("because of a panic: "), "{probed}");
    let Err(subscribed) = runtime.block_on(store.hints(&[QueueName::new("q").unwrap()])) else { panic!("subscribed") };
    assert!(matches!(subscribed, StoreError::Unavailable { .. }), "{subscribed:?}");
}
