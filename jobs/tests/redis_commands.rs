//! Which commands the scripts of the Redis store spend: none on what happened once, and none on what nobody waits for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Commands;
use retraced_jobs::job::InstanceId;
use retraced_jobs::store::{Admin, CallId, Claims, ReplaySlot, ReplaySlots, Settlement, Transitions, Verdict};
use support::redis_harness::{Harness, LEASE, id, ids, request, settlement};

const DONE: Verdict = Verdict::Complete { keep: false };

fn all_of(claims: &Claims, verdict: Verdict) -> Vec<Settlement> {
    (0..claims.jobs.len()).map(|place| settlement(claims, place, verdict)).collect()
}

/// Enqueues four jobs, claims two, settles them and claims the others in one call, settles those; returns the commands of the claim, of the
/// `settle_and_claim` and of the last settlement.
async fn commands_of_a_round(harness: &mut Harness, name: &str) -> [BTreeMap<String, u64>; 3] {
    harness.enqueue(&[1, 2, 3, 4].map(|n| format!("{name}-{n}")).each_ref().map(String::as_str)).await;
    harness.commands();
    let claims = harness.claim(2).await;
    let claim = harness.commands();
    let (call, queue) = (harness.call(), harness.queue.clone());
    let (_, claims) =
        harness.store.settle_and_claim(call, &queue, &all_of(&claims, DONE), &request(2, LEASE)).await.unwrap();
    let settle_and_claim = harness.commands();
    assert_eq!(claims.jobs.len(), 2);
    harness.settle(&all_of(&claims, DONE)).await;
    [claim, settle_and_claim, harness.commands()]
}

/// Goal: a queue does not stay slower because a job was retried once. Method: after a retried job is gone, the commands of all calls must be those of
/// the time before.
#[tokio::test]
async fn a_queue_does_not_remember_that_a_job_was_retried_once() {
    let mut harness = Harness::new().await;
    // The first round loads the scripts into the server.
    commands_of_a_round(&mut harness, "first").await;
    let new = commands_of_a_round(&mut harness, "new").await;

    harness.enqueue(&["retried"]).await;
    for verdict in [Verdict::Retry { delay: Duration::ZERO }, Verdict::ReleaseNow, DONE] {
        let claims = harness.claim(1).await;
        assert_eq!(ids(&claims), ["retried"]);
        harness.settle(&all_of(&claims, verdict)).await;
    }
    commands_of_a_round(&mut harness, "between").await;
    assert_eq!(commands_of_a_round(&mut harness, "later").await, new);

    // While another job has a retry state, claims look for one.
    harness.enqueue(&["waits"]).await;
    let claims = harness.claim(1).await;
    harness.settle(&all_of(&claims, Verdict::Retry { delay: LEASE })).await;
    assert_ne!(commands_of_a_round(&mut harness, "beside").await[0], new[0]);
}

/// Goal: only a retry state tells that the entry of a cancelled job is stale, so none is overlooked, even if it is the only field of its key. Method:
/// the encoding sentinel is deleted by hand while one job is cancelled.
#[tokio::test]
async fn the_last_retry_state_is_never_taken_for_the_encoding_sentinel() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["cancelled", "live"]).await;
    let call = harness.call();
    harness.store.cancel(call, &harness.queue, &"ada".into(), &[id("cancelled").into()]).await.unwrap();
    let removed: usize = harness.server.connection().hdel(harness.key("retry"), [0xff_u8; 65].as_slice()).unwrap();
    assert_eq!(removed, 1);
    assert_eq!(ids(&harness.claim(2).await), ["live"]);
}

/// As a runtime sends a call for the first time.
fn first(call: CallId) -> CallId {
    CallId { first_sending: true, ..call }
}

/// Goal: a hint wakes every idle worker of a queue, and those that find nothing cost the server no write. Method: twenty workers are idle, one job is enqueued, and
/// all of them claim; the commands of the losers are counted.
#[tokio::test]
async fn no_worker_writes_when_it_finds_nothing() {
    const WRITES: [&str; 8] = ["hset", "hdel", "hincrby", "lpop", "lpush", "rpush", "zadd", "zrem"];
    let mut harness = Harness::new().await;
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    let mut workers: Vec<ReplaySlot> = Vec::new();
    for _ in 0..20 {
        workers.push(ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await);
    }
    let mut claim_each = async |limit| {
        let mut granted = 0;
        for worker in &mut workers {
            let claims = store.claim(first(worker.next_call()), &queue, &request(limit, LEASE)).await.unwrap();
            granted += claims.jobs.len();
        }
        granted
    };
    let writes = |commands: BTreeMap<String, u64>| -> Vec<(String, u64)> {
        commands.into_iter().filter(|(name, _)| WRITES.contains(&name.as_str())).collect()
    };
    let idle_noted = [("hdel".to_owned(), 1), ("hset".to_owned(), 1)];
    // One worker has noted that it is idle, for all of them. The first call of a connection asks for the rights of the user.
    assert_eq!(harness.claim(1).await.jobs, []);
    harness.commands();
    assert_eq!(claim_each(2).await, 0);
    assert_eq!(writes(harness.commands()), []);

    // The winner gets less than it asked for and notes that it is idle.
    for (limit, noted_by_a_loser) in [(2, false), (1, true)] {
        harness.enqueue(&[&format!("job-{limit}")]).await;
        let mut winner = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
        let claims =
            harness.store.claim(first(winner.next_call()), &harness.queue, &request(limit, LEASE)).await.unwrap();
        assert_eq!(claims.jobs.len(), 1);
        harness.commands();
        assert_eq!(claim_each(limit).await, 0);
        let expected = if noted_by_a_loser { &idle_noted[..] } else { &[] };
        assert_eq!(writes(harness.commands()), expected, "twenty losers that asked for {limit}");
    }
    let call = harness.call();
    harness.store.pause(call, &harness.queue, &"ada".into()).await.unwrap();
    harness.commands();
    assert_eq!(claim_each(2).await, 0);
    harness.store.promote(first(harness.replay_slot.next_call()), &harness.queue, 10).await.unwrap();
    assert_eq!(writes(harness.commands()), [], "a paused queue, and one without delayed jobs");
}

/// Goal: keeping outcomes for waiters costs nothing where nobody waits. Method: the commands of an enqueue, a claim and a `settle_and_claim` are counted.
#[tokio::test]
async fn no_command_is_spent_on_outcomes_that_nobody_waits_for() {
    let mut harness = Harness::new().await;
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    harness.enqueue(&["a", "b"]).await;
    let claims = harness.claim(1).await;
    let (call, ends) = (harness.call(), all_of(&claims, DONE));
    let (_, claims) = store.settle_and_claim(call, &queue, &ends, &request(1, LEASE)).await.unwrap();
    harness.commands();
    harness.enqueue(&["c"]).await;
    let enqueue: u64 = harness.commands().values().sum();
    assert!(harness.claim(1).await.jobs.len() == 1);
    let claim: u64 = harness.commands().values().sum();
    let (call, ends) = (harness.call(), all_of(&claims, DONE));
    store.settle_and_claim(call, &queue, &ends, &request(1, LEASE)).await.unwrap();
    let settle_and_claim = harness.commands();
    assert!(!settle_and_claim.contains_key("zmscore"), "{settle_and_claim:?}");
    let settle_and_claim: u64 = settle_and_claim.values().sum();
    let spent = (enqueue, claim, settle_and_claim);
    // One of those of a claim and of a settlement is `begin_writes` (lua/lib/queue.lua).
    assert!(enqueue <= 11 && claim <= 16 && settle_and_claim <= 19, "{spent:?} commands, the call itself included");
}
