//! Kills every kind of actor at every point of a run: between any two store calls, before and after each is applied.
//!
//! Messages in mailboxes may be lost. Jobs may not be lost, and a job whose handler has returned may not run again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use retraced_actors::Tree;
use retraced_jobs::events::EventKind;
use retraced_jobs::job::{JobState, RunAt};

use crate::support::{Action, Harness, Moment, RunEnd, Work, millis, secs};

/// At how many points each actor is killed. A run makes about twice as many store calls.
const POINTS: usize = 60;

/// A run under load in which the actor at `path` is killed at the `point`-th stage of a store call.
async fn run_with_kill(path: &'static str, point: usize) -> Harness {
    let harness = Harness::build().options(|options| options.lease = secs(3)).start().await;
    harness.store.latency(millis(2));
    let tree: Arc<OnceLock<Tree>> = Arc::default();
    tree.set(harness.tree.clone()).ok().unwrap();
    let seen = AtomicUsize::new(0);
    harness.store.observe(move |_, _: Moment| {
        if seen.fetch_add(1, Ordering::SeqCst) == point
            && let Some(tree) = tree.get()
        {
            assert!(tree.kill(path), "no actor at {path}");
        }
    });
    let quick = harness.enqueue_many("quick", 12, &Work::lasting(millis(3))).await;
    let slow = harness.enqueue_many("slow", 4, &Work::lasting(millis(40))).await;
    let twice =
        harness.enqueue_many("twice", 3, &Work::then(Action::FailAskingFor(30)).and(millis(1), Action::Succeed)).await;
    let later = harness.enqueue_at("later", Work::succeed(), RunAt::After(millis(50))).await;
    for ids in [quick, slow, twice, vec![later]] {
        harness.until_all(&ids, JobState::Completed).await;
    }
    harness.until("the actor is back", || harness.generation(path).is_some_and(|generation| generation > 0)).await;
    harness
}

/// Kills the actor at every point; no job may be affected.
async fn assert_no_job_affected(path: &'static str) {
    for point in 0..POINTS {
        let harness = run_with_kill(path, point).await;
        for run in harness.recorder.all() {
            let end = run.ended.unwrap().1;
            assert!(
                matches!(end, RunEnd::Succeeded | RunEnd::Failed),
                "{path} killed at {point}: {} ended {end:?}",
                run.id
            );
        }
        let stats = harness.stats();
        assert_eq!(harness.recorder.count(), 23, "{path} killed at {point}: jobs ran again: {stats:?}");
        assert_eq!((stats.failures_total, stats.crashes_total, stats.stale_settlements_total), (3, 0, 0));
        assert_eq!(harness.count(|kind| matches!(kind, EventKind::LeaseLost { .. })), 0);
        harness.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_queue_actor_affects_no_job() {
    assert_no_job_affected("email/queue").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_fetcher_affects_no_job() {
    assert_no_job_affected("email/fetcher").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_settler_affects_no_job() {
    assert_no_job_affected("email/settler").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_retry_scheduler_affects_no_job() {
    assert_no_job_affected("retry-scheduler").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_watchdog_affects_no_job() {
    assert_no_job_affected("watchdog").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_reclaimer_affects_no_job() {
    assert_no_job_affected("reclaimer").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_janitor_affects_no_job() {
    assert_no_job_affected("janitor").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_lease_keeper_affects_no_job() {
    assert_no_job_affected("lease-keeper").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_ledger_affects_no_job() {
    assert_no_job_affected("ledger").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_store_link_affects_no_job() {
    assert_no_job_affected("store-link").await;
}

/// Kills the actor at every point. Jobs whose handlers returned are settled; jobs whose handlers were dropped run again without counting a failure.
async fn assert_only_dropped_run_again(path: &'static str) {
    for point in 0..POINTS {
        let harness = run_with_kill(path, point).await;
        let mut dropped = 0;
        for (id, runs) in harness.recorder.by_job() {
            for run in &runs[..runs.len() - 1] {
                let end = run.ended.unwrap().1;
                assert_ne!(end, RunEnd::Succeeded, "{path} killed at {point}: {id} had returned and ran again");
                dropped += usize::from(end == RunEnd::Dropped);
            }
        }
        let stats = harness.stats();
        assert_eq!(harness.recorder.count(), 23 + dropped, "{path} killed at {point}: {stats:?}");
        assert_eq!((stats.failures_total, stats.crashes_total, stats.stale_settlements_total), (3, 0, 0));
        assert!(stats.releases_total as usize >= dropped);
        harness.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_pool_only_dropped_handlers_run_again() {
    assert_only_dropped_run_again("email/pool").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_queue_supervisor_only_dropped_handlers_run_again() {
    assert_only_dropped_run_again("email").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_worker_supervisor_only_dropped_handlers_run_again() {
    assert_only_dropped_run_again("email/workers").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_killed_executor_only_its_job_runs_again() {
    assert_only_dropped_run_again("email/executor-2").await;
}

/// No generation of a path is used twice, whatever restarts the actor.
#[tokio::test(start_paused = true)]
async fn children_of_a_restarted_supervisor_get_a_new_generation() {
    let harness = Harness::start().await;
    harness.kill_and_await_restart("email").await;
    harness.until("all are back", || harness.generation("email/executor-0") == Some(1)).await;
    for role in ["queue", "workers", "settler", "pool", "fetcher"] {
        let path = format!("email/{role}");
        assert_eq!(harness.generation(&path), Some(1), "{path}");
        assert!(harness.events().iter().any(|e| e.path == path && e.kind == EventKind::Restarted), "{path}");
    }
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_executor_counts_against_the_restart_budget_and_is_replaced() {
    let harness = Harness::build().concurrency(1).start().await;
    let id = harness.enqueue("one", Work::lasting(secs(1))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    harness.kill_and_await_restart("email/executor-0").await;
    harness.until_state(&id, JobState::Completed).await;
    let crashed = harness.until_event("the crash is reported", |e| matches!(e.kind, EventKind::Crashed { .. })).await;
    assert_eq!(crashed.path, "email/executor-0");
    assert_eq!(crashed.kind, EventKind::Crashed { reason: "killed".into(), failures: 1, budget: 20 });
    let counters = harness.view(&id).counters;
    assert_eq!((counters.attempts, counters.failures, counters.crashes, counters.releases), (2, 0, 0, 1));
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_an_idle_executor_leaves_no_job_waiting_for_it() {
    let harness = Harness::build().concurrency(2).start().await;
    for n in 0..10 {
        assert!(harness.tree.kill("email/executor-0"));
        let id = harness.enqueue(&format!("job-{n}"), Work::succeed()).await;
        harness
            .until_within(millis(900), "it ran, by the other executor if need be", || {
                harness.state(&id) == JobState::Completed
            })
            .await;
        harness
            .until("the executor is back", || harness.tree.actors().iter().any(|r| r.path == "email/executor-0"))
            .await;
    }
    harness.close().await;
}
