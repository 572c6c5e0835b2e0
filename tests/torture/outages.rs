//! A server that is away, frozen, busy, forgetful, or throws everybody out.

use std::time::{Duration, Instant};

use redis::Connection;

use crate::book::How;
use crate::stage::{Stage, millis, secs, sized};
use crate::support::redis_server::RedisServer;
use crate::worker::{Then, Work};

/// Goal: producers without a server learn it within a second, grow no heap, and lose nothing that was acknowledged. Method: a process enqueues at a steady pace while its
/// server, which writes everything down, is away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_producers_without_a_server() {
    let (away, per_second) = sized((secs(3), 200), (secs(60), 2_000));
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut stage = Stage::open_on(server, "T04", "producers go on while the server is away", secs(240)).await;
    let mut orders = stage.orders();
    orders.produces = Some((0, per_second, away + secs(6)));
    let worker = orders.start();
    stage.until_done(per_second).await;
    let before = worker.memory_kib();
    stage.fault("server killed");
    stage.server.stop();
    let gone = Instant::now();
    let mut most = before;
    while gone.elapsed() < away {
        tokio::time::sleep(millis(100)).await;
        most = most.max(worker.memory_kib());
    }
    stage.server.restart();
    stage.healed("server back");
    // The producer has ended by itself when nothing was acknowledged for a while.
    let mut last = (0, Instant::now());
    while last.1.elapsed() < secs(8) {
        let known = stage.book.read().acknowledged.len();
        if known != last.0 {
            last = (known, Instant::now());
        }
        tokio::time::sleep(millis(200)).await;
    }
    let refusals = stage.book.read().refusals;
    let slowest = refusals.iter().max().copied().unwrap_or_default();
    let grown = most.saturating_sub(before) / 1024;
    stage.verdict.note(format!(
        "{} enqueues were refused in the outage, the slowest after {} ms; memory grew by {grown} MiB.",
        refusals.len(),
        slowest.as_millis()
    ));
    assert!(!refusals.is_empty() && slowest < secs(2), "a producer waited for {slowest:?}");
    assert!(grown < 64, "memory grew by {grown} MiB");
    stage.close(&[]).await;
}

/// Goal: connections that are cut all the time cost neither work nor a storm of new ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_clients_are_disconnected() {
    let time = sized(secs(3), secs(60));
    let mut stage = Stage::open("T20", "every client is thrown out every 200 ms", secs(240)).await;
    let _workers = [stage.orders().start(), stage.orders().start()];
    let mut hand = stage.server.connection();
    let connections = |hand: &mut Connection| info(hand, "stats", "total_connections_received");
    let (before, begun, mut number) = (connections(&mut hand), Instant::now(), 0);
    while begun.elapsed() < time {
        stage.enqueue((number..number + 40).map(|number| Work::new(number, 10, Then::Succeed))).await;
        number += 40;
        for kind in ["normal", "pubsub"] {
            let _: u64 = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).query(&mut hand).unwrap();
        }
        stage.fault("everybody thrown out");
        tokio::time::sleep(millis(200)).await;
    }
    let per_second = (connections(&mut hand) - before) as f64 / begun.elapsed().as_secs_f64();
    stage.verdict.note(format!("{per_second:.0} connections a second were opened by two workers and the judge."));
    assert!(per_second < 100.0, "{per_second} connections a second");
    stage.close(&[]).await;
}

fn info(hand: &mut Connection, section: &str, field: &str) -> u64 {
    let text: String = redis::cmd("INFO").arg(section).query(hand).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{field} in {text}"))
}

