//! Measures the Redis layout: `cargo bench -p retraced-jobs --bench layout`.
//!
//! It compares the store with a bare loop and with two other layouts, on a private `redis-server` that this program
//! starts and stops. The bare loop has only a list, a hash and a sorted set of leases; one script acknowledges and claims,
//! without tokens, counters or history. The contenders take turns, so that a busy machine slows all of them. Every figure
//! is the median of the rounds. Environment variables: `JOBS` (default 100,000), `ROUNDS` (default 5), and `CONTENDERS=a,b`,
//! which runs only the contenders whose names contain `a` or `b`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script, Value};
use retraced_jobs::job::{InstanceId, JobId, Lease, NewJob, QueueName, RunAt};
use retraced_jobs::store::redis::RedisStore;
use retraced_jobs::store::{
    Admin, BATCH_MAX, ClaimRequest, ReplaySlot, ReplaySlots, Retention, RetentionRule, Settlement, Transitions,
    TrimPolicy, Verdict,
};

const BATCH: usize = 64;
const PAYLOAD_BYTES: usize = 200;
/// Length of the record that is stored for a completed job.
const RECORD_BYTES: usize = 40;
const LEASE_MS: u64 = 30_000;
/// More bytes than the jobs of any claim here have.
const CLAIM_BYTES: usize = 4 << 20;
const QUEUE: &str = "bench";

/// The bare loop. KEYS pending list, leases, jobs; ARGV limit, expiry, ids to acknowledge.
const BARE: &str = r"
if #ARGV > 2 then
  local done = {}
  for i = 3, #ARGV do done[i - 2] = ARGV[i] end
  redis.call('ZREM', KEYS[2], unpack(done))
  redis.call('HDEL', KEYS[3], unpack(done))
end
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then return { {}, {} } end
local leases = {}
for i = 1, #ids do leases[2 * i - 1] = ARGV[2]; leases[2 * i] = ids[i] end
redis.call('ZADD', KEYS[2], unpack(leases))
return { ids, redis.call('HMGET', KEYS[3], unpack(ids)) }";

