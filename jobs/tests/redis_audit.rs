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
use support::relay::Relay;

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
        let request = ClaimRequest { limit, bytes_max: 1 << 20, lease: LEASE, nonce: rand::random(), numbered: false };
        self.store.claim(self.replay_slot.next_call(), &self.queue, &request).await.unwrap()
    }

    async fn cancel(&mut self, name: &str) {
        let job = [id(name).into()];
        self.store.cancel(self.replay_slot.next_call(), &self.queue, &"ada".into(), &job).await.unwrap();
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

/// Goal: a repair never runs a job that an operator cancelled. Method: jobs are cancelled while pending after a failed attempt, after a redrive, and while they run; then the list
/// of cancelled jobs is lost. The failed attempt ended later than the cancellation by the server's clock, which was set back meanwhile.
#[tokio::test]
async fn a_repair_never_revives_a_cancelled_job() {
    let mut harness = Harness::new().await;
    let names = ["retried", "redriven", "running"].map(str::to_owned);
    for (name, verdict) in
        names.iter().zip([Verdict::Retry { delay: Duration::ZERO }, Verdict::Poison, Verdict::ReleaseNow])
    {
        harness.enqueue(std::slice::from_ref(name), RunAt::Now).await;
        let claims = harness.claim(1).await;
        if name == "running" {
            harness.cancel(name).await;
        }
        harness.settle(&claims, verdict).await;
        if name == "retried" {
            // Due at once, so it is pending again.
            harness.store.promote(harness.replay_slot.next_call(), &harness.queue, 9).await.unwrap();
        }
        if name == "redriven" {
            let redriven = [id(name).into()];
            harness
                .store
                .redrive(harness.replay_slot.next_call(), &harness.queue, &"ada".into(), &redriven)
                .await
                .unwrap();
        }
        if name != "running" {
            harness.cancel(name).await;
        }
    }
    let states = |harness: &Harness| {
        let (store, queue) = (harness.store.clone(), harness.queue.clone());
        let names = names.clone();
        async move {
            let mut states = Vec::new();
            for name in &names {
                states.push(store.job(&queue, &id(name)).await.unwrap().unwrap().state);
            }
            states
        }
    };
    assert_eq!(states(&harness).await, [JobState::Cancelled; 3]);
    let (mut raw, attempt) = (harness.server.connection(), b"retried\x001");
    let mut record: Vec<u8> = redis::cmd("HGET").arg("retraced:{q}:history").arg(attempt).query(&mut raw).unwrap();
    record[..6].copy_from_slice(&[1, 255, 255, 255, 255, 255]);
    let _: () = redis::cmd("HSET").arg("retraced:{q}:history").arg(attempt).arg(record).query(&mut raw).unwrap();
    let _: () = redis::cmd("DEL").arg("retraced:{q}:cancelled").query(&mut raw).unwrap();
    assert_eq!(harness.repair().await, [(Orphaned, 3)]);
    assert_eq!(states(&harness).await, [JobState::Cancelled; 3]);
    assert_eq!(harness.scan().await, []);
}

/// Goal: a repair that poisons a damaged job needs no second one. Method: the body of a pending job is cut, and its entry is claimed after the repair.
#[tokio::test]
async fn a_claim_after_a_repair_never_counts_a_damaged_job_twice() {
    let mut harness = Harness::new().await;
    harness.enqueue(&["a".to_owned(), "b".to_owned()], RunAt::Now).await;
    let _: () =
        redis::cmd("HSET").arg(&["retraced:{q}:job", "a", "tiny"]).query(&mut harness.server.connection()).unwrap();
    harness.repair().await;
    assert_eq!(harness.claim(5).await.jobs.len(), 1);
    let counts = harness.store.check_counts(&harness.queue).await.unwrap();
    assert!(counts.adds_up(), "{counts:?}");
    assert_eq!(harness.scan().await, []);
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

/// Dead jobs that a test writes itself. It counts their bytes as the scripts do.
struct DeadJobs {
    raw: Connection,
    entered: usize,
}

impl DeadJobs {
    const BODY: usize = 1_100;
    const EXCESS: usize = Self::BODY - KEPT_BYTES_MIN as usize;

    fn on(server: &RedisServer) -> Self {
        Self { raw: server.connection(), entered: 0 }
    }

    /// Adds jobs that end now; their bodies have this size.
    fn enter(&mut self, jobs: usize, body: usize) {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut self.raw).unwrap();
        for added in (0..jobs).collect::<Vec<_>>().chunks(1_000) {
            let mut adding = redis::pipe();
            adding.atomic();
            for _ in added {
                let id = format!("job-{:05}", self.entered);
                self.entered += 1;
                adding.hset(key("job"), &id, vec![0; body]).ignore();
                adding.zadd(key("dead"), &id, seconds * 1_000 + micros / 1_000).ignore();
            }
            let _: () = adding.query(&mut self.raw).unwrap();
        }
        self.count(i64::try_from(jobs * body.saturating_sub(KEPT_BYTES_MIN as usize)).unwrap());
    }

    /// Removes the job of this rank, counted from the oldest, or if it is negative from the latest.
    fn leave(&mut self, rank: isize) {
        let ids: Vec<String> = self.raw.zrange(key("dead"), rank, rank).unwrap();
        self.remove(&ids[0]);
    }

    fn remove(&mut self, id: &str) {
        let body: usize = redis::cmd("HSTRLEN").arg(key("job")).arg(id).query(&mut self.raw).unwrap();
        let mut removing = redis::pipe();
        removing.atomic().hdel(key("job"), id).ignore().zrem(key("dead"), id).ignore();
        let _: () = removing.query(&mut self.raw).unwrap();
        self.count(-i64::try_from(body.saturating_sub(KEPT_BYTES_MIN as usize)).unwrap());
    }

    fn count(&mut self, bytes: i64) {
        if self.counted().is_some_and(|counted| counted + bytes >= 0) {
            let _: () = self.raw.hincr(key("stats"), "excess_dead", bytes).unwrap();
        }
    }

    fn counted(&mut self) -> Option<i64> {
        self.raw.hget(key("stats"), "excess_dead").unwrap()
    }

    fn kept(&mut self) -> i64 {
        self.raw.zcard(key("dead")).unwrap()
    }
}

/// A store that does this before each of its requests.
async fn disturbed(harness: &Harness, disturb: impl FnMut() + Send + 'static) -> (RedisStore, Relay) {
    let relay = Relay::to(harness.server.socket());
    let store = RedisStore::connect(&relay.url()).await.unwrap();
    relay.before_requests(disturb);
    (store, relay)
}

/// Goal: bytes are summed up although jobs end and retention removes the oldest all the time. Method: a state that no single step can read has lost its count; between any two
/// steps a job ends, and now and then the oldest leaves.
#[tokio::test]
async fn a_state_that_changes_all_the_time_is_not_left_uncounted() {
    let harness = Harness::new().await;
    let mut jobs = DeadJobs::on(&harness.server);
    jobs.enter(13_000, DeadJobs::BODY);
    assert!(!harness.store.check_counts(&harness.queue).await.unwrap().adds_up(), "`stats` is missing");
    let (mut busy, mut requests) = (DeadJobs { entered: jobs.entered, ..DeadJobs::on(&harness.server) }, 0);
    let (store, _relay) = disturbed(&harness, move || {
        busy.enter(1, DeadJobs::BODY);
        requests += 1;
        if requests % 2 == 0 {
            busy.leave(0);
        }
    })
    .await;
    let found = counts(store.repair(&harness.queue).await.unwrap());
    assert!(matches!(found[..], [(KeptBytes, _)]), "{found:?}");
    assert!(harness.store.check_counts(&harness.queue).await.unwrap().adds_up());
    assert!(jobs.kept() > 13_000);
    assert_eq!(jobs.counted(), Some(jobs.kept() * DeadJobs::EXCESS as i64));
}

/// Goal: a sum of bytes that is stored or compared is right. Method: small jobs, which count nothing, leave at either end while others enter, so that neither the number of jobs nor
/// the counted bytes change.
#[tokio::test]
async fn a_small_job_that_leaves_as_another_enters_never_makes_a_wrong_sum() {
    for oldest_leaves in [true, false] {
        let harness = Harness::new().await;
        let mut jobs = DeadJobs::on(&harness.server);
        let _: () = jobs.raw.hset_multiple(key("stats"), &[("largest", DeadJobs::BODY), ("excess_dead", 0)]).unwrap();
        jobs.enter(100, 100);
        jobs.enter(450, DeadJobs::BODY);
        jobs.enter(100, 100);
        assert_eq!(harness.scan().await, [], "before");
        let mut leave: Vec<_> = if oldest_leaves { (0..100).rev().collect() } else { (550..650).collect() };
        let mut busy = DeadJobs { entered: jobs.entered, ..DeadJobs::on(&harness.server) };
        let (store, _relay) = disturbed(&harness, move || {
            if let Some(leaves) = leave.pop() {
                busy.remove(&format!("job-{leaves:05}"));
                busy.enter(1, 100);
            }
        })
        .await;
        assert_eq!(counts(store.scan(&harness.queue).await.unwrap()), [], "the oldest leaves: {oldest_leaves}");
        assert_eq!(jobs.counted(), Some(450 * DeadJobs::EXCESS as i64));
        assert!(jobs.kept() == 650 && jobs.raw.hexists::<_, _, bool>(key("job"), "job-00650").unwrap());
    }
}

/// Goal: audits do not fail for ever because a sum cannot be made. Method: jobs that were just read are discarded between any two steps.
#[tokio::test]
async fn a_repair_that_cannot_sum_up_bytes_never_leaves_them_uncounted() {
    let harness = Harness::new().await;
    let mut jobs = DeadJobs::on(&harness.server);
    jobs.enter(17_000, DeadJobs::BODY);
    let mut busy = DeadJobs::on(&harness.server);
    let (store, relay) = disturbed(&harness, move || busy.leave(-6)).await;
    assert!(!harness.store.check_counts(&harness.queue).await.unwrap().adds_up(), "`stats` is missing");
    assert_eq!(counts(store.repair(&harness.queue).await.unwrap()), []);
    assert!(harness.store.check_counts(&harness.queue).await.unwrap().adds_up());
    assert!(jobs.kept() > 12_800);
    relay.before_requests(|| {});
    let excess = u64::try_from(jobs.kept()).unwrap() * DeadJobs::EXCESS as u64;
    assert_eq!(harness.repair().await, [(KeptBytes, excess)], "a repair without a disturbance");
    assert_eq!(harness.repair().await, []);
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
                let request = ClaimRequest {
                    limit: BATCH,
                    bytes_max: 1 << 20,
                    lease: LEASE,
                    nonce: rand::random(),
                    numbered: false,
                };
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
