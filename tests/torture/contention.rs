//! Many jobs, and many process instances that reclaim, promote or claim the same ones at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use redis::Connection;
use retraced::job::{InstanceId, JobSummary, Lease, RunAt};
use retraced::store::{BATCH_MAX, ClaimRequest, Claims, Reclaim, ReplaySlots};
use retraced::{JobState, QueueName, RedisStore, Store};
use uuid::Uuid;

use crate::report::Report;
use crate::scenario::{QUEUE, Scenario, millis, secs, sized};
use crate::seed::rng;
use crate::support::redis_server::RedisServer;
use crate::support::unix_ms;
use crate::worker::{Then, Work, number};

const CONTENDERS: usize = 16;

fn replay_slots() -> ReplaySlots {
    ReplaySlots::new(InstanceId::from(Uuid::new_v4()), 1)
}

/// Claims this many jobs as a process instance that makes no further call, as if it had died. Returns the instance and its claims.
async fn claim_and_abandon(scenario: &Scenario, jobs: usize, lease: Duration) -> (InstanceId, Vec<Claims>) {
    let replay_slots = replay_slots();
    let mut replay_slot = replay_slots.take().await;
    let mut all = Vec::new();
    for _ in 0..jobs.div_ceil(BATCH_MAX) {
        let request =
            ClaimRequest { limit: BATCH_MAX, bytes_max: 1 << 24, lease, nonce: rand::random(), numbered: false };
        all.push(scenario.store.claim(replay_slot.next_call(), &scenario.queue, &request).await.unwrap());
    }
    assert_eq!(all.iter().map(|claims| claims.jobs.len()).sum::<usize>(), jobs);
    (replay_slots.instance(), all)
}

#[derive(Clone, Copy)]
enum Operation {
    Reclaim,
    Promote,
}

/// Runs the operation in sixteen concurrent tasks, each with a connection and a process instance of its own. A task is cut off in the middle of a call again and
/// again, and started anew. Returns how often a task was cut off.
async fn contend(
    scenario: &Scenario,
    operation: Operation,
    until: impl Fn(&retraced::store::QueueStats) -> bool,
) -> u64 {
    let stop = tokio_util::sync::CancellationToken::new();
    let tasks: Vec<_> = (0..CONTENDERS as u64)
        .map(|member| {
            let (url, seed, stop) = (scenario.server.url(), scenario.seed ^ (member << 32), stop.clone());
            tokio::spawn(async move {
                let (mut rng, mut cut_offs) = (rng(seed), 0);
                while !stop.is_cancelled() {
                    cut_offs +=
                        u64::from(!run_contender(&url, operation, millis(rng.random_range(5..200)), &stop).await);
                }
                cut_offs
            })
        })
        .collect();
    scenario.until("the end of the operation", || async { until(&scenario.stats().await) }).await;
    stop.cancel();
    let mut cut_offs = 0;
    for task in tasks {
        cut_offs += task.await.unwrap();
    }
    cut_offs
}

