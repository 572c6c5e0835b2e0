//! A long queue and a full dead letter queue, with a worker process. `make scale` runs these tests with a million jobs each and prints the figures; `make test`
//! runs them in a small form, which asserts what must hold at any size and measures no times.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::HashSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use retraced::codec::encode_attempt;
use retraced::find::JobFilter;
use retraced::job::{AttemptLog, Ended, ExecutorId, InstanceId};
use retraced::store::{
    BATCH_MAX, ClaimRequest, Moved, ReplaySlot, ReplaySlots, Settlement, Target, TrimPolicy, Verdict,
};
use retraced::{
    Code, Context, Failure, Job, JobOptions, JobState, Operator, Queue, QueueName, RedisStore, Retention,
    RetentionRule, Runtime, Store,
};
use serde::{Deserialize, Serialize};
use support::full_scale;
use support::redis_server::RedisServer;
use uuid::Uuid;

/// Jobs per call, or per page of a list.
const BATCH: usize = BATCH_MAX;
/// The payload of a large job, in bytes: nearly as much as a job may have.
const LARGE_BYTES: usize = 1024 * 1024 - 1_000;
/// The bound of a worker's memory, whatever the length of its queue.
const WORKER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The longest wait for a worker to finish.
const WORKER_TIMEOUT: Duration = Duration::from_secs(900);

/// A job of some 200 bytes.
#[derive(Serialize, Deserialize)]
struct Work {
    text: String,
    busy_ms: u64,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

async fn work(job: Work, _: Context) -> Result<(), Failure> {
    if job.busy_ms > 0 {
        tokio::time::sleep(Duration::from_millis(job.busy_ms)).await;
    }
    Ok(())
}

/// Not a test: the worker process, if a test started this binary as one. Otherwise it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_of_a_worker_process() {
    let Ok(url) = std::env::var("RETRACED_TEST_WORKER_OF") else { return };
    let rule = RetentionRule::new(Duration::from_secs(86_400), 10_000);
    // Dead letters are not trimmed, because the test counts them.
    let retention = Retention::default().completed(rule).dead(RetentionRule::by_age(rule.age_max).bytes_max(u64::MAX));
    let _runtime = Runtime::builder()
        .store(RedisStore::connect(&url).await.unwrap())
        .queue(Queue::new("many").unwrap().concurrency(20).retention(retention).handler(work))
        .start()
        .await
        .unwrap();
    std::future::pending::<()>().await;
}

struct Worker(Child);

impl Worker {
    fn start(server: &RedisServer) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role_of_a_worker_process", "--nocapture", "--test-threads=1"])
            .env("RETRACED_TEST_WORKER_OF", server.url())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// The peak memory of the process so far, in bytes.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with one queue, and access to the statistics that the server keeps about its scripts.
struct Harness {
    server: RedisServer,
    store: Arc<dyn Store>,
    admin: Operator,
    replay_slot: ReplaySlot,
    queue: QueueName,
}

impl Harness {
    async fn new() -> Self {
        let server = RedisServer::start_with(&["--latency-tracking-info-percentiles", "50", "99", "99.9", "100"]);
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
        let replay_slot = ReplaySlots::new(InstanceId::from(Uuid::new_v4()), 1).take().await;
        let (admin, queue) = (Operator::shared(store.clone()), QueueName::new("many").unwrap());
        Self { server, store, admin, replay_slot, queue }
    }

    async fn enqueue(&mut self, jobs: usize, busy_ms: u64) {
        let work = Work { text: "x".repeat(120), busy_ms };
        for _ in 0..jobs.div_ceil(BATCH) {
            let sealed: Vec<_> =
                (0..BATCH).map(|_| retraced::seal_job(&work, &JobOptions::default()).unwrap()).collect();
            self.store.enqueue(self.replay_slot.next_call(), &self.queue, &sealed).await.unwrap();
        }
    }

    async fn enqueue_large(&mut self, jobs: usize) {
        let work = Work { text: "x".repeat(LARGE_BYTES), busy_ms: 0 };
        for _ in 0..jobs {
            let sealed = retraced::seal_job(&work, &JobOptions::default()).unwrap();
            self.store.enqueue(self.replay_slot.next_call(), &self.queue, &[sealed]).await.unwrap();
        }
    }

    /// Cancels every pending job.
    async fn cancel_all(&self) {
        let mut cancelling = self.admin.cancel_matching(&self.queue, &JobFilter::in_state(JobState::Pending));
        while cancelling.step().await.unwrap().is_some() {}
    }

