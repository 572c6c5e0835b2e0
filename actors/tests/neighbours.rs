//! Two trees in one process, on one store.

use std::collections::BTreeSet;

use retraced_jobs::job::JobState;
use retraced_jobs::trace::EventKind;

use crate::support::{Work, World, millis};

#[tokio::test(start_paused = true)]
async fn two_trees_share_a_queue_and_each_job_runs_once() {
    let one = World::start().await;
    let two = World::build().beside(&one).options(|options| options.seed = 1).start().await;
    assert_ne!(one.tree.instance(), two.tree.instance());
    one.store.latency(millis(2));
    let mut ids = one.enqueue_many("one", 100, &Work::lasting(millis(60))).await;
    ids.extend(two.enqueue_many("two", 100, &Work::lasting(millis(60))).await);
    one.until_all(&ids, JobState::Completed).await;
    assert_eq!(one.book.count(), 200);
    assert_eq!(one.book.overlap_max(), 8);
    let stats = one.stats();
    assert_eq!((stats.crashes_total, stats.releases_total, stats.stale_settlements_total), (0, 0, 0));
    two.close().await;
    // The other goes on.
    let id = one.enqueue("last", Work::succeed()).await;
    one.until_state(&id, JobState::Completed).await;
    one.close().await;
}

#[tokio::test(start_paused = true)]
async fn two_trees_with_different_queues_do_not_touch_each_other() {
    let email = World::start().await;
    let print = World::build().queues(&["print"]).beside(&email).start().await;
    let letters = email.enqueue_many("letter", 20, &Work::lasting(millis(10))).await;
    let pages = print.enqueue_many("page", 20, &Work::lasting(millis(10))).await;
    email.kill_and_await_successor("email").await;
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
        let world = World::start().await;
        let id = world.enqueue("one", Work::succeed()).await;
        world.until_state(&id, JobState::Completed).await;
        nonces.insert(world.store.nonces());
        world.close().await;
    }
    assert_eq!(nonces.len(), 2);
}
