//! Handlers that ignore their timeout, and handlers that block their threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retraced_actors::Ending;
use retraced_jobs::failure::Code;
use retraced_jobs::job::JobState;
use retraced_jobs::trace::EventKind;

use crate::support::{Do, Work, World, millis, secs};

/// Threads that user code can block without blocking the tree.
fn handlers(threads: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_its_timeout_is_settled_without_it_and_its_place_is_taken() {
    let gate = Arc::new(AtomicBool::new(false));
    let world =
        World::build().blocking(gate.clone()).concurrency(2).rules(|rules| rules.timeout = secs(2)).start().await;
    let id = world.enqueue("deaf", Work::then(Do::Block).and(millis(0), Do::Succeed)).await;
    world.until_advancing("it runs", || world.book.running() == 1).await;
    world.until_advancing("the zombie is told", || world.count(|k| matches!(k, EventKind::Zombie { .. })) == 1).await;
    let told = world.events().into_iter().find(|e| matches!(e.kind, EventKind::Zombie { .. })).unwrap();
    let EventKind::Zombie { job, attempt, ran_ms, .. } = told.kind else { unreachable!() };
    assert_eq!((job, attempt), (id.clone(), 1));
    assert!((12_000..13_000).contains(&ran_ms), "{ran_ms}");
    world.until_advancing("it ran again", || world.state(&id) == JobState::Completed).await;
    let view = world.view(&id);
    assert_eq!(view.last_error().unwrap().code, Code::Timeout);
    assert!(view.last_error().unwrap().message.contains("overlap"));
    assert_eq!((view.counters.failures, view.counters.crashes), (1, 0));
    // Two slots, one of them a zombie's, and still two work at once.
    let ids = world.enqueue_many("after", 2, &Work::lasting(secs(1))).await;
    world.until_advancing("two run", || world.book.running() == 3).await;
    gate.store(true, Ordering::SeqCst);
    world.until_advancing("all done", || ids.iter().all(|id| world.state(id) == JobState::Completed)).await;
    world.until_advancing("the zombie has gone", || world.book.running() == 0).await;
    assert_eq!(world.state(&id), JobState::Completed);
    assert_eq!(world.count(|kind| matches!(kind, EventKind::Crashed { .. })), 0);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_zombies_end_the_runtime_with_an_error() {
    let gate = Arc::new(AtomicBool::new(false));
    let world = World::build()
        .blocking(gate.clone())
        .concurrency(4)
        .options(|options| options.zombies_max = Some(3))
        .rules(|rules| rules.timeout = secs(1))
        .start()
        .await;
    world.enqueue_many("deaf", 3, &Work::then(Do::Block)).await;
    let ending = world.advancing(world.tree.wait()).await;
    let Ending::GaveUp(exhausted) = ending else { panic!("{ending:?}") };
    let text = exhausted.to_string();
    assert!(
        text.starts_with("supervisor retraced gave up at the demand of watchdog: 3 handlers ignore their timeout"),
        "{text}"
    );
    gate.store(true, Ordering::SeqCst);
    world.until_advancing("they have gone", || world.book.running() == 0 && world.tree.actors().is_empty()).await;
    world.leave();
}

/// Real time: the only thread of the caller's runtime is blocked for longer than leases last.
#[tokio::test]
async fn a_handler_that_blocks_the_callers_only_thread_stops_neither_renewals_nor_the_tree() {
    let handlers = handlers(1);
    let world =
        World::build().handlers(handlers.handle().clone()).options(|options| options.lease = secs(2)).start().await;
    let id = world.enqueue("deaf", Work::step(millis(0), Do::BlockFor(3_000))).await;
    world.until("it runs", || world.book.running() == 1).await;
    let stuck = world.until_event("it is named", |e| matches!(e.kind, EventKind::Stuck { .. })).await;
    assert!(matches!(stuck.kind, EventKind::Stuck { job, .. } if job == id));
    world.until_state(&id, JobState::Completed).await;
    assert_eq!(world.book.count(), 1);
    assert_eq!(world.view(&id).counters.crashes, 0);
    assert_eq!(world.count(|kind| matches!(kind, EventKind::GraceGiven { .. } | EventKind::LeaseLost { .. })), 0);
    world.tree.shutdown().await;
    world.until("all are gone", || world.tree.actors().is_empty()).await;
    world.leave();
    handlers.shutdown_background();
}

/// Real time: a shutdown does not wait for a thread that is blocked for ever.
#[tokio::test]
async fn a_shutdown_leaves_a_blocked_thread_behind_and_hands_its_job_back() {
    let handlers = handlers(2);
    let world =
        World::build().handlers(handlers.handle().clone()).options(|options| options.grace = millis(500)).start().await;
    let id = world.enqueue("deaf", Work::step(millis(0), Do::BlockFor(6_000))).await;
    world.until("it runs", || world.book.running() == 1).await;
    let drained = world.tree.shutdown().await;
    assert_eq!((drained.running, drained.killed, drained.unsettled), (1, 1, 0));
    assert_eq!(world.book.running(), 1, "the shutdown waited for it");
    let view = world.view(&id);
    assert_eq!((view.state, view.counters.crashes, view.counters.releases), (JobState::Pending, 0, 1));
    world.until("the blocked one is gone too", || world.tree.actors().is_empty()).await;
    world.leave();
    handlers.shutdown_background();
}
