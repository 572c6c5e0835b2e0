//! A Redis server with a store on it, and every verb of the store as a number, for tests that try all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use redis::Commands;
use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
use retraced_jobs::store::redis::{KeyPrefix, RedisOptions, RedisStore};
use retraced_jobs::store::{
    Admin, CallId, ClaimRequest, Claims, Enqueued, Leases, Reclaim, ReplaySlot, ReplaySlots, Report, Retention,
    RetentionRule, Settled, Settlement, StoreError, Transitions, TrimPolicy, UnfinishedJobs, Verdict,
};
use retraced_jobs::trace::Progress;

use super::redis_server::RedisServer;

pub const LEASE: Duration = Duration::from_secs(30);

/// The names of the keys of a queue.
pub const KEYS: [&str; 15] = [
    "job",
    "pending",
    "lease",
    "grant",
    "retry",
    "history",
    "delayed",
    "completed",
    "dead",
    "poisoned",
    "cancelled",
    "stats",
    "replay",
    "awaited",
    "tombstones",
];

/// A server, a store on it, and one replay slot to call through.
pub struct Harness {
    pub server: RedisServer,
    pub store: RedisStore,
    pub replay_slot: ReplaySlot,
    pub queue: QueueName,
    /// The prefix of the store.
    pub prefix: String,
}

impl Harness {
    pub async fn new() -> Self {
        Self::on(RedisServer::start()).await
    }

    pub async fn on(server: RedisServer) -> Self {
        let store = RedisStore::connect(&server.url()).await.unwrap();
        let replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
        Self { server, store, replay_slot, queue: QueueName::new("q").unwrap(), prefix: "retraced".into() }
    }

    /// From now on calls go to a store with this prefix.
    pub fn change_prefix(&mut self, prefix: &str) {
        let options = RedisOptions::default().prefix(KeyPrefix::new(prefix).unwrap());
        self.store = RedisStore::open(&self.server.url(), options).unwrap();
        self.prefix = prefix.to_owned();
    }

    pub fn call(&mut self) -> CallId {
        self.replay_slot.next_call()
    }

    pub fn key(&self, name: &str) -> String {
        format!("{}:{{q}}:{name}", self.prefix)
    }

    pub async fn enqueue(&mut self, ids: &[&str]) {
        let jobs: Vec<NewJob> = ids.iter().map(|id| new(id, RunAt::Now)).collect();
        let call = self.call();
        let created = self.store.enqueue(call, &self.queue, &jobs).await.unwrap();
        assert!(created.iter().all(|one| matches!(one, Enqueued::Created { .. })), "{created:?}");
    }

    pub async fn claim(&mut self, limit: usize) -> Claims {
        let call = self.call();
        self.store.claim(call, &self.queue, &request(limit, LEASE)).await.unwrap()
    }

    pub async fn settle(&mut self, settlements: &[Settlement]) -> Vec<Settled> {
        let call = self.call();
        self.store.settle(call, &self.queue, settlements).await.unwrap()
    }

    /// How often the server ran each command, those of scripts included, since the last call of this function.
    pub fn commands(&self) -> BTreeMap<String, u64> {
        let mut raw = self.server.connection();
        let info: String = redis::cmd("INFO").arg("commandstats").query(&mut raw).unwrap();
        let calls = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        let own = ["info", "config", "config|resetstat", "client", "client|setinfo", "select", "hello"];
        let counts = info.lines().filter_map(calls).filter(|(name, _)| !own.contains(&name.as_str())).collect();
        let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query(&mut raw).unwrap();
        counts
    }

    /// Every key with its content.
    pub fn contents(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let mut connection = self.server.connection();
        let keys: Vec<String> = connection.keys("*").unwrap();
        let mut read = |key: String| {
            let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
            let content: Vec<Vec<u8>> = match kind.as_str() {
                "list" => connection.lrange(&key, 0, -1).unwrap(),
                "set" => connection.smembers(&key).unwrap(),
                "zset" => {
                    redis::cmd("ZRANGE").arg(&key).arg("0").arg("-1").arg("WITHSCORES").query(&mut connection).unwrap()
                }
                "hash" => {
                    let fields: BTreeMap<Vec<u8>, Vec<u8>> = connection.hgetall(&key).unwrap();
                    fields.into_iter().flat_map(|(field, value)| [field, value]).collect()
                }
                _ => vec![connection.get(&key).unwrap()],
            };
            (key, content)
        };
        keys.into_iter().map(&mut read).collect()
    }
}

pub fn new(id: &str, run_at: RunAt) -> NewJob {
    NewJob { id: JobId::parse(id).unwrap(), run_at, envelope: Bytes::from(format!("envelope of {id}")) }
}

pub fn id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

pub fn request(limit: usize, lease: Duration) -> ClaimRequest {
    ClaimRequest { limit, bytes_max: 1 << 20, lease, nonce: rand::random(), numbered: false }
}

pub fn settlement(claims: &Claims, place: usize, verdict: Verdict) -> Settlement {
    let job = &claims.jobs[place];
    Settlement { id: job.id.clone(), token: job.token, verdict, record: Bytes::from_static(b"record") }
}

pub fn ids(claims: &Claims) -> Vec<String> {
    claims.jobs.iter().map(|job| job.id.to_string()).collect()
}

