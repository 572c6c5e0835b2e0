//! A worker process: this binary, started again with orders. Ended by its process id when it is dropped.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IndexedRandom;
use retraced::store::RedisOptions;
use retraced::supervision::Strategy;
use retraced::{
    Budget, Code, Context, Failure, Job, JobId, JobOptions, Queue, RedisStore, RestartDelay, RestartPolicy, Retry,
    Runtime, State,
};
use serde::{Deserialize, Serialize};

use crate::book::{Book, How};
use crate::seed::dice;
use crate::stage::{QUEUE, keep_all};

const ORDERS: &str = "RETRACED_TORTURE_ORDERS";
/// How a worker process ends whose runtime gave up.
pub(crate) const GAVE_UP: i32 = 70;
/// How one ends that did not start.
pub(crate) const NOT_STARTED: i32 = 71;
const ROLE: &str = "worker::role_of_a_worker_process";

/// Bears being killed all the time.
const TOUGH: RestartPolicy = RestartPolicy {
    strategy: Strategy::OneForOne,
    budget: Budget { restarts: 2_000, window: Duration::from_secs(60) },
    delay: RestartDelay { base: Duration::from_millis(1), max: Duration::from_millis(20), jitter_percent: 50 },
};

/// What its handler does after it has slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Then {
    Succeed,
    /// Fails the first time it is tried.
    FailOnce,
    FailAlways,
    FailForGood,
    /// Fails with a text of this many bytes.
    Lament(usize),
    Panic,
    /// Ends its process by a signal of its own.
    Abort,
    /// Ends its process by using up its stack.
    Overflow,
    /// Ends its process by asking for more memory than there is.
    Allocate,
    /// Ends its process, which calls that a success.
    Exit,
    /// Sleeps with its thread instead of yielding it.
    Block,
    /// Returns when it notices that its lease is lost, at the latest after its time.
    Watch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) number: u64,
    pub(crate) millis: u64,
    pub(crate) then: Then,
    pub(crate) mark: u64,
    pub(crate) fill: String,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

impl Work {
    pub(crate) fn new(number: u64, millis: u64, then: Then) -> Self {
        Self { number, millis, then, mark: 0, fill: String::new() }
    }

    pub(crate) fn options(&self) -> JobOptions {
        JobOptions { id: Some(id(self.number)), ..JobOptions::default() }
    }
}

/// A kind that only new workers know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Novel(pub(crate) Work);

impl Job for Novel {
    const KIND: &'static str = "novel";
}

/// A handler that blocks its thread for ever the first time, whatever it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Deaf(pub(crate) Work);

impl Job for Deaf {
    const KIND: &'static str = "deaf";
}

pub(crate) fn id(number: u64) -> JobId {
    JobId::parse(&format!("job-{number}")).unwrap()
}

pub(crate) fn number(id: &JobId) -> Option<u64> {
    id.to_string().strip_prefix("job-")?.parse().ok()
}

async fn work(job: Work, ctx: Context, book: State<Book>) -> Result<(), Failure> {
    book.began(job.number, job.mark, &ctx);
    match job.then {
        Then::Block => std::thread::sleep(Duration::from_millis(job.millis)),
        Then::Watch => {
            let stopped = ctx.cancellation();
            let _ = tokio::time::timeout(Duration::from_millis(job.millis), stopped.cancelled()).await;
        }
        _ => tokio::time::sleep(Duration::from_millis(job.millis)).await,
    }
    let failure = match job.then {
        Then::FailOnce if ctx.attempt() == 1 => Failure::temporary(Code::NetworkError, "the first time fails"),
        Then::FailAlways => Failure::temporary(Code::ServiceUnavailable, "never works"),
        Then::FailForGood => Failure::permanent(Code::InvalidJobData, "cannot work"),
        Then::Lament(bytes) if ctx.attempt() == 1 => Failure::temporary(Code::NetworkError, "o".repeat(bytes)),
        Then::Watch if ctx.lease_lost() => {
            book.ended(job.number, &ctx, How::Gave);
            return Err(Failure::temporary(Code::LeaseLost, "somebody else may run it"));
        }
        Then::Panic => {
            book.ended(job.number, &ctx, How::Failed);
            panic!("as ordered");
        }
        Then::Abort => std::process::abort(),
        Then::Overflow => {
            std::hint::black_box(descend(std::hint::black_box(1)));
            return Ok(());
        }
        Then::Allocate => {
            std::hint::black_box(Vec::<u8>::with_capacity(std::hint::black_box(10 << 30)));
            return Ok(());
        }
        Then::Exit => std::process::exit(0),
        _ => {
            book.ended(job.number, &ctx, How::Returned);
            return Ok(());
        }
    };
    book.ended(job.number, &ctx, How::Failed);
    Err(failure)
}

