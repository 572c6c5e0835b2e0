//! Very many jobs, and very many who want the same ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use redis::Connection;
use retraced::job::{InstanceId, JobSummary, Lease, RunAt};
use retraced::store::{BATCH_MAX, ClaimRequest, Claims, Reclaim, ReplaySlots, Store};
use retraced::{JobOptions, JobState, QueueName, RedisStore};
use uuid::Uuid;

use crate::seed::dice;
use crate::stage::{QUEUE, Stage, millis, secs, sized};
use crate::support::redis_server::RedisServer;
use crate::support::unix_ms;
use crate::verdict::Verdict;
use crate::worker::{Then, Work, number};

const CROWD: usize = 16;

fn replay_slots() -> ReplaySlots {
    ReplaySlots::new(InstanceId::from(Uuid::new_v4()), 1)
}

/// Claims so many jobs in the name of somebody who will never be heard of again.
async fn claim_for_the_dead(stage: &Stage, jobs: usize, lease: Duration) -> (InstanceId, Vec<Claims>) {
    let replay_slots = replay_slots();
    let mut replay_slot = replay_slots.take().await;
    let mut all = Vec::new();
    for _ in 0..jobs.div_ceil(BATCH_MAX) {
        let request = ClaimRequest { limit: BATCH_MAX, bytes_max: 1 << 24, lease, nonce: rand::random() };
        all.push(stage.store.claim(replay_slot.next_call(), &stage.queue, &request).await.unwrap());
    }
    assert_eq!(all.iter().map(|claims| claims.jobs.len()).sum::<usize>(), jobs);
    (replay_slots.instance(), all)
}

#[derive(Clone, Copy)]
enum Chore {
    Reclaim,
    Promote,
}

/// Sixteen who do the same at once, each on connections of its own; again and again one of them dies in the middle of a call, and another takes its place. Gives how many
/// died.
async fn crowd(stage: &Stage, chore: Chore, until: impl Fn(&retraced::store::QueueStats) -> bool) -> u64 {
    let over = tokio_util::sync::CancellationToken::new();
    let tasks: Vec<_> = (0..CROWD as u64)
        .map(|member| {
            let (url, seed, over) = (stage.server.url(), stage.seed ^ (member << 32), over.clone());
            tokio::spawn(async move {
                let (mut chance, mut deaths) = (dice(seed), 0);
                while !over.is_cancelled() {
                    deaths += u64::from(!live(&url, chore, millis(chance.random_range(5..200)), &over).await);
                }
                deaths
            })
        })
        .collect();
    stage.until("the chore's end", || async { until(&stage.stats().await) }).await;
    over.cancel();
    let mut deaths = 0;
    for task in tasks {
        deaths += task.await.unwrap();
    }
    deaths
}

