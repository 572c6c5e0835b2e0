//! Two trees in one process, on one store.

use std::collections::BTreeSet;

use retraced_actors::limits::HEARTBEAT_INTERVAL;
use retraced_jobs::events::{EventKind, SupervisionEvent};
use retraced_jobs::job::JobState;
use retraced_jobs::store::{BATCH_MAX, Ledger};

use crate::support::{Harness, Work, millis, secs};

#[tokio::test(start_paused = true)]
async fn two_trees_share_a_queue_and_each_job_runs_once() {
    let one = Harness::start().await;
    let two = Harness::build().sharing_store(&one).options(|options| options.seed = 1).start().await;
    assert_ne!(one.tree.instance(), two.tree.instance());
    one.store.latency(millis(2));
    let mut ids = one.enqueue_many("one", 100, &Work::lasting(millis(60))).await;
    ids.extend(two.enqueue_many("two", 100, &Work::lasting(millis(60))).await);
    one.until_all(&ids, JobState::Completed).await;
    assert_eq!(one.recorder.count(), 200);
    assert_eq!(one.recorder.overlap_max(), 8);
    let stats = one.stats();
    assert_eq!((stats.crashes_total, stats.releases_total, stats.stale_settlements_total), (0, 0, 0));
    two.close().await;
    // The other tree keeps working.
    let id = one.enqueue("last", Work::succeed()).await;
    one.until_state(&id, JobState::Completed).await;
    one.close().await;
}

/// Goal: a worker whose memory was copied (a fork, a restored snapshot) loses no job and runs none twice that was enqueued since. Method: two trees with one process instance,
/// whose replay slots count from the same number.
#[tokio::test(start_paused = true)]
async fn a_copy_of_a_worker_goes_on_as_another_process_instance_and_no_job_is_lost() {
    let original = Harness::start().await;
    let instance = original.tree.instance();
    let copy = Harness::build().copying(&original).options(|options| options.seed = 1).start().await;
    original.store.latency(millis(2));
    let mut ids = original.enqueue_many("original", 100, &Work::lasting(millis(60))).await;
    ids.extend(copy.enqueue_many("copy", 100, &Work::lasting(millis(60))).await);
    original.until_all(&ids, JobState::Completed).await;
    assert_eq!(original.recorder.count(), 200);
    let stats = original.stats();
    assert_eq!((stats.crashes_total, stats.stale_settlements_total), (0, 0), "{stats:?}");
    assert_ne!(original.tree.instance(), copy.tree.instance());
    // The copy was noticed while its tree started, before anybody could subscribe to its events.
    tokio::time::sleep(HEARTBEAT_INTERVAL + secs(1)).await;
    let ledger = original.store.events(None, BATCH_MAX).await.unwrap().events;
    let replaced =
        |event: &&SupervisionEvent| matches!(event.kind, EventKind::InstanceReplaced { old, .. } if old == instance);
    let mut replaced_by: Vec<_> = ledger.iter().filter(replaced).map(|event| event.instance).collect();
    assert!(!replaced_by.is_empty(), "{ledger:?}");
    let workers: Vec<_> = original.store.workers().await.unwrap().into_iter().map(|row| row.instance).collect();
    assert!(workers.contains(&original.tree.instance()) && workers.contains(&copy.tree.instance()), "{workers:?}");
    replaced_by.dedup();
    assert!(replaced_by.iter().all(|new| workers.contains(new)) && replaced_by.len() <= 2, "{replaced_by:?}");
    let refused = |kind: &EventKind| matches!(kind, EventKind::StoreRefused { .. });
    assert_eq!(original.count(refused) + copy.count(refused), 0);
    copy.close().await;
    original.close().await;
}

#[tokio::test(start_paused = true)]
async fn two_trees_with_different_queues_do_not_touch_each_other() {
    let email = Harness::start().await;
    let print = Harness::build().queues(&["print"]).sharing_store(&email).start().await;
    let letters = email.enqueue_many("letter", 20, &Work::lasting(millis(10))).await;
    let pages = print.enqueue_many("page", 20, &Work::lasting(millis(10))).await;
    email.kill_and_await_restart("email").await;
    email.until_all(&letters, JobState::Completed).await;
    print.until_all(&pages, JobState::Completed).await;
    assert_eq!(print.count(|kind| matches!(kind, EventKind::Crashed { .. })), 0);
    assert!(print.tree.queue(&email.queue).is_none());
    email.close().await;
    let id = print.enqueue("last", Work::succeed()).await;
    print.until_state(&id, JobState::Completed).await;
    print.close().await;
}

/// The same seed on two workers must not make them draw the same tokens.
#[tokio::test(start_paused = true)]
async fn equal_seeds_do_not_give_equal_tokens() {
    let mut nonces = BTreeSet::new();
    for _ in 0..2 {
        let harness = Harness::start().await;
        let id = harness.enqueue("one", Work::succeed()).await;
        harness.until_state(&id, JobState::Completed).await;
        nonces.insert(harness.store.nonces());
        harness.close().await;
    }
    assert_eq!(nonces.len(), 2);
}
