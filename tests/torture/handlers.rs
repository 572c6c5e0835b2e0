//! Handlers that block their threads, handlers that never end, and a tree whose actors are killed all the time.

use std::time::Instant;

use retraced::EventKind;
use retraced::store::BATCH_MAX;

use crate::stage::{Stage, millis, secs, sized};
use crate::support::unix_ms;
use crate::worker::{Deaf, GAVE_UP, Then, Work};

/// Goal: handlers that block every thread of their runtime, for five leases, lose no lease. Method: a worker with two threads for its handlers; a second worker waits to
/// take over what is not renewed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_blocked_threads() {
    let rounds = sized(1, 3);
    let mut stage = Stage::open("T17", "handlers block all threads for five leases", secs(180)).await;
    let mut orders = stage.orders();
    orders.lease = secs(1);
    let mut blocked = orders.clone();
    (blocked.threads, blocked.executors) = (2, 4);
    for round in 0..rounds {
        stage.enqueue((0..4).map(|n| Work::new(round * 4 + n, 5_000, Then::Block))).await;
        let _worker = blocked.start();
        stage.until_begun(round * 4 + 1).await;
        let _rival = orders.start();
        stage.fault("all threads blocked");
        stage.until_done(round * 4 + 4).await;
    }
    let verdict = stage.close(&[]).await;
    assert!(verdict.again.is_empty() && verdict.crashes == 0, "a lease was lost");
}

/// Goal: handlers that never end do not hold up others for ever: their attempts are settled without them, and a process with too many of them ends and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t18_handlers_that_never_end() {
    let deaf = 2;
    let mut stage = Stage::open("T18", "handlers ignore every word and never end", secs(120)).await;
    for number in 0..deaf {
        stage.enqueue_kind(number, Deaf(Work::new(number, 0, Then::Succeed))).await;
    }
    stage.enqueue((deaf..deaf + 200).map(|number| Work::new(number, 20, Then::Succeed))).await;
    let mut orders = stage.orders();
    (orders.timeout, orders.zombies_max) = (secs(1), Some(2));
    let mut worker = orders.start();
    stage.until("its end", || async { stage.stats().await.completed_total >= 200 }).await;
    let started_ms = unix_ms();
    stage.until_done(200).await;
    let begun = Instant::now();
    while worker.ended().is_none() {
        assert!(begun.elapsed() < secs(40), "it goes on with all its zombies");
        tokio::time::sleep(millis(50)).await;
    }
    assert_eq!(worker.ended().unwrap().code(), Some(GAVE_UP));
    stage.dead("it gave up for its zombies", worker.pid(), started_ms).await;
    let _heir = stage.orders().start();
    stage.close(&[]).await;
}

/// Goal: a tree whose actors die all the time works on, and one whose child always fails ends with an error. Method: a worker kills an actor of its own tree, any but the
/// root, many times a second under load; handlers that go with their executors are the only ones to run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t36_actors_killed_many_times_a_second() {
    let jobs = sized(2_000, 40_000);
    let mut stage = Stage::open("T36", "actors of the tree are killed many times a second", secs(240)).await;
    stage.enqueue((0..jobs).map(|number| Work::new(number, 5 + number % 30, Then::Succeed))).await;
    let mut orders = stage.orders();
    orders.storm = Some((millis(40), stage.seed));
    orders.lease = secs(2);
    let mut stormy = orders.start();
    let from_ms = unix_ms();
    stage.until_quiet().await;
    assert!(stormy.ended().is_none(), "the storm took the process with it");
    // Any of its executors may have been killed with its job at any time, which the store was told: it is a release, at no cost.
    let pages = stage.book.read();
    let cut = pages.all().filter(|run| run.end.is_none()).map(|run| (run.job, run.grant)).collect();
    stage.wound("executor or its supervisor killed", stormy.pid(), from_ms, cut);
    drop(stormy);
    let (mut deaths, mut from) = (0, None);
    loop {
        let page = stage.store.events(from, BATCH_MAX).await.unwrap();
        deaths += page.events.iter().filter(|event| matches!(event.kind, EventKind::Crashed { .. })).count();
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert!(deaths > 10, "only {deaths} actors were killed");
    stage.verdict.note(format!("{deaths} deaths of actors are in the ledger, which keeps the latest 10,000 events."));
    let mut doomed = stage.orders();
    doomed.nemesis_of = Some("ledger".into());
    let mut doomed = doomed.start();
    let begun = Instant::now();
    while doomed.ended().is_none() {
        assert!(begun.elapsed() < secs(60), "a child that always fails did not end it");
        tokio::time::sleep(millis(50)).await;
    }
    assert_eq!(doomed.ended().unwrap().code(), Some(GAVE_UP));
    stage.fault("a child that always fails");
    let verdict = stage.close(&[]).await;
    // Whoever cut a handler told the store so, at no cost; what had only been fetched went back too.
    assert!(verdict.crashes == 0 && verdict.again.values().sum::<u64>() <= verdict.releases);
}
