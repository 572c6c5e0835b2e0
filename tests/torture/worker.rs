//! A worker process: this binary, started again with a configuration. Dropping [`Worker`] kills the process.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IndexedRandom;
use retraced::store::RedisOptions;
use retraced::supervision::Strategy;
use retraced::supervision::{Budget, RestartDelay, RestartPolicy};
use retraced::{
    Code, Context, Failure, Job, JobId, JobOptions, NodeState, OnUndecodable, Queue, RedisStore, Retry, Runtime, State,
    TreeNode,
};
use serde::{Deserialize, Serialize};

use crate::execution_log::{ExecutionLog, RunEnd};
use crate::scenario::{QUEUE, keep_all};
use crate::seed::rng;

const CONFIG: &str = "RETRACED_TORTURE_WORKER";
/// Exit code of a worker process whose runtime ended with an error.
pub(crate) const RUNTIME_FAILED: i32 = 70;
/// Exit code of a worker process that did not start.
pub(crate) const NOT_STARTED: i32 = 71;
/// The test that runs as the worker process.
const ROLE: &str = "worker::role_of_a_worker_process";

/// A budget large enough for actors that are killed all the time.
const LARGE_BUDGET: RestartPolicy = RestartPolicy::new(
    Strategy::OneForOne,
    Budget::new(2_000, Duration::from_secs(60)),
    RestartDelay::new(Duration::from_millis(1), Duration::from_millis(20), 50),
);

/// How a handler ends after its sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Then {
    Succeed,
    /// Fails as long as no failure of the job is counted.
    FailOnce,
    /// Fails with a temporary failure in every attempt.
    FailAlways,
    FailPermanently,
    /// Fails once, with a message of this many bytes.
    FailWithLongError(usize),
    Panic,
    /// Aborts its process.
    Abort,
    /// Ends its process by using up its stack.
    Overflow,
    /// Ends its process by asking for more memory than there is.
    Allocate,
    /// Ends its process with exit code 0.
    Exit,
    /// Blocks its thread instead of sleeping asynchronously, then succeeds.
    Block,
    /// Stops when its lease is lost; otherwise succeeds after its sleep.
    Watch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) number: u64,
    pub(crate) millis: u64,
    pub(crate) then: Then,
    /// 0 where a job is enqueued first. Another value shows that a later enqueue of the same id has replaced the payload.
    pub(crate) mark: u64,
    /// Makes the payload larger.
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
        JobOptions::default().id(id(self.number))
    }
}

/// A kind that only new workers know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewKind(pub(crate) Work);

impl Job for NewKind {
    const KIND: &'static str = "new-kind";
}

/// A job whose handler ignores every request to stop. It blocks its thread for ever as long as no failure of the job is counted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NeverReturns(pub(crate) Work);

impl Job for NeverReturns {
    const KIND: &'static str = "never-returns";
}

pub(crate) fn id(number: u64) -> JobId {
    JobId::parse(&format!("job-{number}")).unwrap()
}

pub(crate) fn number(id: &JobId) -> Option<u64> {
    id.to_string().strip_prefix("job-")?.parse().ok()
}

async fn work(job: Work, ctx: Context, log: State<ExecutionLog>) -> Result<(), Failure> {
    log.began(job.number, job.mark, &ctx);
    match job.then {
        Then::Block => std::thread::sleep(Duration::from_millis(job.millis)),
        Then::Watch => {
            let stopped = ctx.cancellation();
            let _ = tokio::time::timeout(Duration::from_millis(job.millis), stopped.cancelled()).await;
        }
        _ => tokio::time::sleep(Duration::from_millis(job.millis)).await,
    }
    let failure = match job.then {
        Then::FailOnce if ctx.attempt() == 1 => Failure::temporary(Code::NetworkError, "the first run fails"),
        Then::FailAlways => Failure::temporary(Code::ServiceUnavailable, "every run fails"),
        Then::FailPermanently => Failure::permanent(Code::InvalidJobData, "no run can succeed"),
        Then::FailWithLongError(bytes) if ctx.attempt() == 1 => {
            Failure::temporary(Code::NetworkError, "o".repeat(bytes))
        }
        Then::Watch if ctx.lease_ended() => {
            log.ended(job.number, &ctx, RunEnd::LeaseLost);
            return Err(Failure::temporary(Code::LeaseLost, "another worker may run it"));
        }
        Then::Panic => {
            log.ended(job.number, &ctx, RunEnd::Failed);
            panic!("by configuration");
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
            log.ended(job.number, &ctx, RunEnd::Returned);
            return Ok(());
        }
    };
    log.ended(job.number, &ctx, RunEnd::Failed);
    Err(failure)
}

#[expect(unconditional_recursion, reason = "this function is meant to use up the stack")]
fn descend(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 128]);
    descend(depth + 1) + std::hint::black_box(here)[0]
}

async fn new_kind(job: NewKind, ctx: Context, log: State<ExecutionLog>) -> Result<(), Failure> {
    work(job.0, ctx, log).await
}

fn never_returns(job: NeverReturns, ctx: Context, log: State<ExecutionLog>) -> Result<(), Failure> {
    log.began(job.0.number, job.0.mark, &ctx);
    while ctx.attempt() == 1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    log.ended(job.0.number, &ctx, RunEnd::Returned);
    Ok(())
}