    /// Moves every pending job to the dead letter queue.
    async fn dead_letter_all(&mut self) {
        let log = AttemptLog::new(
            InstanceId::from(Uuid::new_v4()),
            ExecutorId::new(0, 0),
            1,
            1,
            Ended::Failed {
                code: Code::NetworkError,
                message: "connection refused by 10.0.0.7:25 after three tries".into(),
                chain: vec!["connection refused".into()],
                location: None,
                backtrace: None,
                decision: None,
            },
        );
        let record = encode_attempt(&log);
        let mut settlements = Vec::new();
        loop {
            let request = ClaimRequest {
                limit: BATCH,
                bytes_max: 4 << 20,
                lease: Duration::from_secs(60),
                nonce: rand(),
                numbered: false,
            };
            let call = self.replay_slot.next_call();
            let (_, claims) = self.store.settle_and_claim(call, &self.queue, &settlements, &request).await.unwrap();
            if claims.jobs.is_empty() {
                return;
            }
            let dead_letter = |job: retraced::store::ClaimedJob| Settlement {
                id: job.id,
                token: job.token,
                verdict: Verdict::DeadLetter,
                record: record.clone(),
            };
            settlements = claims.jobs.into_iter().map(dead_letter).collect();
        }
    }

    fn info(&self, section: &str) -> String {
        redis::cmd("INFO").arg(section).query(&mut self.server.connection()).unwrap()
    }

    /// Resets the statistics of the server.
    fn reset_stats(&self) {
        let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query(&mut self.server.connection()).unwrap();
    }

    /// Prints how long the scripts ran inside the server since [`reset_stats`](Self::reset_stats).
    fn print_scripts(&self, phase: &str) {
        let field = |text: &str, key: &str| {
            let at = text.find(key)? + key.len();
            let number = text[at..].split([',', '\r', '\n']).next()?;
            number.parse::<f64>().ok()
        };
        let (stats, latency) = (self.info("commandstats"), self.info("latencystats"));
        let of = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or("").to_owned();
        let (stats, latency) = (of(&stats, "cmdstat_evalsha:"), of(&latency, "latency_percentiles_usec_evalsha:"));
        let ms = |key: &str| match field(&latency, key) {
            Some(us) => format!("{:.2}", us / 1000.0),
            None => "?".into(),
        };
        let calls = field(&stats, "calls=").unwrap_or(0.0);
        println!("| {phase} | {calls:.0} | {} | {} | {} | {} |", ms("p50="), ms("p99="), ms("p99.9="), ms("p100="));
    }

    fn print_scripts_header(&self) {
        println!("\n| scripts, ms inside the server | calls | p50 | p99 | p99.9 | max |");
        println!("|---|---|---|---|---|---|");
    }
}

fn rand() -> [u8; 8] {
    *Uuid::new_v4().as_bytes().first_chunk().unwrap()
}

/// Durations of calls, measured by the caller.
#[derive(Default)]
struct Calls(Vec<Duration>);

impl Calls {
    fn print(mut self, what: &str) {
        self.0.sort_unstable();
        let rank = |share: f64| self.0[((self.0.len() as f64 * share).ceil() as usize).clamp(1, self.0.len()) - 1];
        let ms = |share: f64| rank(share).as_secs_f64() * 1000.0;
        println!(
            "{what}: {} calls, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            self.0.len(),
            ms(0.5),
            ms(0.99),
            ms(0.999),
            ms(1.0)
        );
    }
}

/// Goal: the length of a queue affects neither the memory of its worker nor the time of any script. Method: the queue is filled before the worker starts. The operating
/// system reports the worker's peak memory, and the server the time of each script.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_a_worker_does_not_grow_with_its_queue() {
    let jobs = if full_scale() { 1_000_000 } else { 20_000 };
    let mut harness = Harness::new().await;
    harness.reset_stats();
    let begun = Instant::now();
    harness.enqueue(jobs, 0).await;
    println!("{jobs} jobs enqueued in {:.1} s", begun.elapsed().as_secs_f64());
    harness.print_scripts_header();
    harness.print_scripts(&format!("enqueue, {BATCH} a call"));

    harness.reset_stats();
    let begun = Instant::now();
    let worker = Worker::start(&harness.server);
    let mut print_at = jobs / 10;
    let done = loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let stats = harness.admin.stats(&harness.queue).await.unwrap();
        let done = stats.completed_total as usize;
        if full_scale() && done >= print_at {
            harness.print_scripts(&format!("worker, {} left", jobs - done));
            harness.reset_stats();
            print_at += jobs / 5;
        }
        if done == jobs {
            break stats;
        }
        assert!(begun.elapsed() < WORKER_TIMEOUT, "stuck: {stats:?}");
    };
    let (took, peak) = (begun.elapsed().as_secs_f64(), worker.peak());
    println!("\nworker: {:.1} s, {:.0} jobs/s, peak {:.1} MiB", took, jobs as f64 / took, peak as f64 / 1_048_576.0);
    assert!(peak < WORKER_BYTES_MAX, "the worker took {peak} bytes");
    assert_eq!((done.failures_total, done.crashes_total, done.releases_total), (0, 0, 0), "{done:?}");
    drop(worker);
    let audit = harness.admin.audit(&harness.queue).await.unwrap();
    assert!(audit.after.adds_up() && audit.findings.is_empty(), "{audit:?}");
}

