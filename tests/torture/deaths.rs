//! Workers that are killed, stopped, replaced, or kill themselves.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rand::RngExt;
use tokio::sync::oneshot;

use crate::book::How;
use crate::proxy::Fault;
use crate::seed::dice;
use crate::stage::{Stage, millis, secs, sized};
use crate::support::unix_ms;
use crate::worker::{Orders, Then, Work, Worker, signal_to};

/// Goal: workers that are killed at random lose nothing and repeat only what they held. Method: three of them; every few seconds one is killed with -9 and replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t06_killed_workers() {
    let (jobs, pause) = sized((4_000, 700..1_000), (200_000, 2_000..5_000));
    let mut stage = Stage::open("T06", "of three workers one is killed with -9 every 2 to 5 s", secs(400)).await;
    let mut chance = dice(stage.seed);
    stage.enqueue((0..jobs).map(|number| Work::new(number, 5 + number % 21, Then::Succeed))).await;
    let orders = stage.orders();
    let mut workers = [orders.start(), orders.start(), orders.start()];
    let mut kills = 0;
    loop {
        tokio::time::sleep(millis(chance.random_range(pause.clone()))).await;
        if stage.remaining().is_zero() || (stage.stats().await.pending == 0 && kills > 0) {
            break;
        }
        let victim = &mut workers[chance.random_range(0..3)];
        stage.kill(victim).await;
        *victim = orders.start();
        kills += 1;
    }
    stage.close(&[]).await;
}

/// Where a worker is stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Point {
    BeforeItStarts,
    InTheMiddle,
    BeforeItsWordArrives,
}

/// Goal: a worker that was away for longer than its lease, and comes back, changes nothing of what its successor does. Method: worker A is stopped, worker B takes over,
/// A goes on while B's handler runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t08_stopped_workers() {
    let rounds = sized(1, 5);
    let mut stage = Stage::open(
        "T08",
        "a worker is stopped for longer than its lease, and goes on beside its successor",
        secs(300),
    )
    .await;
    let points = [Point::BeforeItStarts, Point::InTheMiddle, Point::BeforeItsWordArrives];
    let (mut number, mut words) = (0, 0);
    for point in points.repeat(rounds) {
        take_over(&mut stage, point, number).await;
        number += 1;
        words += u64::from(point != Point::BeforeItStarts);
    }
    let pages = stage.book.read();
    for number in 0..number {
        let last = pages.of(number).last().unwrap();
        assert!(matches!(last.end, Some((_, How::Returned))), "B was disturbed: {:?}", pages.of(number));
    }
    let verdict = stage.close(&[]).await;
    assert!(verdict.stale >= words, "a former owner's word was taken");
}

async fn take_over(stage: &mut Stage, point: Point, number: u64) {
    let lease = millis(1_500);
    let proxy = stage.proxy();
    let pid = Arc::new(AtomicU64::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = {
        let (pid, stopped) = (pid.clone(), stopped.clone());
        move || {
            signal_to(pid.load(Ordering::SeqCst), "-STOP");
            stopped.store(true, Ordering::SeqCst);
        }
    };
    let (go_on, word) = oneshot::channel();
    match point {
        Point::BeforeItStarts => proxy.once("claim", 1, move || Fault::Then(Box::new(stop.clone()))),
        Point::InTheMiddle => {}
        Point::BeforeItsWordArrives => {
            let mut word = Some(word);
            let stop = stop.clone();
            proxy.plan(move |call| match call.verb {
                "settle_and_claim" | "settle" if word.is_some() => {
                    stop();
                    Fault::Hold(word.take().unwrap())
                }
                _ => Fault::Pass,
            });
        }
    }
    stage.enqueue([Work::new(number, 800, Then::Succeed)]).await;
    let mut orders = stage.orders_through(&proxy);
    orders.lease = lease;
    let mut a = orders.start();
    pid.store(a.pid(), Ordering::SeqCst);
    if point == Point::InTheMiddle {
        stage.until_begun(number).await;
        signal_to(a.pid(), "-STOP");
        stopped.store(true, Ordering::SeqCst);
    }
    stage.until("the stop", || async { stopped.load(Ordering::SeqCst) }).await;
    let from_ms = unix_ms();
    let held = stage.held().await;
    let b = Orders { lease, ..stage.orders() }.start();
    let began_there = || async { stage.book.read().of(number).iter().any(|run| run.pid == b.pid()) };
    stage.until("B's takeover", began_there).await;
    a.signal("-CONT");
    let _ = go_on.send(());
    stage.wound("stopped, and went on", a.pid(), from_ms, held);
    stage.until_done(number + 1).await;
    // A must have had its say before it is ended.
    let said = || async {
        let runs = stage.book.read();
        runs.of(number).iter().all(|run| run.end.is_some())
    };
    stage.until("A's own end of it", said).await;
    a.signal("-TERM");
    let ended = Instant::now();
    while a.ended().is_none() {
        assert!(ended.elapsed() < secs(15), "A did not end");
        tokio::time::sleep(millis(10)).await;
    }
}

/// Goal: a job that ends its process is set aside, and those beside it come to their own ends. Method: jobs that abort, use up the stack or the memory, or exit; a worker
/// that died is started again, as a service manager would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_poison_jobs() {
    let kinds = sized(&[Then::Abort, Then::Exit][..], &[Then::Abort, Then::Overflow, Then::Allocate, Then::Exit]);
    let others = sized(60, 600);
    let mut stage = Stage::open("T14", "jobs that end their process", secs(300)).await;
    let poisons = kinds.len() as u64;
    let poison = (0..poisons).map(|n| Work::new(n, 50, kinds[n as usize]));
    // Some of the others run as long as a lease, beside the poison.
    let beside = (poisons..poisons + others).map(|n| Work::new(n, if n % 10 == 0 { 1_000 } else { 20 }, Then::Succeed));
    let mut all: Vec<Work> = beside.collect();
    for (place, work) in poison.enumerate() {
        all.insert(place * 7 + 3, work);
    }
    stage.enqueue(all).await;
    let mut orders = stage.orders();
    orders.lease = millis(1_500);
    orders.memory_kib = Some(4 << 20);
    let mut workers = [orders.start(), orders.start()];
    let mut deaths = 0;
    let mut started_ms = unix_ms();
    loop {
        let stats = stage.stats().await;
        let left = stats.pending + stats.processing + stats.delayed;
        if left == 0 || stage.remaining().is_zero() {
            break;
        }
        for worker in &mut workers {
            if worker.ended().is_some() {
                stage.dead("it ended itself", worker.pid(), started_ms).await;
                deaths += 1;
                *worker = orders.start();
            }
        }
        started_ms = unix_ms().saturating_sub(200);
        tokio::time::sleep(millis(20)).await;
    }
    stage.verdict.note(format!(
        "{deaths} deaths of workers for {poisons} jobs that kill. What is tried apart from others waits for its turn, ten seconds at a time."
    ));
    assert!((4..=4 * poisons).contains(&deaths), "{deaths} deaths for {poisons} poison jobs");
    let verdict = stage.close(&[]).await;
    assert!(verdict.faults["it ended itself"] == deaths);
}