/// The configuration of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerConfig {
    pub(crate) url: String,
    pub(crate) log: PathBuf,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
    pub(crate) timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) executors: usize,
    pub(crate) threads: usize,
    pub(crate) crashes_max: u32,
    pub(crate) zombies_max: Option<usize>,
    /// Whether the worker has a handler for the new kind.
    pub(crate) knows_new_kind: bool,
    /// The largest payload its queue accepts.
    pub(crate) payload_bytes_max: usize,
    /// The limit of the process's address space, in KiB.
    pub(crate) memory_kib: Option<u64>,
    /// Jobs that the worker produces itself: the first number, how many per second, and for how long.
    pub(crate) produces: Option<(u64, u64, Duration)>,
    /// The worker kills actors of its own tree: the mean interval, and the seed for the choice.
    pub(crate) kill_interval: Option<(Duration, u64)>,
    /// The worker kills this actor again after each restart.
    pub(crate) kill_always: Option<String>,
}

impl WorkerConfig {
    pub(crate) fn start(&self) -> Worker {
        let binary = std::env::current_exe().unwrap();
        let mut command = match self.memory_kib {
            None => Command::new(binary),
            Some(kib) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")]).arg(binary);
                shell
            }
        };
        let child = command
            .args(["--exact", ROLE, "--nocapture", "--test-threads=1"])
            .env(CONFIG, serde_json::to_string(self).unwrap())
            // The output of workers is shown only when the scenario fails.
            .stdout(Stdio::null())
            .stderr(
                OpenOptions::new().create(true).append(true).open(self.log.with_file_name("worker-output")).unwrap(),
            )
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

    /// The exit status, if the process has ended.
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

    /// The resident memory of the process, in KiB.
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

/// Sends a signal to a process that this run has started.
pub(crate) fn signal_to(pid: u64, signal: &str) {
    assert!(Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap().success());
}

/// Not a test: the worker process, if this binary was started with a configuration. Otherwise it does nothing.
#[test]
fn role_of_a_worker_process() {
    let Ok(config) = std::env::var(CONFIG) else { return };
    let config: WorkerConfig = serde_json::from_str(&config).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(config.threads).enable_all().build().unwrap();
    let code = runtime.block_on(run_worker(config));
    // Handlers may block their threads for ever: dropping the runtime would wait for them.
    std::process::exit(code);
}

async fn run_worker(config: WorkerConfig) -> i32 {
    let options = RedisOptions::default().call_timeout(config.call_timeout);
    let store = RedisStore::open(&config.url, options).unwrap();
    let retry = Retry::fixed().base(Duration::from_millis(100)).jitter(0).max_attempts(3);
    let large_budget = config.kill_interval.is_some();
    let mut queue = Queue::new(QUEUE)
        .unwrap()
        .concurrency(config.executors)
        .timeout(config.timeout)
        .retry(retry)
        .payload_bytes_max(config.payload_bytes_max)
        .on_undecodable(OnUndecodable::Poison)
        .retention(keep_all())
        .handler(work)
        .blocking_handler(never_returns);
    if config.knows_new_kind {
        queue = queue.handler(new_kind);
    }
    let mut builder = Runtime::builder().store(store).state(ExecutionLog::open(&config.log));
    if large_budget {
        queue = queue.restart_policy(LARGE_BUDGET);
        builder = builder.restart_policy(LARGE_BUDGET);
    }
    if let Some(zombies) = config.zombies_max {
        builder = builder.zombies_max(zombies);
    }
    builder = builder.lease(config.lease).shutdown_grace(config.grace).crashes_max(config.crashes_max).queue(queue);
    let runtime = match builder.start().await {
        Ok(runtime) => Arc::new(runtime),
        Err(refused) => {
            eprintln!("the worker did not start: {refused}");
            return NOT_STARTED;
        }
    };
    if let Some((every, seed)) = config.kill_interval {
        tokio::spawn(kill_actors(runtime.clone(), every, seed));
    }
    if let Some(path) = config.kill_always.clone() {
        let runtime = runtime.clone();
        tokio::spawn(async move {
            loop {
                runtime.kill(&path);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    if let Some((from, per_second, time)) = config.produces {
        tokio::spawn(produce(runtime.clone(), ExecutionLog::open(&config.log), from, per_second, time));
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    tokio::select! {
        ended = runtime.wait() => return if ended.is_ok() { 0 } else { RUNTIME_FAILED },
        _ = terminate.recv() => {}
    }
    tokio::select! {
        _ = runtime.shutdown() => 0,
        // A second signal ends the process at once.
        _ = terminate.recv() => 130,
    }
}

/// Kills actors at random. The root is left out, because the process would end with it. Handlers are dropped when a pool or a supervisor of a queue is killed.
async fn kill_actors(runtime: Arc<Runtime>, every: Duration, seed: u64) {
    let mut rng = rng(seed);
    loop {
        tokio::time::sleep(every.mul_f64(rng.random_range(0.2..1.8))).await;
        let tree = runtime.tree();
        let up = |node: &&TreeNode| node.state == NodeState::Up && node.path != tree.path;
        let candidates: Vec<_> = tree.all().into_iter().filter(up).collect();
        if let Some(victim) = candidates.choose(&mut rng) {
            runtime.kill(&victim.path);
        }
    }
}

/// Enqueues at a steady rate through the runtime's own queue, and logs which jobs were acknowledged and which were not.
async fn produce(runtime: Arc<Runtime>, log: ExecutionLog, from: u64, per_second: u64, time: Duration) {
    let log = Arc::new(log);
    let begun = Instant::now();
    let mut produced = 0;
    while begun.elapsed() < time {
        let due = (begun.elapsed().as_secs_f64() * per_second as f64) as u64;
        for number in from + produced..from + due {
            let (queue, log) = (runtime.queue(QUEUE).unwrap(), log.clone());
            tokio::spawn(async move {
                let job = Work::new(number, 1, Then::Succeed);
                let sent_at = Instant::now();
                let receipt = queue.job(job).id(id(number).to_string()).enqueue().await;
                match receipt {
                    Ok(_) => log.acknowledged(number),
                    Err(_) => log.refused(number, sent_at.elapsed()),
                }
            });
        }
        produced = due.max(produced);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
