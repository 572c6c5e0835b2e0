//! Users without all rights, and servers without all commands: whatever Redis may refuse a script is refused before the script has changed anything.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use redis::Commands;
use retraced_jobs::job::{InstanceId, JobState, RunAt};
use retraced_jobs::store::redis::{KeyPrefix, RedisOptions, RedisStore};
use retraced_jobs::store::{Admin, Block, Ledger, Store, StoreError, Transitions, WorkerRow};
use support::documented_user::documented;
use support::redis_harness::{Harness, KEYS, VERBS, busy, every_verb, id, new, request};
use support::redis_server::RedisServer;

/// Every command that is tried: those that scripts call, and those without which a call of several commands would stay half done.
const COMMANDS: [&str; 39] = [
    "HDEL",
    "HEXISTS",
    "HGET",
    "HINCRBY",
    "HLEN",
    "HMGET",
    "HRANDFIELD",
    "HSCAN",
    "HSET",
    "HSTRLEN",
    "LINDEX",
    "LLEN",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "PEXPIRE",
    "RPUSH",
    "SADD",
    "SREM",
    "TIME",
    "UNLINK",
    "XADD",
    "XDEL",
    "XRANGE",
    "XREVRANGE",
    "XTRIM",
    "ZADD",
    "ZCARD",
    "ZCOUNT",
    "ZMSCORE",
    "ZRANGE",
    "ZRANGEBYSCORE",
    "ZRANK",
    "ZREM",
    "ZREMRANGEBYRANK",
    "ZREVRANGE",
    "ZREVRANK",
    "ZSCAN",
    "ZSCORE",
];

/// Those without which every verb of a queue can do: scripts of the ledger use them, or one that goes on without.
const NOT_NEEDED: [&str; 7] = ["SADD", "PEXPIRE", "XADD", "XDEL", "XRANGE", "XREVRANGE", "XTRIM"];

/// A store of a user with these rights.
fn limited(server: &RedisServer, rights: &str) -> RedisStore {
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("limited").arg("reset").arg("on").arg(">secret");
    for right in rights.split(' ') {
        user.arg(right);
    }
    let _: () = user.query(&mut server.connection()).unwrap();
    RedisStore::open(&format!("{}?user=limited&pass=secret", server.url()), RedisOptions::default()).unwrap()
}

/// Calls every verb with these rights. Each must succeed and leave the queue consistent, or be refused, name what is missing, and change nothing.
/// Returns how many verbs were called, and how many of them refused.
async fn every_verb_with(harness: &mut Harness, rights: &str, names: impl Fn(&str) -> bool) -> (usize, usize) {
    let full = harness.store.clone();
    let (mut called, mut refused) = (0, 0);
    for verb in 0.. {
        harness.store = full.clone();
        let held = busy(harness).await;
        harness.store = limited(&harness.server, rights);
        let before = harness.contents();
        let result = every_verb(harness, &held, verb).await;
        harness.store = full.clone();
        let Some(result) = result else { break };
        called += 1;
        match result {
            Ok(()) => {
                let found = full.scan(&harness.queue).await.unwrap();
                assert!(found.is_empty(), "{rights}: verb {verb} left {found:?}");
            }
            Err(error) => {
                refused += 1;
                let missing = matches!(error, StoreError::Blocked { by: Block::Rights, .. });
                assert!(missing, "{rights}: verb {verb}: {error:?}");
                assert!(names(&error.to_string()), "{rights}: verb {verb}: {error}");
                assert!(before == harness.contents(), "{rights}: {} was half done", error.operation());
            }
        }
    }
    (called, refused)
}

/// Goal: a command that a user may not call leaves no verb half done. Method: each command that a script calls is denied in turn, and every verb is called.
#[tokio::test]
async fn no_verb_is_half_done_whichever_command_is_denied() {
    for binary in RedisServer::binaries() {
        let mut harness = Harness::on(RedisServer::start_binary(binary, &[])).await;
        let (mut cells, mut refusals) = (0, 0);
        for command in COMMANDS {
            let right = command.to_lowercase();
            let names = |error: &str| error.contains(command) && error.contains(&format!("+{right}"));
            let (called, refused) = every_verb_with(&mut harness, &format!("~* &* +@all -{right}"), names).await;
            assert!(refused > 0 || NOT_NEEDED.contains(&command), "no verb of a queue needs {command}");
            cells += called;
            refusals += refused;
        }
        println!("{binary}: {cells} cells, {refusals} refused");
        assert_eq!(cells, COMMANDS.len() * VERBS);
    }
}