/// Repeats the operation for this lifetime at most. Returns `false` when the end of the lifetime cut it off in the middle of a call.
async fn run_contender(
    url: &str,
    operation: Operation,
    lifetime: Duration,
    stop: &tokio_util::sync::CancellationToken,
) -> bool {
    let queue = QueueName::new(QUEUE).unwrap();
    let work = async {
        let store = RedisStore::connect(url).await.unwrap();
        let replay_slots = replay_slots();
        let mut replay_slot = replay_slots.take().await;
        let store: Arc<dyn Store> = Arc::new(store);
        while !stop.is_cancelled() {
            let call = replay_slot.next_call();
            match operation {
                Operation::Reclaim => {
                    let request = Reclaim { limit: 50, lease: millis(300), crashes_max: 100, losses_max: 100 };
                    store.reclaim(call, &queue, &request).await.unwrap();
                }
                Operation::Promote => {
                    store.promote(call, &queue, 50).await.unwrap();
                }
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(lifetime, work).await.is_ok()
}

/// Reports jobs that are missing from the list as lost, and jobs that are listed twice as unexplained.
fn check_listed_once(report: &mut Report, jobs: u64, listed: &[JobSummary]) {
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    for job in listed {
        *times.entry(number(&job.id).unwrap()).or_default() += 1;
    }
    report.jobs = jobs;
    report.lost += (0..jobs).filter(|number| !times.contains_key(number)).count() as u64;
    report.unexplained += times.values().filter(|times| **times > 1).count() as u64;
}

/// Goal: an expired lease is reclaimed once and counted once, however many process instances reclaim. Method: all leases belong to a dead instance. In the first
/// round no start of a handler was recorded; in the second round all starts were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_an_expired_lease_is_reclaimed_once() {
    let jobs = sized(1_000, 10_000);
    let mut scenario =
        Scenario::open("T10", "sixteen process instances reclaim the same leases and are cut off", secs(120)).await;
    scenario.enqueue((0..jobs).map(|number| Work::new(number, 0, Then::Succeed))).await;
    let all_pending = |stats: &retraced::store::QueueStats| stats.pending == jobs && stats.processing == 0;
    let mut cut_offs = 0;
    for round in 0..2 {
        let (instance, claims) = claim_and_abandon(&scenario, jobs as usize, millis(300)).await;
        if round == 1 {
            for claims in claims {
                let leases: Vec<Lease> = claims.jobs.iter().map(|job| job.lease(instance)).collect();
                scenario.store.begin(&scenario.queue, millis(300), &leases).await.unwrap();
            }
        }
        cut_offs += contend(&scenario, Operation::Reclaim, all_pending).await;
        let listed = scenario.jobs_in(JobState::Pending).await;
        check_listed_once(&mut scenario.report, jobs, &listed);
        let miscounted = |job: &&JobSummary| (job.counters.releases, job.counters.crashes) != (1, round);
        scenario.report.miscounted += listed.iter().filter(miscounted).count() as u64;
        let stats = scenario.stats().await;
        scenario.report.drift +=
            stats.releases_total.abs_diff(jobs) + stats.crashes_total.abs_diff(jobs * u64::from(round));
    }
    assert_eq!(
        (scenario.report.lost, scenario.report.unexplained, scenario.report.miscounted, scenario.report.drift),
        (0, 0, 0, 0)
    );
    for _ in 0..cut_offs {
        scenario.fault("cut off while reclaiming");
    }
    let _worker = scenario.worker_config().start();
    scenario.close(&[]).await;
}

/// Goal: a due job is promoted once, in the order of due times, however many process instances promote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_a_due_job_is_promoted_once() {
    let jobs = sized(2_000, 50_000);
    let mut scenario =
        Scenario::open("T11", "sixteen process instances promote the same due jobs and are cut off", secs(120)).await;
    // Fifty jobs are due in each millisecond. They are enqueued in another order.
    let due = unix_ms() + sized(1_500, 6_000);
    let works = (0..jobs).map(|n| (n * 7_919) % jobs).map(|number| {
        let work = Work::new(number, 0, Then::Succeed);
        (work.options().run_at(RunAt::At(due + number / 50)), work)
    });
    scenario.enqueue_with(works.collect::<Vec<_>>()).await;
    assert_eq!(scenario.stats().await.delayed, jobs, "some were due before all were enqueued");
    let cut_offs = contend(&scenario, Operation::Promote, |stats| stats.pending == jobs && stats.delayed == 0).await;
    for _ in 0..cut_offs {
        scenario.fault("cut off while promoting");
    }
    let listed = scenario.jobs_in(JobState::Pending).await;
    check_listed_once(&mut scenario.report, jobs, &listed);
    let due_ms: Vec<u64> = listed.iter().map(|job| number(&job.id).unwrap() / 50).collect();
    assert!(due_ms.is_sorted(), "jobs were promoted out of order");
    let _worker = scenario.worker_config().start();
    scenario.close(&[]).await;
}

/// Goal: jobs start in the order in which they were enqueued, and due jobs are promoted in time although no executor is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_busy_executors_delay_no_promotion_and_keep_the_order() {
    let (ordered, time) = sized((300, secs(3)), (5_000, secs(20)));
    let mut scenario =
        Scenario::open("T12", "all executors are busy, and more jobs become due all the time", secs(120)).await;
    scenario.enqueue((0..ordered).map(|number| Work::new(number, 0, Then::Succeed))).await;
    let mut config = scenario.worker_config();
    config.executors = 1;
    let worker = config.start();
    scenario.until_done(ordered).await;
    drop(worker);
    let records = scenario.log.read();
    let starts: Vec<u64> = (0..ordered).map(|number| records.of(number)[0].start_ms).collect();
    assert!(starts.is_sorted(), "jobs started out of order");

    config.executors = 4;
    let _worker = config.start();
    let mut next = ordered;
    scenario.enqueue((next..next + 40).map(|number| Work::new(number, 1_000, Then::Succeed))).await;
    next += 40;
    let (begun, mut latest) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let works = (next..next + 10).map(|number| {
            let work = Work::new(number, 1, Then::Succeed);
            (work.options().run_at(RunAt::After(millis(300))), work)
        });
        scenario.enqueue_with(works.collect::<Vec<_>>()).await;
        next += 10;
        tokio::time::sleep(millis(100)).await;
        latest = latest.max(scenario.stats().await.delayed_overdue_ms.unwrap_or(0));
    }
    scenario.report.note(format!("The latest due job waited {} ms to be promoted.", latest.max(0)));
    assert!(latest <= 2_000, "a due job waited {latest} ms for its promotion");
    scenario.close(&[]).await;
}

