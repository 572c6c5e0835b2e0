//! Supervisors that give up: a sick queue closes alone, a sick root ends the runtime.

use retraced_actors::{Budget, Ending, Reopening, RestartDelay, RestartPolicy, Strategy};
use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::job::{JobState, RunAt};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::support::{Do, Fault, Verb, Work, World, millis, secs};

const NERVOUS: RestartPolicy = RestartPolicy {
    strategy: Strategy::OneForOne,
    budget: Budget { restarts: 2, window: std::time::Duration::from_secs(60) },
    delay: RestartDelay { base: millis_const(10), max: millis_const(100), jitter_percent: 0 },
};

const fn millis_const(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}

/// Kills the actor again and again until its queue closes. Gives what was told of it.
async fn close(world: &World, victim: &str) -> (u64, String) {
    let closings = || world.count(|kind| matches!(kind, EventKind::QueueClosed { .. }));
    let before = closings();
    for _ in 0..10 {
        if closings() > before {
            break;
        }
        world.tree.kill(victim);
        tokio::time::sleep(millis(300)).await;
    }
    assert_eq!(closings(), before + 1);
    let closed = world.events().into_iter().rev().find_map(|event| match event.kind {
        EventKind::QueueClosed { reopens_in_ms, reason } => Some((reopens_in_ms, reason)),
        _ => None,
    });
    closed.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_sick_queue_closes_and_opens_again_after_longer_and_longer_times_while_others_go_on() {
    let world = World::build().queues(&["email", "other"]).queue(|queue| queue.policy = NERVOUS).start().await;
    let mut expected = 30_000;
    for closing in 0..6 {
        let (reopens_in_ms, reason) = close(&world, "email/fetcher").await;
        assert_eq!(reopens_in_ms, expected);
        assert_eq!(reason, "supervisor email gave up: email/fetcher failed, the 3rd failure within 60s: killed");
        let refused = world.try_enqueue("closed", Work::succeed(), RunAt::Now, secs(1)).await.unwrap_err();
        assert!(matches!(&refused, EnqueueError::QueueClosed { queue } if *queue == world.queue), "{refused:?}");
        let other = world.tree.queue(&"other".parse().unwrap()).unwrap();
        let job = retraced_jobs::handler::seal_job(&Work::succeed(), &Default::default()).unwrap();
        other.enqueue(job, secs(1)).await.unwrap();
        world.until("the other queue works", || world.book.count() == closing * 2 + 1).await;
        world
            .until("it opens again", || world.count(|kind| matches!(kind, EventKind::QueueReopened)) == closing + 1)
            .await;
        let id = world.enqueue(&format!("open-{closing}"), Work::succeed()).await;
        world.until_state(&id, JobState::Completed).await;
        expected = (expected * 2).min(300_000);
    }
    let root_charged =
        world.events().iter().filter(|e| e.path == "email" && matches!(e.kind, EventKind::Crashed { .. })).count();
    assert_eq!(root_charged, 0);
    world.close().await;
}

/// What it held does not wait for the queue to open again: others may do it.
#[tokio::test(start_paused = true)]
async fn a_queue_that_closes_hands_back_what_it_holds_at_once() {
    let world = World::build().queue(|queue| queue.policy = NERVOUS).start().await;
    let returned = world.enqueue("returned", Work::lasting(millis(950))).await;
    let hanging = world.enqueue_many("hanging", 3, &Work::then(Do::Hang).and(millis(1), Do::Succeed)).await;
    world.until("all run", || world.book.running() == 4).await;
    world.store.plan(|verb, _| match verb {
        // A claim is under way and an outcome not yet stored when the queue closes.
        Verb::Claim | Verb::Settle | Verb::SettleAndClaim => Some(Fault::Slow(secs(2))),
        _ => None,
    });
    let waiting = world.enqueue_many("waiting", 4, &Work::succeed()).await;
    world.until("one has returned", || world.book.running() == 3).await;
    close(&world, "email/fetcher").await;
    let closed = Instant::now();
    world.until_within(secs(10), "all is handed back", || world.stats().processing == 0).await;
    assert_eq!(world.state(&returned), JobState::Completed);
    let next = World::build().beside(&world).start().await;
    let all: Vec<_> = hanging.iter().chain(&waiting).cloned().collect();
    world.until_all(&all, JobState::Completed).await;
    assert!(closed.elapsed() < secs(20), "took {:?}", closed.elapsed());
    let stats = world.stats();
    assert_eq!((stats.failures_total, stats.crashes_total, stats.stale_settlements_total), (0, 0, 0), "{stats:?}");
    assert_eq!(world.book.of(&returned).len(), 1);
    next.close().await;
    world.store.heal();
    world.until("it opens again", || world.count(|kind| matches!(kind, EventKind::QueueReopened)) == 1).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_past_its_budget_closes_its_queue_and_says_which_executor() {
    let world = World::build().concurrency(1).queue(|queue| queue.policy = NERVOUS).start().await;
    let (_, reason) = close(&world, "email/executor-0").await;
    assert!(reason.contains("email/pool") && reason.contains("killed"), "{reason}");
    world.until("it opens again", || world.count(|kind| matches!(kind, EventKind::QueueReopened)) == 1).await;
    let id = world.enqueue("one", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stayed_open_begins_again_with_the_shortest_time() {
    let reopening = Reopening { first: secs(2), max: secs(8) };
    let policy = |queue: &mut retraced_actors::QueueOptions| {
        queue.policy = NERVOUS;
        queue.reopening = reopening;
    };
    let world = World::build().queue(policy).start().await;
    assert_eq!(close(&world, "email/settler").await.0, 2_000);
    world.until("it is open", || world.count(|kind| matches!(kind, EventKind::QueueReopened)) == 1).await;
    assert_eq!(close(&world, "email/settler").await.0, 4_000);
    world.until("it is open", || world.count(|kind| matches!(kind, EventKind::QueueReopened)) == 2).await;
    tokio::time::sleep(secs(10)).await;
    assert_eq!(close(&world, "email/settler").await.0, 2_000);
    world.until("it is open", || world.count(|kind| matches!(kind, EventKind::QueueReopened)) == 3).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_an_open_queue_is_not_told_as_a_reopening() {
    let world = World::build().queue(|queue| queue.policy = NERVOUS).start().await;
    close(&world, "email/settler").await;
    world.until("it is open", || world.count(|kind| matches!(kind, EventKind::QueueReopened)) == 1).await;
    world.kill_and_await_successor("email").await;
    assert_eq!(world.count(|kind| matches!(kind, EventKind::QueueReopened)), 1);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn past_its_budget_the_root_ends_the_runtime_and_says_which_child_how_often_and_why() {
    let world = World::build().options(|options| options.root_policy = NERVOUS).start().await;
    let id = world.enqueue("one", Work::then(Do::Hang)).await;
    world.until("it runs", || world.book.running() == 1).await;
    for _ in 0..3 {
        world.tree.kill("watchdog");
        tokio::time::sleep(millis(300)).await;
    }
    let ending = tokio::time::timeout(secs(60), world.tree.wait()).await.unwrap();
    let Ending::GaveUp(exhausted) = ending else { panic!("{ending:?}") };
    assert_eq!((exhausted.child.as_str(), exhausted.failures, exhausted.reason.as_str()), ("watchdog", 3, "killed"));
    assert_eq!(
        exhausted.to_string(),
        "supervisor retraced gave up: watchdog failed, the 3rd failure within 60s: killed"
    );
    // A shutdown of what has ended is no wait.
    let begun = Instant::now();
    world.tree.shutdown().await;
    assert!(begun.elapsed() < secs(1));
    assert_eq!(world.state(&id), JobState::Processing, "it runs again when its lease runs out");
    world.until("the handler is dropped", || world.book.running() == 0).await;
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_store_delays_a_settlement_and_loses_nothing() {
    let world = World::start().await;
    let mut bugs = 1;
    world.store.plan(move |verb, _| {
        if matches!(verb, Verb::Settle | Verb::SettleAndClaim) && bugs > 0 {
            bugs -= 1;
            return Some(Fault::Panic);
        }
        None
    });
    let id = world.enqueue("one", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    assert_eq!(world.book.count(), 1);
    world.close().await;
}