/// Goal: a key that a user may not use leaves no verb half done. Method: the rights to all keys but one are given.
#[tokio::test]
async fn no_verb_is_half_done_whichever_key_is_denied() {
    let mut harness = Harness::new().await;
    for denied in KEYS {
        let others = KEYS.iter().filter(|key| **key != denied).map(|key| format!("~retraced:{{q}}:{key}"));
        let patterns: Vec<String> = others.chain(["~retraced:rights".to_owned()]).collect();
        let rights = format!("{} &* +@all", patterns.join(" "));
        let (called, refused) = every_verb_with(&mut harness, &rights, |error| error.contains("give ")).await;
        // A script declares all keys of its queue, but enqueue only those it uses.
        let unused_by_enqueue = ["grant", "retry", "history", "awaited", "tombstones"].contains(&denied);
        assert_eq!((called, refused), (VERBS, VERBS - usize::from(unused_by_enqueue)), "{denied}");
    }
}

/// Goal: without the right to channels, or to run scripts at all, or to read, nothing is half done.
#[tokio::test]
async fn no_verb_is_half_done_without_a_whole_kind_of_rights() {
    let mut harness = Harness::new().await;
    for (rights, all_refused) in [
        ("~* resetchannels +@all", false),
        ("~* &* +@all -publish", false),
        // A right that several scripts need, and one that none of them needs.
        ("~* &* +@all -xadd -rpush", false),
        ("~* &* +@all -xadd -lpush", false),
        ("~* &* +@all -@scripting", true),
        ("~* &* +@all -@write", false),
        ("~* &* +@all -@read", true),
        ("&* +@all", true),
    ] {
        let (called, refused) = every_verb_with(&mut harness, rights, |error| error.contains("give ")).await;
        assert_eq!(called, VERBS);
        assert_eq!(refused == called, all_refused, "{rights}: {refused} of {called} refused");
    }
}

/// Goal: a right that is given while a worker runs is used without a restart.
#[tokio::test]
async fn a_right_given_later_is_used_by_the_next_call() {
    let mut harness = Harness::new().await;
    let store = limited(&harness.server, "~* &* +@all -hset");
    let call = harness.call();
    let jobs = [new("a", RunAt::Now)];
    let refused = store.enqueue(call, &harness.queue, &jobs).await.unwrap_err();
    assert!(refused.to_string().contains("+hset"), "{refused}");
    limited(&harness.server, "~* &* +@all");
    store.enqueue(call, &harness.queue, &jobs).await.unwrap();
}

/// Goal: what was read for one call refuses no later one. Method: the rights are read again for a call that needs none of those that are missing, and are given after it.
#[tokio::test]
async fn a_right_given_later_is_used_whatever_was_called_before_it_was_given() {
    let mut harness = Harness::new().await;
    let store = limited(&harness.server, "~* &* +@all -hmget");
    let call = harness.call();
    let jobs = [new("a", RunAt::Now)];
    store.enqueue(call, &harness.queue, &jobs).await.unwrap_err();
    store.heartbeat(&row()).await.unwrap();
    limited(&harness.server, "~* &* +@all");
    store.enqueue(call, &harness.queue, &jobs).await.unwrap();
}

/// Goal: rights that could not be read, because the server refused writes, are read later. Method: a user without RPUSH connects while the server is a replica; the connection is kept.
#[tokio::test]
async fn rights_that_could_not_be_read_are_read_later() {
    let mut harness = Harness::new().await;
    let store = limited(&harness.server, "~* &* +@all -rpush");
    let mut raw = harness.server.connection();
    let mut replicate =
        |host: &str, port: &str| -> () { redis::cmd("REPLICAOF").arg(host).arg(port).query(&mut raw).unwrap() };
    replicate("127.0.0.1", "1");
    let call = harness.call();
    let jobs = [new("a", RunAt::Now)];
    let blocked = store.enqueue(call, &harness.queue, &jobs).await.unwrap_err();
    assert!(matches!(blocked, StoreError::Blocked { .. }), "{blocked:?}");
    replicate("no", "one");
    let refused = store.enqueue(call, &harness.queue, &jobs).await.unwrap_err();
    assert!(refused.to_string().contains("+rpush"), "{refused}");
    assert!(harness.contents().is_empty(), "the enqueue was half done");
}

