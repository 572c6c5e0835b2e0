//! What only the Redis store can get wrong: lost replies, lost scripts, keys edited by hand, and servers that are down, frozen or configured in an unsafe way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use redis::Commands;
use retraced_jobs::events::FindingKind;
use retraced_jobs::job::{InstanceId, JobState, NewJob, QueueName, RunAt};
use retraced_jobs::store::redis::{RedisOptions, RedisStore};
use retraced_jobs::store::{
    Admin, BATCH_MAX, Block, CallId, ClaimRequest, Enqueued, Hint, Ledger, Moved, Reclaim, ReplaySlots, Settled,
    Settlement, Store, StoreError, Transitions, UnfinishedJobs, Verdict,
};
use support::redis_harness::{Harness, KEYS, LEASE, busy, every_verb, id, ids, keep_nothing, new, request, settlement};
use support::redis_server::RedisServer;

/// Goal: a reply that was lost costs one more round trip and nothing else. Method: every mutating verb is sent twice under the same call id, from a
/// harness in which it has something to do; the second reply and every key must be what they were after the first.
#[tokio::test]
async fn a_call_sent_again_gives_the_same_reply_and_changes_nothing() {
    let mut harness = Harness::new().await;
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    macro_rules! twice {
        ($verb:literal, $call:ident, $send:expr) => {{
            let $call = harness.call();
            let before = harness.contents();
            let first = $send.await.unwrap();
            let after_first = harness.contents();
            assert_ne!(before, after_first, "{} had nothing to do", $verb);
            let second = $send.await.unwrap();
            assert_eq!(first, second, "{}: the second reply differs", $verb);
            assert!(after_first == harness.contents(), "{}: the second call changed something", $verb);
            first
        }};
    }
    let jobs: Vec<NewJob> = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| new(name, RunAt::Now)).to_vec();
    twice!("enqueue", call, store.enqueue(call, &queue, &jobs));
    let request = request(4, Duration::ZERO);
    let claims = twice!("claim", call, store.claim(call, &queue, &request));
    assert_eq!(ids(&claims), ["a", "b", "c", "d"]);
    let verdicts = [
        settlement(&claims, 0, Verdict::Complete { keep: true }),
        settlement(&claims, 1, Verdict::Retry { delay: Duration::ZERO }),
    ];
    twice!("settle", call, store.settle(call, &queue, &verdicts));
    let verdicts = [settlement(&claims, 2, Verdict::ReleaseAfter { delay: Duration::from_millis(1) })];
    let (_, claims) = twice!("settle_and_claim", call, store.settle_and_claim(call, &queue, &verdicts, &request));
    assert_eq!(ids(&claims), ["e", "f", "g", "h"]);
    let lost = ClaimRequest { limit: 1, nonce: *b"not read", ..request.clone() };
    twice!("another claim", call, store.claim(call, &queue, &lost));
    tokio::time::sleep(Duration::from_millis(2)).await; // the store's clock must pass the due time of c
    let promoted = twice!("promote", call, store.promote(call, &queue, 10));
    assert_eq!(promoted.moved, 1);
    let instance = holder_of_grant_d(&harness);
    let lost = [lost.nonce];
    let reconciled = twice!("reconcile", call, store.reconcile(call, &queue, instance, &lost, None));
    assert_eq!(reconciled.released, [id("b")]);
    let reclaim = Reclaim { limit: 10, lease: Duration::from_millis(40), crashes_max: 3, losses_max: 20 };
    let graced = twice!("reclaim with grace", call, store.reclaim(call, &queue, &reclaim));
    assert!(graced.grace.is_some() && graced.jobs.is_empty(), "{graced:?}");
    // Reclaims every 10 ms until the grace is over.
    let deadline = Instant::now() + Duration::from_secs(10);
    let reclaimed = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let reclaim = Reclaim { lease: Duration::from_secs(30), ..reclaim };
        let reclaimed = twice!("reclaim", call, store.reclaim(call, &queue, &reclaim));
        if reclaimed.grace.is_none() {
            break reclaimed;
        }
        assert!(Instant::now() < deadline, "the grace of 40 ms never ended");
    };
    let mut taken: Vec<String> = reclaimed.jobs.iter().map(|job| job.id.to_string()).collect();
    taken.sort();
    assert_eq!(taken, ["d", "e", "f", "g", "h"]);
    twice!("pause", call, store.pause(call, &queue, &"ada".into()));
    twice!("resume", call, store.resume(call, &queue));
    twice!("cancel", call, store.cancel(call, &queue, &"ada".into(), &[id("e").into(), id("c").into()]));
    twice!("redrive", call, store.redrive(call, &queue, &"ada".into(), &[id("e").into()]));
    twice!("discard", call, store.discard(call, &queue, &"ada".into(), &[id("f").into()]));
    let trimmed = twice!("trim", call, store.trim(call, &queue, &keep_nothing()));
    assert_eq!(trimmed.removed, 2); // a, completed, and c, cancelled
    assert_eq!(store.check_counts(&queue).await.unwrap().difference(), 0);
}

/// The process instance that holds the lease of job `d`.
fn holder_of_grant_d(harness: &Harness) -> InstanceId {
    let mut connection = harness.server.connection();
    let grants: BTreeMap<Vec<u8>, Vec<u8>> = connection.hgetall(harness.key("grant")).unwrap();
    InstanceId::from_slice(&grants[&b"d"[..]][12..28]).unwrap()
}

#[tokio::test]
async fn an_old_call_id_and_one_used_for_another_call_change_nothing() {
    let mut harness = Harness::new().await;
    let old = harness.call();
    harness.enqueue(&["a"]).await;
    let before = harness.contents();
    let superseded = harness.store.enqueue(old, &harness.queue, &[new("b", RunAt::Now)]).await.unwrap_err();
    assert!(matches!(superseded, StoreError::Superseded { .. }), "{superseded}");
    let call = CallId { sequence: old.sequence + 1, ..old };
    let refused = harness.store.claim(call, &harness.queue, &request(1, LEASE)).await.unwrap_err();
    assert!(matches!(refused, StoreError::CallIdTaken { .. }), "{refused}");
    let taken = harness.store.enqueue(call, &harness.queue, &[new("b", RunAt::Now)]).await.unwrap_err();
    assert!(matches!(taken, StoreError::CallIdTaken { .. }), "{taken}");
    assert!(before == harness.contents());
}

