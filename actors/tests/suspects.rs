//! Whom the death of a worker is charged to: what ran, and nothing else.

use std::sync::{Arc, Mutex};

use retraced_jobs::job::{Counters, JobId, JobState};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::support::{Do, Fault, How, Moment, Verb, Work, World, millis, secs};

const LEASE_S: u64 = 10;

/// Kills the worker without a word, as soon as this job runs in it. Gives what was charged to the job until then.
async fn die_while_it_runs(world: &World, id: &JobId) -> Counters {
    let running = || world.book.of(id).iter().any(|run| run.ended.is_none());
    world.until(&format!("{id} runs"), running).await;
    let counters = world.view(id).counters;
    assert!(world.tree.kill("retraced"));
    world.tree.wait().await;
    counters
}

/// Goal: a job that kills its worker whenever it runs is poisoned, and of those that ran beside it each time none is. Method: one worker after the other, each
/// killed when the culprit runs; its neighbours take longer than the culprit lives.
#[tokio::test(start_paused = true)]
async fn a_job_that_kills_its_worker_is_poisoned_and_its_neighbours_finish() {
    let build = || World::build().options(|options| options.lease = secs(LEASE_S));
    let first = build().start().await;
    let neighbours = first.enqueue_many("neighbour", 3, &Work::lasting(secs(5))).await;
    let culprit = first.enqueue("culprit", Work::then(Do::Hang)).await;
    first.until("all run", || first.book.running() == 4).await;
    die_while_it_runs(&first, &culprit).await;
    for crashes in 0..3 {
        let world = build().beside(&first).start().await;
        // The first death is charged to nobody, the second to all, for they ran together.
        assert_eq!(die_while_it_runs(&world, &culprit).await.crashes, crashes);
        world.leave();
    }
    let last = build().beside(&first).start().await;
    last.until_state(&culprit, JobState::Poisoned).await;
    last.until_all(&neighbours, JobState::Completed).await;
    let counters = last.view(&culprit).counters;
    assert_eq!((counters.crashes, counters.failures), (3, 0), "{counters:?}");
    for id in &neighbours {
        let counters = last.view(id).counters;
        assert!(counters.crashes <= 2 && counters.failures == 0, "{id} {counters:?}");
    }
    last.close().await;
    first.leave();
}

#[tokio::test(start_paused = true)]
async fn a_start_is_written_down_only_for_jobs_that_came_back_and_before_their_handlers_run() {
    let world = World::start().await;
    let written: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = written.clone();
    world.store.watch(move |verb, moment| {
        if (verb, moment) == (Verb::Begin, Moment::Applied) {
            seen.lock().unwrap().push(Instant::now());
        }
    });
    world.store.latency(millis(5));
    let failing = world.enqueue("failing", Work::then(Do::FailTemporary).and(millis(1), Do::Succeed)).await;
    world.until_state(&failing, JobState::Completed).await;
    assert_eq!(world.store.calls(Verb::Begin), 0, "a failure is a word of its handler");

    let snoozing = world.enqueue("snoozing", Work::then(Do::Snooze(30)).and(millis(1), Do::Succeed)).await;
    world.until_state(&snoozing, JobState::Completed).await;
    assert_eq!(world.store.calls(Verb::Begin), 1);
    assert!(world.book.of(&snoozing)[1].started >= written.lock().unwrap()[0]);
    world.close().await;
}

/// A start that cannot be written down waits, whatever becomes of the call, and costs nothing.
#[tokio::test(start_paused = true)]
async fn a_lost_begin_is_sent_again_and_the_handler_runs_once() {
    for fault in
        [Fault::Before, Fault::After, Fault::Late(millis(700)), Fault::Slow(millis(700)), Fault::Silence, Fault::Refuse]
    {
        let world = World::build().options(|options| options.lease = secs(60)).start().await;
        world.store.once(Verb::Begin, 1, fault);
        let id = world.enqueue("one", Work::then(Do::Snooze(30)).and(millis(1), Do::Succeed)).await;
        world.until_state(&id, JobState::Completed).await;
        let how: Vec<_> = world.book.of(&id).iter().map(|run| run.ended.unwrap().1).collect();
        assert_eq!(how, [How::Failed, How::Succeeded], "{fault:?}");
        let expected = Counters { attempts: 2, releases: 1, ..Counters::default() };
        assert_eq!(world.view(&id).counters, expected, "{fault:?}");
        world.close().await;
    }
}

