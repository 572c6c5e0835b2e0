//! Every kind of actor killed, at every point of a run: between any two calls to the store, before and after each is applied.
//!
//! What lives in mailboxes may be lost; jobs may not, and none may run again that had returned.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use retraced_actors::Tree;
use retraced_jobs::job::{JobState, RunAt};
use retraced_jobs::trace::EventKind;

use crate::support::{Do, How, Moment, Work, World, millis, secs};

/// Calls to the store in one run of [`disturbed`] are about twice as many.
const POINTS: usize = 60;

/// A run under load in which `path` is killed when the store sees its `point`-th moment.
async fn disturbed(path: &'static str, point: usize) -> World {
    let world = World::build().options(|options| options.lease = secs(3)).start().await;
    world.store.latency(millis(2));
    let tree: Arc<OnceLock<Tree>> = Arc::default();
    tree.set(world.tree.clone()).ok().unwrap();
    let seen = AtomicUsize::new(0);
    world.store.watch(move |_, _: Moment| {
        if seen.fetch_add(1, Ordering::SeqCst) == point
            && let Some(tree) = tree.get()
        {
            assert!(tree.kill(path), "nobody at {path}");
        }
    });
    let quick = world.enqueue_many("quick", 12, &Work::lasting(millis(3))).await;
    let slow = world.enqueue_many("slow", 4, &Work::lasting(millis(40))).await;
    let twice = world.enqueue_many("twice", 3, &Work::then(Do::FailAskingFor(30)).and(millis(1), Do::Succeed)).await;
    let later = world.enqueue_at("later", Work::succeed(), RunAt::After(millis(50))).await;
    for ids in [quick, slow, twice, vec![later]] {
        world.until_all(&ids, JobState::Completed).await;
    }
    world.until("the actor is back", || world.generation(path).is_some_and(|generation| generation > 0)).await;
    world
}

/// Kills it at every point; nothing may be disturbed.
async fn nothing_is_disturbed(path: &'static str) {
    for point in 0..POINTS {
        let world = disturbed(path, point).await;
        for run in world.book.all() {
            let how = run.ended.unwrap().1;
            assert!(matches!(how, How::Succeeded | How::Failed), "{path} killed at {point}: {} ended {how:?}", run.id);
        }
        let stats = world.stats();
        assert_eq!(world.book.count(), 23, "{path} killed at {point}: jobs ran again: {stats:?}");
        assert_eq!((stats.failures_total, stats.crashes_total, stats.stale_settlements_total), (3, 0, 0));
        assert_eq!(world.count(|kind| matches!(kind, EventKind::LeaseLost { .. })), 0);
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_queue_actor_disturbs_nobody() {
    nothing_is_disturbed("email/queue").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_fetcher_disturbs_nobody() {
    nothing_is_disturbed("email/fetcher").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_settler_disturbs_nobody() {
    nothing_is_disturbed("email/settler").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_retry_scheduler_disturbs_nobody() {
    nothing_is_disturbed("retry-scheduler").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_watchdog_disturbs_nobody() {
    nothing_is_disturbed("watchdog").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_reclaimer_disturbs_nobody() {
    nothing_is_disturbed("reclaimer").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_janitor_disturbs_nobody() {
    nothing_is_disturbed("janitor").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_lease_keeper_disturbs_nobody() {
    nothing_is_disturbed("lease-keeper").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_ledger_disturbs_nobody() {
    nothing_is_disturbed("ledger").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_store_link_disturbs_nobody() {
    nothing_is_disturbed("store-link").await;
}

/// Kills it at every point; what had returned is settled, what was cut runs again at no cost.
async fn what_was_cut_runs_again(path: &'static str) {
    for point in 0..POINTS {
        let world = disturbed(path, point).await;
        let mut cut = 0;
        for (id, runs) in world.book.by_job() {
            for run in &runs[..runs.len() - 1] {
                let how = run.ended.unwrap().1;
                assert_ne!(how, How::Succeeded, "{path} killed at {point}: {id} had returned and ran again");
                cut += usize::from(how == How::Cut);
            }
        }
        let stats = world.stats();
        assert_eq!(world.book.count(), 23 + cut, "{path} killed at {point}: {stats:?}");
        assert_eq!((stats.failures_total, stats.crashes_total, stats.stale_settlements_total), (3, 0, 0));
        assert!(stats.releases_total as usize >= cut);
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_pool_only_what_was_cut_runs_again() {
    what_was_cut_runs_again("email/pool").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_queue_supervisor_only_what_was_cut_runs_again() {
    what_was_cut_runs_again("email").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_worker_supervisor_only_what_was_cut_runs_again() {
    what_was_cut_runs_again("email/workers").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_executor_only_its_job_runs_again() {
    what_was_cut_runs_again("email/executor-2").await;
}

/// Whoever supervises them: in the story of a place no generation comes twice.
#[tokio::test(start_paused = true)]
async fn children_of_a_restarted_supervisor_are_a_generation_of_their_own() {
    let world = World::start().await;
    world.kill_and_await_successor("email").await;
    world.until("all are back", || world.generation("email/executor-0") == Some(1)).await;
    for role in ["queue", "workers", "settler", "pool", "fetcher"] {
        let path = format!("email/{role}");
        assert_eq!(world.generation(&path), Some(1), "{path}");
        assert!(world.events().iter().any(|e| e.path == path && e.kind == EventKind::Restarted), "{path}");
    }
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_executor_is_charged_to_the_tree_and_replaced() {
    let world = World::build().concurrency(1).start().await;
    let id = world.enqueue("one", Work::lasting(secs(1))).await;
    world.until("it runs", || world.book.running() == 1).await;
    world.kill_and_await_successor("email/executor-0").await;
    world.until_state(&id, JobState::Completed).await;
    let crashed = world.until_event("the crash told", |e| matches!(e.kind, EventKind::Crashed { .. })).await;
    assert_eq!(crashed.path, "email/executor-0");
    assert_eq!(crashed.kind, EventKind::Crashed { reason: "killed".into(), failures: 1, budget: 20 });
    let counters = world.view(&id).counters;
    assert_eq!((counters.attempts, counters.failures, counters.crashes, counters.releases), (2, 0, 0, 1));
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_an_idle_executor_leaves_no_job_waiting_for_it() {
    let world = World::build().concurrency(2).start().await;
    for n in 0..10 {
        assert!(world.tree.kill("email/executor-0"));
        let id = world.enqueue(&format!("job-{n}"), Work::succeed()).await;
        world
            .until_within(millis(900), "it ran, by the other executor if need be", || {
                world.state(&id) == JobState::Completed
            })
            .await;
        world.until("the executor is back", || world.tree.actors().iter().any(|r| r.path == "email/executor-0")).await;
    }
    world.close().await;
}