#[tokio::test]
async fn a_claim_sent_again_leaves_out_what_was_settled_meanwhile() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["a", "b"]).await;
    let (call, request) = (harness.call(), request(2, LEASE));
    let claims = harness.store.claim(call, &harness.queue, &request).await.unwrap();
    let mut other = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    let done = [settlement(&claims, 0, Verdict::Complete { keep: false })];
    assert_ne!(harness.store.settle(other.next_call(), &harness.queue, &done).await.unwrap(), [Settled::Stale]);
    let again = harness.store.claim(call, &harness.queue, &request).await.unwrap();
    assert_eq!(ids(&again), ["b"]);
}

#[tokio::test]
async fn scripts_the_server_has_forgotten_are_sent_again() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["a"]).await;
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut harness.server.connection()).unwrap();
    let claims = harness.claim(1).await;
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut harness.server.connection()).unwrap();
    let settled = harness.settle(&[settlement(&claims, 0, Verdict::Complete { keep: false })]).await;
    assert_eq!(settled, [Settled::Done { state: JobState::Completed }]);
}

/// Goal: a key of the wrong type is named, and nothing is half done. Method: each key of the queue in turn is made a string, and each verb is called. The verb must
/// succeed without that key, or fail with the name of the key and change nothing.
#[tokio::test]
async fn a_key_of_a_wrong_type_is_named_and_nothing_is_half_done() {
    let mut harness = Harness::new().await;
    // Without `awaited` every verb works: no script fails when it has a wrong type.
    for name in KEYS.into_iter().filter(|name| *name != "awaited") {
        let key = harness.key(name);
        let mut refusals = 0;
        for verb in 0.. {
            let held = busy(&mut harness).await;
            let mut raw = harness.server.connection();
            let _: () = raw.del(&key).unwrap();
            let _: () = raw.set(&key, "not what it was").unwrap();
            let before = harness.contents();
            let Some(result) = every_verb(&mut harness, &held, verb).await else { break };
            let Err(error) = result else { continue };
            refusals += 1;
            assert!(matches!(error, StoreError::Corrupt { .. }), "{name}: {error:?}");
            assert!(error.to_string().contains(&key), "{error} does not name {key}");
            assert!(before == harness.contents(), "with {name} damaged, {} was half done", error.operation());
        }
        // Five verbs use tombstones: discard, trim, the one that reads them, and scan and repair, so that an audit names the key.
        let least = if name == "tombstones" { 5 } else { 8 };
        assert!(refusals >= least, "only {refusals} verbs notice a wrong type of {name}");
    }
}

/// Goal: no crash and no other call can come between two parts of a transition, because a transition is one command. Method: the server reports every command it
/// receives; each verb must be one script call.
#[tokio::test]
async fn no_transition_is_ever_two_commands() {
    const TRANSITIONS: std::ops::Range<usize> = 0..14;
    let mut harness = Harness::new().await;
    let mut monitor = UnixStream::connect(harness.server.socket()).unwrap();
    monitor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let mut monitored = BufReader::new(monitor).lines().map(Result::unwrap);
    assert_eq!(monitored.next().unwrap(), "+OK");
    let mut raw = harness.server.connection();
    let mut echo = move |word: String| -> () { redis::cmd("ECHO").arg(word).query(&mut raw).unwrap() };
    // In the first round the scripts are loaded into the server.
    for round in 0..2 {
        for verb in TRANSITIONS {
            let held = busy(&mut harness).await;
            echo(format!("begin {verb}"));
            every_verb(&mut harness, &held, verb).await.unwrap().unwrap();
            echo(format!("end {verb}"));
            let mut between = Vec::new();
            monitored.find(|line| line.contains(&format!("\"begin {verb}\""))).unwrap();
            for line in monitored.by_ref() {
                if line.contains(&format!("\"end {verb}\"")) {
                    break;
                }
                // The server also reports the commands that a script calls.
                if !line.contains(" lua] ") {
                    between.push(line);
                }
            }
            let one_script = matches!(&between[..], [line] if line.contains("\"EVALSHA\""));
            assert!(round == 0 || one_script, "verb {verb}: {between:?}");
        }
    }
}

/// Goal: a job that runs again and again takes no more memory than its bounds allow, in any key. Method: attempts end in every way that returns the job to its queue;
/// after each attempt the entries of the keys are counted.
#[tokio::test]
async fn the_memory_of_a_job_stays_bounded_however_often_it_runs() {
    const KEPT: usize = 3 + 7;
    let mut harness = Harness::new().await;
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    let reclaim = Reclaim { limit: 1, lease: LEASE, crashes_max: 1000, losses_max: 1000 };
    let call = harness.call();
    store.reclaim(call, &queue, &reclaim).await.unwrap();
    harness.enqueue(&["a"]).await;
    let mut raw = harness.server.connection();
    for round in 1..=60 {
        let call = harness.call();
        let lease = if round % 3 == 0 { Duration::ZERO } else { LEASE };
        let claims = store.claim(call, &queue, &request(1, lease)).await.unwrap();
        match round % 3 {
            0 => {
                let call = harness.call();
                assert_eq!(store.reclaim(call, &queue, &reclaim).await.unwrap().jobs.len(), 1);
            }
            1 => drop(harness.settle(&[settlement(&claims, 0, Verdict::Retry { delay: Duration::ZERO })]).await),
            _ => drop(harness.settle(&[settlement(&claims, 0, Verdict::ReleaseNow)]).await),
        }
        let fields: Vec<Vec<u8>> = raw.hkeys(harness.key("history")).unwrap();
        let own = fields.iter().filter(|field| field.starts_with(b"a\0")).count();
        assert_eq!(own, round.min(KEPT), "after {round} attempts");
        let others: [usize; 3] = ["job", "retry", "pending"].map(|name| match name {
            "pending" => raw.llen(harness.key(name)).unwrap(),
            _ => raw.hlen(harness.key(name)).unwrap(),
        });
        assert!(others.iter().all(|kept| *kept <= 2), "after {round} attempts: {others:?}");
    }
    let call = harness.call();
    store.discard(call, &queue, &"ada".into(), &[id("a").into()]).await.unwrap();
    let left: Vec<Vec<u8>> = raw.hkeys(harness.key("history")).unwrap();
    assert!(!left.iter().any(|field| field.starts_with(b"a\0")), "{left:?}");
}

