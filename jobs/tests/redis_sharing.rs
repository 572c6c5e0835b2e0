//! Several applications on one server: in one database with prefixes of their own, or in databases of their own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use redis::Commands;
use retraced_jobs::events::{EventKind, SupervisionEvent};
use retraced_jobs::job::{InstanceId, RunAt};
use retraced_jobs::store::redis::{KeyPrefix, RedisOptions, RedisStore};
use retraced_jobs::store::{Admin, Hint, Ledger, Store, Transitions, WorkerRow};
use support::redis_harness::{Harness, LEASE, VERBS, busy, every_verb, fill, id, new, request};
use support::redis_server::RedisServer;

const HINT_MAX: Duration = Duration::from_secs(20);

fn event() -> SupervisionEvent {
    SupervisionEvent::new(
        0,
        InstanceId::from(uuid::Uuid::nil()),
        "retraced",
        0,
        EventKind::StoreUnblocked { blocked_ms: 1 },
    )
}

fn with_prefix(server: &RedisServer, prefix: &str) -> RedisStore {
    let options = RedisOptions::default().prefix(KeyPrefix::new(prefix).unwrap());
    RedisStore::open(&server.url(), options).unwrap()
}

fn in_database(server: &RedisServer, database: u8) -> RedisStore {
    RedisStore::open(&format!("{}?db={database}", server.url()), RedisOptions::default()).unwrap()
}

/// The keys of one prefix, with their contents.
fn contents_of(harness: &Harness, prefix: &str) -> BTreeMap<String, Vec<Vec<u8>>> {
    let ours = format!("{prefix}:");
    harness.contents().into_iter().filter(|(key, _)| key.starts_with(&ours)).collect()
}

/// Goal: no verb of a store touches a key of a store with another prefix. Method: two stores have the same jobs in a queue of the same name; each verb is called on one.
#[tokio::test]
async fn no_verb_touches_a_key_of_another_prefix() {
    let mut harness = Harness::new().await;
    for (other, own) in [("retraced", "retraced-2"), ("shop", "retraced"), ("retraced", "shop")] {
        let mut called = 0;
        for verb in 0.. {
            harness.change_prefix(other);
            busy(&mut harness).await;
            harness.change_prefix(own);
            let held = fill(&mut harness).await;
            let before = contents_of(&harness, other);
            assert!(!before.is_empty());
            let Some(done) = every_verb(&mut harness, &held, verb).await else { break };
            done.unwrap();
            called += 1;
            assert!(before == contents_of(&harness, other), "verb {verb} of {own} changed a key of {other}");
            let all: HashSet<String> = harness.contents().into_keys().collect();
            let both = [other, own].map(|prefix| contents_of(&harness, prefix));
            assert_eq!(all.len(), both.iter().map(BTreeMap::len).sum::<usize>(), "{all:?}");
        }
        assert_eq!(called, VERBS);
    }
}

/// Goal: what belongs to all queues follows the prefix too: names of queues, worker rows, events, audits.
#[tokio::test]
async fn nobody_sees_queues_workers_events_or_damage_of_another_prefix() {
    let mut harness = Harness::new().await;
    let (ours, theirs) = (with_prefix(&harness.server, "ours"), with_prefix(&harness.server, "theirs"));
    let queues = [harness.queue.clone()];
    let row = WorkerRow::new(InstanceId::from(uuid::Uuid::from_u128(7)), 1);
    theirs.announce(&queues).await.unwrap();
    theirs.heartbeat(&row).await.unwrap();
    theirs.record(&[event()]).await.unwrap();
    let call = harness.call();
    theirs.enqueue(call, &harness.queue, &[new("a", RunAt::Now)]).await.unwrap();
    let _: () = harness.server.connection().del("theirs:{q}:pending").unwrap();

    assert_eq!(ours.queues().await.unwrap(), []);
    assert_eq!(ours.workers().await.unwrap(), []);
    assert_eq!(ours.events(None, 10).await.unwrap().events, []);
    assert_eq!(ours.stats(&harness.queue).await.unwrap().enqueued_total, 0);
    assert!(ours.job(&harness.queue, &id("a")).await.unwrap().is_none());
    assert_eq!(ours.check_counts(&harness.queue).await.unwrap().difference(), 0);
    assert_eq!(ours.repair(&harness.queue).await.unwrap(), []);
    ours.forget(row.instance, &queues).await.unwrap();

    assert_eq!(theirs.queues().await.unwrap(), queues);
    assert_eq!(theirs.workers().await.unwrap().len(), 1);
    assert_eq!(theirs.events(None, 10).await.unwrap().events.len(), 1);
    assert_ne!(theirs.check_counts(&harness.queue).await.unwrap().difference(), 0);
    let keys: Vec<String> = harness.server.connection().keys("*").unwrap();
    for key in keys {
        assert!(key.starts_with("theirs:"), "{key}");
    }
}

