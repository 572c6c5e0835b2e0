//! Handlers that ignore their timeout, and handlers that block their threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retraced_actors::Ending;
use retraced_actors::limits::WATCH_INTERVAL;
use retraced_jobs::events::EventKind;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{InstanceId, JobState};
use retraced_jobs::retry::Retry;
use retraced_jobs::store::{ReplaySlots, Transitions};
use retraced_jobs::typed_job::{JobOptions, seal_job};
use uuid::Uuid;

use crate::support::{Action, Fault, Harness, Verb, Work, millis, secs};

/// A runtime whose threads handlers can block without blocking the tree.
fn handler_runtime(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_its_timeout_is_settled_without_it_and_its_executor_is_replaced() {
    let gate = Arc::new(AtomicBool::new(false));
    let harness = Harness::build()
        .blocking(gate.clone())
        .concurrency(2)
        .rules(|rules| rules.timeout = Some(secs(2)))
        .start()
        .await;
    let id = harness.enqueue("deaf", Work::then(Action::Block).and(millis(0), Action::Succeed)).await;
    harness.until_advancing("it runs", || harness.recorder.running() == 1).await;
    harness
        .until_advancing("the zombie is reported", || harness.count(|k| matches!(k, EventKind::Zombie { .. })) == 1)
        .await;
    let event = harness.events().into_iter().find(|e| matches!(e.kind, EventKind::Zombie { .. })).unwrap();
    let EventKind::Zombie { job, attempt, ran_ms, .. } = event.kind else { unreachable!() };
    assert_eq!((job, attempt), (id.clone(), 1));
    assert!((12_000..13_000).contains(&ran_ms), "{ran_ms}");
    harness.until_advancing("it ran again", || harness.state(&id) == JobState::Completed).await;
    let view = harness.view(&id);
    assert_eq!(view.last_error().unwrap().code, Code::Timeout);
    assert!(view.last_error().unwrap().message.contains("overlap"));
    assert_eq!((view.counters.failures, view.counters.crashes), (1, 0));
    // The zombie's slot has a new executor: beside the zombie, two jobs still run at once.
    let ids = harness.enqueue_many("after", 2, &Work::lasting(secs(1))).await;
    harness.until_advancing("two run", || harness.recorder.running() == 3).await;
    gate.store(true, Ordering::SeqCst);
    harness.until_advancing("all done", || ids.iter().all(|id| harness.state(id) == JobState::Completed)).await;
    harness.until_advancing("the zombie has ended", || harness.recorder.running() == 0).await;
    assert_eq!(harness.state(&id), JobState::Completed);
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::Crashed { .. })), 0);
    harness.close().await;
}