#[tokio::test]
async fn a_key_that_belongs_to_all_queues_is_named_if_it_has_the_wrong_type() {
    let harness = Harness::new().await;
    let (store, queue) = (&harness.store, &harness.queue);
    for name in ["queues", "workers", "ledger"] {
        let key = format!("retraced:{name}");
        let mut raw = harness.server.connection();
        let _: () = raw.del(&key).unwrap();
        let _: () = raw.set(&key, "not what it was").unwrap();
        let errors = match name {
            "queues" => vec![
                store.queues().await.map(drop),
                store.announce(std::slice::from_ref(queue)).await,
                store.delete_queue(queue, UnfinishedJobs::Delete).await.map(drop),
            ],
            "workers" => {
                vec![store.workers().await.map(drop), store.forget(InstanceId::from(uuid::Uuid::nil()), &[]).await]
            }
            _ => vec![store.events(None, 1).await.map(drop)],
        };
        for error in errors {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(&format!("the key {key} has the wrong type; rename or delete it")), "{error}");
        }
    }
}

/// Goal: an entry that somebody wrote into a key neither stops the queue nor reaches a worker. Method: entries that no script writes are added to all keys, and every
/// verb is called. Two intact jobs must be granted.
#[tokio::test]
async fn garbage_in_any_key_does_not_stop_the_queue() {
    let mut harness = Harness::new().await;
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    let junk: [&[u8]; 6] = [b"", b"x", b"not a number", &[0xff; 5], &[0; 300], b"9223372036854775807"];
    harness.enqueue(&["good", "damaged"]).await;
    let mut raw = harness.server.connection();
    let live_entry: Vec<u8> = raw.lindex(harness.key("pending"), 0).unwrap();
    for bytes in junk {
        let _: () = raw.lpush(harness.key("pending"), bytes).unwrap();
        let _: () = raw.rpush(harness.key("pending"), bytes).unwrap();
        let _: () = raw.hset(harness.key("grant"), bytes, bytes).unwrap();
        let _: () = raw.hset(harness.key("retry"), bytes, bytes).unwrap();
        let _: () = raw.hset(harness.key("history"), bytes, bytes).unwrap();
        let _: () = raw.hset(harness.key("replay"), bytes, bytes).unwrap();
        let _: () = raw.hset(harness.key("stats"), bytes, bytes).unwrap();
        for name in ["lease", "delayed", "completed", "dead", "poisoned", "cancelled"] {
            let _: () = raw.zadd(harness.key(name), bytes, 1).unwrap();
        }
        let _: () = raw.zadd(harness.key("lease"), [bytes, b"inf"].concat(), "inf").unwrap();
        let _: () = raw.zadd(harness.key("delayed"), [bytes, b"-inf"].concat(), "-inf").unwrap();
    }
    // A copy of a valid entry, and a record that is shorter than its header.
    let _: () = raw.lpush(harness.key("pending"), &live_entry[..]).unwrap();
    let _: () = raw.hset(harness.key("job"), "damaged", "short").unwrap();
    for field in [
        "sequence",
        "entry_versions",
        "stale",
        "claims",
        "enqueued",
        "completed",
        "failures",
        "garbage",
        "idle_until",
        "grace_until",
        "lease_longest",
        "lease_longest_at",
        "lease_shortest",
        "lease_shortest_at",
    ] {
        let _: () = raw.hset(harness.key("stats"), field, "junk").unwrap();
    }
    let _: () = raw.hset(harness.key("stats"), "paused", "perhaps").unwrap();
    let _: () = raw.hset(harness.key("stats"), "reclaimed_at", "-inf").unwrap();

    harness.enqueue(&["later"]).await;
    let mut seen = Vec::new();
    let mut first = None;
    for _ in 0..20 {
        let claims = harness.claim(2).await;
        seen.extend(ids(&claims));
        if claims.jobs.is_empty() {
            break;
        }
        let done: Vec<_> =
            (0..claims.jobs.len()).map(|n| settlement(&claims, n, Verdict::Retry { delay: LEASE })).collect();
        let settled = harness.settle(&done).await;
        assert!(settled.iter().all(|one| *one == Settled::Done { state: JobState::Delayed }), "{settled:?}");
        first.get_or_insert(claims);
    }
    assert_eq!(seen, ["good", "later"]);
    let reclaim = Reclaim { limit: BATCH_MAX, lease: LEASE, crashes_max: 3, losses_max: 20 };
    store.reclaim(harness.call(), &queue, &reclaim).await.unwrap();
    let _: () = raw.hdel(harness.key("stats"), "grace_until").unwrap();
    let reclaimed = store.reclaim(harness.call(), &queue, &reclaim).await.unwrap();
    assert_eq!(reclaimed.jobs, [], "leases without a job are not reclaimed");
    store.promote(harness.call(), &queue, BATCH_MAX).await.unwrap();
    store.reconcile(harness.call(), &queue, InstanceId::from(uuid::Uuid::nil()), &[], None).await.unwrap();
    store.cancel(harness.call(), &queue, &"ada".into(), &[id("good").into()]).await.unwrap();
    for state in JobState::ALL {
        store.jobs(&queue, state, None, 100).await.unwrap();
    }
    let damaged = store.job(&queue, &id("damaged")).await.unwrap().unwrap();
    assert_eq!(damaged.state, JobState::Poisoned);
    assert!(damaged.history[0].record.is_err(), "{damaged:?}");
    // It would be in no state until a claim meets it.
    let again = store.redrive(harness.call(), &queue, &"ada".into(), &[id("damaged").into()]).await.unwrap();
    assert_eq!(again, [Moved::Refused { state: JobState::Poisoned }]);
    assert_eq!(store.job(&queue, &id("damaged")).await.unwrap().unwrap().state, JobState::Poisoned);
    store.redrive(harness.call(), &queue, &"ada".into(), &[id("later").into()]).await.unwrap();
    assert_eq!(ids(&harness.claim(10).await), ["later"]);
    store.discard(harness.call(), &queue, &"ada".into(), &[id("damaged").into()]).await.unwrap();
    let found = store.repair(&queue).await.unwrap();
    assert!(found.iter().any(|finding| finding.kind == FindingKind::EntryWithoutJob), "{found:?}");
    let counts = store.check_counts(&queue).await.unwrap();
    assert!(counts.adds_up(), "{counts:?} after {found:?}");
    assert_eq!(store.repair(&queue).await.unwrap(), []);
    let stats = store.stats(&queue).await.unwrap();
    assert!(stats.garbage_total > 0 && !stats.paused, "{stats:?}");
    store.trim(harness.call(), &queue, &keep_nothing()).await.unwrap();
}

