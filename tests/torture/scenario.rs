//! A running scenario: its server, its execution log, the jobs that were enqueued and the faults that were injected. [`Scenario::close`] produces the report.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use retraced::job::{AttemptRecord, JobSummary, StoredAttempt};
use retraced::limits::{HISTORY_FIRST, HISTORY_LAST};
use retraced::store::{BATCH_MAX, QueueStats};
use retraced::{
    Client, Job, JobOptions, JobState, Operator, QueueName, RedisStore, Retention, RetentionRule, Store, seal_job,
};
use tempfile::TempDir;

use crate::execution_log::ExecutionLog;
use crate::page;
use crate::proxy::Proxy;
use crate::report::{Disruption, Expected, Fate, Report, StoredState};
use crate::seed::seed;
use crate::support::redis_server::RedisServer;
use crate::support::{full_scale, unix_ms};
use crate::worker::{self, Then, Work, Worker, WorkerConfig};

pub(crate) const QUEUE: &str = "torture";
const ENQUEUE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns `quick` in the quick form of `make test`, and `full` at full scale.
pub(crate) fn sized<T>(quick: T, full: T) -> T {
    if full_scale() { full } else { quick }
}

/// A retention that keeps every finished job, so that each can be checked.
pub(crate) fn keep_all() -> Retention {
    let rule = RetentionRule::new(secs(24 * 3600), u64::MAX).bytes_max(u64::MAX);
    Retention::default().completed(rule).dead(rule).poisoned(rule).cancelled(rule)
}

pub(crate) struct Scenario {
    pub(crate) server: RedisServer,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) admin: Operator,
    pub(crate) queue: QueueName,
    pub(crate) log: ExecutionLog,
    pub(crate) seed: u64,
    pub(crate) report: Report,
    acknowledged: BTreeMap<u64, JobState>,
    disruptions: Vec<Disruption>,
    ended_faults: Vec<(&'static str, u64)>,
    folder: TempDir,
    begun: Instant,
    limit: Duration,
}

impl Scenario {
    /// Starts a scenario that must finish within `limit`.
    pub(crate) async fn open(id: &str, about: &str, limit: Duration) -> Self {
        Self::open_on(RedisServer::start(), id, about, limit).await
    }