/// Goal: a deploy that replaces workers in every way costs no attempt and ends in time. Method: of three workers one at a time is asked to end (once, or twice), killed,
/// or stopped for longer than its lease, and replaced; some jobs take longer than the grace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_rolling_deploys() {
    let restarts = sized(6, 200);
    let mut stage = Stage::open("T23", "workers are asked to end, killed and stopped, in turn", secs(500)).await;
    let mut chance = dice(stage.seed);
    let mut orders = stage.orders();
    (orders.lease, orders.grace, orders.crashes_max) = (secs(1), millis(1_500), 100);
    let mut workers = [orders.start(), orders.start(), orders.start()];
    let (mut number, mut slowest) = (0, millis(0));
    for _ in 0..restarts {
        if stage.stats().await.pending < 300 {
            let works = (number..number + 600).map(|number| {
                Work::new(number, if number % 50 == 0 { 2_500 } else { 10 + number % 20 }, Then::Succeed)
            });
            stage.enqueue(works).await;
            number += 600;
        }
        tokio::time::sleep(millis(chance.random_range(100..500))).await;
        let worker = &mut workers[chance.random_range(0..3)];
        match chance.random_range(0..5) {
            0 | 1 => slowest = slowest.max(ask_to_end(&mut stage, worker, false).await),
            2 => slowest = slowest.max(ask_to_end(&mut stage, worker, true).await),
            3 => stage.kill(worker).await,
            _ => {
                worker.signal("-STOP");
                let (from_ms, held) = (unix_ms(), stage.held().await);
                tokio::time::sleep(orders.lease * 3 / 2).await;
                worker.signal("-CONT");
                stage.wound("stopped, and went on", worker.pid(), from_ms, held);
                continue;
            }
        }
        *worker = orders.start();
    }
    stage.verdict.note(format!(
        "Slowest end of a worker that was asked to: {} ms, with a grace of {} ms.",
        slowest.as_millis(),
        orders.grace.as_millis()
    ));
    assert!(slowest <= orders.grace + secs(10), "{slowest:?}");
    stage.close(&[]).await;
}

async fn ask_to_end(stage: &mut Stage, worker: &mut Worker, twice: bool) -> std::time::Duration {
    let asked = Instant::now();
    let from_ms = unix_ms();
    worker.signal("-TERM");
    let mut held: HashSet<_> = stage.held().await;
    // A claim that was under way is in by now.
    tokio::time::sleep(millis(200)).await;
    held.extend(stage.held().await);
    if twice {
        worker.signal("-TERM");
    }
    while worker.ended().is_none() {
        assert!(asked.elapsed() < secs(30), "it did not end");
        tokio::time::sleep(millis(5)).await;
    }
    let code = worker.ended().unwrap().code();
    assert!(matches!(code, Some(0 | 130)), "it ended with {code:?}");
    let what = if twice { "asked twice to end" } else { "asked to end, and out of grace" };
    stage.wound(what, worker.pid(), from_ms, held);
    asked.elapsed()
}