/// Goal: a job whose last attempt never ended is dead, and says so like any other.
#[tokio::test(start_paused = true)]
async fn a_job_that_dies_with_its_zombie_is_never_dead_in_silence() {
    let gate = Arc::new(AtomicBool::new(false));
    let harness = Harness::build()
        .blocking(gate.clone())
        .rules(|rules| (rules.timeout, rules.retry) = (Some(secs(2)), Some(Retry::fixed().max_attempts(1))))
        .start()
        .await;
    let id = harness.enqueue("deaf", Work::then(Action::Block)).await;
    let died = |kind: &EventKind| matches!(kind, EventKind::JobDied { job, code: Code::Timeout, .. } if *job == id);
    harness.until_advancing("its death is reported", || harness.count(died) == 1).await;
    assert_eq!(harness.state(&id), JobState::Dead);
    gate.store(true, Ordering::SeqCst);
    harness.until_advancing("the zombie has ended", || harness.recorder.running() == 0).await;
    assert_eq!(harness.count(died), 1);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_zombies_end_the_runtime_with_an_error() {
    let gate = Arc::new(AtomicBool::new(false));
    let harness = Harness::build()
        .blocking(gate.clone())
        .concurrency(4)
        .options(|options| options.zombies_max = Some(3))
        .rules(|rules| rules.timeout = Some(secs(1)))
        .start()
        .await;
    harness.enqueue_many("deaf", 3, &Work::then(Action::Block)).await;
    let ending = harness.advancing(harness.tree.wait()).await;
    let Ending::GaveUp(exhausted) = ending else { panic!("{ending:?}") };
    let text = exhausted.to_string();
    assert!(
        text.starts_with("supervisor retraced gave up at the request of watchdog: 3 handlers ignore their timeout"),
        "{text}"
    );
    gate.store(true, Ordering::SeqCst);
    harness
        .until_advancing("they have ended", || harness.recorder.running() == 0 && harness.tree.actors().is_empty())
        .await;
    harness.assert_clean();
}

/// Real time: the only thread of the application's runtime is blocked for longer than leases last.
#[tokio::test]
async fn a_handler_that_blocks_the_callers_only_thread_stops_neither_renewals_nor_the_tree() {
    let handlers = handler_runtime(1);
    let harness = Harness::build()
        .handler_runtime(handlers.handle().clone())
        .options(|options| options.lease = secs(2))
        .start()
        .await;
    let id = harness.enqueue("deaf", Work::step(millis(0), Action::BlockFor(3_000))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let stuck = harness.until_event("it is named", |e| matches!(e.kind, EventKind::Stuck { .. })).await;
    assert!(matches!(stuck.kind, EventKind::Stuck { job, .. } if job == id));
    harness.until_state(&id, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 1);
    assert_eq!(harness.view(&id).counters.crashes, 0);
    assert_eq!(
        harness.count(|kind| matches!(kind, EventKind::LeaseGraceGiven { .. } | EventKind::LeaseLost { .. })),
        0
    );
    harness.tree.shutdown().await;
    harness.until("all are gone", || harness.tree.actors().is_empty()).await;
    harness.assert_clean();
    handlers.shutdown_background();
}

/// Real time: a shutdown does not wait for a thread that is blocked for ever.
#[tokio::test]
async fn a_shutdown_leaves_a_blocked_thread_behind_and_releases_its_job() {
    let handlers = handler_runtime(2);
    let harness = Harness::build()
        .handler_runtime(handlers.handle().clone())
        .options(|options| options.shutdown_grace = millis(500))
        .start()
        .await;
    let id = harness.enqueue("deaf", Work::step(millis(0), Action::BlockFor(6_000))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let report = harness.tree.shutdown().await.unwrap();
    assert_eq!((report.running, report.killed, report.unsettled), (1, 1, 0));
    assert_eq!(harness.recorder.running(), 1, "the shutdown waited for it");
    let view = harness.view(&id);
    assert_eq!((view.state, view.counters.crashes, view.counters.releases), (JobState::Pending, 0, 1));
    harness.until("the blocked handler has ended too", || harness.tree.actors().is_empty()).await;
    harness.assert_clean();
    handlers.shutdown_background();
}

/// Real time. Goal: killed handlers that block their threads do not end a shutdown as if the runtime had given up. Method: every executor has such a handler, and the
/// settlement of their jobs takes longer than the watchdog needs to see them.
#[tokio::test]
async fn a_shutdown_that_kills_every_handler_still_ends_as_a_shutdown() {
    let handlers = handler_runtime(2);
    let harness = Harness::build()
        .handler_runtime(handlers.handle().clone())
        .concurrency(2)
        .options(|options| options.shutdown_grace = millis(200))
        .start()
        .await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Settle).then_some(Fault::ReplyDelayed(5 * WATCH_INTERVAL)));
    let ids = harness.enqueue_many("deaf", 2, &Work::step(millis(0), Action::BlockFor(3_000))).await;
    harness.until("they run", || harness.recorder.running() == 2).await;
    let report = harness.tree.shutdown().await.unwrap();
    assert_eq!((report.running, report.killed, report.unsettled), (2, 2, 0));
    assert_eq!(harness.tree.wait().await, Ending::Stopped);
    assert!(ids.iter().all(|id| harness.view(id).counters.releases == 1));
    harness.until("the blocked handlers have ended too", || harness.tree.actors().is_empty()).await;
    harness.assert_clean();
    handlers.shutdown_background();
}

/// Real time. Goal: a handler that computes before its first await does not keep the executors that were woken with it from starting. Method: a claim brings one job that blocks
/// its thread and others that do not, and there are two threads.
#[tokio::test]
async fn a_handler_that_computes_does_not_hold_up_the_other_jobs_of_its_claim() {
    // The second time another handler waits for longer than the first one computes.
    for works in [
        vec![Work::step(millis(0), Action::BlockFor(3_000)), Work::succeed()],
        vec![Work::step(millis(0), Action::BlockFor(3_000)), Work::lasting(secs(6)), Work::succeed()],
    ] {
        blocked_beside_others(works).await;
    }
}

async fn blocked_beside_others(works: Vec<Work>) {
    let handlers = handler_runtime(2);
    let harness = Harness::build().handler_runtime(handlers.handle().clone()).concurrency(works.len()).start().await;
    let admin = ReplaySlots::new(InstanceId::from(Uuid::new_v4()), 1);
    let jobs: Vec<_> = works.iter().map(|work| seal_job(work, &JobOptions::default()).unwrap()).collect();
    harness.store.enqueue(admin.take().await.next_call(), &harness.queue, &jobs).await.unwrap();
    harness.until_state(&jobs[jobs.len() - 1].id, JobState::Completed).await;
    assert_eq!(harness.state(&jobs[0].id), JobState::Processing, "the last one waited for it");
    harness.until("all have ended", || harness.stats().completed_total as usize == jobs.len()).await;
    harness.tree.shutdown().await;
    harness.until("all are gone", || harness.tree.actors().is_empty()).await;
    harness.assert_clean();
    handlers.shutdown_background();
}