/// Goal: no script takes longer when there are more due jobs, expired leases or running jobs. Method: many leases of a dead process instance expire together, many
/// delayed jobs are due at once, and many jobs run at once, so that their leases are renewed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_scripts_stay_fast_with_very_many_leases_and_due_jobs() {
    let (expired, due, executors) = sized((1_000, 2_000, 100), (50_000, 100_000, 10_000));
    let server = RedisServer::start_with(&["--slowlog-log-slower-than", "5000", "--slowlog-max-len", "100000"]);
    let mut scenario =
        Scenario::open_on(server, "T13", "very many leases expire and very many jobs are due at once", secs(400)).await;
    scenario.enqueue((0..expired).map(|number| Work::new(number, 20, Then::Succeed))).await;
    let lease = sized(secs(1), secs(8));
    claim_and_abandon(&scenario, expired as usize, lease).await;
    scenario.fault("holder of very many leases died");
    let soon = unix_ms() + sized(500, 8_000);
    let works = (expired..expired + due).map(|number| {
        let work = Work::new(number, 5, Then::Succeed);
        (work.options().run_at(RunAt::At(soon)), work)
    });
    scenario.enqueue_with(works.collect::<Vec<_>>()).await;
    let active = expired + due..expired + due + 2 * executors;
    let long = sized(1_000, 6_000);
    scenario.enqueue(active.map(|number| Work::new(number, long, Then::Succeed))).await;
    let mut config = scenario.worker_config();
    (config.lease, config.executors) = (lease, executors as usize);
    let _workers = [config.start(), config.start()];
    let mut most_active = 0;
    loop {
        let stats = scenario.stats().await;
        most_active = most_active.max(stats.processing);
        if stats.pending + stats.processing + stats.delayed == 0 || scenario.remaining().is_zero() {
            break;
        }
        tokio::time::sleep(millis(50)).await;
    }
    let mut redis_connection = scenario.server.connection();
    let (scripts, slow, slowest) = slow_scripts(&mut redis_connection);
    scenario.report.note(format!(
        "At most {most_active} leases at once. Script calls on the server: {scripts}; {slow} took more than 5 ms, the slowest {slowest} ms."
    ));
    assert!(slowest < 1_000, "a script took {slowest} ms");
    scenario.close(&[]).await;
}

/// Statistics of the server about its script calls: the percentiles, the number of calls in the slow log, and the time of the slowest in ms.
fn slow_scripts(redis_connection: &mut Connection) -> (String, usize, u64) {
    let text: String = redis::cmd("INFO").arg("latencystats").query(redis_connection).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("latency_percentiles_usec_evalsha:"));
    let log: Vec<Vec<redis::Value>> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query(redis_connection).unwrap();
    // The third field of an entry is how long the call took, in µs.
    let slowest = log.iter().filter_map(|entry| redis::from_redis_value_ref::<u64>(&entry[2]).ok()).max();
    (line.unwrap_or("no percentiles").trim().replace(',', ", ") + " µs", log.len(), slowest.unwrap_or(0) / 1_000)
}

/// Goal: a worker claims no more than it can run, however many jobs wait, and its memory does not grow. Method: many jobs wait for slow handlers; nobody reads the subscription to
/// supervision events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_a_worker_claims_no_more_than_it_can_run() {
    let (jobs, time) = sized((20_000, secs(3)), (1_000_000, secs(15)));
    let mut scenario = Scenario::open("T16", "very many jobs wait for slow handlers", secs(240)).await;
    for from in (0..jobs).step_by(20_000) {
        scenario.enqueue((from..(from + 20_000).min(jobs)).map(|number| Work::new(number, 200, Then::Succeed))).await;
    }
    let mut config = scenario.worker_config();
    config.executors = 50;
    let mut worker = config.start();
    scenario.until_done(100).await;
    let before = worker.memory_kib();
    let (begun, mut held, mut memory) = (Instant::now(), 0, before);
    while begun.elapsed() < time {
        held = held.max(scenario.stats().await.processing);
        memory = memory.max(worker.memory_kib());
        tokio::time::sleep(millis(20)).await;
    }
    worker.signal("-TERM");
    let begun = Instant::now();
    while worker.ended().is_none() {
        assert!(begun.elapsed() < secs(20), "the worker did not end");
        tokio::time::sleep(millis(10)).await;
    }
    let (stats, records, audit) =
        (scenario.stats().await, scenario.log.read(), scenario.admin.audit(&scenario.queue).await.unwrap().after);
    let grown = memory.saturating_sub(before) / 1024;
    scenario.fault("very many jobs waited");
    let report = &mut scenario.report;
    (report.jobs, report.executions) = (jobs, records.all().count() as u64);
    report.lost = jobs.abs_diff(stats.pending + stats.completed_total);
    report.stuck = stats.processing + audit.difference().unsigned_abs();
    report.unexplained = records.executions.values().filter(|runs| runs.len() > 1).count() as u64;
    report.crashes = stats.crashes_total;
    report.note(format!(
        "At most {held} leases for 50 executors; memory grew by {grown} MiB; {} jobs were completed in {} s; the others still wait.",
        stats.completed_total,
        time.as_secs()
    ));
    // One lease for each job that runs, and one for each job that has run and is being settled.
    assert!(held <= 2 * config.executors as u64, "{held} leases for {} executors", config.executors);
    assert!(grown < 64, "memory grew by {grown} MiB");
    scenario.finish();
}
