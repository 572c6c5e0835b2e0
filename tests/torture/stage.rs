//! Where a scenario is played: a server, a book, what was enqueued and what was done to whom. Closing it gives the verdict.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use retraced::job::JobSummary;
use retraced::store::{BATCH_MAX, QueueStats, Retention, RetentionRule, Store};
use retraced::{Client, Job, JobOptions, JobState, Operator, QueueName, RedisStore, seal_job};
use tempfile::TempDir;

use crate::book::Book;
use crate::page;
use crate::proxy::Proxy;
use crate::seed::seed;
use crate::support::redis_server::RedisServer;
use crate::support::{full_scale, unix_ms};
use crate::verdict::{Kept, Known, Verdict, Wound};
use crate::worker::{self, Orders, Then, Work, Worker};

pub(crate) const QUEUE: &str = "torture";
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The first in the quick form of `make test`, the second at full scale.
pub(crate) fn sized<T>(quick: T, full: T) -> T {
    if full_scale() { full } else { quick }
}

/// Everything that ended is kept, so that every job can be asked about.
pub(crate) fn keep_all() -> Retention {
    let rule = RetentionRule::new(secs(24 * 3600), 10_000_000);
    Retention::default().completed(rule).dead(rule).poisoned(rule).cancelled(rule)
}

pub(crate) struct Stage {
    pub(crate) server: RedisServer,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) admin: Operator,
    pub(crate) queue: QueueName,
    pub(crate) book: Book,
    pub(crate) seed: u64,
    pub(crate) verdict: Verdict,
    acknowledged: BTreeMap<u64, JobState>,
    wounds: Vec<Wound>,
    healed: Vec<(&'static str, u64)>,
    folder: TempDir,
    begun: Instant,
    limit: Duration,
}

impl Stage {
    /// All of the scenario must be over within `limit`.
    pub(crate) async fn open(scenario: &str, about: &str, limit: Duration) -> Self {
        Self::open_on(RedisServer::start(), scenario, about, limit).await
    }