/// One life; `false` when it was cut short.
async fn live(url: &str, chore: Chore, life: Duration, over: &tokio_util::sync::CancellationToken) -> bool {
    let queue = QueueName::new(QUEUE).unwrap();
    let work = async {
        let store = RedisStore::connect(url).await.unwrap();
        let replay_slots = replay_slots();
        let mut replay_slot = replay_slots.take().await;
        let store: Arc<dyn Store> = Arc::new(store);
        while !over.is_cancelled() {
            let call = replay_slot.next_call();
            match chore {
                Chore::Reclaim => {
                    let request = Reclaim { limit: 50, lease: millis(300), crashes_max: 100, losses_max: 100 };
                    store.reclaim(call, &queue, &request).await.unwrap();
                }
                Chore::Promote => {
                    store.promote(call, &queue, 50).await.unwrap();
                }
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(life, work).await.is_ok()
}

/// Each of these jobs is in the list once, and nothing else is.
fn judge_once(verdict: &mut Verdict, jobs: u64, listed: &[JobSummary]) {
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    for job in listed {
        *times.entry(number(&job.id).unwrap()).or_default() += 1;
    }
    verdict.jobs = jobs;
    verdict.lost += (0..jobs).filter(|number| !times.contains_key(number)).count() as u64;
    verdict.unexplained += times.values().filter(|times| **times > 1).count() as u64;
}

/// Goal: a lease that ran out is taken back once, and charged once, whoever and however many look. Method: leases of the dead, first of jobs that had not begun, then of the
/// same jobs with their starts written down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_concurrent_reclaimers() {
    let jobs = sized(1_000, 10_000);
    let mut stage = Stage::open("T10", "sixteen take back the same leases, and die doing it", secs(120)).await;
    stage.enqueue((0..jobs).map(|number| Work::new(number, 0, Then::Succeed))).await;
    let back = |stats: &retraced::store::QueueStats| stats.pending == jobs && stats.processing == 0;
    let mut deaths = 0;
    for round in 0..2 {
        let (owner, claims) = claim_for_the_dead(&stage, jobs as usize, millis(300)).await;
        if round == 1 {
            for claims in claims {
                let leases: Vec<Lease> = claims.jobs.iter().map(|job| job.lease(owner)).collect();
                stage.store.begin(&stage.queue, millis(300), &leases).await.unwrap();
            }
        }
        deaths += crowd(&stage, Chore::Reclaim, back).await;
        let listed = stage.jobs_in(JobState::Pending).await;
        judge_once(&mut stage.verdict, jobs, &listed);
        let charged = |job: &&JobSummary| (job.counters.releases, job.counters.crashes) != (1, round);
        stage.verdict.miscounted += listed.iter().filter(charged).count() as u64;
        let stats = stage.stats().await;
        stage.verdict.drift +=
            stats.releases_total.abs_diff(jobs) + stats.crashes_total.abs_diff(jobs * u64::from(round));
    }
    assert_eq!(
        (stage.verdict.lost, stage.verdict.unexplained, stage.verdict.miscounted, stage.verdict.drift),
        (0, 0, 0, 0)
    );
    for _ in 0..deaths {
        stage.fault("died while taking back");
    }
    let _worker = stage.orders().start();
    stage.close(&[]).await;
}

/// Goal: a due job is promoted once, in the order of due times, whoever and however many promote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_concurrent_promoters() {
    let jobs = sized(2_000, 50_000);
    let mut stage = Stage::open("T11", "sixteen promote the same due jobs, and die doing it", secs(120)).await;
    // One millisecond apart, enqueued in another order.
    let due = unix_ms() + sized(1_500, 6_000);
    let works = (0..jobs).map(|n| (n * 7_919) % jobs).map(|number| {
        let work = Work::new(number, 0, Then::Succeed);
        (JobOptions { run_at: RunAt::At(due + number / 50), ..work.options() }, work)
    });
    stage.enqueue_with(works.collect::<Vec<_>>()).await;
    assert_eq!(stage.stats().await.delayed, jobs, "some were due before all were there");
    let deaths = crowd(&stage, Chore::Promote, |stats| stats.pending == jobs && stats.delayed == 0).await;
    for _ in 0..deaths {
        stage.fault("died while promoting");
    }
    let listed = stage.jobs_in(JobState::Pending).await;
    judge_once(&mut stage.verdict, jobs, &listed);
    let instants: Vec<u64> = listed.iter().map(|job| number(&job.id).unwrap() / 50).collect();
    assert!(instants.is_sorted(), "promoted out of the order of their due times");
    let _worker = stage.orders().start();
    stage.close(&[]).await;
}

/// Goal: jobs begin in their order, and due jobs join the queue in time though no executor is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_saturation_and_order() {
    let (ordered, time) = sized((300, secs(3)), (5_000, secs(20)));
    let mut stage = Stage::open("T12", "all executors are busy, and more is due all the time", secs(120)).await;
    stage.enqueue((0..ordered).map(|number| Work::new(number, 0, Then::Succeed))).await;
    let mut orders = stage.orders();
    orders.executors = 1;
    let worker = orders.start();
    stage.until_done(ordered).await;
    drop(worker);
    let pages = stage.book.read();
    let starts: Vec<u64> = (0..ordered).map(|number| pages.of(number)[0].start_ms).collect();
    assert!(starts.is_sorted(), "jobs began out of their order");

    orders.executors = 4;
    let _worker = orders.start();
    let mut next = ordered;
    stage.enqueue((next..next + 40).map(|number| Work::new(number, 1_000, Then::Succeed))).await;
    next += 40;
    let (begun, mut latest) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let works = (next..next + 10).map(|number| {
            let work = Work::new(number, 1, Then::Succeed);
            (JobOptions { run_at: RunAt::After(millis(300)), ..work.options() }, work)
        });
        stage.enqueue_with(works.collect::<Vec<_>>()).await;
        next += 10;
        tokio::time::sleep(millis(100)).await;
        latest = latest.max(stage.stats().await.delayed_overdue_ms.unwrap_or(0));
    }
    stage.verdict.note(format!("The latest due job waited {} ms to be promoted.", latest.max(0)));
    assert!(latest <= 2_000, "a due job waited {latest} ms for its promotion");
    stage.close(&[]).await;
}