/// Goal: a lease is shortened only because the clock was set back, and not because nobody knows any more how long leases are. Method: the fields that say so are lost or
/// edited; then a worker with a much shorter lease reclaims.
#[tokio::test]
async fn no_lease_is_shortened_because_stats_were_lost_or_edited() {
    let mut harness = Harness::new().await;
    let (store, queue, mut raw) = (harness.store.clone(), harness.queue.clone(), harness.server.connection());
    let stats = harness.key("stats");
    let quick = Reclaim { limit: 10, lease: Duration::from_millis(20), crashes_max: 3, losses_max: 20 };
    harness.enqueue(&["a"]).await;
    harness.claim(1).await;
    let expiry: f64 = raw.zscore(harness.key("lease"), "a").unwrap();
    for edited in ["", "junk", "nan", "inf", "-1"] {
        for field in ["lease_longest", "lease_longest_at", "lease_shortest", "lease_shortest_at"] {
            let _: () = raw.hset(&stats, field, edited).unwrap();
            store.reclaim(harness.call(), &queue, &quick).await.unwrap();
        }
        let _: () = raw.del(&stats).unwrap();
        let reclaimed = store.reclaim(harness.call(), &queue, &quick).await.unwrap();
        assert_eq!((reclaimed.jobs.len(), reclaimed.shortened), (0, 0), "{edited}");
        assert_eq!(expiry, raw.zscore::<_, _, f64>(harness.key("lease"), "a").unwrap(), "{edited}");
    }
}

/// A discarded job leaves its entry in `pending`. If `stats` is lost, so is the counter of entry versions: a new job of the same id must not make that entry valid again.
#[tokio::test]
async fn a_job_enqueued_again_after_stats_were_lost_never_runs_twice() {
    let mut harness = Harness::new().await;
    let mut raw = harness.server.connection();
    harness.enqueue(&["a"]).await;
    let call = harness.call();
    harness.store.discard(call, &harness.queue, &"ada".into(), &[id("a").into()]).await.unwrap();
    let entries: u64 = raw.llen(harness.key("pending")).unwrap();
    assert_eq!(entries, 1, "the entry of the discarded job is there");
    let _: () = raw.del(harness.key("stats")).unwrap();
    // The counter begins again at the clock of the server, in ms: the clock has to go on before the next job.
    let mut server_ms = || {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut raw).unwrap();
        seconds * 1_000 + micros / 1_000
    };
    let discarded_ms = server_ms();
    while server_ms() == discarded_ms {}
    harness.enqueue(&["a"]).await;
    let claims = harness.claim(1).await;
    assert_eq!(ids(&claims), ["a"]);
    harness.settle(&[settlement(&claims, 0, Verdict::Complete { keep: true })]).await;
    assert_eq!(ids(&harness.claim(2).await), [""; 0], "it runs again");
    let entries: u64 = raw.llen(harness.key("pending")).unwrap();
    assert_eq!(entries, 0);
}

#[tokio::test]
async fn a_waiter_gets_a_hint_when_its_damaged_job_is_poisoned() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["a"]).await;
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
    store.watch_outcome(&queue, &id("a"), LEASE).await.unwrap();
    let _: () = harness.server.connection().hset(harness.key("job"), "a", "short").unwrap();
    assert_eq!(harness.claim(1).await.jobs, []);
    let ended = Hint::Ended { queue, id: id("a"), state: Some(JobState::Poisoned) };
    let hint = tokio::time::timeout(Duration::from_secs(10), hints.next()).await;
    assert_eq!(hint.ok().flatten(), Some(ended));
}

