//! Chains of jobs, each of which enqueues the next, over rolling deploys and outages of the server: no chain breaks, and no job dies.
//!
//! `make test` runs a quick form. 50 deploys and 20 outages of 5 s: `RETRACED_SCALE=full cargo test --release --test deploys -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use retraced::{Context, Failure, Job, JobRequest, Operator, Queue, QueueName, RedisStore, Runtime, State};
use serde::{Deserialize, Serialize};
use support::redis_server::RedisServer;
use support::{Executions, eventually, full_scale};

const CHAINS: u64 = 10;
/// Numbers of one chain; the first chain has 0, 1, 2 and so on.
const NUMBERS: u64 = 1_000_000;
const HANDLER: Duration = Duration::from_millis(20);
const LEASE: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(5);
/// The longest time to start or to stop one worker.
const DEPLOY_MAX: Duration = Duration::from_secs(60);
/// The environment variable that makes this program a worker: the server's URL, the folder, and the number of the worker.
const ROLE: &str = "RETRACED_TEST_DEPLOYED_WORKER";

#[derive(Serialize, Deserialize)]
struct Link {
    number: u64,
}

impl Job for Link {
    const KIND: &'static str = "link";
}

impl Link {
    /// The id follows from the number, so that a repeated attempt does not begin a second chain.
    fn request(number: u64) -> JobRequest<Self> {
        JobRequest::new(Self { number }).id(format!("link-{number}"))
    }
}

/// The files that the test and its workers share.
struct Folder(PathBuf);

impl Folder {
    fn executions(&self) -> Executions {
        Executions::at(&self.0.join("executions"))
    }

    /// Exists once the chains end: links enqueue no further ones.
    fn end(&self) -> PathBuf {
        self.0.join("end")
    }

    /// Exists once this worker runs.
    fn ready(&self, worker: usize) -> PathBuf {
        self.0.join(format!("ready-{worker}"))
    }

    fn log(&self, worker: usize) -> PathBuf {
        self.0.join(format!("log-{worker}"))
    }
}

async fn link(link: Link, ctx: Context, log: State<Executions>, folder: State<Folder>) -> Result<(), Failure> {
    log.began(link.number);
    tokio::time::sleep(HANDLER).await;
    if !folder.end().exists() {
        ctx.enqueue(Link::request(link.number + 1)).await?;
    }
    log.ended(link.number);
    Ok(())
}

/// Not a test: the worker process, if the test started this binary as one. Otherwise it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn role_of_a_deployed_worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let [url, folder, worker] = role.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let folder = Folder(folder.into());
    let ready = folder.ready(worker.parse().unwrap());
    let runtime = Runtime::builder()
        .store(RedisStore::connect(url).await.unwrap())
        .state(folder.executions())
        .state(folder)
        .lease(LEASE)
        .shutdown_grace(GRACE)
        .queue(Queue::new("chains").unwrap().concurrency(CHAINS as usize).handler(link))
        .start()
        .await
        .unwrap();
    File::create(ready).unwrap();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    terminate.recv().await;
    // In an outage some outcomes stay unconfirmed, and their jobs run again after their leases.
    println!("{:?}", runtime.shutdown().await);
}

struct Worker(Child);

impl Worker {
    /// Starts a worker, and again if it ends at once because the server is away, as a supervisor of processes does.
    fn start(url: &str, folder: &Folder, number: usize) -> Self {
        let deadline = Instant::now() + DEPLOY_MAX;
        let mut worker = Self::spawn(url, folder, number);
        while !folder.ready(number).exists() {
            assert!(Instant::now() < deadline, "worker {number} does not start: {}", log_of(folder, number));
            if worker.0.try_wait().unwrap().is_some() {
                worker = Self::spawn(url, folder, number);
            }
            thread::sleep(Duration::from_millis(50));
        }
        worker
    }

    fn spawn(url: &str, folder: &Folder, number: usize) -> Self {
        let log = File::options().create(true).append(true).open(folder.log(number)).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "role_of_a_deployed_worker", "--nocapture", "--test-threads=1"])
            .env(ROLE, format!("{url} {} {number}", folder.0.display()))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }

    fn stop(mut self, folder: &Folder, number: usize) {
        let signalled = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status().unwrap();
        assert!(signalled.success());
        let deadline = Instant::now() + DEPLOY_MAX;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "worker {number} does not end: {}", log_of(folder, number));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn log_of(folder: &Folder, worker: usize) -> String {
    std::fs::read_to_string(folder.log(worker)).unwrap_or_default()
}

