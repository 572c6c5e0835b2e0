//! The server is down, frozen or busy, loses its scripts, or disconnects its clients.

use std::time::{Duration, Instant};

use redis::{Commands, Connection};

use crate::execution_log::RunEnd;
use crate::scenario::{Scenario, millis, secs, sized};
use crate::support::redis_server::RedisServer;
use crate::worker::{Then, Work};

/// Goal: without a server, producers get an error within 2 s, their memory does not grow, and no acknowledged job is lost. Method: a process enqueues at a steady rate while its
/// server, which persists every write, is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_producers_without_a_server_get_an_error_soon() {
    let (outage, per_second) = sized((secs(3), 200), (secs(60), 2_000));
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut scenario = Scenario::open_on(server, "T04", "producers enqueue while the server is down", secs(240)).await;
    let mut config = scenario.worker_config();
    config.produces = Some((0, per_second, outage + secs(6)));
    let worker = config.start();
    scenario.until_done(per_second).await;
    let before = worker.memory_kib();
    scenario.fault("server killed");
    scenario.server.stop();
    let down_since = Instant::now();
    let mut peak_kib = before;
    while down_since.elapsed() < outage {
        tokio::time::sleep(millis(100)).await;
        peak_kib = peak_kib.max(worker.memory_kib());
    }
    scenario.server.restart();
    scenario.fault_ended("server restarted");
    // The producer stops by itself: it has stopped when no job was acknowledged for a while.
    let mut latest = (0, Instant::now());
    while latest.1.elapsed() < secs(8) {
        let acknowledged = scenario.log.read().acknowledged.len();
        if acknowledged != latest.0 {
            latest = (acknowledged, Instant::now());
        }
        tokio::time::sleep(millis(200)).await;
    }
    let refusals = scenario.log.read().refusals;
    let slowest = refusals.iter().max().copied().unwrap_or_default();
    let grown = peak_kib.saturating_sub(before) / 1024;
    scenario.report.note(format!(
        "{} enqueues were refused in the outage, the slowest after {} ms; memory grew by {grown} MiB.",
        refusals.len(),
        slowest.as_millis()
    ));
    assert!(!refusals.is_empty() && slowest < secs(2), "a producer waited for {slowest:?}");
    assert!(grown < 64, "memory grew by {grown} MiB");
    scenario.close(&[]).await;
}

/// Goal: connections that are cut all the time lose no job and cause no flood of new connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_disconnected_clients_lose_no_job() {
    let time = sized(secs(3), secs(60));
    let mut scenario = Scenario::open("T20", "every client is disconnected every 200 ms", secs(240)).await;
    let _workers = [scenario.worker_config().start(), scenario.worker_config().start()];
    // A worker whose first probe is cut does not start. The scenario is about those that work.
    let rows = || scenario.server.connection().hlen::<_, u64>("retraced:workers").unwrap();
    scenario.until("the start of both workers", || async { rows() == 2 }).await;
    let mut redis_connection = scenario.server.connection();
    let connections = |redis_connection: &mut Connection| info(redis_connection, "stats", "total_connections_received");
    let (before, begun, mut number) = (connections(&mut redis_connection), Instant::now(), 0);
    while begun.elapsed() < time {
        scenario.enqueue((number..number + 40).map(|number| Work::new(number, 10, Then::Succeed))).await;
        number += 40;
        for kind in ["normal", "pubsub"] {
            let _: u64 = redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).query(&mut redis_connection).unwrap();
        }
        scenario.fault("all clients disconnected");
        tokio::time::sleep(millis(200)).await;
    }
    let per_second = (connections(&mut redis_connection) - before) as f64 / begun.elapsed().as_secs_f64();
    scenario.report.note(format!("Two workers and the test opened {per_second:.0} connections a second."));
    assert!(per_second < 100.0, "{per_second} connections a second");
    scenario.close(&[]).await;
}

fn info(redis_connection: &mut Connection, section: &str, field: &str) -> u64 {
    let text: String = redis::cmd("INFO").arg(section).query(redis_connection).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{field} in {text}"))
}