/// Goal: no script takes long among large bodies, cancelled jobs and garbage, and no live job is passed over. Method: 100,000 cancelled jobs, then garbage entries of up
/// to 1 MiB, then 300 cancelled jobs of 1 MiB stand before a small front and 200 live jobs of 1 MiB. They are worked off; then the cancelled ones are trimmed, and 200 dead ones of
/// 1 MiB discarded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_cancelled_and_damaged_jobs_hold_up_nothing() {
    let (cancelled, large_cancelled, live) = if full_scale() { (100_000, 300, 200) } else { (2_000, 30, 20) };
    let mut harness = Harness::new().await;
    harness.enqueue(cancelled, 0).await;
    harness.cancel_all().await;
    for bytes in [0, 1, 100, 10_000, LARGE_BYTES] {
        let entry = "x".repeat(bytes);
        let mut push = redis::cmd("RPUSH");
        let _: () = push.arg("retraced:{many}:pending").arg(entry).query(&mut harness.server.connection()).unwrap();
    }
    harness.enqueue_large(large_cancelled).await;
    harness.cancel_all().await;
    harness.enqueue(BATCH, 0).await;
    harness.enqueue_large(live).await;

    harness.reset_stats();
    let worker = Worker::start(&harness.server);
    let all_done =
        || async { harness.admin.stats(&harness.queue).await.unwrap().completed_total == (BATCH + live) as u64 };
    support::eventually("the completion of all live jobs", WORKER_TIMEOUT, all_done).await;
    drop(worker);
    harness.print_scripts_header();
    harness.print_scripts("a worker among cancelled jobs, garbage and bodies of 1 MiB");

    let stats = harness.admin.stats(&harness.queue).await.unwrap();
    let removed = stats.cancelled + stats.completed_kept;
    harness.reset_stats();
    let none = RetentionRule::new(Duration::MAX, 0);
    let policy = TrimPolicy { retention: Retention::default().completed(none).cancelled(none), limit: BATCH };
    let mut trimmed = 0;
    loop {
        let trim = harness.store.trim(harness.replay_slot.next_call(), &harness.queue, &policy).await.unwrap();
        trimmed += trim.removed as u64;
        if !trim.more {
            break;
        }
    }
    assert_eq!(trimmed, removed);
    harness.print_scripts("trims of jobs of 1 MiB");

    harness.enqueue_large(live).await;
    harness.dead_letter_all().await;
    harness.reset_stats();
    let page = harness.admin.jobs(&harness.queue, JobState::Dead, None, BATCH).await.unwrap();
    let mut targets: Vec<Target> = page.jobs.iter().map(Target::from).collect();
    let mut from = page.next;
    while let Some(next) = from {
        let page = harness.admin.jobs(&harness.queue, JobState::Dead, Some(next), BATCH).await.unwrap();
        targets.extend(page.jobs.iter().map(Target::from));
        from = page.next;
    }
    let moved = harness.admin.discard(&harness.queue, targets).await.unwrap();
    assert_eq!(moved, vec![Moved::Moved { from: JobState::Dead, to: None }; live]);
    harness.print_scripts("lists and discards of jobs of 1 MiB");
    let audit = harness.admin.audit(&harness.queue).await.unwrap();
    assert!(audit.after.adds_up() && audit.findings.is_empty(), "{audit:?}");
}

/// The throughput of the worker and its longest pause, printed for each phase.
struct Throughput {
    admin: Operator,
    queue: QueueName,
    phase: String,
    begun: Instant,
    done: u64,
    stop: Arc<AtomicBool>,
    watch: tokio::task::JoinHandle<Duration>,
}

impl Throughput {
    async fn of(harness: &Harness, phase: &str) -> Self {
        let (admin, queue, stop) = (harness.admin.clone(), harness.queue.clone(), Arc::new(AtomicBool::new(false)));
        let done = admin.stats(&queue).await.unwrap().completed_total;
        let watch = tokio::spawn({
            let (admin, queue, stop) = (admin.clone(), queue.clone(), stop.clone());
            async move {
                let (mut last, mut since, mut longest) = (done, Instant::now(), Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let now = admin.stats(&queue).await.unwrap().completed_total;
                    if now > last {
                        longest = longest.max(since.elapsed());
                        (last, since) = (now, Instant::now());
                    }
                }
                longest.max(since.elapsed())
            }
        });
        Self { admin, queue, phase: phase.into(), begun: Instant::now(), done, stop, watch }
    }

