//! Workers that are killed, stopped with SIGSTOP, replaced, or ended by their own jobs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rand::RngExt;
use tokio::sync::oneshot;

use crate::execution_log::RunEnd;
use crate::proxy::Fault;
use crate::scenario::{Scenario, millis, secs, sized};
use crate::seed::rng;
use crate::support::unix_ms;
use crate::worker::{Then, Work, Worker, WorkerConfig, signal_to};

/// Goal: workers that are killed at random lose nothing and repeat only the jobs they held. Method: three workers; every few seconds one of them is killed with -9 and replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t06_killed_workers_repeat_only_the_jobs_they_held() {
    let (jobs, pause) = sized((4_000, 700..1_000), (200_000, 2_000..5_000));
    let mut scenario = Scenario::open("T06", "one of three workers is killed with -9 every 2 to 5 s", secs(400)).await;
    let mut rng = rng(scenario.seed);
    scenario.enqueue((0..jobs).map(|number| Work::new(number, 5 + number % 21, Then::Succeed))).await;
    let config = scenario.worker_config();
    let mut workers = [config.start(), config.start(), config.start()];
    let mut kills = 0;
    loop {
        tokio::time::sleep(millis(rng.random_range(pause.clone()))).await;
        if scenario.remaining().is_zero() || (scenario.stats().await.pending == 0 && kills > 0) {
            break;
        }
        let victim = &mut workers[rng.random_range(0..3)];
        scenario.kill(victim).await;
        *victim = config.start();
        kills += 1;
    }
    scenario.close(&[]).await;
}

/// When a worker is stopped with SIGSTOP.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Point {
    BeforeTheStart,
    WhileRunning,
    BeforeTheSettlementArrives,
}

/// Goal: a worker that was stopped for longer than its lease and then continues has no effect on the job that its successor runs. Method: worker A is stopped,
/// worker B takes over the job, and A continues while B's handler runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t08_a_stopped_worker_changes_nothing_when_it_continues() {
    let rounds = sized(1, 5);
    let mut scenario = Scenario::open(
        "T08",
        "a worker is stopped for longer than its lease and continues beside its successor",
        secs(300),
    )
    .await;
    let points = [Point::BeforeTheStart, Point::WhileRunning, Point::BeforeTheSettlementArrives];
    let (mut number, mut stale_settlements) = (0, 0);
    for point in points.repeat(rounds) {
        stop_and_take_over(&mut scenario, point, number).await;
        number += 1;
        stale_settlements += u64::from(point != Point::BeforeTheStart);
    }
    let records = scenario.log.read();
    for number in 0..number {
        let last = records.of(number).last().unwrap();
        assert!(
            matches!(last.end, Some((_, RunEnd::Returned))),
            "B's execution did not return: {:?}",
            records.of(number)
        );
    }
    let report = scenario.close(&[]).await;
    assert!(report.stale >= stale_settlements, "a settlement of a former holder was accepted");
}

async fn stop_and_take_over(scenario: &mut Scenario, point: Point, number: u64) {
    let lease = millis(1_500);
    let proxy = scenario.proxy();
    let pid = Arc::new(AtomicU64::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = {
        let (pid, stopped) = (pid.clone(), stopped.clone());
        move || {
            signal_to(pid.load(Ordering::SeqCst), "-STOP");
            stopped.store(true, Ordering::SeqCst);
        }
    };
    let (release, released) = oneshot::channel();
    match point {
        Point::BeforeTheStart => proxy.once("claim", 1, move || Fault::ReplyHeld(Box::new(stop.clone()))),
        Point::WhileRunning => {}
        Point::BeforeTheSettlementArrives => {
            let mut released = Some(released);
            let stop = stop.clone();
            proxy.plan(move |call| match call.verb {
                "settle_and_claim" | "settle" if released.is_some() => {
                    stop();
                    Fault::RequestHeld(released.take().unwrap())
                }
                _ => Fault::Pass,
            });
        }
    }
    scenario.enqueue([Work::new(number, 800, Then::Succeed)]).await;
    let mut config = scenario.worker_config_through(&proxy);
    config.lease = lease;
    let mut a = config.start();
    pid.store(a.pid(), Ordering::SeqCst);
    if point == Point::WhileRunning {
        scenario.until_started(number).await;
        signal_to(a.pid(), "-STOP");
        stopped.store(true, Ordering::SeqCst);
    }
    scenario.until("the stop", || async { stopped.load(Ordering::SeqCst) }).await;
    let from_ms = unix_ms();
    let held = scenario.held_grants().await;
    let b = WorkerConfig { lease, ..scenario.worker_config() }.start();
    let started_on_b = || async { scenario.log.read().of(number).iter().any(|run| run.pid == b.pid()) };
    scenario.until("B's takeover", started_on_b).await;
    a.signal("-CONT");
    let _ = release.send(());
    scenario.disrupted("stopped and continued", a.pid(), from_ms, held);
    scenario.until_done(number + 1).await;
    // The handler of A must end before A is shut down.
    let both_ended = || async {
        let runs = scenario.log.read();
        runs.of(number).iter().all(|run| run.end.is_some())
    };
    scenario.until("the end of A's handler", both_ended).await;
    a.signal("-TERM");
    let ended = Instant::now();
    while a.ended().is_none() {
        assert!(ended.elapsed() < secs(15), "worker A did not end");
        tokio::time::sleep(millis(10)).await;
    }
}

/// Goal: a job that ends its process is poisoned, and the jobs beside it reach their own final states. Method: jobs that abort, use up the stack or the memory, or exit; a worker
/// that died is started again, as a service manager would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_a_job_that_ends_its_process_is_poisoned() {
    let kinds = sized(&[Then::Abort, Then::Exit][..], &[Then::Abort, Then::Overflow, Then::Allocate, Then::Exit]);
    let others = sized(60, 600);
    let mut scenario = Scenario::open("T14", "jobs that end their process", secs(300)).await;
    let poisons = kinds.len() as u64;
    let poison = (0..poisons).map(|n| Work::new(n, 50, kinds[n as usize]));
    // Some of the other jobs run beside the poison jobs for almost as long as a lease.
    let beside = (poisons..poisons + others).map(|n| Work::new(n, if n % 10 == 0 { 1_000 } else { 20 }, Then::Succeed));
    let mut all: Vec<Work> = beside.collect();
    for (position, work) in poison.enumerate() {
        all.insert(position * 7 + 3, work);
    }
    scenario.enqueue(all).await;
    let mut config = scenario.worker_config();
    config.lease = millis(1_500);
    config.memory_kib = Some(4 << 20);
    let mut workers = [config.start(), config.start()];
    let mut dead_workers = 0;
    let mut started_ms = unix_ms();
    loop {
        let stats = scenario.stats().await;
        let left = stats.pending + stats.processing + stats.delayed;
        if left == 0 || scenario.remaining().is_zero() {
            break;
        }
        for worker in &mut workers {
            if worker.ended().is_some() {
                scenario.died("ended by its job", worker.pid(), started_ms).await;
                dead_workers += 1;
                *worker = config.start();
            }
        }
        started_ms = unix_ms().saturating_sub(200);
        tokio::time::sleep(millis(20)).await;
    }
    scenario.report.note(format!(
        "{dead_workers} dead workers for {poisons} poison jobs. A quarantined job is postponed by 10 s at a time until it can run alone."
    ));
    assert!((4..=4 * poisons).contains(&dead_workers), "{dead_workers} dead workers for {poisons} poison jobs");
    let report = scenario.close(&[]).await;
    assert!(report.faults["ended by its job"] == dead_workers);
}