/// Goal: a command that the server does not have is named.
#[tokio::test]
async fn a_renamed_command_is_named_before_anything_is_written() {
    let server = RedisServer::start_with(&["--rename-command", "RPUSH", ""]);
    let mut harness = Harness::on(server).await;
    let call = harness.call();
    let jobs = [new("a", RunAt::Now)];
    let refused = harness.store.enqueue(call, &harness.queue, &jobs).await.unwrap_err();
    assert!(matches!(refused, StoreError::Blocked { by: Block::Rights, .. }), "{refused:?}");
    assert!(refused.to_string().contains("the server does not know RPUSH"), "{refused}");
    let keys: Vec<String> = harness.server.connection().keys("*").unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}

/// Goal: a worker learns at its start of each right that it will miss, by a probe; one without them all is not blocked, and no more is named than is missing.
#[tokio::test]
async fn a_probe_names_every_right_that_a_worker_lacks() {
    let server = RedisServer::start();
    let facts = limited(&server, "~* &* +@all -zadd -lpop -sadd -zrank").probe().await.unwrap();
    let blocked = facts.blocked.unwrap();
    assert_eq!(blocked.by, Block::Rights);
    assert!(blocked.to_string().contains("+lpop +sadd +zadd"), "{blocked}");
    assert!(!blocked.to_string().contains("zrank"), "no script of a worker needs it: {blocked}");
    assert_eq!(limited(&server, "~* &* +@all -zrank").probe().await.unwrap().blocked, None);
}

/// Goal: a right that was given is noticed by the next probe, whichever connection missed it.
#[tokio::test]
async fn a_probe_does_not_remember_a_right_that_is_no_longer_missing() {
    let server = RedisServer::start();
    let store = limited(&server, "~* &* +@all -zremrangebyrank");
    assert!(store.probe().await.unwrap().blocked.is_some());
    limited(&server, "~* &* +@all");
    assert_eq!(store.probe().await.unwrap().blocked, None);
}

/// Goal: an error shows no part of a password, although the server repeats and cuts it short. Method: a server that does not know HELLO, and a long password.
#[tokio::test]
async fn no_part_of_a_long_password_is_shown_by_a_server_that_repeats_it() {
    let server = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    let url = format!("{}?protocol=3&user=default&pass={}", server.url(), "secret-".repeat(40));
    let error = RedisStore::connect(&url).await.unwrap_err();
    assert!(!error.to_string().contains("secret-"), "{error}");
}

/// Goal: the start says that hints are off, and why.
#[tokio::test]
async fn a_missing_right_to_channels_is_a_warning() {
    let server = RedisServer::start();
    let facts = limited(&server, "~* resetchannels +@all").probe().await.unwrap();
    assert!(facts.warnings.iter().any(|warning| warning.contains("&retraced:*")), "{facts:?}");
    let facts = limited(&server, "~* &* +@all").probe().await.unwrap();
    assert!(!facts.warnings.iter().any(|warning| warning.contains("channel")), "{facts:?}");
}

fn row() -> WorkerRow {
    WorkerRow::new(InstanceId::from(uuid::Uuid::from_u128(7)), 1)
}

/// Goal: what `docs/redis.md` gives a worker is enough for every verb.
#[tokio::test]
async fn the_documented_worker_may_do_all_that_a_worker_and_an_operator_do() {
    for binary in RedisServer::binaries() {
        let mut harness = Harness::on(RedisServer::start_binary(binary, &[])).await;
        let (full, worker) = (harness.store.clone(), documented(&harness.server, "worker", "retraced").await);
        for verb in 0.. {
            harness.store = full.clone();
            let held = busy(&mut harness).await;
            harness.store = worker.clone();
            let Some(done) = every_verb(&mut harness, &held, verb).await else { break };
            done.unwrap();
        }
        let queues = [harness.queue.clone()];
        assert!(!worker.probe().await.unwrap().warnings.iter().any(|warning| warning.contains("channel")));
        drop(worker.hints(&queues).await.unwrap());
        worker.announce(&queues).await.unwrap();
        worker.heartbeat(&row()).await.unwrap();
        assert_eq!(worker.workers().await.unwrap().len(), 1);
        assert_eq!(worker.queues().await.unwrap(), queues);
        worker.record(&[]).await.unwrap();
        worker.events(None, 10).await.unwrap();
        worker.forget(row().instance, &queues).await.unwrap();
    }
}