/// Every kind of hint, about a job with this id.
async fn send_every_hint(harness: &mut Harness, store: &RedisStore, name: &str) {
    let queue = harness.queue.clone();
    store.watch_outcome(&queue, &id(name), LEASE).await.unwrap();
    store.enqueue(harness.call(), &queue, &[new(name, RunAt::Now)]).await.unwrap();
    store.watch_outcome(&queue, &id(name), LEASE).await.unwrap();
    let held = store.claim(harness.call(), &queue, &request(1, LEASE)).await.unwrap();
    assert_eq!(held.jobs.len(), 1);
    store.enqueue(harness.call(), &queue, &[new("later", RunAt::After(LEASE))]).await.unwrap();
    store.watch_outcome(&queue, &id("later"), LEASE).await.unwrap();
    store.pause(harness.call(), &queue, &"ada".into()).await.unwrap();
    store.resume(harness.call(), &queue).await.unwrap();
    store.discard(harness.call(), &queue, &"ada".into(), &[id("later").into()]).await.unwrap();
    store.cancel(harness.call(), &queue, &"ada".into(), &[id(name).into()]).await.unwrap();
}

/// The hints up to the one about the cancellation of this job.
async fn until_cancelled(hints: &mut BoxStream<'static, Hint>, name: &str) -> Vec<Hint> {
    let mut heard = Vec::new();
    loop {
        let next = tokio::time::timeout(HINT_MAX, hints.next()).await.expect("a hint").expect("a subscription");
        let is_last = matches!(&next, Hint::Cancel(_, job) if *job == id(name));
        heard.push(next);
        if is_last {
            return heard;
        }
    }
}

/// Goal: hints stay in their database, and with their prefix. Method: one store sends every kind of hint, then the other does; each hears its own alone.
#[tokio::test]
async fn no_hint_reaches_another_database_or_another_prefix() {
    for binary in RedisServer::binaries() {
        let mut harness = Harness::on(RedisServer::start_binary(binary, &[])).await;
        let server = &harness.server;
        let pairs = [
            [in_database(server, 4), in_database(server, 5)],
            [with_prefix(server, "ours"), with_prefix(server, "theirs")],
        ];
        for [ours, theirs] in pairs {
            let queues = [harness.queue.clone()];
            let mut our_hints = ours.hints(&queues).await.unwrap();
            let mut their_hints = theirs.hints(&queues).await.unwrap();
            send_every_hint(&mut harness, &theirs, "theirs").await;
            send_every_hint(&mut harness, &ours, "ours").await;
            for (hints, own) in [(&mut our_hints, "ours"), (&mut their_hints, "theirs")] {
                let heard = until_cancelled(hints, own).await;
                let count = |is: fn(&Hint) -> bool| heard.iter().filter(|hint| is(hint)).count();
                assert_eq!(count(|hint| matches!(hint, Hint::Cancel(..))), 1, "{heard:?}");
                assert_eq!(count(|hint| matches!(hint, Hint::Pending(_))), 1, "{heard:?}");
                assert_eq!(count(|hint| matches!(hint, Hint::Due(_))), 1, "{heard:?}");
                assert_eq!(count(|hint| matches!(hint, Hint::Ended { .. })), 1, "{heard:?}");
            }
        }
    }
}

/// Goal: `protocol` in a URL is honoured, not only accepted. Method: every verb is called by a store that speaks RESP3.
#[tokio::test]
async fn a_store_that_speaks_resp3_can_do_everything() {
    let mut harness = Harness::new().await;
    let full = harness.store.clone();
    let resp3 = RedisStore::open(&format!("{}?protocol=3", harness.server.url()), RedisOptions::default()).unwrap();
    for verb in 0.. {
        harness.store = full.clone();
        let held = busy(&mut harness).await;
        harness.store = resp3.clone();
        let Some(done) = every_verb(&mut harness, &held, verb).await else { break };
        done.unwrap();
    }
    let (mut told, expected) = (resp3.probe().await.unwrap(), full.probe().await.unwrap());
    // The clock goes on between the two.
    told.now_ms = expected.now_ms;
    assert_eq!(told, expected);
    let queues = [harness.queue.clone()];
    resp3.announce(&queues).await.unwrap();
    assert_eq!(resp3.queues().await.unwrap(), queues);
    resp3.heartbeat(&WorkerRow::new(InstanceId::from(uuid::Uuid::nil()), 1)).await.unwrap();
    assert_eq!(resp3.workers().await.unwrap().len(), 1);
    resp3.record(&[event()]).await.unwrap();
    assert_eq!(resp3.events(None, 10).await.unwrap().events.len(), 1);
    let _: () = redis::cmd("FLUSHALL").query(&mut harness.server.connection()).unwrap();
    let mut hints = resp3.hints(&queues).await.unwrap();
    send_every_hint(&mut harness, &resp3, "a").await;
    assert_eq!(until_cancelled(&mut hints, "a").await.len(), 4);
}