/// Goal: after any kind of freeze of the server the work resumes by itself, and no worker was taken for dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t21_no_worker_is_taken_for_dead_after_a_freeze() {
    let server = RedisServer::start_with(&["--enable-debug-command", "yes"]);
    let mut scenario =
        Scenario::open_on(server, "T21", "the server freezes, sleeps or pauses its clients", secs(240)).await;
    let config = scenario.worker_config();
    let freezes = sized(vec![secs(1)], vec![secs(1), secs(5), config.lease * 2, secs(1), config.lease * 2, secs(10)]);
    let (works, batch) = (freezes.len() as u64 + 2, sized(300, 4_000));
    scenario.enqueue((0..works * batch).map(|number| Work::new(number, 50, Then::Succeed))).await;
    let _workers = [config.start(), config.start()];
    for (round, time) in freezes.into_iter().enumerate() {
        scenario.until_done(round as u64 * batch + 40).await;
        scenario.server.freeze();
        tokio::time::sleep(time).await;
        scenario.server.thaw();
        scenario.fault("server stopped and continued");
        scenario.fault_ended("server continued");
    }
    scenario.until_done((works - 2) * batch).await;
    let mut redis_connection = scenario.server.connection();
    let _: () = redis::cmd("DEBUG").arg("SLEEP").arg(sized("0.5", "3")).query(&mut redis_connection).unwrap();
    scenario.fault("DEBUG SLEEP");
    scenario.fault_ended("DEBUG SLEEP over");
    scenario.until_done((works - 1) * batch).await;
    let pause = sized(500, 5_000);
    let _: () = redis::cmd("CLIENT").arg("PAUSE").arg(pause).arg("ALL").query(&mut redis_connection).unwrap();
    tokio::time::sleep(millis(pause)).await;
    scenario.fault("CLIENT PAUSE");
    scenario.fault_ended("CLIENT PAUSE over");
    let report = scenario.close(&[]).await;
    assert!(report.repeated.is_empty() && report.crashes == 0, "a live worker was taken for dead");
}

/// Goal: an outage longer than the leases, after which the server restarts from its append-only file, counts no crash for running jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_an_outage_longer_than_leases_counts_no_crash() {
    let (jobs, lease) = sized((100, secs(1)), (1_000, secs(5)));
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut scenario =
        Scenario::open_on(server, "T22", "the server is down for three leases while all jobs run", secs(240)).await;
    let millis_each = lease.as_millis() as u64 * 2;
    scenario.enqueue((0..jobs * 2).map(|number| Work::new(number, millis_each, Then::Succeed))).await;
    let mut config = scenario.worker_config();
    (config.lease, config.executors) = (lease, jobs as usize);
    let _worker = config.start();
    scenario.until("work on all executors", || async { scenario.log.read().executions.len() as u64 >= jobs }).await;
    let in_flight = scenario.stats().await.processing;
    scenario.fault("server killed");
    scenario.server.stop();
    tokio::time::sleep(lease * 3).await;
    scenario.server.restart();
    scenario.fault_ended("server restarted");
    scenario.until_drained().await;
    let stopped = scenario.log.read().all().filter(|run| matches!(run.end, Some((_, RunEnd::LeaseLost)))).count();
    scenario
        .report
        .note(format!("{in_flight} jobs were in flight; {stopped} handlers stopped because their lease was lost."));
    let report = scenario.close(&[]).await;
    assert!(report.repeated.is_empty() && report.crashes == 0, "an outage was taken for a crash");
}

/// Goal: a server that loses its scripts, or is busy with a script of another program, causes no error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t25_lost_scripts_and_a_busy_server_cause_no_error() {
    let (time, busy) = sized((secs(2), millis(1_200)), (secs(20), secs(8)));
    let server = RedisServer::start_with(&["--busy-reply-threshold", sized("200", "5000")]);
    let mut scenario = Scenario::open_on(
        server,
        "T25",
        "scripts are flushed every 100 ms; a script of another program keeps the server busy",
        secs(240),
    )
    .await;
    let _worker = scenario.worker_config().start();
    let mut redis_connection = scenario.server.connection();
    let (begun, mut number) = (Instant::now(), 0);
    while begun.elapsed() < time {
        scenario
            .enqueue(
                (number..number + 50)
                    .map(|number| Work::new(number, 5, if number % 10 == 0 { Then::FailOnce } else { Then::Succeed })),
            )
            .await;
        number += 50;
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut redis_connection).unwrap();
        scenario.fault("SCRIPT FLUSH");
        if number % 500 == 0 {
            let _: () = redis::cmd("FUNCTION").arg("FLUSH").query(&mut redis_connection).unwrap();
            scenario.fault("FUNCTION FLUSH");
        }
        tokio::time::sleep(millis(100)).await;
    }
    scenario.enqueue((number..number + 500).map(|number| Work::new(number, 20, Then::Succeed))).await;
    run_endless_script(&scenario, busy).await;
    scenario.fault("endless script");
    scenario.fault_ended("endless script killed");
    let report = scenario.close(&[]).await;
    assert!(report.repeated.is_empty() && report.crashes == 0, "a live worker was taken for dead");
}

/// Runs an endless script and kills it after this time.
async fn run_endless_script(scenario: &Scenario, time: Duration) {
    let mut redis_connection = scenario.server.connection();
    let spinning = std::thread::spawn(move || {
        let killed = redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut redis_connection);
        assert!(killed.unwrap_err().to_string().contains("SCRIPT KILL"));
    });
    tokio::time::sleep(time).await;
    let mut other = scenario.server.connection();
    let _: () = redis::cmd("SCRIPT").arg("KILL").query(&mut other).unwrap();
    spinning.join().unwrap();
}
