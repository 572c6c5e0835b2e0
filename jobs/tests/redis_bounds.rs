//! How much one script of the Redis store reads: claims, listings and audits of queues with large or many stale entries.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
use retraced_jobs::store::redis::RedisStore;
use retraced_jobs::store::{
    Admin, BATCH_MAX, ClaimRequest, Claims, ReplaySlot, ReplaySlots, Retention, RetentionRule, Target, Transitions,
    TrimPolicy,
};
use support::redis_server::RedisServer;

const MIB: usize = 1024 * 1024;

struct Harness {
    _server: RedisServer,
    store: RedisStore,
    replay_slot: ReplaySlot,
    queue: QueueName,
}

impl Harness {
    async fn new() -> Self {
        let server = RedisServer::start();
        let store = RedisStore::connect(&server.url()).await.unwrap();
        let replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
        Self { _server: server, store, replay_slot, queue: QueueName::new("q").unwrap() }
    }

    async fn enqueue(&mut self, names: &[String], bytes: usize) {
        let envelope = Bytes::from(vec![7; bytes]);
        let job = |name: &String| NewJob { id: id(name), run_at: RunAt::Now, envelope: envelope.clone() };
        let per_call = (4 * MIB / bytes).clamp(1, BATCH_MAX);
        for names in names.chunks(per_call) {
            let jobs: Vec<_> = names.iter().map(job).collect();
            self.store.enqueue(self.replay_slot.next_call(), &self.queue, &jobs).await.unwrap();
        }
    }

    async fn cancel(&mut self, names: &[String]) {
        for names in names.chunks(BATCH_MAX) {
            let targets: Vec<_> = names.iter().map(|name| id(name).into()).collect();
            self.store.cancel(self.replay_slot.next_call(), &self.queue, &"ada".into(), &targets).await.unwrap();
        }
    }

    async fn claim(&mut self) -> Claims {
        self.claim_up_to(10, 4 * MIB).await
    }

    async fn claim_up_to(&mut self, limit: usize, bytes_max: usize) -> Claims {
        let lease = Duration::from_secs(30);
        let request = ClaimRequest { limit, bytes_max, lease, nonce: [7; 8], numbered: false };
        self.store.claim(self.replay_slot.next_call(), &self.queue, &request).await.unwrap()
    }

    /// Claims until a job is granted; returns it, and how many claims were cut short before.
    async fn first_job(&mut self) -> (JobId, usize) {
        for cut_short in 0..100 {
            let claims = self.claim().await;
            if let Some(job) = claims.jobs.first() {
                return (job.id.clone(), cut_short);
            }
            assert!(claims.more && claims.queue_empty.is_none(), "a live job is behind the stale entries: {claims:?}");
        }
        panic!("a hundred claims found nothing");
    }
}