/// Goal: after any kind of silence all loops go on by themselves, and nobody was taken for dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t21_a_frozen_server() {
    let server = RedisServer::start_with(&["--enable-debug-command", "yes"]);
    let mut stage = Stage::open_on(server, "T21", "the server freezes, sleeps or pauses its clients", secs(240)).await;
    let orders = stage.orders();
    let freezes = sized(vec![secs(1)], vec![secs(1), secs(5), orders.lease * 2, secs(1), orders.lease * 2, secs(10)]);
    let (works, batch) = (freezes.len() as u64 + 2, sized(300, 4_000));
    stage.enqueue((0..works * batch).map(|number| Work::new(number, 50, Then::Succeed))).await;
    let _workers = [orders.start(), orders.start()];
    for (round, time) in freezes.into_iter().enumerate() {
        stage.until_done(round as u64 * batch + 40).await;
        stage.server.freeze();
        tokio::time::sleep(time).await;
        stage.server.thaw();
        stage.fault("server stopped and continued");
        stage.healed("server continued");
    }
    stage.until_done((works - 2) * batch).await;
    let mut hand = stage.server.connection();
    let _: () = redis::cmd("DEBUG").arg("SLEEP").arg(sized("0.5", "3")).query(&mut hand).unwrap();
    stage.fault("DEBUG SLEEP");
    stage.healed("DEBUG SLEEP over");
    stage.until_done((works - 1) * batch).await;
    let pause = sized(500, 5_000);
    let _: () = redis::cmd("CLIENT").arg("PAUSE").arg(pause).arg("ALL").query(&mut hand).unwrap();
    tokio::time::sleep(millis(pause)).await;
    stage.fault("CLIENT PAUSE");
    stage.healed("CLIENT PAUSE over");
    let verdict = stage.close(&[]).await;
    assert!(verdict.again.is_empty() && verdict.crashes == 0, "somebody was taken for dead");
}

/// Goal: an outage longer than leases, after which the server comes back from its file, costs no running job anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_an_outage_longer_than_leases() {
    let (jobs, lease) = sized((100, secs(1)), (1_000, secs(5)));
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut stage =
        Stage::open_on(server, "T22", "the server is gone for three leases while all jobs run", secs(240)).await;
    let millis_each = lease.as_millis() as u64 * 2;
    stage.enqueue((0..jobs * 2).map(|number| Work::new(number, millis_each, Then::Succeed))).await;
    let mut orders = stage.orders();
    (orders.lease, orders.executors) = (lease, jobs as usize);
    let _worker = orders.start();
    stage.until("all busy", || async { stage.book.read().executions.len() as u64 >= jobs }).await;
    let in_flight = stage.stats().await.processing;
    stage.fault("server killed");
    stage.server.stop();
    tokio::time::sleep(lease * 3).await;
    stage.server.restart();
    stage.healed("server back");
    stage.until_quiet().await;
    let given_up = stage.book.read().all().filter(|run| matches!(run.end, Some((_, How::Gave)))).count();
    stage.verdict.note(format!("{in_flight} jobs were in flight; {given_up} handlers gave up."));
    let verdict = stage.close(&[]).await;
    assert!(verdict.again.is_empty() && verdict.crashes == 0, "an outage was taken for a crash");
}

/// Goal: a server that forgets its scripts, or is busy with somebody else's, is nobody's error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t25_forgotten_and_foreign_scripts() {
    let (time, busy) = sized((secs(2), millis(1_200)), (secs(20), secs(8)));
    let server = RedisServer::start_with(&["--busy-reply-threshold", sized("200", "5000")]);
    let mut stage = Stage::open_on(
        server,
        "T25",
        "scripts are flushed every 100 ms; a foreign script keeps the server busy",
        secs(240),
    )
    .await;
    let _worker = stage.orders().start();
    let mut hand = stage.server.connection();
    let (begun, mut number) = (Instant::now(), 0);
    while begun.elapsed() < time {
        stage
            .enqueue(
                (number..number + 50)
                    .map(|number| Work::new(number, 5, if number % 10 == 0 { Then::FailOnce } else { Then::Succeed })),
            )
            .await;
        number += 50;
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut hand).unwrap();
        stage.fault("SCRIPT FLUSH");
        if number % 500 == 0 {
            let _: () = redis::cmd("FUNCTION").arg("FLUSH").query(&mut hand).unwrap();
            stage.fault("FUNCTION FLUSH");
        }
        tokio::time::sleep(millis(100)).await;
    }
    stage.enqueue((number..number + 500).map(|number| Work::new(number, 20, Then::Succeed))).await;
    occupy(&stage, busy).await;
    stage.fault("foreign script");
    stage.healed("foreign script killed");
    let verdict = stage.close(&[]).await;
    assert!(verdict.again.is_empty() && verdict.crashes == 0, "somebody was taken for dead");
}

/// Runs a script without end, and kills it.
async fn occupy(stage: &Stage, time: Duration) {
    let mut hand = stage.server.connection();
    let spinning = std::thread::spawn(move || {
        let killed = redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut hand);
        assert!(killed.unwrap_err().to_string().contains("SCRIPT KILL"));
    });
    tokio::time::sleep(time).await;
    let mut other = stage.server.connection();
    let _: () = redis::cmd("SCRIPT").arg("KILL").query(&mut other).unwrap();
    spinning.join().unwrap();
}