    pub(crate) async fn open_on(server: RedisServer, scenario: &str, about: &str, limit: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
        let seed = seed();
        println!("{scenario}: SEED={seed}");
        let verdict = Verdict { scenario: scenario.into(), about: about.into(), seed, ..Verdict::default() };
        Self {
            admin: Operator::new(store.clone()),
            queue: QueueName::new(QUEUE).unwrap(),
            book: Book::at(&folder.path().join("book")),
            server,
            store,
            seed,
            verdict,
            acknowledged: BTreeMap::new(),
            wounds: Vec::new(),
            healed: Vec::new(),
            folder,
            begun: Instant::now(),
            limit,
        }
    }

    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::start(self.server.socket())
    }

    /// Orders for a worker of this stage.
    pub(crate) fn orders(&self) -> Orders {
        Orders {
            url: self.server.url(),
            book: self.folder.path().join("book"),
            lease: secs(2),
            grace: secs(5),
            timeout: secs(60),
            call_timeout: secs(1),
            executors: 20,
            threads: 2,
            crashes_max: 3,
            zombies_max: None,
            knows_novelties: true,
            payload_bytes_max: 1 << 20,
            memory_kib: None,
            produces: None,
            storm: None,
            nemesis_of: None,
        }
    }

    /// The same, but a call to the server passes this proxy.
    pub(crate) fn orders_through(&self, proxy: &Proxy) -> Orders {
        Orders { url: proxy.url().to_owned(), ..self.orders() }
    }

    // --- jobs

    /// Enqueues these, past all proxies, with their own ids.
    pub(crate) async fn enqueue(&mut self, works: impl IntoIterator<Item = Work>) {
        self.enqueue_with(works.into_iter().map(|work| (work.options(), work))).await;
    }

    pub(crate) async fn enqueue_with(&mut self, works: impl IntoIterator<Item = (JobOptions, Work)>) {
        let mut sealed = Vec::new();
        for (options, work) in works {
            sealed.push(seal_job(&work, &options).unwrap());
            self.expect(work.number, end_of(work.then));
        }
        let queue = Client::shared(self.store.clone()).queue(QUEUE).unwrap();
        let receipts = queue.wait_at_most(PATIENCE).enqueue_all(sealed).await.unwrap();
        assert!(receipts.iter().all(|receipt| receipt.created));
    }

    /// A job of another kind.
    pub(crate) async fn enqueue_kind<J: Job>(&mut self, number: u64, job: J) {
        let queue = Client::shared(self.store.clone()).queue(QUEUE).unwrap();
        let sent = queue.job(job).id(worker::id(number).to_string()).wait_at_most(PATIENCE).enqueue();
        assert!(sent.await.unwrap().created);
        self.expect(number, JobState::Completed);
    }

    /// This job's enqueue was acknowledged; it must come to this end.
    pub(crate) fn expect(&mut self, number: u64, end: JobState) {
        self.acknowledged.insert(number, end);
    }

    pub(crate) async fn stats(&self) -> QueueStats {
        self.admin.stats(&self.queue).await.unwrap()
    }

    pub(crate) async fn jobs_in(&self, state: JobState) -> Vec<JobSummary> {
        let (mut jobs, mut from) = (Vec::new(), None);
        loop {
            let page = self.admin.jobs(&self.queue, state, from, BATCH_MAX).await.unwrap();
            jobs.extend(page.jobs);
            from = page.next;
            if from.is_none() {
                return jobs;
            }
        }
    }

    /// The grants that stand now: job and attempt.
    pub(crate) async fn held(&self) -> HashSet<(u64, u32)> {
        let jobs = self.jobs_in(JobState::Processing).await;
        jobs.iter().filter_map(|job| Some((worker::number(&job.id)?, job.counters.attempts))).collect()
    }

    // --- what is done to workers

    /// Kills it with -9.
    pub(crate) async fn kill(&mut self, worker: &mut Worker) {
        let from_ms = unix_ms();
        worker.kill();
        self.dead("killed", worker.pid(), from_ms).await;
    }

    /// It has died of something, at some time after this.
    pub(crate) async fn dead(&mut self, what: &'static str, pid: u64, from_ms: u64) {
        self.fault(what);
        let held = self.held().await;
        self.wounds.push(Wound { what, pid, from_ms, until_ms: u64::MAX, held });
    }

    /// Something was done to this process, which had these jobs; it can go on after it.
    pub(crate) fn wound(&mut self, what: &'static str, pid: u64, from_ms: u64, held: HashSet<(u64, u32)>) {
        self.fault(what);
        self.wounds.push(Wound { what, pid, from_ms, until_ms: unix_ms(), held });
    }

    pub(crate) fn fault(&mut self, what: &str) {
        *self.verdict.faults.entry(what.to_owned()).or_default() += 1;
    }

    /// A fault is over: how soon a handler returns after this is its recovery.
    pub(crate) fn healed(&mut self, after: &'static str) {
        self.healed.push((after, unix_ms()));
    }

    // --- waiting

    pub(crate) fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// Waits until this holds, as long as the scenario may last. Gives whether it did.
    pub(crate) async fn comes<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) -> bool {
        while !holds().await {
            if self.remaining().is_zero() {
                return false;
            }
            tokio::time::sleep(millis(20)).await;
        }
        true
    }

    /// The same; a scenario in which it does not is of no use.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl FnMut() -> F) {
        let came = self.comes(holds).await;
        let stats = self.admin.stats(&self.queue).await;
        assert!(came, "{what} did not happen within {:?}: {stats:?}\n{}", self.limit, self.said());
    }

    /// The last that workers said.
    fn said(&self) -> String {
        let all = std::fs::read_to_string(self.folder.path().join("said")).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Waits until a job has begun.
    pub(crate) async fn until_begun(&self, number: u64) {
        self.until("its beginning", || async { !self.book.read().of(number).is_empty() }).await;
    }

    pub(crate) async fn until_done(&self, jobs: u64) {
        let done = || async { self.admin.stats(&self.queue).await.is_ok_and(|stats| stats.completed_total >= jobs) };
        self.until("enough work", done).await;
    }

    /// Waits until nothing is left to do. What is left after the scenario's time is stuck, and the verdict says so.
    pub(crate) async fn until_quiet(&self) {
        let quiet = || async {
            let stats = self.admin.stats(&self.queue).await;
            stats.is_ok_and(|stats| stats.pending + stats.processing + stats.delayed == 0)
        };
        self.comes(quiet).await;
    }

    // --- the end

    /// Everything is to be over: judges, tells, writes down, and fails unless nothing is wrong.
    pub(crate) async fn close(mut self, proxies: &[&Proxy]) -> Verdict {
        self.until_quiet().await;
        self.judge(proxies).await;
        self.tell()
    }

    async fn judge(&mut self, proxies: &[&Proxy]) {
        let mut jobs = Vec::new();
        for state in JobState::ALL {
            jobs.extend(self.jobs_in(state).await);
        }
        let audit = self.admin.audit(&self.queue).await.unwrap().after;
        let kept = Kept { jobs, stats: self.stats().await, audit };
        let pages = self.book.read();
        for number in &pages.acknowledged {
            self.acknowledged.insert(*number, JobState::Completed);
        }
        let known = Known { acknowledged: &self.acknowledged, wounds: &self.wounds };
        self.verdict.judge(&pages, &kept, &known);

        let mut recovery: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for wound in self.wounds.iter().filter(|wound| wound.until_ms == u64::MAX) {
            for pair in pages.executions.values().flat_map(|runs| runs.windows(2)) {
                if pair[0].pid == wound.pid && pair[0].end.is_none() && pair[1].failures == pair[0].failures {
                    let after = millis(pair[1].start_ms.saturating_sub(wound.from_ms));
                    recovery.entry(format!("{}: what ran, runs again", wound.what)).or_default().push(after);
                }
            }
        }
        let mut ends: Vec<u64> = pages.all().filter_map(|run| run.end.map(|(at, _)| at)).collect();
        ends.sort_unstable();
        for (after, at) in &self.healed {
            if let Some(next) = ends.get(ends.partition_point(|end| end < at)) {
                recovery.entry(format!("{after}: the next job is done")).or_default().push(millis(next - at));
            }
        }
        for proxy in proxies {
            for (kind, count) in proxy.faults() {
                *self.verdict.faults.entry(kind).or_default() += count;
            }
            for (what, took) in proxy.recovery() {
                recovery.entry(what).or_default().push(took);
            }
        }
        for (after, times) in recovery {
            self.verdict.recovered(&after, times);
        }
    }

    /// The same for a scenario whose judge is its own: its counts are in the verdict already.
    pub(crate) fn tell(mut self) -> Verdict {
        self.verdict.seconds = self.begun.elapsed().as_secs_f64();
        println!("{}", self.verdict);
        page::enter(&self.verdict);
        assert!(self.verdict.is_clean(), "SEED={}: something is wrong\n{}\n{}", self.seed, self.verdict, self.said());
        self.verdict
    }
}

fn end_of(then: Then) -> JobState {
    match then {
        Then::FailAlways | Then::Panic => JobState::Dead,
        Then::FailForGood | Then::Abort | Then::Overflow | Then::Allocate | Then::Exit => JobState::Poisoned,
        _ => JobState::Completed,
    }
}
