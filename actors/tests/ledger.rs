//! What a worker writes about itself into the store.

use retraced_actors::limits::HEARTBEAT_INTERVAL;
use retraced_jobs::job::Kind;
use retraced_jobs::store::{Admin, BATCH_MAX, Ledger};

use crate::support::{Fault, Harness, Verb, Work, millis, secs};

#[tokio::test(start_paused = true)]
async fn a_worker_row_shows_identity_capabilities_and_load() {
    let harness = Harness::build()
        .concurrency(7)
        .options(|options| (options.host, options.build) = ("a-host".into(), "mailer 1.4.2".into()))
        .start()
        .await;
    harness.enqueue("one", Work::lasting(secs(60))).await;
    tokio::time::sleep(HEARTBEAT_INTERVAL + secs(1)).await;
    let rows = harness.store.workers().await.unwrap();
    let row = &rows[0];
    assert_eq!((rows.len(), row.instance), (1, harness.tree.instance()));
    assert_eq!((row.host.as_str(), row.build.as_str(), row.pid), ("a-host", "mailer 1.4.2", std::process::id()));
    assert_eq!((&row.queues, &row.kinds), (&vec![harness.queue.clone()], &vec![Kind::new("work").unwrap()]));
    assert_eq!((row.kinds_total, row.every_kind, row.concurrency, row.running), (1, false, 7, 1));
    assert!(row.version.starts_with("0.") && row.seen_ms > row.started_ms, "{row:?}");
    harness.close().await;
}

/// Goal: a store that lost everything soon knows its workers and queues again. Method: each heartbeat announces the queues and writes the row.
#[tokio::test(start_paused = true)]
async fn every_heartbeat_repeats_the_queues_and_the_worker_row() {
    let harness = Harness::start().await;
    tokio::time::sleep(millis(100)).await;
    let first = harness.store.calls(Verb::Heartbeat);
    assert_eq!(first, 2, "the queues, and the row");
    tokio::time::sleep(HEARTBEAT_INTERVAL * 3 + secs(1)).await;
    assert_eq!(harness.store.calls(Verb::Heartbeat), first + 6);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_build_label_beyond_its_limit_is_refused() {
    let refused = Harness::build().options(|options| options.build = "x".repeat(201)).try_start().await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("201 bytes") && error.contains("200"), "{error}");
}

/// Goal: a worker of more queues than one call may name is listed with all of them, and not any more once it has ended.
#[tokio::test(start_paused = true)]
async fn a_worker_of_many_queues_is_neither_unannounced_nor_left_behind() {
    let names: Vec<String> = (0..=2 * BATCH_MAX).map(|n| format!("queue-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let harness = Harness::build().queues(&names).concurrency(1).start().await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(harness.store.queues().await.unwrap().len(), names.len());
    assert_eq!(harness.store.workers().await.unwrap().len(), 1);
    let store = harness.store.clone();
    harness.close().await;
    assert_eq!(store.workers().await.unwrap(), [], "the row of a worker that has ended");
}

/// Goal: the row goes although there is no time for the rest. Method: the store answers only the first part of the removal.
#[tokio::test(start_paused = true)]
async fn a_slow_store_never_keeps_the_row_of_a_worker_of_many_queues() {
    let names: Vec<String> = (0..=2 * BATCH_MAX).map(|n| format!("queue-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let harness = Harness::build().queues(&names).concurrency(1).start().await;
    tokio::time::sleep(secs(1)).await;
    harness
        .store
        .plan_faults(|verb, call| (verb == Verb::Forget && call > 1).then_some(Fault::RequestDelayed(secs(9))));
    let store = harness.store.clone();
    harness.close().await;
    assert_eq!((store.calls(Verb::Forget), store.workers().await.unwrap().len()), (2, 0));
}