#[expect(unconditional_recursion, reason = "it is to use up the stack")]
fn descend(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 128]);
    descend(depth + 1) + std::hint::black_box(here)[0]
}

async fn novel(job: Novel, ctx: Context, book: State<Book>) -> Result<(), Failure> {
    work(job.0, ctx, book).await
}

fn deaf(job: Deaf, ctx: Context, book: State<Book>) -> Result<(), Failure> {
    book.began(job.0.number, job.0.mark, &ctx);
    while ctx.attempt() == 1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    book.ended(job.0.number, &ctx, How::Returned);
    Ok(())
}

/// How a worker is to work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) url: String,
    pub(crate) book: PathBuf,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
    pub(crate) timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) executors: usize,
    pub(crate) threads: usize,
    pub(crate) crashes_max: u32,
    pub(crate) zombies_max: Option<usize>,
    /// Whether it knows the novel kind.
    pub(crate) knows_novelties: bool,
    /// Largest payload its queue takes.
    pub(crate) payload_bytes_max: usize,
    /// Most address space it may use, in KiB.
    pub(crate) memory_kib: Option<u64>,
    /// Jobs it produces itself, from this number on, so many a second for this long.
    pub(crate) produces: Option<(u64, u64, Duration)>,
    /// Kills an actor of its own tree this often, chosen by this seed.
    pub(crate) storm: Option<(Duration, u64)>,
    /// Kills this actor as soon as it lives, for ever.
    pub(crate) nemesis_of: Option<String>,
}

impl Orders {
    pub(crate) fn start(&self) -> Worker {
        let own = std::env::current_exe().unwrap();
        let mut command = match self.memory_kib {
            None => Command::new(own),
            Some(kib) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")]).arg(own);
                shell
            }
        };
        let child = command
            .args(["--exact", ROLE, "--nocapture", "--test-threads=1"])
            .env(ORDERS, serde_json::to_string(self).unwrap())
            // What it is ordered to do to itself would fill the screen; when something is wrong it is told.
            .stdout(Stdio::null())
            .stderr(OpenOptions::new().create(true).append(true).open(self.book.with_file_name("said")).unwrap())
            .spawn()
            .unwrap();
        Worker { child, ended: None }
    }
}

pub(crate) struct Worker {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Worker {
    pub(crate) fn pid(&self) -> u64 {
        self.child.id().into()
    }

    pub(crate) fn signal(&self, signal: &str) {
        signal_to(self.pid(), signal);
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
            assert!(self.ended.is_none_or(|status| status.code() != Some(NOT_STARTED)), "a worker did not start");
        }
        self.ended
    }

    pub(crate) fn kill(&mut self) {
        if self.ended().is_none() {
            self.child.kill().unwrap();
            self.ended = Some(self.child.wait().unwrap());
        }
    }

    /// Its resident memory, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Only ever of a process this run has started.
pub(crate) fn signal_to(pid: u64, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap().success());
}

