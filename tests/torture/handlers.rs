//! Handlers that block their threads, handlers that never end, and a tree whose actors are killed all the time.

use std::time::Instant;

use retraced::store::BATCH_MAX;
use retraced::supervision::EventKind;

use crate::scenario::{Scenario, millis, secs, sized};
use crate::support::unix_ms;
use crate::worker::{NeverReturns, RUNTIME_FAILED, Then, Work};

/// Goal: handlers that block every thread of their runtime, for five leases, lose no lease. Method: a worker with two threads for its handlers; a second worker is ready to
/// reclaim leases that are not renewed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_blocked_threads_lose_no_lease() {
    let rounds = sized(1, 3);
    let mut scenario = Scenario::open("T17", "handlers block all threads for five leases", secs(180)).await;
    let mut config = scenario.worker_config();
    config.lease = secs(1);
    let mut blocked = config.clone();
    (blocked.threads, blocked.executors) = (2, 4);
    for round in 0..rounds {
        scenario.enqueue((0..4).map(|n| Work::new(round * 4 + n, 5_000, Then::Block))).await;
        let _worker = blocked.start();
        scenario.until_started(round * 4 + 1).await;
        let _rival = config.start();
        scenario.fault("all threads blocked");
        scenario.until_done(round * 4 + 4).await;
    }
    let report = scenario.close(&[]).await;
    assert!(report.repeated.is_empty() && report.crashes == 0, "a lease was lost");
}

/// Goal: handlers that never end do not block other jobs for ever: their attempts are settled without them, and a process with too many of them ends with an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t18_handlers_that_never_end_do_not_block_other_jobs() {
    let hanging = 2;
    let mut scenario = Scenario::open("T18", "handlers ignore every request to stop and never end", secs(120)).await;
    for number in 0..hanging {
        scenario.enqueue_kind(number, NeverReturns(Work::new(number, 0, Then::Succeed))).await;
    }
    scenario.enqueue((hanging..hanging + 200).map(|number| Work::new(number, 20, Then::Succeed))).await;
    let mut config = scenario.worker_config();
    (config.timeout, config.zombies_max) = (secs(1), Some(2));
    let mut worker = config.start();
    scenario
        .until("the completion of the other jobs", || async { scenario.stats().await.completed_total >= 200 })
        .await;
    let started_ms = unix_ms();
    scenario.until_done(200).await;
    let begun = Instant::now();
    while worker.ended().is_none() {
        assert!(begun.elapsed() < secs(40), "the worker still runs although it has too many zombies");
        tokio::time::sleep(millis(50)).await;
    }
    assert_eq!(worker.ended().unwrap().code(), Some(RUNTIME_FAILED));
    scenario.died("ended because of too many zombies", worker.pid(), started_ms).await;
    let _successor = scenario.worker_config().start();
    scenario.close(&[]).await;
}

/// Goal: a tree whose actors are killed all the time keeps working, and one whose child always fails ends with an error. Method: many times a
/// second under load a worker kills an actor of its own tree, any except the root. Only jobs whose handlers were dropped with their executor may run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t36_a_tree_whose_actors_are_killed_all_the_time_keeps_working() {
    let jobs = sized(2_000, 40_000);
    let mut scenario = Scenario::open("T36", "actors of the tree are killed many times a second", secs(240)).await;
    scenario.enqueue((0..jobs).map(|number| Work::new(number, 5 + number % 30, Then::Succeed))).await;
    let mut config = scenario.worker_config();
    config.kill_interval = Some((millis(40), scenario.seed));
    config.lease = secs(2);
    let mut killer = config.start();
    let from_ms = unix_ms();
    scenario.until_drained().await;
    assert!(killer.ended().is_none(), "the worker process ended");
    // Any executor may have been killed together with its handler at any time. Its job was released without counting a failure.
    let records = scenario.log.read();
    let dropped = records.all().filter(|run| run.end.is_none()).map(|run| (run.job, run.grant)).collect();
    scenario.disrupted("executor or its supervisor killed", killer.pid(), from_ms, dropped);
    drop(killer);
    let (mut crashes, mut from) = (0, None);
    loop {
        let page = scenario.store.events(from, BATCH_MAX).await.unwrap();
        crashes += page.events.iter().filter(|event| matches!(event.kind, EventKind::Crashed { .. })).count();
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert!(crashes > 10, "only {crashes} actors were killed");
    scenario
        .report
        .note(format!("{crashes} crashes of actors are in the ledger, which keeps the latest 10,000 events."));
    let mut doomed = scenario.worker_config();
    doomed.kill_always = Some("ledger".into());
    let mut doomed = doomed.start();
    let begun = Instant::now();
    while doomed.ended().is_none() {
        assert!(begun.elapsed() < secs(60), "a child that always fails did not end the process");
        tokio::time::sleep(millis(50)).await;
    }
    assert_eq!(doomed.ended().unwrap().code(), Some(RUNTIME_FAILED));
    scenario.fault("a child that always fails");
    let report = scenario.close(&[]).await;
    // Every job that ran again, and every prefetched job, was released without counting a failure.
    assert!(report.crashes == 0 && report.repeated.values().sum::<u64>() <= report.releases);
}