/// Another layout: the body waits inside the pending list and moves into the hash when it is claimed.
/// KEYS pending list, leases, jobs, grants; ARGV limit, expiry, grant, pairs of id and token to settle.
const INLINE: &str = r"
local n = 0
if #ARGV > 3 then
  local ids = {}
  for i = 4, #ARGV, 2 do n = n + 1; ids[n] = ARGV[i] end
  local grants, done = redis.call('HMGET', KEYS[4], unpack(ids)), {}
  for i = 1, n do
    if grants[i] and string.sub(grants[i], 1, 12) == ARGV[3 + 2 * i] then done[#done + 1] = ids[i] end
  end
  redis.call('ZREM', KEYS[2], unpack(done))
  redis.call('HDEL', KEYS[4], unpack(done))
  redis.call('HDEL', KEYS[3], unpack(done))
end
local entries = redis.call('LPOP', KEYS[1], ARGV[1])
if not entries then return { {}, {} } end
local ids, leases, grants, jobs = {}, {}, {}, {}
for i = 1, #entries do
  local id = string.sub(entries[i], 7, 22)
  ids[i] = id
  leases[2 * i - 1], leases[2 * i] = ARGV[2], id
  grants[2 * i - 1], grants[2 * i] = id, ARGV[3]
  jobs[2 * i - 1], jobs[2 * i] = id, entries[i]
end
redis.call('ZADD', KEYS[2], unpack(leases))
redis.call('HSET', KEYS[4], unpack(grants))
redis.call('HSET', KEYS[3], unpack(jobs))
return { ids, entries }";

/// Another layout: no grant hash, the token is part of the lease's member.
/// KEYS pending list, leases, jobs; ARGV limit, expiry, grant, pairs of id and member (id and token) to settle.
const MEMBER: &str = r"
if #ARGV > 3 then
  local members, done, n, removed = {}, {}, 0, {}
  for i = 4, #ARGV, 2 do n = n + 1; members[n] = ARGV[i + 1] end
  local scores = redis.call('ZMSCORE', KEYS[2], unpack(members))
  for i = 1, n do
    if scores[i] then done[#done + 1] = ARGV[2 + 2 * i]; removed[#removed + 1] = members[i] end
  end
  redis.call('ZREM', KEYS[2], unpack(removed))
  redis.call('HDEL', KEYS[3], unpack(done))
end
local entries = redis.call('LPOP', KEYS[1], ARGV[1])
if not entries then return { {}, {} } end
local ids, leases, m = {}, {}, 0
for i = 1, #entries do ids[i] = string.sub(entries[i], 7) end
local bodies = redis.call('HMGET', KEYS[3], unpack(ids))
for i = 1, #entries do
  if string.sub(entries[i], 1, 6) == string.sub(bodies[i], 1, 6) then
    leases[2 * i - 1], leases[2 * i] = ARGV[2], ids[i] .. ARGV[3]
  end
end
redis.call('ZADD', KEYS[2], unpack(leases))
return { ids, bodies }";

/// A private `redis-server`, killed when this is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be on the path");
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server did not listen within 10 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port }
    }

    async fn open(&self) -> MultiplexedConnection {
        let address = redis::ConnectionAddr::Tcp("127.0.0.1".into(), self.port);
        let info = redis::IntoConnectionInfo::into_connection_info(address)
            .unwrap()
            .set_tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        Client::open(info).unwrap().get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is measured. `keep`: whether the store keeps completed jobs.
#[derive(Clone, Copy, PartialEq)]
enum Contender {
    BareLoop,
    /// The store, with separate calls of `claim` and `settle`.
    Separate {
        keep: bool,
    },
    /// The store, with `settle_and_claim`.
    Fused {
        keep: bool,
    },
    Inline,
    Member,
}

struct Scripts {
    bare: Script,
    inline: Script,
    member: Script,
}

fn key(name: &str) -> String {
    format!("retraced:{{{QUEUE}}}:{name}")
}

fn bytes(value: Value) -> Vec<Vec<u8>> {
    let Value::Array(items) = value else { return Vec::new() };
    let text = |item| if let Value::BulkString(text) = item { text } else { Vec::new() };
    items.into_iter().map(text).collect()
}

fn part(reply: &mut Value, index: usize) -> Vec<Vec<u8>> {
    let Value::Array(parts) = reply else { panic!("{reply:?}") };
    bytes(std::mem::replace(&mut parts[index], Value::Nil))
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Claims and settles through the store until the queue is empty; returns the number of jobs claimed.
async fn cycle(store: &RedisStore, mut replay_slot: ReplaySlot, fused: bool, keep: bool) -> u64 {
    let queue = QueueName::new(QUEUE).unwrap();
    let mut held: Vec<Lease> = Vec::new();
    let mut claimed = 0;
    loop {
        let record = |n: usize| {
            let mut record = [7u8; RECORD_BYTES];
            record[..8].copy_from_slice(&n.to_be_bytes());
            Bytes::copy_from_slice(&record)
        };
        let settlements: Vec<_> = held
            .drain(..)
            .enumerate()
            .map(|(n, lease)| Settlement {
                id: lease.id,
                token: lease.token,
                verdict: Verdict::Complete { keep },
                record: if keep { record(n) } else { Bytes::new() },
            })
            .collect();
        let lease = Duration::from_millis(LEASE_MS);
        let request =
            ClaimRequest { limit: BATCH, bytes_max: CLAIM_BYTES, lease, nonce: rand::random(), numbered: false };
        let claims = if fused {
            store.settle_and_claim(replay_slot.next_call(), &queue, &settlements, &request).await.unwrap().1
        } else {
            if !settlements.is_empty() {
                store.settle(replay_slot.next_call(), &queue, &settlements).await.unwrap();
            }
            store.claim(replay_slot.next_call(), &queue, &request).await.unwrap()
        };
        if claims.jobs.is_empty() {
            return claimed;
        }
        assert!(claims.jobs.iter().all(|job| job.envelope.len() == PAYLOAD_BYTES));
        claimed += claims.jobs.len() as u64;
        held.extend(claims.jobs.iter().map(|job| job.lease(InstanceId::from(uuid::Uuid::nil()))));
    }
}

/// [`cycle`] for a contender that is not the store: its script claims and settles in one call.
async fn script_cycle(contender: Contender, scripts: &Scripts, mut connection: MultiplexedConnection) -> u64 {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let mut nonce = [0u8; 8];
    let mut claimed = 0;
    let expiry = now_ms() + LEASE_MS;
    loop {
        let previous_nonce = nonce;
        nonce = rand::random();
        let grant = |nonce: &[u8; 8]| [&1u32.to_be_bytes()[..], nonce, &[9; 16], &[0]].concat();
        let script = match contender {
            Contender::Inline => &scripts.inline,
            Contender::Member => &scripts.member,
            Contender::BareLoop | Contender::Separate { .. } | Contender::Fused { .. } => &scripts.bare,
        };
        let mut call = script.prepare_invoke();
        call.key(key("pending")).key(key("lease")).key(key("job")).key(key("grant")).arg(BATCH).arg(expiry);
        match contender {
            Contender::Inline => {
                call.arg(grant(&nonce));
                for id in &held {
                    call.arg(id).arg(&grant(&previous_nonce)[..12]);
                }
            }
            Contender::Member => {
                call.arg(grant(&nonce));
                for id in &held {
                    call.arg(id).arg([&id[..], &grant(&previous_nonce)[..]].concat());
                }
            }
            Contender::BareLoop | Contender::Separate { .. } | Contender::Fused { .. } => {
                call.arg(&held);
            }
        }
        let mut reply = call.invoke_async::<Value>(&mut connection).await.unwrap();
        let bodies = part(&mut reply, 1);
        held = part(&mut reply, 0);
        if bodies.is_empty() {
            return claimed;
        }
        assert!(bodies.iter().all(|body| body.len() >= PAYLOAD_BYTES));
        claimed += bodies.len() as u64;
    }
}

/// Enqueues the jobs, one batch per call.
async fn fill(
    contender: Contender,
    store: &RedisStore,
    replay_slots: &ReplaySlots,
    mut connection: MultiplexedConnection,
    jobs: u64,
) {
    let queue = QueueName::new(QUEUE).unwrap();
    let body = Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    let mut replay_slot = replay_slots.take().await;
    let mut left = jobs as usize;
    while left > 0 {
        let n = left.min(BATCH);
        left -= n;
        let ids: Vec<_> = (0..n).map(|_| uuid::Uuid::now_v7()).collect();
        match contender {
            Contender::Separate { .. } | Contender::Fused { .. } => {
                let new = |id| NewJob { id: JobId::from_uuid(id), run_at: RunAt::Now, envelope: body.clone() };
                let jobs: Vec<_> = ids.into_iter().map(new).collect();
                store.enqueue(replay_slot.next_call(), &queue, &jobs).await.unwrap();
            }
            Contender::BareLoop | Contender::Inline | Contender::Member => {
                let (mut set, mut push) = (redis::cmd("HSET"), redis::cmd("RPUSH"));
                set.arg(key("job"));
                push.arg(key("pending"));
                for id in &ids {
                    let id = &id.as_bytes()[..];
                    match contender {
                        Contender::Inline => push.arg([&[0u8; 6], id, &body].concat()),
                        Contender::Member => {
                            set.arg(id).arg([&[0u8; 12][..], &body].concat());
                            push.arg([&[0u8; 6], id].concat())
                        }
                        _ => {
                            set.arg(id).arg(&body[..]);
                            push.arg(id)
                        }
                    };
                }
                let mut both = redis::pipe();
                if contender != Contender::Inline {
                    both.add_command(set);
                }
                both.add_command(push).exec_async(&mut connection).await.unwrap();
            }
        }
    }
}

/// Removes all jobs that were kept.
async fn trim(store: &RedisStore, replay_slots: &ReplaySlots) {
    let queue = QueueName::new(QUEUE).unwrap();
    let none = RetentionRule::new(Duration::ZERO, 0);
    let retention = Retention::default().without_completed().dead(none).poisoned(none).cancelled(none);
    let mut replay_slot = replay_slots.take().await;
    while store.trim(replay_slot.next_call(), &queue, &TrimPolicy { retention, limit: BATCH_MAX }).await.unwrap().more {
    }
}

/// The measured values, by the place of the contender in the list and the name of the figure.
#[derive(Default)]
struct Figures(BTreeMap<(usize, String), Vec<f64>>);

impl Figures {
    fn put(&mut self, contender: usize, figure: &str, value: f64) {
        self.0.entry((contender, figure.into())).or_default().push(value);
    }

    fn median(&self, contender: usize, figure: &str) -> f64 {
        let Some(values) = self.0.get(&(contender, figure.into())) else { return f64::NAN };
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

struct Info {
    cpu: f64,
    memory: f64,
}

async fn info(connection: &mut MultiplexedConnection) -> Info {
    let text: String = redis::cmd("INFO").arg("all").query_async(connection).await.unwrap();
    let number = |name: &str| -> f64 {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok()).unwrap_or(0.0)
    };
    Info { cpu: number("used_cpu_user") + number("used_cpu_sys"), memory: number("used_memory") }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::main]
async fn main() {
    let jobs = setting("JOBS", 100_000);
    let rounds = setting("ROUNDS", 5);
    let server = Server::start();
    let scripts =
        Arc::new(Scripts { bare: Script::new(BARE), inline: Script::new(INLINE), member: Script::new(MEMBER) });
    let store = RedisStore::connect(&format!("redis://127.0.0.1:{}", server.port)).await.unwrap();
    let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 8);
    let contenders = [
        ("bare loop, fused", Contender::BareLoop),
        ("settle_and_claim", Contender::Fused { keep: false }),
        ("claim + settle", Contender::Separate { keep: false }),
        ("settle_and_claim, completed kept", Contender::Fused { keep: true }),
        ("claim + settle, completed kept", Contender::Separate { keep: true }),
        ("other layout: body in the list", Contender::Inline),
        ("other layout: token in the lease", Contender::Member),
    ];
    let only = std::env::var("CONTENDERS").unwrap_or_default();
    let mut figures = Figures::default();
    let mut control = server.open().await;
    for round in 0..=rounds {
        for (order, (name, contender)) in contenders.iter().copied().enumerate() {
            if !only.is_empty() && !only.split(',').any(|part| name.contains(part)) {
                continue;
            }
            for cycles in [1usize, 4] {
                redis::cmd("FLUSHALL").exec_async(&mut control).await.unwrap();
                let before = info(&mut control).await;
                let start = Instant::now();
                fill(contender, &store, &replay_slots, server.open().await, jobs).await;
                let enqueue_s = start.elapsed().as_secs_f64();
                let filled = info(&mut control).await;

                let mut connections = Vec::new();
                for _ in 0..cycles {
                    connections.push((server.open().await, replay_slots.take().await));
                }
                let total = Arc::new(AtomicU64::new(0));
                let start = Instant::now();
                let tasks: Vec<_> = connections
                    .into_iter()
                    .map(|(connection, replay_slot)| {
                        let (scripts, store, total) = (scripts.clone(), store.clone(), total.clone());
                        tokio::spawn(async move {
                            let claimed = match contender {
                                Contender::Fused { keep } => cycle(&store, replay_slot, true, keep).await,
                                Contender::Separate { keep } => cycle(&store, replay_slot, false, keep).await,
                                Contender::BareLoop | Contender::Inline | Contender::Member => {
                                    script_cycle(contender, &scripts, connection).await
                                }
                            };
                            total.fetch_add(claimed, Ordering::Relaxed);
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
                let drain_s = start.elapsed().as_secs_f64();
                let drained = info(&mut control).await;
                assert_eq!(total.load(Ordering::Relaxed), jobs, "every job is claimed once");
                let in_flight: u64 = redis::cmd("ZCARD").arg(key("lease")).query_async(&mut control).await.unwrap();
                assert!(in_flight <= 1, "every job is settled");
                let start = Instant::now();
                if contender == (Contender::Fused { keep: true }) {
                    trim(&store, &replay_slots).await;
                }
                let trim_s = start.elapsed().as_secs_f64();
                if round == 0 {
                    continue; // the first round only warms up the server and the allocator
                }
                let per_100k = 100_000.0 / jobs as f64;
                figures.put(order, &format!("drain{cycles}"), jobs as f64 / drain_s);
                figures.put(order, &format!("cpu{cycles}"), (drained.cpu - filled.cpu) * per_100k);
                figures.put(order, "trim", jobs as f64 / trim_s);
                figures.put(order, "enqueue", jobs as f64 / enqueue_s);
                figures.put(order, "enqueue_cpu", (filled.cpu - before.cpu) * per_100k);
                figures.put(order, "memory", (filled.memory - before.memory) / jobs as f64);
            }
        }
    }
    println!(
        "\n{jobs} jobs of {PAYLOAD_BYTES} bytes, batches of {BATCH}, median of {rounds}; CPU is the server's, in seconds per 100,000 jobs.\n"
    );
    println!(
        "| | 1 cycle, jobs/s | ratio | CPU | 4 cycles, jobs/s | ratio | CPU | enqueue, jobs/s | CPU | bytes per queued job |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (order, (name, _)) in contenders.iter().enumerate() {
        let get = |figure: &str| figures.median(order, figure);
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.0} |",
            get("drain1"),
            get("drain1") / figures.median(0, "drain1"),
            get("cpu1"),
            get("drain4"),
            get("drain4") / figures.median(0, "drain4"),
            get("cpu4"),
            get("enqueue"),
            get("enqueue_cpu"),
            get("memory"),
        );
    }
    let fused_kept = 3; // its place in `contenders`; only this one is trimmed
    println!("\nTrimming what was kept, {BATCH_MAX} per call: {:.0} jobs/s.", figures.median(fused_kept, "trim"));
}
