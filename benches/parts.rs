//! Measures parts of the code that a job passes through, without a server: `make parts`. This shows where a worker spends its time; `retraced bench` measures the
//! worker as a whole.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced::codec::{decode_attempt, encode_attempt, open, seal};
use retraced::job::{AttemptLog, Ended, ExecutorId, InstanceId, NewJob};
use retraced::retry::decide;
use retraced::store::{BATCH_MAX, ClaimRequest, ClaimedJob, ReplaySlot, ReplaySlots, Settlement, Transitions, Verdict};
use retraced::{
    Class, Code, Context, Failure, Job, JobOptions, MemoryStore, Queue, QueueName, Retention, Retry, Runtime, State,
    seal_job,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

/// Jobs per claim and per settlement, as with a busy worker.
const BATCH: usize = 64;
/// Executors of the runtime in [`round_trip`].
const EXECUTORS: usize = 100;
const LEASE: Duration = Duration::from_secs(30);
/// The longest wait for the next job.
const JOB_TIMEOUT: Duration = Duration::from_secs(30);

/// A job whose envelope has about 200 bytes.
#[derive(Serialize, Deserialize)]
struct Letter {
    text: String,
}

impl Job for Letter {
    const KIND: &'static str = "letter";
}

fn letter() -> Letter {
    Letter { text: "x".repeat(180) }
}

fn instance() -> InstanceId {
    InstanceId::from(Uuid::from_u128(7))
}

fn envelopes(c: &mut Criterion) {
    let envelope = open(&seal_job(&letter(), &JobOptions::default()).unwrap().envelope).unwrap();
    let sealed = seal(&envelope).unwrap();
    let log = AttemptLog::new(
        instance(),
        ExecutorId::new(3, 1),
        1_700_000_000_000,
        12,
        Ended::Failed {
            code: Code::NetworkError,
            message: "connection refused".into(),
            chain: vec!["connect".into()],
            location: None,
            backtrace: None,
            decision: Some(Box::new(decide(&Retry::default(), 2, Class::Temporary, None, 500))),
        },
    );
    let record = encode_attempt(&log);
    let mut group = c.benchmark_group("codec");
    group.bench_function("seal an envelope", |b| b.iter(|| seal(black_box(&envelope)).unwrap()));
    group.bench_function("open an envelope", |b| b.iter(|| open(black_box(&sealed)).unwrap()));
    group.bench_function("encode a failed attempt", |b| b.iter(|| encode_attempt(black_box(&log))));
    group.bench_function("decode a failed attempt", |b| b.iter(|| decode_attempt(black_box(&record)).unwrap()));
    group.finish();
}

fn decisions(c: &mut Criterion) {
    let retry = Retry::default();
    c.bench_function("retry decision", |b| {
        b.iter(|| decide(black_box(&retry), black_box(3), Class::Temporary, None, black_box(-300)));
    });
}

/// A memory store with a queue, and a replay slot for calls to it.
struct TestQueue {
    store: MemoryStore,
    replay_slot: ReplaySlot,
    queue: QueueName,
}

impl TestQueue {
    async fn new() -> Self {
        let replay_slot = ReplaySlots::new(instance(), 1).take().await;
        Self { store: MemoryStore::new(), replay_slot, queue: QueueName::new("q").unwrap() }
    }

    async fn enqueue(&mut self, jobs: &[NewJob]) {
        self.store.enqueue(self.replay_slot.next_call(), &self.queue, jobs).await.unwrap();
    }

    async fn claim(&mut self) -> Vec<ClaimedJob> {
        let request = ClaimRequest { limit: BATCH, bytes_max: 4 << 20, lease: LEASE, nonce: [7; 8], numbered: false };
        self.store.claim(self.replay_slot.next_call(), &self.queue, &request).await.unwrap().jobs
    }

    async fn settle(&mut self, jobs: &[ClaimedJob]) {
        let completed = |job: &ClaimedJob| Settlement {
            id: job.id.clone(),
            token: job.token,
            verdict: Verdict::Complete { keep: false },
            record: bytes::Bytes::new(),
        };
        let settlements: Vec<_> = jobs.iter().map(completed).collect();
        self.store.settle(self.replay_slot.next_call(), &self.queue, &settlements).await.unwrap();
    }
}

fn jobs(count: usize) -> Vec<NewJob> {
    (0..count).map(|_| seal_job(&letter(), &JobOptions::default()).unwrap()).collect()
}

fn transitions(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut group = c.benchmark_group("transition, in memory");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("enqueue, claim and settle 64 jobs", |b| {
        let mut queue = runtime.block_on(TestQueue::new());
        b.iter_batched(
            || jobs(BATCH),
            |jobs| {
                runtime.block_on(async {
                    queue.enqueue(&jobs).await;
                    let claimed = queue.claim().await;
                    queue.settle(&claimed).await;
                });
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// An actor that sends itself messages; each holds the number of messages still to send.
struct Hopper;

impl Actor for Hopper {
    type Msg = u64;
    type State = Arc<Notify>;
    type Arguments = Arc<Notify>;

    async fn pre_start(&self, _: ActorRef<u64>, done: Arc<Notify>) -> Result<Arc<Notify>, ActorProcessingErr> {
        Ok(done)
    }

    async fn handle(&self, myself: ActorRef<u64>, left: u64, done: &mut Arc<Notify>) -> Result<(), ActorProcessingErr> {
        match left {
            0 => done.notify_one(),
            _ => myself.cast(left - 1)?,
        }
        Ok(())
    }
}

fn hop(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let done = Arc::new(Notify::new());
    let (hopper, task) = runtime.block_on(Actor::spawn(None, Hopper, done.clone())).unwrap();
    c.bench_function("one actor hop", |b| {
        b.iter_custom(|hops| {
            let begun = Instant::now();
            hopper.cast(hops).unwrap();
            runtime.block_on(done.notified());
            begun.elapsed()
        });
    });
    hopper.stop(None);
    runtime.block_on(task).unwrap();
}

/// Counts the jobs that ran.
#[derive(Default)]
struct Ran {
    count: AtomicU64,
    each: Notify,
}

async fn count(_: Letter, _: Context, ran: State<Arc<Ran>>) -> Result<(), Failure> {
    ran.count.fetch_add(1, Ordering::Relaxed);
    ran.each.notify_one();
    Ok(())
}

/// Jobs in a runtime with a memory store: claimed, run by an executor, settled.
fn round_trip(c: &mut Criterion) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (ran, store) = (Arc::new(Ran::default()), Arc::new(MemoryStore::new()));
    let queue = Queue::new("q").unwrap().concurrency(EXECUTORS).retention(Retention::default().without_completed());
    let builder = Runtime::builder().shared_store(store.clone()).state(ran.clone()).queue(queue.handler(count));
    let runtime = tokio.block_on(async { builder.start().await }).unwrap();
    let mut replay_slot = tokio.block_on(ReplaySlots::new(instance(), 1).take());
    let name = QueueName::new("q").unwrap();
    c.bench_function("executor round trip", |b| {
        b.iter_custom(|rounds| {
            let sealed = jobs(usize::try_from(rounds).unwrap());
            let goal = ran.count.load(Ordering::Relaxed) + rounds;
            let begun = Instant::now();
            tokio.block_on(async {
                for batch in sealed.chunks(BATCH_MAX) {
                    store.enqueue(replay_slot.next_call(), &name, batch).await.unwrap();
                }
                while ran.count.load(Ordering::Relaxed) < goal {
                    tokio::time::timeout(JOB_TIMEOUT, ran.each.notified()).await.unwrap();
                }
            });
            begun.elapsed()
        });
    });
    tokio.block_on(runtime.shutdown()).unwrap();
}

criterion_group!(parts, envelopes, decisions, transitions, hop, round_trip);
criterion_main!(parts);