/// Goal: the rights of `docs/redis.md`, written for a prefix, are enough for a store with this prefix, and for nothing else.
#[tokio::test]
async fn the_documented_rights_of_one_prefix_are_enough_there_and_useless_elsewhere() {
    let mut harness = Harness::new().await;
    harness.change_prefix("shop");
    let (full, worker) = (harness.store.clone(), documented(&harness.server, "worker", "shop").await);
    for verb in 0.. {
        harness.store = full.clone();
        let held = busy(&mut harness).await;
        harness.store = worker.clone();
        let Some(done) = every_verb(&mut harness, &held, verb).await else { break };
        done.unwrap();
    }
    let queues = [harness.queue.clone()];
    worker.announce(&queues).await.unwrap();
    worker.heartbeat(&row()).await.unwrap();
    worker.record(&[]).await.unwrap();
    drop(worker.hints(&queues).await.unwrap());
    assert!(!worker.probe().await.unwrap().warnings.iter().any(|warning| warning.contains("channel")));

    let url = format!("{}?user=worker&pass=secret", harness.server.url());
    for prefix in ["retraced", "sho", "shop2"] {
        let options = RedisOptions::default().prefix(KeyPrefix::new(prefix).unwrap());
        let elsewhere = RedisStore::open(&url, options).unwrap();
        let refused = elsewhere.stats(&harness.queue).await.unwrap_err();
        assert!(refused.to_string().contains(&format!("~{prefix}:*")), "{refused}");
        elsewhere.hints(&queues).await.map(drop).unwrap_err();
    }
}

/// Goal: what `docs/redis.md` gives a producer is enough to enqueue and to wait, and too little to take jobs.
#[tokio::test]
async fn the_documented_producer_may_enqueue_and_wait_but_not_claim() {
    for binary in RedisServer::binaries() {
        let mut harness = Harness::on(RedisServer::start_binary(binary, &[])).await;
        let producer = documented(&harness.server, "producer", "retraced").await;
        let queues = [harness.queue.clone()];
        producer.announce(&queues).await.unwrap();
        let jobs = [new("now", RunAt::Now), new("later", RunAt::After(Duration::from_secs(60)))];
        producer.enqueue(harness.call(), &harness.queue, &jobs).await.unwrap();
        producer.watch_outcome(&harness.queue, &jobs[0].id, Duration::from_secs(10)).await.unwrap();
        drop(producer.hints(&queues).await.unwrap());
        let (full, call) = (harness.store.clone(), harness.call());
        let before = harness.contents();
        let request = request(1, Duration::from_secs(30));
        producer.claim(call, &harness.queue, &request).await.unwrap_err();
        assert!(before == harness.contents());
        assert_eq!(full.stats(&harness.queue).await.unwrap().pending, 1);
    }
}

/// Goal: what `docs/redis.md` gives somebody who only reads is enough for all lists, and changes nothing.
#[tokio::test]
async fn the_documented_reader_may_look_at_everything_and_change_nothing() {
    for binary in RedisServer::binaries() {
        let mut harness = Harness::on(RedisServer::start_binary(binary, &[])).await;
        harness.enqueue(&["a"]).await;
        harness.store.announce(&[harness.queue.clone()]).await.unwrap();
        let before = harness.contents();
        let reader = documented(&harness.server, "reader", "retraced").await;
        assert_eq!(reader.stats(&harness.queue).await.unwrap().pending, 1);
        assert!(reader.job(&harness.queue, &id("a")).await.unwrap().is_some());
        assert_eq!(reader.tombstone(&harness.queue, &id("a")).await.unwrap(), None);
        assert_eq!(reader.jobs(&harness.queue, JobState::Pending, None, 10).await.unwrap().jobs.len(), 1);
        assert_eq!(reader.check_counts(&harness.queue).await.unwrap().difference(), 0);
        assert_eq!(reader.queues().await.unwrap().len(), 1);
        reader.workers().await.unwrap();
        reader.events(None, 10).await.unwrap();
        reader.pause(harness.call(), &harness.queue, &"ada".into()).await.unwrap_err();
        reader.enqueue(harness.call(), &harness.queue, &[new("b", RunAt::Now)]).await.unwrap_err();
        assert!(before == harness.contents());
    }
}