    /// Prints the phase and returns how many jobs the worker did in it.
    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let pause = self.watch.await.unwrap();
        let done = self.admin.stats(&self.queue).await.unwrap().completed_total - self.done;
        let took = self.begun.elapsed().as_secs_f64();
        println!(
            "worker {}: {:.0} jobs/s over {took:.1} s, longest pause {:.0} ms",
            self.phase,
            done as f64 / took,
            pause.as_secs_f64() * 1000.0
        );
        done
    }
}

/// Goal: a full dead letter queue is listed page by page and discarded in batches, each job once, while the worker of the queue keeps its throughput. Method: the
/// handlers of the worker take 10 ms, so only they limit its throughput unless something blocks it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_and_discarded_while_a_worker_runs() {
    let dead_letters = if full_scale() { 1_000_000 } else { 5_000 };
    let mut harness = Harness::new().await;
    harness.enqueue(dead_letters, 0).await;
    harness.dead_letter_all().await;
    let used =
        harness.info("memory").lines().find_map(|line| line.strip_prefix("used_memory_human:").map(str::to_owned));
    println!("{dead_letters} dead letters, {} in the server", used.unwrap_or_default());
    harness.enqueue(if full_scale() { 400_000 } else { 20_000 }, 10).await;
    let worker = Worker::start(&harness.server);
    let some_done = || async { harness.admin.stats(&harness.queue).await.unwrap().completed_total > 100 };
    support::eventually("the completion of the first jobs", Duration::from_secs(60), some_done).await;

    if full_scale() {
        harness.reset_stats();
        let throughput = Throughput::of(&harness, "alone").await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        throughput.end().await;
        harness.print_scripts_header();
        harness.print_scripts("worker alone");
    }

    harness.reset_stats();
    let throughput = Throughput::of(&harness, "beside the lists").await;
    let (mut seen, mut from, mut calls) = (HashSet::new(), None, Calls::default());
    loop {
        let called = Instant::now();
        let page = harness.admin.jobs(&harness.queue, JobState::Dead, from, BATCH).await.unwrap();
        calls.0.push(called.elapsed());
        for job in page.jobs {
            assert!(job.last_error.is_some());
            assert!(seen.insert(job.id), "listed twice");
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), dead_letters);
    drop(seen);
    throughput.end().await;
    calls.print(&format!("pages of {BATCH} dead letters"));
    harness.print_scripts_header();
    harness.print_scripts("worker and lists");

    harness.reset_stats();
    let throughput = Throughput::of(&harness, "beside the discards").await;
    let (mut gone, mut calls) = (0, Calls::default());
    loop {
        let page = harness.admin.jobs(&harness.queue, JobState::Dead, None, BATCH).await.unwrap();
        if page.jobs.is_empty() {
            break;
        }
        let called = Instant::now();
        let moved = harness.admin.discard(&harness.queue, page.jobs.iter().map(Target::from)).await.unwrap();
        calls.0.push(called.elapsed());
        let discarded = Moved::Moved { from: JobState::Dead, to: None };
        assert!(moved.iter().all(|moved| *moved == discarded), "{moved:?}");
        gone += moved.len();
    }
    assert_eq!(gone, dead_letters);
    throughput.end().await;
    calls.print(&format!("discards of {BATCH} dead letters"));
    harness.print_scripts_header();
    harness.print_scripts("worker, lists and discards");

    let stats = harness.admin.stats(&harness.queue).await.unwrap();
    assert!(
        stats.completed_total > 100 && stats.pending > 0,
        "the worker completed all jobs before the lists and discards ended: {stats:?}"
    );
    assert_eq!((stats.dead, stats.failures_total), (0, dead_letters as u64), "{stats:?}");
    let peak = worker.peak();
    println!("worker's peak: {:.1} MiB", peak as f64 / 1_048_576.0);
    assert!(peak < WORKER_BYTES_MAX, "the worker took {peak} bytes");
    drop(worker);
    let begun = Instant::now();
    let audit = harness.admin.repair(&harness.queue).await.unwrap();
    println!("an audit of {} jobs: {:.1} s", audit.after.jobs, begun.elapsed().as_secs_f64());
    assert!(audit.after.adds_up() && audit.findings.is_empty(), "{audit:?}");
}