    pub(crate) async fn open_on(server: RedisServer, id: &str, about: &str, limit: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(RedisStore::connect(&server.url()).await.unwrap());
        let seed = seed();
        println!("{id}: SEED={seed}");
        let report = Report { id: id.into(), about: about.into(), seed, ..Report::default() };
        Self {
            admin: Operator::shared(store.clone()),
            queue: QueueName::new(QUEUE).unwrap(),
            log: ExecutionLog::open(&folder.path().join("log")),
            server,
            store,
            seed,
            report,
            acknowledged: BTreeMap::new(),
            disruptions: Vec::new(),
            ended_faults: Vec::new(),
            folder,
            begun: Instant::now(),
            limit,
        }
    }

    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::start(self.server.socket())
    }

    /// The configuration of a worker of this scenario.
    pub(crate) fn worker_config(&self) -> WorkerConfig {
        WorkerConfig {
            url: self.server.url(),
            log: self.folder.path().join("log"),
            lease: secs(2),
            grace: secs(5),
            timeout: secs(60),
            call_timeout: secs(1),
            executors: 20,
            threads: 2,
            crashes_max: 3,
            zombies_max: None,
            knows_new_kind: true,
            payload_bytes_max: 1 << 20,
            memory_kib: None,
            produces: None,
            kill_interval: None,
            kill_always: None,
        }
    }

    /// The configuration of a worker whose calls go through this proxy.
    pub(crate) fn worker_config_through(&self, proxy: &Proxy) -> WorkerConfig {
        WorkerConfig { url: proxy.url().to_owned(), ..self.worker_config() }
    }

    // --- jobs

    /// Enqueues these jobs under the ids that their numbers give, without a proxy.
    pub(crate) async fn enqueue(&mut self, works: impl IntoIterator<Item = Work>) {
        self.enqueue_with(works.into_iter().map(|work| (work.options(), work))).await;
    }

    pub(crate) async fn enqueue_with(&mut self, works: impl IntoIterator<Item = (JobOptions, Work)>) {
        let mut sealed = Vec::new();
        for (options, work) in works {
            sealed.push(seal_job(&work, &options).unwrap());
            self.expect(work.number, expected_state(work.then));
        }
        let queue = Client::shared(self.store.clone()).queue(QUEUE).unwrap();
        let receipts = queue.enqueue_timeout(ENQUEUE_TIMEOUT).enqueue_all(sealed).await.unwrap();
        assert!(receipts.iter().all(|receipt| receipt.created));
    }

    /// Enqueues a job of another kind.
    pub(crate) async fn enqueue_kind<J: Job>(&mut self, number: u64, job: J) {
        let queue = Client::shared(self.store.clone()).queue(QUEUE).unwrap();
        let sent = queue.job(job).id(worker::id(number).to_string()).enqueue_timeout(ENQUEUE_TIMEOUT).enqueue();
        assert!(sent.await.unwrap().created);
        self.expect(number, JobState::Completed);
    }

    /// Records that this job's enqueue was acknowledged, and the final state it must reach.
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

    /// The current grants: job and attempt.
    pub(crate) async fn held_grants(&self) -> HashSet<(u64, u32)> {
        let jobs = self.jobs_in(JobState::Processing).await;
        jobs.iter().filter_map(|job| Some((worker::number(&job.id)?, job.counters.attempts))).collect()
    }

    // --- faults

    /// Kills this worker with -9.
    pub(crate) async fn kill(&mut self, worker: &mut Worker) {
        let from_ms = unix_ms();
        worker.kill();
        self.died("killed", worker.pid(), from_ms).await;
    }

    /// Records that this worker process died, at `from_ms` or later.
    pub(crate) async fn died(&mut self, what: &'static str, pid: u64, from_ms: u64) {
        self.fault(what);
        let held = self.held_grants().await;
        self.disruptions.push(Disruption { what, pid, from_ms, fate: Fate::Died, held });
    }

    /// Records a disruption of this process, which held these grants and went on until now.
    pub(crate) fn disrupted(&mut self, what: &'static str, pid: u64, from_ms: u64, held: HashSet<(u64, u32)>) {
        self.fault(what);
        self.disruptions.push(Disruption { what, pid, from_ms, fate: Fate::WentOn { until_ms: unix_ms() }, held });
    }

    /// Continues this worker, which held these grants when it was stopped at any point of its work. A scenario that stops a worker at a known point records it by
    /// [`disrupted`](Self::disrupted), which explains no late start.
    pub(crate) fn continue_stopped(&mut self, worker: &Worker, from_ms: u64, held: HashSet<(u64, u32)>) {
        const WHAT: &str = "stopped and continued";
        self.fault(WHAT);
        // Before the signal: whatever the process begins after the stop, it begins later than this.
        let fate = Fate::Continued { at_ms: unix_ms() };
        worker.signal("-CONT");
        self.disruptions.push(Disruption { what: WHAT, pid: worker.pid(), from_ms, fate, held });
    }

    pub(crate) fn fault(&mut self, what: &str) {
        *self.report.faults.entry(what.to_owned()).or_default() += 1;
    }

    /// Records the end of a fault. The recovery is the time from now until the next handler ends.
    pub(crate) fn fault_ended(&mut self, after: &'static str) {
        self.ended_faults.push((after, unix_ms()));
    }

    // --- waiting

    pub(crate) fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.begun.elapsed())
    }

    /// Waits until the condition holds, at most for the rest of the scenario's time. Returns whether it did.
    pub(crate) async fn wait_until<F: Future<Output = bool>>(&self, mut holds: impl FnMut() -> F) -> bool {
        while !holds().await {
            if self.remaining().is_zero() {
                return false;
            }
            tokio::time::sleep(millis(20)).await;
        }
        true
    }

    /// Like [`wait_until`](Self::wait_until), but panics when the condition did not hold in time.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl FnMut() -> F) {
        let held = self.wait_until(holds).await;
        let stats = self.admin.stats(&self.queue).await;
        assert!(held, "{what} did not happen within {:?}: {stats:?}\n{}", self.limit, self.worker_output());
    }

    /// The last lines of the workers' output.
    fn worker_output(&self) -> String {
        let all = std::fs::read_to_string(self.folder.path().join("worker-output")).unwrap_or_default();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Waits until a job has started.
    pub(crate) async fn until_started(&self, number: u64) {
        self.until("the start of the job", || async { !self.log.read().of(number).is_empty() }).await;
    }

    pub(crate) async fn until_done(&self, jobs: u64) {
        let done = || async { self.admin.stats(&self.queue).await.is_ok_and(|stats| stats.completed_total >= jobs) };
        self.until("the completion of enough jobs", done).await;
    }

    /// Waits until every job has reached a final state, at most for the rest of the scenario's time. The report counts the other jobs as stuck.
    pub(crate) async fn until_drained(&self) {
        let quiet = || async {
            let stats = self.admin.stats(&self.queue).await;
            stats.is_ok_and(|stats| stats.pending + stats.processing + stats.delayed == 0)
        };
        self.wait_until(quiet).await;
    }

    // --- the end

    /// Ends the scenario: checks the log against the store, writes the report, and fails unless it is clean.
    pub(crate) async fn close(mut self, proxies: &[&Proxy]) -> Report {
        self.until_drained().await;
        self.evaluate(proxies).await;
        self.finish()
    }

    async fn evaluate(&mut self, proxies: &[&Proxy]) {
        let mut jobs = Vec::new();
        for state in JobState::ALL {
            jobs.extend(self.jobs_in(state).await);
        }
        let audit = self.admin.audit(&self.queue).await.unwrap().after;
        let mut postponed = BTreeMap::new();
        for job in jobs.iter().filter(|job| job.counters.crashes + job.counters.releases > 0) {
            let view = self.admin.job(&self.queue, &job.id).await.unwrap().unwrap();
            let is_postponed = |attempt: &&StoredAttempt| matches!(attempt.record, Ok(AttemptRecord::Postponed { .. }));
            let least = u32::try_from(view.history.iter().filter(is_postponed).count()).unwrap();
            postponed.insert(
                job.id.clone(),
                least..=least + view.counters.attempts.saturating_sub(HISTORY_FIRST + HISTORY_LAST),
            );
        }
        let stored = StoredState { jobs, postponed, stats: self.stats().await, audit };
        let records = self.log.read();
        for number in &records.acknowledged {
            self.acknowledged.insert(*number, JobState::Completed);
        }
        let expected = Expected { acknowledged: &self.acknowledged, disruptions: &self.disruptions };
        self.report.evaluate(&records, &stored, &expected);

        let mut recovery: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for disruption in self.disruptions.iter().filter(|disruption| disruption.fate == Fate::Died) {
            for pair in records.executions.values().flat_map(|runs| runs.windows(2)) {
                if pair[0].pid == disruption.pid && pair[0].end.is_none() && pair[1].failures == pair[0].failures {
                    let after = millis(pair[1].start_ms.saturating_sub(disruption.from_ms));
                    recovery.entry(format!("{}: the jobs it held run again", disruption.what)).or_default().push(after);
                }
            }
        }
        let mut ends: Vec<u64> = records.all().filter_map(|run| run.end.map(|(at, _)| at)).collect();
        ends.sort_unstable();
        for (after, at) in &self.ended_faults {
            if let Some(next) = ends.get(ends.partition_point(|end| end < at)) {
                recovery.entry(format!("{after}: the next handler ends")).or_default().push(millis(next - at));
            }
        }
        for proxy in proxies {
            for (kind, count) in proxy.faults() {
                *self.report.faults.entry(kind).or_default() += count;
            }
            for (what, took) in proxy.recovery() {
                recovery.entry(what).or_default().push(took);
            }
        }
        for (after, times) in recovery {
            self.report.recovered(&after, times);
        }
    }

    /// Ends a scenario that has filled in the report itself.
    pub(crate) fn finish(mut self) -> Report {
        self.report.seconds = self.begun.elapsed().as_secs_f64();
        println!("{}", self.report);
        page::append(&self.report);
        assert!(
            self.report.is_clean(),
            "SEED={}: the report is not clean\n{}\n{}",
            self.seed,
            self.report,
            self.worker_output()
        );
        self.report
    }
}

fn expected_state(then: Then) -> JobState {
    match then {
        Then::FailAlways | Then::Panic => JobState::Dead,
        Then::FailPermanently | Then::Abort | Then::Overflow | Then::Allocate | Then::Exit => JobState::Poisoned,
        _ => JobState::Completed,
    }
}