/// Freezes the server and ends it in turn, until told to stop but at least this often. Returns how often.
fn outages(server: &Mutex<RedisServer>, least: usize, each: Duration, over: &AtomicBool) -> usize {
    let mut outages = 0;
    while outages < least || !over.load(Ordering::SeqCst) {
        thread::sleep(each);
        let mut server = server.lock().unwrap();
        if outages % 2 == 0 {
            server.freeze();
            thread::sleep(each);
            server.thaw();
        } else {
            server.stop();
            thread::sleep(each);
            server.restart();
        }
        outages += 1;
    }
    outages
}

/// The last link of each chain that has ended.
fn chain_ends(path: &Path) -> HashMap<u64, u64> {
    let mut ends = HashMap::new();
    for execution in Executions::at(path).read().iter().filter(|execution| !execution.began) {
        let end = ends.entry(execution.job / NUMBERS).or_insert(0);
        *end = (execution.job % NUMBERS).max(*end);
    }
    ends
}

/// Goal: a handler whose follow-up job meets a deploy or an outage neither loses it nor dies of it. Method: workers are replaced one after another, each by a new process
/// before the old one is told to stop, while the server freezes or ends again and again; it keeps its data on disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_of_follow_up_jobs_survive_rolling_deploys_and_outages() {
    let (deploys, least, each) = if full_scale() { (50, 20, 5) } else { (4, 2, 1) };
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = server.url();
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder(scratch.path().to_owned());
    let store = RedisStore::connect(&url).await.unwrap();
    let operator = Operator::new(store.clone());
    let queue = QueueName::new("chains").unwrap();
    let client = retraced::Client::new(store).queue("chains").unwrap();
    client.enqueue_all((0..CHAINS).map(|chain| Link::request(chain * NUMBERS))).await.unwrap();

    let server = Arc::new(Mutex::new(server));
    let over = Arc::new(AtomicBool::new(false));
    let outages = thread::spawn({
        let (server, over) = (server.clone(), over.clone());
        move || outages(&server, least, Duration::from_secs(each), &over)
    });
    let rolled = thread::spawn({
        let (url, path) = (url.clone(), folder.0.clone());
        move || {
            let folder = Folder(path);
            let mut worker = Worker::start(&url, &folder, 0);
            for number in 1..=deploys {
                let next = Worker::start(&url, &folder, number);
                std::mem::replace(&mut worker, next).stop(&folder, number - 1);
            }
            worker
        }
    });
    while !rolled.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    over.store(true, Ordering::SeqCst);
    let worker = rolled.join().expect("all deploys succeed");
    while !outages.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let outages = outages.join().unwrap();

    let log = folder.0.join("executions");
    let before = chain_ends(&log);
    let all_go_on = || async {
        let now = chain_ends(&log);
        (0..CHAINS).all(|chain| now.get(&chain) > before.get(&chain))
    };
    eventually("a further link of every chain", Duration::from_secs(60), all_go_on).await;
    File::create(folder.end()).unwrap();
    let all_ended = || async {
        let stats = operator.stats(&queue).await.unwrap();
        stats.pending + stats.processing + stats.delayed == 0
    };
    eventually("the end of all chains", Duration::from_secs(60), all_ended).await;
    drop(worker);

    let stats = operator.stats(&queue).await.unwrap();
    let ends = chain_ends(&log);
    let executions = folder.executions().read();
    let ended: HashSet<u64> = executions.iter().filter(|execution| !execution.began).map(|end| end.job).collect();
    let links: u64 = ends.values().map(|last| last + 1).sum();
    let starts = executions.iter().filter(|execution| execution.began).count();
    println!(
        "{deploys} deploys, {outages} outages of {each} s: {links} links, {starts} starts, failures {}, crashes {}, releases {}",
        stats.failures_total, stats.crashes_total, stats.releases_total
    );
    assert_eq!((stats.dead, stats.poisoned, stats.crashes_total), (0, 0, 0), "{stats:?}");
    assert_eq!(
        stats.failures_total, 0,
        "an outage that is shorter than the timeout of a handler's enqueue makes no attempt fail"
    );
    assert_eq!(stats.completed_total, links, "every link was completed once: {stats:?}");
    for (chain, last) in ends {
        let lost: Vec<u64> = (0..=last).filter(|number| !ended.contains(&(chain * NUMBERS + number))).collect();
        assert!(lost.is_empty(), "links of chain {chain} that never ended: {lost:?}");
    }
    let audit = operator.audit(&queue).await.unwrap();
    assert!(audit.before.adds_up() && audit.findings.is_empty(), "{audit:?}");
}
