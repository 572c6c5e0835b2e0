//! What a worker tells of itself.

use retraced_actors::limits::HEARTBEAT_INTERVAL;
use retraced_jobs::job::Kind;
use retraced_jobs::store::Ledger;

use crate::support::{Verb, Work, World, millis, secs};

#[tokio::test(start_paused = true)]
async fn a_workers_row_tells_who_it_is_what_it_can_and_what_it_does() {
    let world = World::build()
        .concurrency(7)
        .options(|options| (options.host, options.build) = ("a-host".into(), "mailer 1.4.2".into()))
        .start()
        .await;
    world.enqueue("one", Work::lasting(secs(60))).await;
    tokio::time::sleep(HEARTBEAT_INTERVAL + secs(1)).await;
    let rows = world.store.workers().await.unwrap();
    let row = &rows[0];
    assert_eq!((rows.len(), row.instance), (1, world.tree.instance()));
    assert_eq!((row.host.as_str(), row.build.as_str(), row.pid), ("a-host", "mailer 1.4.2", std::process::id()));
    assert_eq!((&row.queues, &row.kinds), (&vec![world.queue.clone()], &vec![Kind::new("work").unwrap()]));
    assert_eq!((row.kinds_total, row.every_kind, row.concurrency, row.running), (1, false, 7, 1));
    assert!(row.version.starts_with("0.") && row.seen_ms > row.started_ms, "{row:?}");
    world.close().await;
}

/// Goal: a store that lost everything knows its workers and queues again soon. Method: each beat both announces and writes the row.
#[tokio::test(start_paused = true)]
async fn every_beat_says_again_who_works_what() {
    let world = World::start().await;
    tokio::time::sleep(millis(100)).await;
    let first = world.store.calls(Verb::Heartbeat);
    assert_eq!(first, 2, "the queues, and the row");
    tokio::time::sleep(HEARTBEAT_INTERVAL * 3 + secs(1)).await;
    assert_eq!(world.store.calls(Verb::Heartbeat), first + 6);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_label_too_long_for_every_beat_is_refused() {
    let refused = World::build().options(|options| options.build = "x".repeat(201)).try_start().await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("201 bytes") && error.contains("200"), "{error}");
}