/// Goal: a user who may not publish loses hints and nothing else. Method: a user without rights to channels makes every call that sends a hint, while a client waits for
/// an outcome and a worker is idle.
#[tokio::test]
async fn a_user_without_rights_to_channels_loses_hints_and_nothing_else() {
    let mut harness = Harness::new().await;
    let mut raw = harness.server.connection();
    let user = ["SETUSER", "quiet", "on", ">right", "~*", "+@all", "resetchannels"];
    let _: () = redis::cmd("ACL").arg(&user).query(&mut raw).unwrap();
    let url = format!("{}&user=quiet", harness.server.url_with_password("right"));
    harness.store = RedisStore::connect(&url).await.unwrap();
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    let refused = store.hints(std::slice::from_ref(&queue)).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");

    assert!(harness.claim(1).await.jobs.is_empty(), "the worker is idle now");
    harness.enqueue(&["a", "b", "c", "d", "e"]).await;
    store.watch_outcome(&queue, &id("a"), LEASE).await.unwrap();
    let claims = harness.claim(2).await;
    let done = Settled::Done { state: JobState::Completed };
    assert_eq!(harness.settle(&[settlement(&claims, 0, Verdict::Complete { keep: false })]).await, [done]);
    let end = [settlement(&claims, 1, Verdict::Complete { keep: true })];
    let claim = request(1, Duration::ZERO);
    let (settled, claims) = store.settle_and_claim(harness.call(), &queue, &end, &claim).await.unwrap();
    assert_eq!((settled, ids(&claims)), (vec![done], vec!["c".to_owned()]));
    assert_eq!(store.cancel(harness.call(), &queue, &"ada".into(), &[id("c").into()]).await.unwrap(), [Moved::Asked]);
    let reclaim = Reclaim { limit: 10, lease: LEASE, crashes_max: 3, losses_max: 20 };
    store.reclaim(harness.call(), &queue, &reclaim).await.unwrap();
    let _: () = raw.hdel(harness.key("stats"), "grace_until").unwrap();
    assert_eq!(store.reclaim(harness.call(), &queue, &reclaim).await.unwrap().jobs.len(), 1);
    let cancelled = Moved::Moved { from: JobState::Pending, to: Some(JobState::Cancelled) };
    assert_eq!(store.cancel(harness.call(), &queue, &"ada".into(), &[id("d").into()]).await.unwrap(), [cancelled]);
    let removed = Moved::Moved { from: JobState::Pending, to: None };
    assert_eq!(store.discard(harness.call(), &queue, &"ada".into(), &[id("e").into()]).await.unwrap(), [removed]);
    let later = [new("f", RunAt::After(LEASE))];
    store.enqueue(harness.call(), &queue, &later).await.unwrap();
    store.pause(harness.call(), &queue, &"ada".into()).await.unwrap();
    store.resume(harness.call(), &queue).await.unwrap();
    assert_eq!(store.repair(&queue).await.unwrap(), []);
}

#[tokio::test]
async fn a_registered_wait_longer_than_allowed_is_ignored() {
    let mut harness = Harness::new().await;
    let (store, queue, mut raw) = (harness.store.clone(), harness.queue.clone(), harness.server.connection());
    let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
    for garbage in ["99999999999999", "inf", "nan"] {
        harness.enqueue(&["unwatched", "watched"]).await;
        let _: () = raw.hset(harness.key("stats"), "awaited_until", garbage).unwrap();
        store.discard(harness.call(), &queue, &"ada".into(), &[id("unwatched").into()]).await.unwrap();
        store.watch_outcome(&queue, &id("watched"), LEASE).await.unwrap();
        store.discard(harness.call(), &queue, &"ada".into(), &[id("watched").into()]).await.unwrap();
        let hint = tokio::time::timeout(Duration::from_secs(10), hints.next()).await;
        let ended = Hint::Ended { queue: queue.clone(), id: id("watched"), state: None };
        assert_eq!(
            hint.ok().flatten(),
            Some(ended),
            "with {garbage}, the first hint must be about the job that a client waits for"
        );
    }
}