/// Not a test: what this binary does when it is given orders. Does nothing otherwise.
#[test]
fn role_of_a_worker_process() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(orders.threads).enable_all().build().unwrap();
    let code = runtime.block_on(obey(orders));
    // Handlers may block their threads for ever, so the runtime is not waited for.
    std::process::exit(code);
}

async fn obey(orders: Orders) -> i32 {
    let options = RedisOptions::default().call_timeout(orders.call_timeout);
    let store = RedisStore::open(&orders.url, options).unwrap();
    let retry = Retry::fixed().base(Duration::from_millis(100)).jitter(0).max_attempts(3);
    let tough = orders.storm.is_some();
    let mut queue = Queue::new(QUEUE)
        .unwrap()
        .concurrency(orders.executors)
        .timeout(orders.timeout)
        .retry(retry)
        .payload_bytes_max(orders.payload_bytes_max)
        .retention(keep_all())
        .handler(work)
        .blocking_handler(deaf);
    if orders.knows_novelties {
        queue = queue.handler(novel);
    }
    let mut builder = Runtime::builder().store(store).state(Book::at(&orders.book));
    if tough {
        queue = queue.restart_policy(TOUGH);
        builder = builder.restart_policy(TOUGH);
    }
    if let Some(zombies) = orders.zombies_max {
        builder = builder.zombies_max(zombies);
    }
    builder = builder.lease(orders.lease).grace(orders.grace).crashes_max(orders.crashes_max).queue(queue);
    let runtime = match builder.start().await {
        Ok(runtime) => Arc::new(runtime),
        Err(refused) => {
            eprintln!("it did not start: {refused}");
            return NOT_STARTED;
        }
    };
    if let Some((every, seed)) = orders.storm {
        tokio::spawn(storm(runtime.clone(), every, seed));
    }
    if let Some(path) = orders.nemesis_of.clone() {
        let runtime = runtime.clone();
        tokio::spawn(async move {
            loop {
                runtime.kill(&path);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    if let Some((from, per_second, time)) = orders.produces {
        tokio::spawn(produce(runtime.clone(), Book::at(&orders.book), from, per_second, time));
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    tokio::select! {
        ended = runtime.wait() => return if ended.is_ok() { 0 } else { GAVE_UP },
        _ = terminate.recv() => {}
    }
    tokio::select! {
        _ = runtime.shutdown() => 0,
        // A second one: now.
        _ = terminate.recv() => 130,
    }
}

/// The pool and the queue's supervisor take handlers with them, which is what is wanted here; the root would take the process.
async fn storm(runtime: Arc<Runtime>, every: Duration, seed: u64) {
    let mut dice = dice(seed);
    loop {
        tokio::time::sleep(every.mul_f64(dice.random_range(0.2..1.8))).await;
        let residents = runtime.actors();
        let all: Vec<_> = residents.iter().filter(|resident| resident.path != "retraced").collect();
        if let Some(victim) = all.choose(&mut dice) {
            runtime.kill(&victim.path);
        }
    }
}

/// Enqueues at a steady pace through the runtime's own queue, and writes down what was acknowledged and what was not.
async fn produce(runtime: Arc<Runtime>, book: Book, from: u64, per_second: u64, time: Duration) {
    let book = Arc::new(book);
    let begun = Instant::now();
    let mut produced = 0;
    while begun.elapsed() < time {
        let due = (begun.elapsed().as_secs_f64() * per_second as f64) as u64;
        for number in from + produced..from + due {
            let (queue, book) = (runtime.queue(QUEUE).unwrap(), book.clone());
            tokio::spawn(async move {
                let job = Work::new(number, 1, Then::Succeed);
                let asked = Instant::now();
                let sent = queue.job(job).id(id(number).to_string()).enqueue().await;
                match sent {
                    Ok(_) => book.acknowledged(number),
                    Err(_) => book.refused(number, asked.elapsed()),
                }
            });
        }
        produced = due.max(produced);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
