//! What an audit finds after the keys of a queue were edited by hand, and how it repairs them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::{Commands, Connection};
use retraced_jobs::events::Finding;
use retraced_jobs::events::FindingKind::{self, *};
use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
use retraced_jobs::limits::KEPT_BYTES_MIN;
use retraced_jobs::store::redis::RedisStore;
use retraced_jobs::store::{
    Admin, BATCH_MAX, ClaimRequest, Claims, HEADER_BYTES, Reclaim, ReplaySlot, ReplaySlots, Retention, RetentionRule,
    Settled, Settlement, Transitions, TrimPolicy, Verdict,
};
use support::redis_server::RedisServer;

const LEASE: Duration = Duration::from_secs(30);

struct Harness {
    server: RedisServer,
    store: RedisStore,
    replay_slot: ReplaySlot,
    queue: QueueName,
}

impl Harness {
    async fn new() -> Self {
        let server = RedisServer::start();
        let store = RedisStore::connect(&server.url()).await.unwrap();
        let replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
        Self { server, store, replay_slot, queue: QueueName::new("q").unwrap() }
    }

    async fn enqueue(&mut self, names: &[String], run_at: RunAt) {
        for names in names.chunks(BATCH_MAX) {
            let new = |name: &String| NewJob { id: id(name), run_at, envelope: Bytes::from(vec![b'x'; 100]) };
            let jobs: Vec<NewJob> = names.iter().map(new).collect();
            self.store.enqueue(self.replay_slot.next_call(), &self.queue, &jobs).await.unwrap();
        }
    }

    async fn claim(&mut self, limit: usize) -> Claims {
        let request = ClaimRequest { limit, bytes_max: 1 << 20, lease: LEASE, nonce: rand::random() };
        self.store.claim(self.replay_slot.next_call(), &self.queue, &request).await.unwrap()
    }

    async fn settle(&mut self, claims: &Claims, verdict: Verdict) -> Vec<Settled> {
        let record = Bytes::from_static(b"record");
        let one = |job: &retraced_jobs::store::ClaimedJob| Settlement {
            id: job.id.clone(),
            token: job.token,
            verdict,
            record: record.clone(),
        };
        let settlements: Vec<_> = claims.jobs.iter().map(one).collect();
        self.store.settle(self.replay_slot.next_call(), &self.queue, &settlements).await.unwrap()
    }

    /// Fills the queue with three jobs in every state and five stale entries of cancelled and discarded jobs. Returns the grants of the jobs that run.
    async fn fill(&mut self) -> Claims {
        let _: () = redis::cmd("FLUSHALL").query(&mut self.server.connection()).unwrap();
        for (state, verdict) in [
            (JobState::Completed, Verdict::Complete { keep: true }),
            (JobState::Dead, Verdict::DeadLetter),
            (JobState::Poisoned, Verdict::Poison),
            (JobState::Delayed, Verdict::Retry { delay: LEASE }),
        ] {
            self.enqueue(&names(state), RunAt::Now).await;
            let claims = self.claim(3).await;
            self.settle(&claims, verdict).await;
        }
        self.enqueue(&names(JobState::Processing), RunAt::Now).await;
        let held = self.claim(3).await;
        self.enqueue(&["stale-0".to_owned(), "stale-1".to_owned()], RunAt::Now).await;
        self.enqueue(&names(JobState::Cancelled), RunAt::Now).await;
        self.enqueue(&names(JobState::Pending), RunAt::Now).await;
        let cancelled: Vec<_> = names(JobState::Cancelled).iter().map(|name| id(name).into()).collect();
        self.store.cancel(self.replay_slot.next_call(), &self.queue, &"ada".into(), &cancelled).await.unwrap();
        let discarded = ["stale-0", "stale-1"].map(|name| id(name).into());
        self.store.discard(self.replay_slot.next_call(), &self.queue, &"ada".into(), &discarded).await.unwrap();
        held
    }