/// Goal: the key with the outcomes kept for waiters does not grow for ever, and blocks nothing when it is damaged. Method: waits end, and the key is made a string.
#[tokio::test]
async fn outcomes_kept_for_waiters_expire_and_damage_to_their_key_blocks_nothing() {
    let mut harness = Harness::new().await;
    let (store, queue, mut raw) = (harness.store.clone(), harness.queue.clone(), harness.server.connection());
    let key = harness.key("awaited");
    harness.enqueue(&["a", "b", "c"]).await;
    store.watch_outcome(&queue, &id("a"), Duration::from_millis(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.watch_outcome(&queue, &id("b"), LEASE).await.unwrap();
    let members: Vec<String> = raw.zrange(&key, 0, -1).unwrap();
    assert_eq!(members, ["wb"], "a later wait does not remove those that are over");
    assert!((1..=60_000).contains(&raw.pttl::<_, i64>(&key).unwrap()));
    let claims = harness.claim(3).await;
    let end = |n| settlement(&claims, n, Verdict::Complete { keep: false });
    let done = Settled::Done { state: JobState::Completed };
    assert_eq!(harness.settle(&[end(0), end(1)]).await, [done, done]);
    assert_eq!(raw.zrange::<_, Vec<String>>(&key, 0, -1).unwrap(), ["cb"]);
    assert!(
        (1..=60_000).contains(&raw.pttl::<_, i64>(&key).unwrap()),
        "the settlement must not make the key permanent"
    );

    let _: () = raw.del(&key).unwrap();
    let _: () = raw.set(&key, "not what it was").unwrap();
    let seen = store.watch_outcome(&queue, &id("c"), LEASE).await.unwrap().map(|view| view.state);
    assert_eq!(seen, Some(JobState::Processing));
    assert_eq!(harness.settle(&[end(2)]).await, [done]);
    assert_eq!(store.watch_outcome(&queue, &id("c"), LEASE).await.unwrap(), None);
}

/// Goal: waits that are over are deleted in bounded steps. Method: many of them are written by hand, then waits are registered one by one.
#[tokio::test]
async fn one_call_deletes_only_so_many_waits_that_are_over_and_all_are_deleted_in_the_end() {
    let mut harness = Harness::new().await;
    let (store, queue, mut raw) = (harness.store.clone(), harness.queue.clone(), harness.server.connection());
    let key = harness.key("awaited");
    let over: Vec<(u64, String)> = (0..450).map(|n| (n, format!("w{n}"))).collect();
    let _: () = raw.zadd_multiple(&key, &over).unwrap();
    harness.enqueue(&["a", "b", "c"]).await;
    let mut left = Vec::new();
    for job in ["a", "b", "c"] {
        store.watch_outcome(&queue, &id(job), LEASE).await.unwrap();
        left.push(raw.zcard::<_, usize>(&key).unwrap());
    }
    assert_eq!(left, [251, 52, 3]);
}

/// Goal: most calls of `watch_outcome` only read. Method: the registered end of the wait is compared after a second call, and after one for which less than half of the wait
/// is left.
#[tokio::test]
async fn a_wait_is_registered_again_only_when_half_of_it_is_over() {
    let mut harness = Harness::new().await;
    let (store, queue, mut raw) = (harness.store.clone(), harness.queue.clone(), harness.server.connection());
    harness.enqueue(&["a"]).await;
    let mut registered = async |wait| {
        store.watch_outcome(&queue, &id("a"), wait).await.unwrap();
        let until: u64 = raw.hget("retraced:{q}:stats", "awaited_until").unwrap();
        (until, raw.zscore::<_, _, u64>("retraced:{q}:awaited", "wa").unwrap())
    };
    let first = registered(LEASE).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(registered(LEASE).await, first);
    let later = registered(2 * LEASE).await;
    assert!(later.0 > first.0 && later.1 > first.1, "{first:?}, then {later:?}");
}

/// Goal: a listing does not read the outputs of handlers. Method: first and later attempts have large outputs, and the bytes that the server sends are counted.
#[tokio::test]
async fn a_listing_of_completed_jobs_does_not_read_their_outputs() {
    const OUTPUT: usize = 60_000;
    let mut harness = Harness::new().await;
    harness.enqueue(&["a", "b", "c", "d"]).await;
    let claims = harness.claim(2).await;
    let released = [0, 1].map(|n| settlement(&claims, n, Verdict::Retry { delay: Duration::ZERO }));
    harness.settle(&released).await;
    let claims = harness.claim(4).await;
    let complete =
        |n| Settlement { record: vec![0; OUTPUT].into(), ..settlement(&claims, n, Verdict::Complete { keep: true }) };
    harness.settle(&[0, 1, 2, 3].map(complete)).await;
    let mut raw = harness.server.connection();
    let mut sent = || -> usize {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut raw).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap();
        line.parse().unwrap()
    };
    let before = sent();
    let page = harness.store.jobs(&harness.queue, JobState::Completed, None, 10).await.unwrap();
    let sent = sent() - before;
    assert_eq!(page.jobs.len(), 4);
    assert!(sent < OUTPUT, "{sent} bytes were sent for four jobs");
}

/// Goal: replay slots of dead processes do not accumulate, and those of live processes are kept. Method: the test writes replay slots with old times.
#[tokio::test]
async fn replay_slots_of_dead_processes_are_dropped_by_later_ones() {
    const HOUR_MS: u64 = 3_600_000;
    let mut harness = Harness::new().await;
    let mut raw = harness.server.connection();
    let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut raw).unwrap();
    let silent_for = |hours: u64| {
        let at = (seconds * 1000 - hours * HOUR_MS).to_be_bytes();
        [&[0; 6][..], b"e", &[0; 8], &at[2..], b"\x90"].concat()
    };
    let _: () = raw.hset(harness.key("replay"), vec![1; 18], silent_for(25)).unwrap();
    let _: () = raw.hset(harness.key("replay"), vec![2; 18], silent_for(23)).unwrap();
    harness.enqueue(&["a"]).await;
    let replay_slots: BTreeMap<Vec<u8>, Vec<u8>> = raw.hgetall(harness.key("replay")).unwrap();
    // The first call on a new replay slot checks two others at random, so one of them soon checks the old slot.
    for n in 0..200 {
        let gone = !raw.hexists::<_, _, bool>(harness.key("replay"), vec![1; 18]).unwrap();
        if gone {
            break;
        }
        assert!(n < 199, "old replay slots are not removed: {replay_slots:?}");
        harness.replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
        harness.enqueue(&[&format!("b-{n}")]).await;
    }
    assert!(raw.hexists::<_, _, bool>(harness.key("replay"), vec![2; 18]).unwrap(), "a reply is kept for a day");

    // When there are very many replay slots, they are kept for a shorter time, and one trim removes many of them.
    let mut many_slots = redis::pipe();
    for n in 0..5_000_u32 {
        many_slots.hset(harness.key("replay"), [&[3; 14][..], &n.to_be_bytes()].concat(), silent_for(2)).ignore();
    }
    let _: () = many_slots.query(&mut raw).unwrap();
    let before: usize = raw.hlen(harness.key("replay")).unwrap();
    let call = harness.call();
    harness.store.trim(call, &harness.queue, &keep_nothing()).await.unwrap();
    let after: usize = raw.hlen(harness.key("replay")).unwrap();
    assert!(before - after >= 40, "{before} replay slots before the trim, {after} after it");
    harness.enqueue(&["last"]).await;
}