/// What is about to begin when its executor, its pool or the whole tree ends goes back like what ran.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_about_to_begin_is_handed_back_by_whoever_ends() {
    for path in ["email/executor-0", "email/pool", "email", "shutdown"] {
        let world = World::build().concurrency(1).start().await;
        let id = world.enqueue("one", Work::then(Do::Snooze(30)).and(millis(1), Do::Succeed)).await;
        world.store.once(Verb::Begin, 1, Fault::Slow(secs(8)));
        world.until("it is about to begin", || world.store.calls(Verb::Begin) == 1).await;
        if path == "shutdown" {
            // Its start is confirmed while the others would be waited for, so it runs to its end.
            world.close().await;
            continue;
        }
        world.kill_and_await_successor(path).await;
        world.until_state(&id, JobState::Completed).await;
        let counters = world.view(&id).counters;
        assert_eq!((counters.attempts, counters.releases, counters.crashes), (3, 2, 0), "{path} {counters:?}");
        assert_eq!(world.book.of(&id).len(), 2, "{path}");
        world.close().await;
    }
}

/// Goal: with many suspects, executors are not kept from other work, and the suspects all get their turn.
#[tokio::test(start_paused = true)]
async fn suspects_that_wait_for_their_time_hold_nobody_up() {
    let build = || World::build().options(|options| options.lease = secs(LEASE_S));
    let first = build().start().await;
    let suspects = first.enqueue_many("suspect", 4, &Work::lasting(secs(3))).await;
    let mut world = None;
    for _ in 0..3 {
        let before: &World = world.as_ref().unwrap_or(&first);
        before.until("all run", || before.book.running() == 4).await;
        before.tree.kill("retraced");
        before.tree.wait().await;
        let next = build().beside(&first).start().await;
        if let Some(before) = world.replace(next) {
            World::leave(before);
        }
    }
    let world = world.unwrap();
    world.until("they are back", || world.stats().crashes_total == 8).await;
    let healthy = world.enqueue_many("healthy", 40, &Work::lasting(millis(100))).await;
    // Forty of a tenth of a second on four executors, of which one is on a trial.
    world.until_within(secs(4), "healthy jobs pass", || world.stats().completed_total >= 40).await;
    world.until_all(&healthy, JobState::Completed).await;
    // All on trial, one at a time, the others put off meanwhile.
    world.until_within(secs(60), "all are done", || world.stats().completed_total == 44).await;
    for id in &suspects {
        assert_eq!(world.view(id).counters.crashes, 2);
    }
    let runs: Vec<_> = world.book.all().into_iter().filter(|run| run.id.to_string().starts_with("suspect")).collect();
    let trials: Vec<_> = runs.iter().filter(|run| matches!(run.ended, Some((_, How::Succeeded)))).collect();
    for pair in trials.windows(2) {
        assert!(pair[0].ended.unwrap().0 <= pair[1].started, "two on trial at once: {pair:?}");
    }
    assert_eq!(world.count(|kind| matches!(kind, EventKind::JobPoisoned { .. })), 0);
    world.close().await;
    first.leave();
}

/// Goal: a job on trial is not beside one that may be the culprit, though that one is not on trial itself. Method: the culprit comes later than its neighbour, so it has
/// a crash less; whenever it runs, its worker dies, and the neighbour must not be running then.
#[tokio::test(start_paused = true)]
async fn a_job_on_trial_is_tried_apart_from_other_suspects() {
    let build = || World::build().options(|options| options.lease = secs(LEASE_S));
    let first = build().start().await;
    let neighbour = first.enqueue("neighbour", Work::lasting(secs(5))).await;
    die_while_it_runs(&first, &neighbour).await;
    let culprit = JobId::parse("culprit").unwrap();
    for later in [true, false] {
        let world = build().beside(&first).start().await;
        if later {
            world.enqueue("culprit", Work::then(Do::Hang)).await;
        }
        world.until("the culprit runs too", || world.book.of(&culprit).iter().any(|run| run.ended.is_none())).await;
        die_while_it_runs(&world, &neighbour).await;
        world.leave();
    }
    for crashes in [1, 2] {
        let world = build().beside(&first).start().await;
        world.until("the culprit runs", || world.book.of(&culprit).iter().any(|run| run.ended.is_none())).await;
        // Whoever was first: by now both would have begun.
        tokio::time::sleep(secs(2)).await;
        assert!(world.book.of(&neighbour).iter().all(|run| run.ended.is_some()), "on trial beside the culprit");
        assert_eq!(die_while_it_runs(&world, &culprit).await.crashes, crashes);
        world.leave();
    }
    let last = build().beside(&first).start().await;
    last.until_state(&culprit, JobState::Poisoned).await;
    last.until_state(&neighbour, JobState::Completed).await;
    assert_eq!(last.view(&neighbour).counters.crashes, 2);
    last.close().await;
    first.leave();
}