/// Goal: a rolling deploy that ends workers in every way counts no failure and finishes in time. Method: one of three workers at a time is shut down (by one
/// or two signals) or killed and then replaced, or stopped for longer than its lease. Some jobs take longer than the shutdown grace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_a_rolling_deploy_counts_no_failure() {
    let restarts = sized(6, 200);
    let mut scenario = Scenario::open("T23", "workers are shut down, killed and stopped in turn", secs(500)).await;
    let mut rng = rng(scenario.seed);
    let mut config = scenario.worker_config();
    (config.lease, config.grace, config.crashes_max) = (secs(1), millis(1_500), 100);
    let mut workers = [config.start(), config.start(), config.start()];
    let (mut number, mut slowest) = (0, millis(0));
    for _ in 0..restarts {
        if scenario.stats().await.pending < 300 {
            let works = (number..number + 600).map(|number| {
                Work::new(number, if number % 50 == 0 { 2_500 } else { 10 + number % 20 }, Then::Succeed)
            });
            scenario.enqueue(works).await;
            number += 600;
        }
        tokio::time::sleep(millis(rng.random_range(100..500))).await;
        let worker = &mut workers[rng.random_range(0..3)];
        match rng.random_range(0..5) {
            0 | 1 => slowest = slowest.max(shut_down(&mut scenario, worker, false).await),
            2 => slowest = slowest.max(shut_down(&mut scenario, worker, true).await),
            3 => scenario.kill(worker).await,
            _ => {
                worker.signal("-STOP");
                let (from_ms, held) = (unix_ms(), scenario.held_grants().await);
                tokio::time::sleep(config.lease * 3 / 2).await;
                scenario.continue_stopped(worker, from_ms, held);
                continue;
            }
        }
        *worker = config.start();
    }
    scenario.report.note(format!(
        "Slowest shutdown of a worker: {} ms, with a shutdown grace of {} ms.",
        slowest.as_millis(),
        config.grace.as_millis()
    ));
    assert!(slowest <= config.grace + secs(10), "{slowest:?}");
    scenario.close(&[]).await;
}

async fn shut_down(scenario: &mut Scenario, worker: &mut Worker, twice: bool) -> std::time::Duration {
    let signalled = Instant::now();
    let from_ms = unix_ms();
    worker.signal("-TERM");
    let mut held: HashSet<_> = scenario.held_grants().await;
    // After this time a claim that was in flight at the signal has taken effect.
    tokio::time::sleep(millis(200)).await;
    held.extend(scenario.held_grants().await);
    if twice {
        worker.signal("-TERM");
    }
    while worker.ended().is_none() {
        assert!(signalled.elapsed() < secs(30), "the worker did not end");
        tokio::time::sleep(millis(5)).await;
    }
    let code = worker.ended().unwrap().code();
    assert!(matches!(code, Some(0 | 130)), "the worker ended with {code:?}");
    let what = if twice { "shut down by two signals" } else { "shut down by one signal" };
    scenario.disrupted(what, worker.pid(), from_ms, held);
    signalled.elapsed()
}