#[tokio::test]
async fn garbage_in_the_global_keys_hides_no_queue_or_worker() {
    let harness = Harness::new().await;
    let mut raw = harness.server.connection();
    let _: () = raw.sadd("retraced:queues", "not a {queue}").unwrap();
    let _: () = raw.hset("retraced:workers", "x", "short").unwrap();
    let _: () = raw.hset("retraced:workers", "y", "long enough but not a row").unwrap();
    let _: String = redis::cmd("XADD").arg("retraced:ledger").arg("*").arg("e").arg("junk").query(&mut raw).unwrap();
    harness.store.announce(std::slice::from_ref(&harness.queue)).await.unwrap();
    assert_eq!(harness.store.queues().await.unwrap(), std::slice::from_ref(&harness.queue));
    assert_eq!(harness.store.workers().await.unwrap(), []);
    assert_eq!(harness.store.events(None, 10).await.unwrap().events, []);
    let _: () = raw.del("retraced:ledger").unwrap();
    let _: () = raw.set("retraced:ledger", "a string").unwrap();
    let error = harness.store.events(None, 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_never_shown() {
    const SECRET: &str = "c4nary-5ecret";
    let server = RedisServer::start_with(&["--requirepass", "right"]);
    for url in [server.url_with_password(SECRET), server.url(), format!("{}?db=5", server.url())] {
        let error = RedisStore::connect(&url).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("check user and password"), "{error}");
        let store = RedisStore::open(&url, RedisOptions::default()).unwrap();
        for text in [error.to_string(), format!("{error:?}"), format!("{store:?}")] {
            assert!(!text.contains(SECRET), "{text}");
        }
    }
    RedisStore::connect(&server.url_with_password("right")).await.unwrap();
    for url in ["redis://:c4nary-5ecret@[::bad", "https://u:c4nary-5ecret@host", "redis://:c4nary-5ecret@127.0.0.1:1"] {
        let error = RedisStore::connect(url).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}

/// Goal: a long script on the server is a block that ends, whatever database is selected; and a login that was accepted meanwhile counts as accepted. Method: a script loops;
/// then it is ended, and the password is changed: a store that was accepted before waits for the new one.
#[tokio::test]
async fn a_server_that_runs_a_long_script_is_busy_not_damaged_and_has_accepted_the_login() {
    let server = RedisServer::start_with(&["--requirepass", "right", "--lua-time-limit", "50"]);
    let url = server.url_with_password("right");
    let connection = || redis::Client::open(url.clone()).unwrap().get_connection().unwrap();
    let (mut looping, mut watching) = (connection(), connection());
    let script = std::thread::spawn(move || {
        let _ = redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut looping);
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while redis::cmd("PING").query::<()>(&mut watching).is_ok() {
        assert!(Instant::now() < deadline, "the server is not busy");
    }
    let stores = [url.clone(), format!("{url}{}db=5", if url.contains('?') { '&' } else { '?' })]
        .map(|url| RedisStore::open(&url, RedisOptions::default()).unwrap());
    for store in &stores {
        let busy = store.probe().await.unwrap_err();
        assert!(matches!(busy, StoreError::Blocked { by: Block::Script, .. }), "{busy:?}");
    }
    let _: () = redis::cmd("SCRIPT").arg("KILL").query(&mut watching).unwrap();
    script.join().unwrap();
    let _: () = redis::cmd("CONFIG").arg(&["SET", "requirepass", "other"]).query(&mut watching).unwrap();
    let _: () = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).query(&mut watching).unwrap();
    for store in &stores {
        // The first call may find the connection closed.
        let _ = store.probe().await.unwrap_err();
        let rotated = store.probe().await.unwrap_err();
        assert!(matches!(rotated, StoreError::Blocked { by: Block::Login, .. }), "{rotated:?}");
    }
}

#[tokio::test]
async fn a_server_that_may_evict_jobs_is_refused_unless_that_is_allowed() {
    let server = RedisServer::start_with(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let refused = RedisStore::connect(&server.url()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("allkeys-lru") && refused.to_string().contains("noeviction"), "{refused}");
    let options = RedisOptions::default().allow_eviction();
    let facts = RedisStore::open(&server.url(), options).unwrap().probe().await.unwrap();
    assert!(facts.warnings.iter().any(|warning| warning.contains("allkeys-lru")), "{facts:?}");
}

#[tokio::test]
async fn a_node_of_a_cluster_is_never_mistaken_for_a_server_that_is_down() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let refused = RedisStore::connect(&server.url()).await.unwrap_err().to_string();
    assert!(refused.contains("it is a node of a Redis Cluster, which is not supported yet"), "{refused}");
}

/// No key that holds jobs expires, so such a policy evicts none.
#[tokio::test]
async fn a_server_that_evicts_only_keys_that_expire_is_not_refused() {
    for policy in ["volatile-lru", "volatile-ttl"] {
        let server = RedisServer::start_with(&["--maxmemory", "50mb", "--maxmemory-policy", policy]);
        RedisStore::connect(&server.url()).await.unwrap();
        let facts = RedisStore::open(&server.url(), RedisOptions::default()).unwrap().probe().await.unwrap();
        assert!(!facts.warnings.iter().any(|warning| warning.contains(policy)), "{facts:?}");
    }
}

#[tokio::test]
async fn a_server_that_persists_nothing_causes_a_warning() {
    let server = RedisServer::start();
    let facts = RedisStore::open(&server.url(), RedisOptions::default()).unwrap().probe().await.unwrap();
    assert!(facts.name.starts_with("redis ") || facts.name.starts_with("valkey "), "{facts:?}");
    assert!(facts.warnings[0].contains("nothing is persisted"), "{facts:?}");
    let server = RedisServer::start_with(&["--appendonly", "yes"]);
    let facts = RedisStore::open(&server.url(), RedisOptions::default()).unwrap().probe().await.unwrap();
    assert_eq!(facts.warnings, [""; 0]);
}

#[tokio::test]
async fn a_server_out_of_memory_refuses_new_jobs_but_settles_running_ones() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["a", "b"]).await;
    let claims = harness.claim(2).await;
    let _: () =
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").query(&mut harness.server.connection()).unwrap();
    let before = harness.contents();
    let call = harness.call();
    let full = harness.store.enqueue(call, &harness.queue, &[new("c", RunAt::Now)]).await.unwrap_err();
    assert!(full.is_retryable(), "{full:?}");
    let seen = harness.store.watch_outcome(&harness.queue, &id("a"), LEASE).await.unwrap();
    assert_eq!(seen.map(|view| view.state), Some(JobState::Processing), "a waiter still gets a reply");
    assert!(before == harness.contents());
    let ended = [
        settlement(&claims, 0, Verdict::Complete { keep: true }),
        settlement(&claims, 1, Verdict::Retry { delay: Duration::ZERO }),
    ];
    let settled = harness.settle(&ended).await;
    let done = |state| Settled::Done { state };
    assert_eq!(settled, [done(JobState::Completed), done(JobState::Pending)]);
    assert_eq!(ids(&harness.claim(1).await), ["b"]);
}

#[tokio::test]
async fn an_unreachable_server_is_reported_and_used_again_once_it_is_back() {
    let mut server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    server.stop();
    for _ in 0..2 {
        let error = store.probe().await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        let StoreError::Unavailable { cause, .. } = &error else { panic!("{error:?}") };
        assert!(error.to_string().ends_with(&format!(": {cause}")), "{error}");
    }
    server.restart();
    store.probe().await.unwrap();
}