pub fn keep_nothing() -> TrimPolicy {
    let none = RetentionRule::new(Duration::ZERO, 0);
    let retention = Retention::default().without_completed().dead(none).poisoned(none).cancelled(none);
    TrimPolicy { retention, limit: 10 }
}

/// How many verbs [`every_verb`] knows.
pub const VERBS: usize = 24;

/// Calls the verb with this number, on a queue that [`busy`] has filled. Returns `None` for a number beyond the last verb.
pub async fn every_verb(harness: &mut Harness, held: &Claims, verb: usize) -> Option<Result<(), StoreError>> {
    let (store, queue, call) = (harness.store.clone(), harness.queue.clone(), harness.call());
    let leases: Vec<Lease> = held.jobs.iter().map(|job| job.lease(InstanceId::from(uuid::Uuid::nil()))).collect();
    let verdicts = [
        settlement(held, 0, Verdict::Retry { delay: Duration::ZERO }),
        settlement(held, 1, Verdict::Retry { delay: LEASE }),
        settlement(held, 2, Verdict::Complete { keep: true }),
        settlement(held, 3, Verdict::Complete { keep: false }),
        settlement(held, 4, Verdict::DeadLetter),
        settlement(held, 5, Verdict::Poison),
        settlement(held, 6, Verdict::Cancel),
        settlement(held, 7, Verdict::ReleaseNow),
    ];
    let all = ["h0", "waits", "due", "dead", "gone"].map(|name| id(name).into());
    let delayed = [new("n1", RunAt::Now), new("n2", RunAt::After(LEASE))];
    let reclaim = Reclaim { limit: 10, lease: LEASE, crashes_max: 3, losses_max: 20 };
    Some(match verb {
        0 => store.enqueue(call, &queue, &delayed).await.map(drop),
        1 => store.claim(call, &queue, &request(1, LEASE)).await.map(drop),
        2 => store.settle(call, &queue, &verdicts).await.map(drop),
        3 => store.settle_and_claim(call, &queue, &verdicts, &request(1, LEASE)).await.map(drop),
        4 => store.promote(call, &queue, 1).await.map(drop),
        5 => store.reclaim(call, &queue, &reclaim).await.map(drop),
        6 => store.reconcile(call, &queue, call.instance, &[], None).await.map(drop),
        7 => store.redrive(call, &queue, &"ada".into(), &all).await.map(drop),
        8 => store.cancel(call, &queue, &"ada".into(), &all).await.map(drop),
        9 => store.discard(call, &queue, &"ada".into(), &all).await.map(drop),
        10 => store.trim(call, &queue, &keep_nothing()).await.map(drop),
        11 => store.renew(&queue, LEASE, &leases).await.map(drop),
        12 => store.pause(call, &queue, &"ada".into()).await.map(drop),
        13 => store.resume(call, &queue).await.map(drop),
        14 => store.stats(&queue).await.map(drop),
        15 => store.check_counts(&queue).await.map(drop),
        16 => store.job(&queue, &id("h0")).await.map(drop),
        17 => store.jobs(&queue, JobState::Processing, None, 10).await.map(drop),
        18 => store.repair(&queue).await.map(drop),
        19 => store.scan(&queue).await.map(drop),
        20 => store.watch_outcome(&queue, &id("h0"), LEASE).await.map(drop),
        21 => store.delete_queue(&queue, UnfinishedJobs::Delete).await.map(drop),
        22 => store.tombstone(&queue, &id("h0")).await.map(drop),
        23 => {
            let progress = Progress::new(40, "half");
            let report = |lease: &Lease| Report { lease: lease.clone(), progress: progress.clone() };
            store.report(&queue, LEASE, &leases.iter().map(report).collect::<Vec<_>>()).await.map(drop)
        }
        _ => return None,
    })
}

/// Fills the queue: eight leased jobs, of which one lease has expired, one pending job, one delayed job that is due, one dead and one completed.
pub async fn busy(harness: &mut Harness) -> Claims {
    let _: () = redis::cmd("FLUSHALL").query(&mut harness.server.connection()).unwrap();
    fill(harness).await
}

/// Fills an empty queue as [`busy`] does.
pub async fn fill(harness: &mut Harness) -> Claims {
    harness.enqueue(&["dead", "gone"]).await;
    let claims = harness.claim(2).await;
    harness
        .settle(&[
            settlement(&claims, 0, Verdict::DeadLetter),
            settlement(&claims, 1, Verdict::Complete { keep: true }),
        ])
        .await;
    harness.enqueue(&["h0", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "waits"]).await;
    let held = harness.claim(8).await;
    let call = harness.call();
    harness.store.enqueue(call, &harness.queue, &[new("due", RunAt::After(LEASE))]).await.unwrap();
    let mut raw = harness.server.connection();
    let _: () = raw.zadd(harness.key("delayed"), "due", 1).unwrap();
    let _: () = raw.zadd(harness.key("lease"), "h7", 1).unwrap();
    let now_ms: u64 = {
        let time: (u64, u64) = redis::cmd("TIME").query(&mut raw).unwrap();
        time.0 * 1000
    };
    let _: () = raw.hset(harness.key("stats"), "reclaimed_at", now_ms).unwrap();
    held
}