fn id(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

/// Goal: a claim that ends among stale entries does not pass for one of an empty queue.
#[tokio::test]
async fn a_claim_cut_short_by_stale_entries_says_that_there_is_more() {
    let mut harness = Harness::new().await;
    let cancelled = names("cancelled", 3_000);
    harness.enqueue(&cancelled, 10).await;
    harness.cancel(&cancelled).await;
    harness.enqueue(&names("live", 1), 10).await;
    let (job, cut_short) = harness.first_job().await;
    assert_eq!((job, cut_short), (id("live-0"), 2));
    assert!(!harness.claim().await.more, "the queue is empty now");
}

/// Goal: a claim reads a bounded number of bytes, whatever stands in front. Method: a small job and then cancelled ones of 1 MiB stand before a live one.
#[tokio::test]
async fn a_claim_reads_no_more_than_its_bound_of_bodies_that_it_cannot_grant() {
    let mut harness = Harness::new().await;
    let cancelled = names("cancelled", 40);
    harness.enqueue(&names("small", 1), 10).await;
    harness.enqueue(&cancelled, MIB).await;
    harness.enqueue(&names("live", 1), 10).await;
    harness.cancel(&[vec!["small-0".to_owned()], cancelled].concat()).await;
    let (job, cut_short) = harness.first_job().await;
    assert_eq!(job, id("live-0"));
    assert!((10..=13).contains(&cut_short), "40 MiB, at most 4 MiB per claim: {cut_short}");
}

/// Goal: the bodies of the stale entries that a claim read first count towards its bound. Method: two stale entries of 1 MiB stand before live jobs of that size, and two
/// live ones fit into the reply, but not into the bound of 4 MiB with the stale ones.
#[tokio::test]
async fn bodies_of_stale_entries_count_towards_the_bound_of_the_same_claim() {
    let mut harness = Harness::new().await;
    let cancelled = names("cancelled", 2);
    harness.enqueue(&cancelled, MIB).await;
    harness.cancel(&cancelled).await;
    harness.enqueue(&names("live", 12), MIB).await;
    let claims = harness.claim_up_to(10, 2 * MIB + 500).await;
    assert_eq!((claims.jobs.len(), claims.more), (1, true));
}

/// Goal: the bound holds for a queue whose counters were lost, with them the size of its largest job.
#[tokio::test]
async fn a_queue_that_lost_its_counters_still_bounds_what_a_claim_reads() {
    let mut harness = Harness::new().await;
    let cancelled = names("cancelled", 40);
    harness.enqueue(&cancelled, MIB).await;
    harness.cancel(&cancelled).await;
    let mut raw = harness._server.connection();
    let _: () = redis::cmd("DEL").arg("retraced:{q}:stats").query(&mut raw).unwrap();
    harness.enqueue(&names("live", 1), 10).await;
    let (job, cut_short) = harness.first_job().await;
    assert_eq!(job, id("live-0"));
    assert!((10..=13).contains(&cut_short), "40 MiB, at most 4 MiB per claim: {cut_short}");
}

/// Goal: a page of pending jobs reads a bounded number of bytes, and the pages together show every job once.
#[tokio::test]
async fn pages_of_pending_jobs_end_early_among_large_stale_entries_and_miss_none() {
    let mut harness = Harness::new().await;
    let cancelled = names("cancelled", 40);
    harness.enqueue(&names("first", 1), 10).await;
    harness.enqueue(&cancelled, MIB).await;
    harness.enqueue(&names("last", 1), 10).await;
    harness.cancel(&cancelled).await;
    let (mut from, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = harness.store.jobs(&harness.queue, JobState::Pending, from, BATCH_MAX).await.unwrap();
        found.extend(page.jobs.into_iter().map(|job| job.id));
        pages += 1;
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!(found, [id("first-0"), id("last-0")]);
    assert!((11..=14).contains(&pages), "40 MiB, at most 4 MiB per page: {pages}");
}

/// Goal: an audit of a queue with large jobs, live and cancelled, still sees each of them.
#[tokio::test]
async fn an_audit_of_large_jobs_finds_nothing_wrong() {
    let mut harness = Harness::new().await;
    let (cancelled, live) = (names("cancelled", 20), names("live", 20));
    harness.enqueue(&cancelled, MIB).await;
    harness.enqueue(&live, MIB).await;
    harness.cancel(&cancelled).await;
    assert_eq!(harness.store.scan(&harness.queue).await.unwrap(), []);
}

/// Goal: one large job does not slow down the small ones behind it. Method: a body larger than a script may read stands in front of fifty small ones.
#[tokio::test]
async fn a_body_larger_than_the_bound_is_claimed_alone_and_the_small_ones_together() {
    let mut harness = Harness::new().await;
    harness.enqueue(&names("large", 1), 9 * MIB).await;
    harness.enqueue(&names("small", 50), 10).await;
    let large = harness.claim_up_to(60, usize::MAX).await;
    assert_eq!((large.jobs.len(), large.more), (1, true), "the large one alone");
    let small = harness.claim_up_to(60, usize::MAX).await;
    assert_eq!((small.jobs.len(), small.more), (50, false));
}

/// Goal: a queue that lost its counters reads no more than the bound, whatever the size of its bodies.
#[tokio::test]
async fn large_bodies_of_a_queue_that_lost_its_counters_are_claimed_a_few_at_a_time_in_their_order() {
    let mut harness = Harness::new().await;
    harness.enqueue(&names("large", 10), 3 * MIB).await;
    let mut raw = harness._server.connection();
    let _: () = redis::cmd("DEL").arg("retraced:{q}:stats").query(&mut raw).unwrap();
    harness.enqueue(&names("small", 1), 10).await;
    let (mut found, mut claims) = (Vec::new(), 0);
    while found.len() < 11 {
        let claimed = harness.claim_up_to(20, usize::MAX).await;
        assert!((1..=3).contains(&claimed.jobs.len()), "{} jobs of 3 MiB at once", claimed.jobs.len());
        found.extend(claimed.jobs.into_iter().map(|job| job.id.to_string()));
        claims += 1;
        assert!(claims < 20);
    }
    let expected: Vec<String> = names("large", 10).into_iter().chain(names("small", 1)).collect();
    assert_eq!(found, expected);
}

/// Goal: a queue that is empty forgets that it once held a large job.
#[tokio::test]
async fn an_empty_queue_forgets_its_largest_job() {
    let mut harness = Harness::new().await;
    let largest = |harness: &Harness| -> usize {
        let mut raw = harness._server.connection();
        redis::cmd("HGET").arg("retraced:{q}:stats").arg("largest").query(&mut raw).unwrap()
    };
    let names = names("large", 1);
    harness.enqueue(&names, 9 * MIB).await;
    assert!(largest(&harness) > 9 * MIB);
    let target = [id(&names[0]).into()];
    harness.store.discard(harness.replay_slot.next_call(), &harness.queue, &"ada".into(), &target).await.unwrap();
    harness.enqueue(&self::names("small", 1), 10).await;
    assert!(largest(&harness) < 100, "{}", largest(&harness));
}

/// Goal: a trim does not hold up the server for as long as it takes to free 200 large bodies. Method: 100 cancelled jobs of 1 MiB are not kept.
#[tokio::test]
async fn a_trim_frees_no_more_than_its_bound_of_bodies() {
    let mut harness = Harness::new().await;
    let cancelled = names("large", 100);
    harness.enqueue(&cancelled, MIB).await;
    harness.cancel(&cancelled).await;
    let retention = Retention::default().cancelled(RetentionRule::new(Duration::MAX, 0));
    let policy = TrimPolicy { retention, limit: BATCH_MAX };
    let mut trims = Vec::new();
    for _ in 0..2 {
        let trimmed = harness.store.trim(harness.replay_slot.next_call(), &harness.queue, &policy).await.unwrap();
        trims.push((trimmed.removed, trimmed.more));
    }
    assert!(matches!(trims[..], [(64..=66, true), (34..=36, false)]), "64 MiB a call: {trims:?}");
    assert_eq!(harness.store.check_counts(&harness.queue).await.unwrap().difference(), 0);
}

/// Goal: the same for a discard, which says what it has left alone by the number of its results. Method: 100 jobs of 1 MiB are discarded with small ones in front and behind.
#[tokio::test]
async fn a_discard_frees_no_more_than_its_bound_of_bodies_and_answers_for_what_it_did() {
    let mut harness = Harness::new().await;
    let all = [names("front", 3), names("large", 100), names("back", 3)].concat();
    harness.enqueue(&all[..3], 10).await;
    harness.enqueue(&all[3..103], MIB).await;
    harness.enqueue(&all[103..], 10).await;
    let targets: Vec<Target> = all.iter().map(|name| id(name).into()).collect();
    let call = harness.replay_slot.next_call();
    let moved = harness.store.discard(call, &harness.queue, &"ada".into(), &targets).await.unwrap();
    assert!((67..=69).contains(&moved.len()), "64 MiB a call: {}", moved.len());
    let again = harness.store.discard(call, &harness.queue, &"ada".into(), &targets).await.unwrap();
    assert_eq!(again, moved, "sent again, it does nothing more");
    assert_eq!(harness.store.stats(&harness.queue).await.unwrap().pending, (all.len() - moved.len()) as u64);
    let (call, left) = (harness.replay_slot.next_call(), &targets[moved.len()..]);
    let rest = harness.store.discard(call, &harness.queue, &"ada".into(), left).await.unwrap();
    assert_eq!(rest.len() + moved.len(), all.len());
    assert_eq!(harness.store.check_counts(&harness.queue).await.unwrap().difference(), 0);
}