/// Goal: no script grows with what is due, expired or active. Method: many leases of the dead expire together, many delayed jobs are due at one instant, and very many
/// jobs run at once and are renewed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_large_sets() {
    let (expired, due, executors) = sized((1_000, 2_000, 100), (50_000, 100_000, 10_000));
    let server = RedisServer::start_with(&["--slowlog-log-slower-than", "5000", "--slowlog-max-len", "100000"]);
    let mut stage =
        Stage::open_on(server, "T13", "very many leases run out, and very many jobs are due, at once", secs(400)).await;
    stage.enqueue((0..expired).map(|number| Work::new(number, 20, Then::Succeed))).await;
    let lease = sized(secs(1), secs(8));
    claim_for_the_dead(&stage, expired as usize, lease).await;
    stage.fault("owner of very many leases gone");
    let soon = unix_ms() + sized(500, 8_000);
    let works = (expired..expired + due).map(|number| {
        let work = Work::new(number, 5, Then::Succeed);
        (JobOptions { run_at: RunAt::At(soon), ..work.options() }, work)
    });
    stage.enqueue_with(works.collect::<Vec<_>>()).await;
    let active = expired + due..expired + due + 2 * executors;
    let long = sized(1_000, 6_000);
    stage.enqueue(active.map(|number| Work::new(number, long, Then::Succeed))).await;
    let mut orders = stage.orders();
    (orders.lease, orders.executors) = (lease, executors as usize);
    let _workers = [orders.start(), orders.start()];
    let mut most_active = 0;
    loop {
        let stats = stage.stats().await;
        most_active = most_active.max(stats.processing);
        if stats.pending + stats.processing + stats.delayed == 0 || stage.remaining().is_zero() {
            break;
        }
        tokio::time::sleep(millis(50)).await;
    }
    let mut hand = stage.server.connection();
    let (scripts, slow, slowest) = slow_scripts(&mut hand);
    stage.verdict.note(format!(
        "{most_active} leases at most at once; of the server's script calls ({scripts}) {slow} took more than 5 ms, the slowest {slowest} ms."
    ));
    assert!(slowest < 1_000, "a script took {slowest} ms");
    stage.close(&[]).await;
}

/// The server's own percentiles of its script calls, how many took more than the slow log's threshold, and the slowest of these in ms.
fn slow_scripts(hand: &mut Connection) -> (String, usize, u64) {
    let text: String = redis::cmd("INFO").arg("latencystats").query(hand).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("latency_percentiles_usec_evalsha:"));
    let log: Vec<Vec<redis::Value>> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query(hand).unwrap();
    // An entry's third field is how long it took, in µs.
    let slowest = log.iter().filter_map(|entry| redis::from_redis_value_ref::<u64>(&entry[2]).ok()).max();
    (line.unwrap_or("no percentiles").trim().replace(',', ", ") + " µs", log.len(), slowest.unwrap_or(0) / 1_000)
}

/// Goal: a worker takes no more than it can run, whatever waits, and its memory stays where it is. Method: very many jobs wait for slow handlers; nobody reads the supervision
/// events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t16_bounded_mailboxes() {
    let (jobs, time) = sized((20_000, secs(3)), (1_000_000, secs(15)));
    let mut stage = Stage::open("T16", "very many jobs wait for slow handlers", secs(240)).await;
    for from in (0..jobs).step_by(20_000) {
        stage.enqueue((from..(from + 20_000).min(jobs)).map(|number| Work::new(number, 200, Then::Succeed))).await;
    }
    let mut orders = stage.orders();
    orders.executors = 50;
    let mut worker = orders.start();
    stage.until_done(100).await;
    let before = worker.memory_kib();
    let (begun, mut held, mut memory) = (Instant::now(), 0, before);
    while begun.elapsed() < time {
        held = held.max(stage.stats().await.processing);
        memory = memory.max(worker.memory_kib());
        tokio::time::sleep(millis(20)).await;
    }
    worker.signal("-TERM");
    let begun = Instant::now();
    while worker.ended().is_none() {
        assert!(begun.elapsed() < secs(20), "it did not end");
        tokio::time::sleep(millis(10)).await;
    }
    let (stats, pages, audit) =
        (stage.stats().await, stage.book.read(), stage.admin.audit(&stage.queue).await.unwrap().after);
    let grown = memory.saturating_sub(before) / 1024;
    stage.fault("very many jobs waited");
    let verdict = &mut stage.verdict;
    (verdict.jobs, verdict.executions) = (jobs, pages.all().count() as u64);
    verdict.lost = jobs.abs_diff(stats.pending + stats.completed_total);
    verdict.stuck = stats.processing + audit.difference().unsigned_abs();
    verdict.unexplained = pages.executions.values().filter(|runs| runs.len() > 1).count() as u64;
    verdict.crashes = stats.crashes_total;
    verdict.note(format!(
        "At most {held} leases for 50 executors; memory grew by {grown} MiB; {} jobs were done in {} s, the others wait.",
        stats.completed_total,
        time.as_secs()
    ));
    // What runs, and what has run and is on its way to the store.
    assert!(held <= 2 * orders.executors as u64, "{held} leases for {} executors", orders.executors);
    assert!(grown < 64, "memory grew by {grown} MiB");
    stage.tell();
}