    async fn states(&self) -> Vec<(String, Option<JobState>)> {
        let mut states = Vec::new();
        for name in JobState::ALL.into_iter().flat_map(names) {
            let view = self.store.job(&self.queue, &id(&name)).await.unwrap();
            states.push((name, view.map(|view| view.state)));
        }
        states
    }

    async fn scan(&self) -> Vec<(FindingKind, u64)> {
        counts(self.store.scan(&self.queue).await.unwrap())
    }

    async fn repair(&self) -> Vec<(FindingKind, u64)> {
        counts(self.store.repair(&self.queue).await.unwrap())
    }
}

fn counts(found: Vec<Finding>) -> Vec<(FindingKind, u64)> {
    assert!(found.iter().all(|finding| finding.examples.len() as u64 <= finding.count), "{found:?}");
    found.into_iter().map(|finding| (finding.kind, finding.count)).collect()
}

fn id(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

fn names(state: JobState) -> Vec<String> {
    (0..3).map(|n| format!("{state}-{n}")).collect()
}

fn key(name: &str) -> String {
    format!("retraced:{{q}}:{name}")
}

/// An edit of the keys, what a repair finds then, and which jobs are in another state after the repair: the state before, and the state after it.
struct Damage {
    name: &'static str,
    edit: fn(&mut Connection),
    found: &'static [(FindingKind, u64)],
    moved: &'static [(JobState, JobState)],
}

const DAMAGES: &[Damage] = &[
    Damage { name: "nothing", edit: |_| {}, found: &[], moved: &[] },
    Damage {
        name: "an entry of pending is gone",
        edit: |raw| {
            let entry: Vec<u8> = raw.lindex(key("pending"), -2).unwrap();
            let _: () = raw.lrem(key("pending"), 1, entry).unwrap();
        },
        found: &[(Orphaned, 1)],
        moved: &[],
    },
    Damage {
        name: "pending is gone",
        edit: |raw| drop_key(raw, "pending"),
        found: &[(Orphaned, 3), (StaleCount, 5)],
        moved: &[],
    },
    Damage { name: "completed is gone", edit: |raw| drop_key(raw, "completed"), found: &[(Orphaned, 3)], moved: &[] },
    Damage { name: "dead is gone", edit: |raw| drop_key(raw, "dead"), found: &[(Orphaned, 3)], moved: &[] },
    Damage { name: "poisoned is gone", edit: |raw| drop_key(raw, "poisoned"), found: &[(Orphaned, 3)], moved: &[] },
    Damage { name: "cancelled is gone", edit: |raw| drop_key(raw, "cancelled"), found: &[(Orphaned, 3)], moved: &[] },
    Damage {
        name: "delayed is gone, with the due times",
        edit: |raw| drop_key(raw, "delayed"),
        found: &[(Orphaned, 3)],
        moved: &[(JobState::Delayed, JobState::Pending)],
    },
    Damage {
        name: "the leases are gone",
        edit: |raw| drop_key(raw, "lease"),
        found: &[(GrantWithoutLease, 3)],
        moved: &[],
    },
    Damage {
        name: "the grants are gone",
        edit: |raw| drop_key(raw, "grant"),
        found: &[(LeaseWithoutGrant, 3)],
        moved: &[],
    },
    Damage {
        name: "leases and grants are gone",
        edit: |raw| {
            drop_key(raw, "lease");
            drop_key(raw, "grant");
        },
        found: &[(Orphaned, 3)],
        moved: &[(JobState::Processing, JobState::Pending)],
    },
    Damage { name: "the counters are gone", edit: |raw| drop_key(raw, "stats"), found: &[(StaleCount, 5)], moved: &[] },
    Damage {
        name: "stale entries are miscounted",
        edit: |raw| raw.hincr(key("stats"), "stale", 7).unwrap(),
        found: &[(StaleCount, 7)],
        moved: &[],
    },
    Damage {
        name: "the bytes of dead jobs are miscounted",
        edit: |raw| raw.hset(key("stats"), "excess_dead", 5_000).unwrap(),
        found: &[(KeptBytes, 5_000)],
        moved: &[],
    },
    Damage {
        name: "entries without a job",
        edit: |raw| {
            for name in ["lease", "delayed", "completed", "dead", "poisoned", "cancelled"] {
                let _: () = raw.zadd(key(name), "nobody", 1).unwrap();
            }
            for name in ["grant", "retry"] {
                let _: () = raw.hset(key(name), "nobody", "?").unwrap();
            }
            let _: () = raw.hset(key("history"), "nobody\x001", "?").unwrap();
        },
        found: &[(EntryWithoutJob, 9)],
        moved: &[],
    },
    Damage {
        name: "dead jobs are in other containers too",
        edit: |raw| {
            let _: () = raw.zadd(key("poisoned"), "dead-0", 1).unwrap();
            let _: () = raw.zadd(key("cancelled"), "dead-0", 1).unwrap();
            let _: () = raw.zadd(key("lease"), "dead-1", 1).unwrap();
            let _: () = raw.hset(key("grant"), "dead-2", vec![0_u8; 29]).unwrap();
        },
        found: &[(TwoContainers, 4)],
        moved: &[],
    },
    Damage {
        name: "pending jobs are dead too",
        edit: |raw| raw.zadd(key("dead"), "pending-1", 1).unwrap(),
        // The pending entry of this job is stale now, and was not counted as such.
        found: &[(TwoContainers, 1), (StaleCount, 1)],
        moved: &[],
    },
    Damage {
        name: "a record of a job in no container cannot be read",
        edit: |raw| {
            let _: () = raw.hset(key("job"), "dead-0", "short").unwrap();
            let _: () = raw.zrem(key("dead"), "dead-0").unwrap();
        },
        found: &[(Damaged, 1)],
        moved: &[],
    },
];

fn drop_key(raw: &mut Connection, name: &str) {
    let _: () = raw.del(key(name)).unwrap();
}

/// Goal: each kind of damage is named, counted and repaired, and a scan changes nothing. Method: every damage of the table on a queue with jobs in every state.
/// After the repair the counts add up, a second repair finds nothing, no job is gone, and each job is in its old state or in the one that the table names.
#[tokio::test]
async fn manual_edits_are_found_and_repaired_and_no_job_is_lost() {
    let mut harness = Harness::new().await;
    for damage in DAMAGES {
        let name = damage.name;
        let held = harness.fill().await;
        assert!(harness.store.check_counts(&harness.queue).await.unwrap().adds_up(), "{name}: before");
        let before = harness.states().await;
        (damage.edit)(&mut harness.server.connection());

        // A scan sees a wrong count of stale entries only if nothing else is wrong.
        let scanned = harness.scan().await;
        let others = damage.found.iter().filter(|(kind, _)| *kind != StaleCount || damage.found.len() == 1);
        assert_eq!(scanned, others.copied().collect::<Vec<_>>(), "{name}: found by a scan");
        assert_eq!(harness.scan().await, scanned, "{name}: the scan changed something");
        assert_eq!(harness.repair().await, damage.found, "{name}");
        assert_eq!(harness.repair().await, [], "{name}: a second repair finds something");
        let counts = harness.store.check_counts(&harness.queue).await.unwrap();
        assert_eq!(counts.difference(), 0, "{name}: {counts:?}");

        for ((job, was), (_, is)) in before.into_iter().zip(harness.states().await) {
            let was = was.unwrap();
            let expected = match name {
                "pending jobs are dead too" if job == "pending-1" => JobState::Dead,
                "a record of a job in no container cannot be read" if job == "dead-0" => JobState::Poisoned,
                _ => damage.moved.iter().find(|(from, _)| *from == was).map_or(was, |(_, to)| *to),
            };
            assert_eq!(is, Some(expected), "{name}: {job}");
        }
        let leases_lost =
            damage.moved.iter().any(|(from, _)| *from == JobState::Processing) || name == "the grants are gone";
        let settled = harness.settle(&held, Verdict::Complete { keep: false }).await;
        let expected = if leases_lost { Settled::Stale } else { Settled::Done { state: JobState::Completed } };
        assert_eq!(settled, [expected; 3], "{name}: settlements of the workers");
        let mut waiting = BTreeSet::new();
        loop {
            let claims = harness.claim(BATCH_MAX).await;
            if claims.jobs.is_empty() {
                break;
            }
            for job in claims.jobs {
                assert!(waiting.insert(job.id), "{name}: granted twice");
            }
        }
        let pending = harness.store.stats(&harness.queue).await.unwrap().pending;
        assert_eq!(pending, 0, "{name}: pending jobs that cannot be claimed");
        let at_least = if name == "pending jobs are dead too" { 2 } else { 3 };
        assert!(waiting.len() >= at_least, "{name}: {waiting:?}");
    }
}

/// Goal: bytes that were miscounted never make retention remove jobs, or keep too many, once a repair has run. Method: two states of large jobs, more than one page; one counter
/// is lost and one is too large.
#[tokio::test]
async fn bytes_of_ended_jobs_are_never_miscounted_after_a_repair() {
    const BODY: usize = 3_000;
    let mut harness = Harness::new().await;
    for (prefix, verdict) in [("dead", Verdict::DeadLetter), ("poisoned", Verdict::Poison)] {
        for part in 0..3 {
            let jobs: Vec<_> = (0..100)
                .map(|n| {
                    let envelope = vec![b'x'; BODY - HEADER_BYTES].into();
                    NewJob { id: id(&format!("{prefix}-{part}-{n}")), run_at: RunAt::Now, envelope }
                })
                .collect();
            harness.store.enqueue(harness.replay_slot.next_call(), &harness.queue, &jobs).await.unwrap();
            let claims = harness.claim(100).await;
            harness.settle(&claims, verdict).await;
        }
    }
    assert_eq!(harness.repair().await, [], "before");
    let mut raw = harness.server.connection();
    let _: () = raw.hdel(key("stats"), "excess_dead").unwrap();
    let _: () = raw.hincr(key("stats"), "excess_poisoned", 7_000).unwrap();
    let lost = 300 * (BODY as u64 - KEPT_BYTES_MIN);
    assert_eq!(harness.scan().await, [(KeptBytes, lost + 7_000)]);
    assert_eq!(harness.repair().await, [(KeptBytes, lost + 7_000)]);
    assert_eq!(harness.repair().await, []);
    let rule = |bytes| RetentionRule::by_age(LEASE).bytes_max(bytes);
    let all = 300 * BODY as u64;
    for (bytes_max, removed) in [(all, 0), (all - 1, 2)] {
        let retention = Retention::default().dead(rule(bytes_max)).poisoned(rule(bytes_max));
        let policy = TrimPolicy { retention, limit: 9 };
        let trimmed = harness.store.trim(harness.replay_slot.next_call(), &harness.queue, &policy).await.unwrap();
        assert_eq!(trimmed.removed, removed, "at most {bytes_max} bytes");
    }
}

/// Enqueues jobs with bodies of this size and settles them all.
async fn end_jobs(harness: &mut Harness, prefix: &str, count: usize, body: usize, verdict: Verdict) {
    let new = |n| NewJob {
        id: id(&format!("{prefix}-{n}")),
        run_at: RunAt::Now,
        envelope: vec![b'x'; body - HEADER_BYTES].into(),
    };
    let jobs: Vec<_> = (0..count).map(new).collect();
    for jobs in jobs.chunks(100) {
        harness.store.enqueue(harness.replay_slot.next_call(), &harness.queue, jobs).await.unwrap();
        let claims = harness.claim(100).await;
        harness.settle(&claims, verdict).await;
    }
}

/// Goal: when the counters of a queue are lost, so that retention would keep too many bytes, the check of the counts says so until a repair, whatever happens meanwhile, and never after it.
#[tokio::test]
async fn lost_counts_of_bytes_never_pass_for_sound() {
    const BODY: usize = 3_000;
    let mut harness = Harness::new().await;
    end_jobs(&mut harness, "dead", 5, BODY, Verdict::DeadLetter).await;
    end_jobs(&mut harness, "small", 5, 100, Verdict::Complete { keep: true }).await;
    let adds_up = async |harness: &Harness| harness.store.check_counts(&harness.queue).await.unwrap().adds_up();
    assert!(adds_up(&harness).await, "before");
    drop_key(&mut harness.server.connection(), "stats");
    let counts = harness.store.check_counts(&harness.queue).await.unwrap();
    assert_eq!((counts.difference(), counts.uncounted, counts.adds_up()), (0, 10, false), "{counts:?}");

    // Neither a job that enters a state nor one that leaves it makes the counts look sound, nor does a trim.
    end_jobs(&mut harness, "later", 20, BODY, Verdict::DeadLetter).await;
    let discarded = ["dead-0".to_owned()].map(|name| id(&name).into());
    harness.store.discard(harness.replay_slot.next_call(), &harness.queue, &"ada".into(), &discarded).await.unwrap();
    let policy = |bytes| {
        let rule = RetentionRule::by_age(LEASE).bytes_max(bytes);
        TrimPolicy { retention: Retention::default().dead(rule), limit: 9 }
    };
    let few = 20 * KEPT_BYTES_MIN;
    let trimmed = harness.store.trim(harness.replay_slot.next_call(), &harness.queue, &policy(few)).await.unwrap();
    assert!(!adds_up(&harness).await, "after {} were trimmed", trimmed.removed);
    let kept = harness.store.stats(&harness.queue).await.unwrap().dead;
    assert_eq!(harness.repair().await, [(KeptBytes, kept * (BODY as u64 - KEPT_BYTES_MIN))]);

    assert!(adds_up(&harness).await, "after the repair");
    let all = kept * BODY as u64;
    for (bytes_max, removed) in [(all, 0), (all - 1, 1)] {
        let policy = policy(bytes_max);
        let trimmed = harness.store.trim(harness.replay_slot.next_call(), &harness.queue, &policy).await.unwrap();
        assert_eq!(trimmed.removed, removed, "at most {bytes_max} bytes");
    }
    harness.store.trim(harness.replay_slot.next_call(), &harness.queue, &policy(0)).await.unwrap();
    let verdicts = [Verdict::Poison, Verdict::DeadLetter, Verdict::Complete { keep: true }];
    for (n, verdict) in verdicts.into_iter().enumerate() {
        end_jobs(&mut harness, &format!("again-{n}"), 3, 100, verdict).await;
        assert!(adds_up(&harness).await, "after {verdict:?}");
    }
    assert_eq!(harness.repair().await, []);
}

/// Goal: jobs that were not counted take nothing from what is counted later. Method: the counter is too low; jobs leave by a discard and by a trim.
#[tokio::test]
async fn the_count_of_bytes_is_never_negative() {
    const BODY: usize = 3_000;
    let mut harness = Harness::new().await;
    let counted = |harness: &Harness| -> i64 { harness.server.connection().hget(key("stats"), "excess_dead").unwrap() };
    end_jobs(&mut harness, "dead", 4, BODY, Verdict::DeadLetter).await;
    let _: () = harness.server.connection().hset(key("stats"), "excess_dead", 1).unwrap();
    let discarded = [0, 1].map(|n| id(&format!("dead-{n}")).into());
    harness.store.discard(harness.replay_slot.next_call(), &harness.queue, &"ada".into(), &discarded).await.unwrap();
    assert_eq!(counted(&harness), 0, "after a discard");
    let rule = RetentionRule::by_age(LEASE).bytes_max(KEPT_BYTES_MIN);
    let policy = TrimPolicy { retention: Retention::default().dead(rule), limit: 1 };
    let trimmed = harness.store.trim(harness.replay_slot.next_call(), &harness.queue, &policy).await.unwrap();
    assert_eq!((trimmed.removed, counted(&harness)), (1, 0), "after a trim");
}

/// Goal: bytes are compared although jobs enter and leave the state all the time. Method: a job is discarded and another one dies without a pause, while a state of two pages is repaired.
#[tokio::test]
async fn a_state_that_changes_all_the_time_is_not_left_uncompared() {
    const BODY: usize = 3_000;
    let mut harness = Harness::new().await;
    end_jobs(&mut harness, "dead", 300, BODY, Verdict::DeadLetter).await;
    let _: () = harness.server.connection().hincr(key("stats"), "excess_dead", 7_000).unwrap();
    let (store, queue) = (harness.store.clone(), harness.queue.clone());
    let done = Arc::new(AtomicBool::new(false));
    let repairing = tokio::spawn({
        let done = done.clone();
        async move {
            let found = counts(store.repair(&queue).await.unwrap());
            done.store(true, Ordering::Relaxed);
            found
        }
    });
    let mut changes = 0;
    while !done.load(Ordering::Relaxed) {
        end_jobs(&mut harness, &format!("more-{changes}"), 1, BODY, Verdict::DeadLetter).await;
        changes += 1;
    }
    assert_eq!(repairing.await.unwrap(), [(KeptBytes, 7_000)], "{changes} changes");
}

/// Goal: a job that has a lease without a grant is reclaimed. A job that has a grant without a lease waits for its holder first.
#[tokio::test]
async fn a_lease_without_its_grant_is_reclaimed_and_a_grant_without_its_lease_waits_for_its_owner() {
    let mut harness = Harness::new().await;
    harness.fill().await;
    let reclaim = Reclaim { limit: 100, lease: LEASE, crashes_max: 3, losses_max: 20 };
    harness.store.reclaim(harness.replay_slot.next_call(), &harness.queue, &reclaim).await.unwrap();
    let mut raw = harness.server.connection();
    let _: () = raw.hdel(key("stats"), "grace_until").unwrap();
    let _: () = raw.hdel(key("grant"), "processing-0").unwrap();
    let _: () = raw.zrem(key("lease"), "processing-1").unwrap();
    assert_eq!(harness.repair().await, [(GrantWithoutLease, 1), (LeaseWithoutGrant, 1)]);
    let taken = harness.store.reclaim(harness.replay_slot.next_call(), &harness.queue, &reclaim).await.unwrap();
    assert_eq!(taken.jobs.iter().map(|job| job.id.to_string()).collect::<Vec<_>>(), ["processing-0"]);
    assert_eq!(taken.shortened, 0, "the lease that was given back is longer than the others, and stands");
}

/// Goal: an audit does not take a job that is being moved for damage. Method: workers enqueue, claim, settle in every way, cancel and redrive, while repairs run one after
/// the other. No repair finds anything, and no job is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_of_a_busy_queue_finds_nothing_and_affects_no_job() {
    const ROUNDS: usize = 60;
    const BATCH: usize = 40;
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let queue = QueueName::new("q").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let audits = tokio::spawn({
        let (store, queue, stop) = (store.clone(), queue.clone(), stop.clone());
        async move {
            let mut audits = 0;
            while !stop.load(Ordering::Relaxed) {
                let found = store.repair(&queue).await.unwrap();
                assert_eq!(found, [], "in audit {audits}");
                audits += 1;
            }
            audits
        }
    });
    let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 8);
    let workers = (0..3).map(|worker| {
        let (store, queue, replay_slots) = (store.clone(), queue.clone(), replay_slots.clone());
        tokio::spawn(async move {
            let mut replay_slot = replay_slots.take().await;
            for round in 0..ROUNDS {
                let new = |n: usize| NewJob {
                    id: id(&format!("{worker}-{round}-{n}")),
                    run_at: if n.is_multiple_of(5) { RunAt::After(Duration::from_millis(1)) } else { RunAt::Now },
                    envelope: Bytes::from_static(b"sealed"),
                };
                let jobs: Vec<_> = (0..BATCH).map(new).collect();
                store.enqueue(replay_slot.next_call(), &queue, &jobs).await.unwrap();
                let cancelled = [id(&format!("{worker}-{round}-1")).into(), id(&format!("{worker}-{round}-5")).into()];
                store.cancel(replay_slot.next_call(), &queue, &"ada".into(), &cancelled).await.unwrap();
                store.promote(replay_slot.next_call(), &queue, 50).await.unwrap();
                let request = ClaimRequest { limit: BATCH, bytes_max: 1 << 20, lease: LEASE, nonce: rand::random() };
                let claims = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
                let verdicts = [
                    Verdict::Complete { keep: false },
                    Verdict::Complete { keep: true },
                    Verdict::Retry { delay: Duration::ZERO },
                    Verdict::Retry { delay: Duration::from_millis(1) },
                    Verdict::ReleaseNow,
                    Verdict::DeadLetter,
                    Verdict::Poison,
                ];
                let settlements: Vec<_> = claims
                    .jobs
                    .iter()
                    .zip(verdicts.iter().cycle())
                    .map(|(job, verdict)| Settlement {
                        id: job.id.clone(),
                        token: job.token,
                        verdict: *verdict,
                        record: Bytes::from_static(b"record"),
                    })
                    .collect();
                store.settle(replay_slot.next_call(), &queue, &settlements).await.unwrap();
                store.redrive(replay_slot.next_call(), &queue, &"ada".into(), &cancelled).await.unwrap();
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(audits.await.unwrap() > 1, "there was time for only one audit");
    let stats = store.stats(&queue).await.unwrap();
    assert_eq!(stats.enqueued_total, (3 * ROUNDS * BATCH) as u64);
    let kept = stats.pending + stats.processing + stats.delayed + stats.dead + stats.poisoned + stats.cancelled;
    assert_eq!(kept + stats.completed_total, stats.enqueued_total, "{stats:?}");
    assert_eq!(stats.garbage_total, 0);
    assert!(store.check_counts(&queue).await.unwrap().adds_up());
}

#[tokio::test]
async fn an_audit_that_began_before_the_first_job_of_its_queue_finds_nothing() {
    const QUEUES: usize = 100;
    let server = RedisServer::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    let jobs: Vec<_> = (0..BATCH_MAX)
        .map(|n| NewJob { id: id(&format!("{n}")), run_at: RunAt::Now, envelope: Bytes::from_static(b"sealed") })
        .collect();
    let mut within_an_audit = 0;
    for n in 0..QUEUES {
        let queue = QueueName::new(format!("q{n}")).unwrap();
        let (stop, audits_ended) = (AtomicBool::new(false), AtomicU32::new(0));
        let audits = async {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(store.repair(&queue).await.unwrap(), []);
                audits_ended.fetch_add(1, Ordering::Relaxed);
            }
        };
        let first_jobs = async {
            // Over all queues the enqueue falls into every part of an audit.
            tokio::time::sleep(Duration::from_micros(n as u64 * 20)).await;
            let before = audits_ended.load(Ordering::Relaxed);
            store.enqueue(replay_slot.next_call(), &queue, &jobs).await.unwrap();
            within_an_audit += u32::from(audits_ended.load(Ordering::Relaxed) == before);
            stop.store(true, Ordering::Relaxed);
        };
        tokio::join!(audits, first_jobs);
        assert_eq!(store.stats(&queue).await.unwrap().pending, BATCH_MAX as u64);
    }
    assert!(within_an_audit > 0, "no audit lasted from before an enqueue until after it");
}