/// Goal: a call to a server that accepts but does not answer ends with its timeout, and takes effect once. Method: the server is frozen, a call times out, and the server
/// is thawed. The server then executes the first copy of the call, and the second copy must get the reply of the first.
#[tokio::test]
async fn a_frozen_server_costs_a_timeout_and_no_job() {
    let server = RedisServer::start();
    let options = RedisOptions::default().call_timeout(Duration::from_millis(200));
    let store = RedisStore::open(&server.url(), options).unwrap();
    let (queue, job) = (QueueName::new("q").unwrap(), [new("a", RunAt::Now)]);
    let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    store.stats(&queue).await.unwrap(); // the connection is open
    let call = replay_slot.next_call();
    server.freeze();
    let started = Instant::now();
    let error = store.enqueue(call, &queue, &job).await.unwrap_err();
    server.thaw();
    assert!(error.is_retryable() && started.elapsed() < Duration::from_secs(5), "{error:?}");
    let created = store.enqueue(call, &queue, &job).await.unwrap();
    assert_eq!(created, [Enqueued::Created { state: JobState::Pending }]);
    assert_eq!(store.stats(&queue).await.unwrap().enqueued_total, 1);
}

#[tokio::test]
async fn a_cut_connection_is_replaced() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["a"]).await;
    let _: () =
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").query(&mut harness.server.connection()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let (call, request) = (harness.call(), request(1, LEASE));
    let claims = loop {
        match harness.store.claim(call, &harness.queue, &request).await {
            Ok(claims) => break claims,
            Err(error) => assert!(error.is_retryable() && Instant::now() < deadline, "{error:?}"),
        }
    };
    assert_eq!(ids(&claims), ["a"]);
}

#[tokio::test]
async fn stale_entries_of_cancelled_jobs_are_skipped() {
    let mut harness = Harness::new().await;
    let names: Vec<String> = (0..BATCH_MAX).map(|n| format!("job-{n}")).collect();
    harness.enqueue(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let cancelled: Vec<_> = names[..BATCH_MAX - 1].iter().map(|name| id(name).into()).collect();
    let call = harness.call();
    let moved = harness.store.cancel(call, &harness.queue, &"ada".into(), &cancelled).await.unwrap();
    assert!(moved.iter().all(|one| matches!(one, Moved::Moved { to: Some(JobState::Cancelled), .. })));
    assert_eq!(harness.store.stats(&harness.queue).await.unwrap().pending, 1);
    assert_eq!(harness.store.check_counts(&harness.queue).await.unwrap().difference(), 0);
    assert_eq!(ids(&harness.claim(2).await), [names[BATCH_MAX - 1].as_str()]);
    assert_eq!(harness.store.check_counts(&harness.queue).await.unwrap().difference(), 0);
    // A redrive adds a new entry; the old entry stays stale.
    let call = harness.call();
    harness.store.redrive(call, &harness.queue, &"ada".into(), &[id("job-7").into()]).await.unwrap();
    assert_eq!(ids(&harness.claim(2).await), ["job-7"]);
    assert_eq!(harness.store.check_counts(&harness.queue).await.unwrap().difference(), 0);
}

#[tokio::test]
async fn a_claim_of_large_jobs_stops_at_its_bytes_and_keeps_the_order() {
    let mut harness = Harness::new().await;
    let sizes = [10usize, 400_000, 400_000, 400_000, 10, 2_000_000, 10];
    let jobs: Vec<NewJob> = sizes
        .iter()
        .enumerate()
        .map(|(n, size)| NewJob { envelope: Bytes::from(vec![0; *size]), ..new(&format!("job-{n}"), RunAt::Now) })
        .collect();
    let call = harness.call();
    harness.store.enqueue(call, &harness.queue, &jobs).await.unwrap();
    let mut batches = Vec::new();
    loop {
        let claims = harness.claim(5).await;
        if claims.jobs.is_empty() {
            break;
        }
        batches.push(ids(&claims));
    }
    let expected = [vec!["job-0", "job-1", "job-2"], vec!["job-3", "job-4"], vec!["job-5"], vec!["job-6"]];
    assert_eq!(batches, expected);
}

/// Goal: a worker that was granted fewer jobs than it asked for gets a hint for the next job, even if its own call released a job and so sent a hint before.
#[tokio::test]
async fn a_worker_that_was_granted_too_few_jobs_is_woken_by_the_next_one() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["a"]).await;
    let claims = harness.claim(1).await;
    assert_eq!(harness.claim(1).await.jobs, []); // the worker is idle now
    let mut hints = harness.store.hints(std::slice::from_ref(&harness.queue)).await.unwrap();
    let call = harness.call();
    let released = [settlement(&claims, 0, Verdict::ReleaseNow)];
    let (_, claims) =
        harness.store.settle_and_claim(call, &harness.queue, &released, &request(2, LEASE)).await.unwrap();
    assert_eq!(ids(&claims), ["a"]);
    for occasion in ["the release", "the new job"] {
        let hint = tokio::time::timeout(Duration::from_secs(10), hints.next()).await;
        assert_eq!(hint.ok().flatten(), Some(Hint::Pending(harness.queue.clone())), "{occasion} sent no hint");
        if occasion == "the release" {
            harness.enqueue(&["b"]).await;
        }
    }
}

/// The runtime on which the store was connected may block its threads later, or end. The connection for transitions runs on the runtime that calls them.
#[test]
fn transitions_do_not_need_the_runtime_the_store_was_connected_on() {
    let server = RedisServer::start();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    // From here on the first runtime is not driven.
    let store = first.block_on(RedisStore::connect(&server.url())).unwrap();
    second.block_on(async {
        let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
        let queue = QueueName::new("q").unwrap();
        store.claim(replay_slot.next_call(), &queue, &request(1, LEASE)).await.unwrap();
        store.settle(replay_slot.next_call(), &queue, &[]).await.unwrap();
        store.promote(replay_slot.next_call(), &queue, 1).await.unwrap();
    });
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn a_tls_url_is_refused_with_the_feature_it_needs() {
    let refused = RedisStore::connect("rediss://:c4nary-5ecret@127.0.0.1:1").await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("feature `tls`"), "{refused}");
    assert!(!refused.to_string().contains("c4nary"), "{refused}");
}
