//! Supervisors that give up: a failing queue closes alone, a failing root ends the runtime.

use retraced_actors::{Budget, Ending, Reopening, RestartDelay, RestartPolicy, Strategy};
use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::events::EventKind;
use retraced_jobs::job::{JobState, RunAt};
use tokio::time::Instant;

use crate::support::{Action, Fault, Harness, Verb, Work, millis, secs};

const SMALL_BUDGET: RestartPolicy = RestartPolicy::new(
    Strategy::OneForOne,
    Budget::new(2, std::time::Duration::from_secs(60)),
    RestartDelay::new(millis_const(10), millis_const(100), 0),
);

const fn millis_const(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}

/// Kills the actor again and again until its queue closes. Returns the reopen delay and the reason of the event.
async fn crash_until_closed(harness: &Harness, victim: &str) -> (u64, String) {
    let closings = || harness.count(|kind| matches!(kind, EventKind::SupervisorClosed { .. }));
    let before = closings();
    for _ in 0..10 {
        if closings() > before {
            break;
        }
        harness.tree.kill(victim);
        tokio::time::sleep(millis(300)).await;
    }
    assert_eq!(closings(), before + 1);
    let closed = harness.events().into_iter().rev().find_map(|event| match event.kind {
        EventKind::SupervisorClosed { reopens_in_ms, reason } => Some((reopens_in_ms, reason)),
        _ => None,
    });
    closed.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_workers_of_a_failing_queue_close_and_reopen_with_backoff_while_producers_and_other_queues_continue() {
    let harness = Harness::build().queues(&["email", "other"]).queue(|queue| queue.policy = SMALL_BUDGET).start().await;
    let mut expected = 30_000;
    for closing in 0..6 {
        let (reopens_in_ms, reason) = crash_until_closed(&harness, "email/fetcher").await;
        assert_eq!(reopens_in_ms, expected);
        assert_eq!(
            reason,
            "supervisor email/workers gave up: email/fetcher failed, the 3rd failure within 60s: killed"
        );
        let closed = harness.enqueue(&format!("closed-{closing}"), Work::succeed()).await;
        let other = harness.tree.queue(&"other".parse().unwrap()).unwrap();
        let job = retraced_jobs::typed_job::seal_job(&Work::succeed(), &Default::default()).unwrap();
        other.enqueue(job, secs(1)).await.unwrap();
        harness.until("the other queue works", || harness.recorder.count() == closing * 3 + 1).await;
        harness
            .until("it reopens", || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == closing + 1)
            .await;
        let id = harness.enqueue(&format!("open-{closing}"), Work::succeed()).await;
        harness.until_all(&[closed, id], JobState::Completed).await;
        expected = (expected * 2).min(300_000);
    }
    let other_crashes = harness
        .events()
        .iter()
        .filter(|e| {
            e.path.starts_with("email") && e.path != "email/fetcher" && matches!(e.kind, EventKind::Crashed { .. })
        })
        .count();
    assert_eq!(other_crashes, 0);
    harness.close().await;
}

/// The jobs that closing workers held do not wait until they reopen: other workers can run them.
#[tokio::test(start_paused = true)]
async fn a_closing_queue_releases_its_jobs_at_once() {
    let harness = Harness::build().queue(|queue| queue.policy = SMALL_BUDGET).start().await;
    let returned = harness.enqueue("returned", Work::lasting(millis(950))).await;
    let hanging = harness.enqueue_many("hanging", 3, &Work::then(Action::Hang).and(millis(1), Action::Succeed)).await;
    harness.until("all run", || harness.recorder.running() == 4).await;
    harness.store.plan_faults(|verb, _| match verb {
        // When the queue closes, a claim is in flight and an outcome is not stored yet.
        Verb::Claim | Verb::Settle | Verb::SettleAndClaim => Some(Fault::ReplyDelayed(secs(2))),
        _ => None,
    });
    let waiting = harness.enqueue_many("waiting", 4, &Work::succeed()).await;
    harness.until("one has returned", || harness.recorder.running() == 3).await;
    crash_until_closed(&harness, "email/fetcher").await;
    let closed = Instant::now();
    harness.until_within(secs(10), "everything is released", || harness.stats().processing == 0).await;
    assert_eq!(harness.state(&returned), JobState::Completed);
    let next = Harness::build().sharing_store(&harness).start().await;
    let all: Vec<_> = hanging.iter().chain(&waiting).cloned().collect();
    harness.until_all(&all, JobState::Completed).await;
    assert!(closed.elapsed() < secs(20), "took {:?}", closed.elapsed());
    let stats = harness.stats();
    assert_eq!((stats.failures_total, stats.crashes_total, stats.stale_settlements_total), (0, 0, 0), "{stats:?}");
    assert_eq!(harness.recorder.of(&returned).len(), 1);
    next.close().await;
    harness.store.clear_faults();
    harness.until("it reopens", || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == 1).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_exceeds_its_restart_budget_closes_its_queue_and_names_the_executor() {
    let harness = Harness::build().concurrency(1).queue(|queue| queue.policy = SMALL_BUDGET).start().await;
    let (_, reason) = crash_until_closed(&harness, "email/executor-0").await;
    assert!(reason.contains("email/pool") && reason.contains("killed"), "{reason}");
    harness.until("it reopens", || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == 1).await;
    let id = harness.enqueue("one", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_reopen_delay_resets_after_a_queue_stayed_open() {
    let reopening = Reopening::new(secs(2), secs(8));
    let policy = |queue: &mut retraced_actors::QueueOptions| {
        queue.policy = SMALL_BUDGET;
        queue.reopening = reopening;
    };
    let harness = Harness::build().queue(policy).start().await;
    assert_eq!(crash_until_closed(&harness, "email/settler").await.0, 2_000);
    harness.until("it is open", || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == 1).await;
    assert_eq!(crash_until_closed(&harness, "email/settler").await.0, 4_000);
    harness.until("it is open", || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == 2).await;
    tokio::time::sleep(secs(10)).await;
    assert_eq!(crash_until_closed(&harness, "email/settler").await.0, 2_000);
    harness.until("it is open", || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == 3).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_an_open_queue_is_not_reported_as_a_reopening() {
    let harness = Harness::build().queue(|queue| queue.policy = SMALL_BUDGET).start().await;
    crash_until_closed(&harness, "email/settler").await;
    harness.until("it is open", || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == 1).await;
    harness.kill_and_await_restart("email/workers").await;
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)), 1);
    harness.close().await;
}

/// Goal: the count of closings outlives the supervisor that closed the workers. Method: the queue's supervisor is killed while its workers are closed.
#[tokio::test(start_paused = true)]
async fn a_restart_of_the_queue_supervisor_reopens_closed_workers_and_keeps_their_backoff() {
    let harness = Harness::build().queue(|queue| queue.policy = SMALL_BUDGET).start().await;
    for (closing, reopens_in_ms) in [30_000, 60_000, 120_000].into_iter().enumerate() {
        assert_eq!(crash_until_closed(&harness, "email/fetcher").await.0, reopens_in_ms);
        harness.kill_and_await_restart("email").await;
        let reopened = || harness.count(|kind| matches!(kind, EventKind::SupervisorReopened)) == closing + 1;
        harness.until_within(secs(5), "the workers are open", reopened).await;
    }
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_root_that_exceeds_its_restart_budget_ends_the_runtime_and_names_the_child_the_count_and_the_reason() {
    let harness = Harness::build().options(|options| options.root_policy = SMALL_BUDGET).start().await;
    let id = harness.enqueue("one", Work::then(Action::Hang)).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    for _ in 0..3 {
        harness.tree.kill("watchdog");
        tokio::time::sleep(millis(300)).await;
    }
    let ending = tokio::time::timeout(secs(60), harness.tree.wait()).await.unwrap();
    let Ending::GaveUp(exhausted) = ending else { panic!("{ending:?}") };
    assert_eq!((exhausted.child.as_str(), exhausted.failures, exhausted.reason.as_str()), ("watchdog", 3, "killed"));
    assert_eq!(
        exhausted.to_string(),
        "supervisor retraced gave up: watchdog failed, the 3rd failure within 60s: killed"
    );
    // The front door is closed: nothing is stored under a process instance that has ended.
    for unavailable in [false, true] {
        harness.store.set_unavailable(unavailable);
        let refused = harness.try_enqueue("late", Work::succeed(), RunAt::Now, secs(5)).await.unwrap_err();
        assert!(matches!(refused, EnqueueError::ShuttingDown { .. }), "{refused:?}");
    }
    harness.store.set_unavailable(false);
    // Shutting down a tree that has ended returns at once.
    let begun = Instant::now();
    harness.tree.shutdown().await;
    assert!(begun.elapsed() < secs(1));
    assert_eq!(harness.state(&id), JobState::Processing, "it runs again when its lease expires");
    harness.until("the handler is dropped", || harness.recorder.running() == 0).await;
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_store_delays_a_settlement_and_loses_nothing() {
    let harness = Harness::start().await;
    let mut bugs = 1;
    harness.store.plan_faults(move |verb, _| {
        if matches!(verb, Verb::Settle | Verb::SettleAndClaim) && bugs > 0 {
            bugs -= 1;
            return Some(Fault::Panic);
        }
        None
    });
    let id = harness.enqueue("one", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 1);
    harness.close().await;
}
