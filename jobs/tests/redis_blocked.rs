//! Servers that answer but take no writes, or no new jobs: whatever they refuse has changed nothing, the error names the cause, and what ends or keeps work goes on
//! where that is possible.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use retraced_jobs::store::{Admin, Block, Store, StoreError};
use support::redis_harness::{Harness, busy, every_verb};
use support::redis_server::RedisServer;

/// Numbers of the verbs in `every_verb`: `enqueue`, and those that succeed on a server that takes no writes, which are the reads and `watch_outcome`.
const ENQUEUE: usize = 0;
const READS: [usize; 7] = [14, 15, 16, 17, 19, 20, 22];

/// Calls every verb while the server is blocked. Those for which `works` is true must succeed and leave the queue consistent. The others must say why they are refused,
/// and change nothing.
async fn every_verb_while(
    by: Block,
    block: impl Fn(&RedisServer),
    unblock: impl Fn(&RedisServer),
    works: impl Fn(usize) -> bool,
    binary: &str,
) {
    let mut harness = Harness::on(RedisServer::start_binary(binary, &[])).await;
    for verb in 0.. {
        let held = busy(&mut harness).await;
        block(&harness.server);
        let before = harness.contents();
        let result = every_verb(&mut harness, &held, verb).await;
        let facts = harness.store.probe().await;
        let after = harness.contents();
        unblock(&harness.server);
        let Some(result) = result else { break };
        match result {
            Ok(()) => {
                assert!(works(verb), "{by:?}: verb {verb} was not refused");
                let found = harness.store.scan(&harness.queue).await.unwrap();
                assert!(found.is_empty(), "{by:?}: verb {verb} left {found:?}");
            }
            Err(error) => {
                assert!(!works(verb), "{by:?}: verb {verb}: {error}");
                assert!(matches!(error, StoreError::Blocked { by: seen, .. } if seen == by), "verb {verb}: {error:?}");
                assert!(before == after, "{by:?}: {} was half done", error.operation());
            }
        }
        assert_eq!(facts.unwrap().blocked.map(|blocked| blocked.by), Some(by));
    }
    assert_eq!(harness.store.probe().await.unwrap().blocked, None);
}

/// Goal: in a server whose memory is full only new jobs are refused; what is kept can be claimed, renewed, settled, moved, cancelled and deleted.
#[tokio::test]
async fn a_full_server_refuses_new_jobs_and_nothing_else() {
    for binary in RedisServer::binaries() {
        let full = |server: &RedisServer| server.set("maxmemory", "1");
        let free = |server: &RedisServer| server.set("maxmemory", "0");
        every_verb_while(Block::Memory, full, free, |verb| verb != ENQUEUE, binary).await;
    }
}

#[tokio::test]
async fn nothing_is_half_done_while_replicas_are_missing() {
    for binary in RedisServer::binaries() {
        if !RedisServer::start_binary(binary, &[]).scripts_need_replicas() {
            continue;
        }
        let missing = |server: &RedisServer| server.set("min-replicas-to-write", "1");
        let enough = |server: &RedisServer| server.set("min-replicas-to-write", "0");
        every_verb_while(Block::MissingReplicas, missing, enough, |verb| READS.contains(&verb), binary).await;
    }
}

#[tokio::test]
async fn nothing_is_half_done_on_a_server_that_became_a_replica() {
    for binary in RedisServer::binaries() {
        let (demoted, promoted) =
            (|server: &RedisServer| server.demote(true), |server: &RedisServer| server.demote(false));
        every_verb_while(Block::Replica, demoted, promoted, |verb| READS.contains(&verb), binary).await;
    }
}

#[tokio::test]
async fn nothing_is_half_done_while_the_server_cannot_write_to_its_disk() {
    for binary in RedisServer::binaries() {
        let broken = |server: &RedisServer| server.break_disk(true);
        let mended = |server: &RedisServer| server.break_disk(false);
        every_verb_while(Block::Disk, broken, mended, |verb| READS.contains(&verb), binary).await;
    }
}

/// Goal: a probe says whether the server takes writes even if it must not be used, so that the end of a block is noticed. Method: a server that may evict keys.
#[tokio::test]
async fn a_server_that_must_not_be_used_still_says_whether_it_takes_writes() {
    let harness = Harness::new().await;
    harness.server.set("maxmemory-policy", "allkeys-lru");
    let facts = harness.store.probe().await.unwrap();
    assert!(facts.unusable.as_ref().is_some_and(|reason| reason.contains("allkeys-lru")), "{facts:?}");
    assert_eq!(facts.blocked, None);
    assert!(matches!(facts.usable(), Err(StoreError::Refused { .. })));
    harness.server.set("maxmemory-policy", "noeviction");
    harness.server.set("maxmemory", "1");
    let facts = harness.store.probe().await.unwrap().usable().unwrap();
    assert!(
        facts
            .blocked
            .is_some_and(|blocked| blocked.by == Block::Memory && blocked.to_string().contains("raise maxmemory"))
    );
}
