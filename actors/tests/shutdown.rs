//! The ordered end of a tree.

use retraced_actors::{Drained, Ending};
use retraced_jobs::context::Stop;
use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::job::{JobState, RunAt};
use retraced_jobs::store::{BATCH_MAX, Ledger};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::support::{Do, Fault, How, Verb, Work, World, millis, secs};

#[tokio::test(start_paused = true)]
async fn handlers_that_finish_within_the_grace_are_settled_and_nothing_new_is_claimed() {
    let world = World::start().await;
    let running = world.enqueue_many("running", 4, &Work::lasting(secs(15))).await;
    let waiting = world.enqueue_many("waiting", 10, &Work::lasting(secs(15))).await;
    world.until("four run", || world.book.running() == 4).await;
    let begun = Instant::now();
    let drained = world.shut_down().await;
    assert_eq!(drained, Drained { running: 4, killed: 0, unsettled: 0 });
    assert!(begun.elapsed() <= secs(16), "took {:?}", begun.elapsed());
    assert!(running.iter().all(|id| world.state(id) == JobState::Completed));
    assert!(waiting.iter().all(|id| world.state(id) == JobState::Pending));
    assert_eq!(world.book.count(), 4);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn after_four_fifths_of_the_grace_handlers_are_asked_to_stop_at_no_cost() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::StopWhenAsked)).await;
    world.until("it runs", || world.book.running() == 1).await;
    let begun = Instant::now();
    let drained = world.shut_down().await;
    assert_eq!(drained, Drained { running: 1, killed: 0, unsettled: 0 });
    let run = world.book.of(&id).remove(0);
    assert_eq!((run.ended.unwrap().1, run.stopped), (How::Failed, Some(Stop::Shutdown)));
    assert_eq!(run.ended.unwrap().0 - begun, secs(20));
    let view = world.view(&id);
    assert_eq!(view.state, JobState::Pending);
    assert_eq!((view.counters.failures, view.counters.crashes, view.counters.releases), (0, 0, 1));
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_stop_are_killed_and_their_jobs_go_back_to_the_front_in_order() {
    let world = World::build().concurrency(60).start().await;
    let running = world.enqueue_many("running", 60, &Work::then(Do::Hang)).await;
    world.until("all run", || world.book.running() == 60).await;
    let waiting = world.enqueue_many("waiting", 5, &Work::succeed()).await;
    let begun = Instant::now();
    let drained = world.shut_down().await;
    assert_eq!(drained, Drained { running: 60, killed: 60, unsettled: 0 });
    assert!(begun.elapsed() <= secs(26), "took {:?}", begun.elapsed());
    for id in &running {
        let counters = world.view(id).counters;
        assert_eq!((counters.failures, counters.crashes, counters.releases), (0, 0, 1), "{id}");
    }
    let ill = |kind: &EventKind| matches!(kind, EventKind::Crashed { .. } | EventKind::QueueClosed { .. });
    assert_eq!(world.count(ill), 0, "a shutdown is no crash: {:?}", world.events());
    // The next worker finds them in the order they were claimed in, before those that never ran.
    let next = World::build().beside(&world).concurrency(1).start().await;
    next.until("all run again", || next.book.count() >= 61).await;
    let order: Vec<_> = next.book.all().into_iter().skip(60).map(|run| run.id).collect();
    assert_eq!(order[0], running[0]);
    next.shut_down().await;
    next.leave();
    assert!(waiting.iter().all(|id| world.state(id) == JobState::Pending));
    let front = world.pending();
    assert_eq!(front[..60], running[..]);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn a_claim_under_way_when_the_shutdown_begins_is_handed_back() {
    let world = World::start().await;
    world.store.plan(|verb, _| (verb == Verb::Claim).then_some(Fault::Slow(millis(2_030))));
    let ids = world.enqueue_many("job", 3, &Work::succeed()).await;
    world.until("a claim is applied", || world.stats().processing > 0).await;
    let begun = Instant::now();
    let drained = world.shut_down().await;
    assert_eq!(drained, Drained { running: 0, killed: 0, unsettled: 0 });
    assert!(begun.elapsed() <= millis(2_035), "took {:?}", begun.elapsed());
    for id in &ids {
        let view = world.view(id);
        assert_eq!((view.state, view.counters.crashes), (JobState::Pending, 0), "{id}");
    }
    assert_eq!(world.book.count(), 0);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_to_the_end_of_the_grace() {
    let world = World::build().options(|options| options.lease = secs(3)).start().await;
    let other = World::build().options(|options| options.lease = secs(3)).beside(&world).start().await;
    let id = world.enqueue("one", Work::lasting(secs(19))).await;
    world.until("it runs", || world.book.running() == 1).await;
    world.shut_down().await;
    assert_eq!(world.state(&id), JobState::Completed);
    assert_eq!(world.book.count(), 1, "the other worker took a job that was renewed");
    assert_eq!(world.view(&id).counters.crashes, 0);
    world.leave();
    other.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_waits_for_the_same_end() {
    let world = World::start().await;
    world.enqueue("one", Work::lasting(secs(10))).await;
    world.until("it runs", || world.book.running() == 1).await;
    let begun = Instant::now();
    let second = async {
        tokio::time::sleep(secs(1)).await;
        world.tree.shutdown().await;
        begun.elapsed()
    };
    let (first, second) = tokio::join!(world.tree.shutdown(), second);
    assert_eq!(first.running, 1);
    assert!(second >= secs(10) && second <= secs(11), "{second:?}");
    assert_eq!(world.tree.wait().await, Ending::Stopped);
    assert_eq!(world.tree.shutdown().await, Drained::default());
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_while_the_store_is_away_ends_within_its_bounds() {
    let world = World::start().await;
    world.enqueue_many("job", 4, &Work::lasting(secs(5))).await;
    world.until("four run", || world.book.running() == 4).await;
    world.store.away(true);
    let begun = Instant::now();
    let drained = world.shut_down().await;
    assert_eq!((drained.killed, drained.unsettled), (0, 4));
    assert!(begun.elapsed() <= secs(5 + 5 + 15), "took {:?}", begun.elapsed());
    world.store.away(false);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_an_idle_tree_is_quick_and_leaves_no_worker_row() {
    let world = World::start().await;
    tokio::time::sleep(secs(15)).await;
    assert_eq!(world.store.workers().await.unwrap().len(), 1);
    let begun = Instant::now();
    world.shut_down().await;
    assert!(begun.elapsed() <= secs(1), "took {:?}", begun.elapsed());
    assert_eq!(world.store.workers().await.unwrap().len(), 0);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn what_happens_last_is_kept_in_the_ledger_too() {
    let world = World::start().await;
    world.store.latency(millis(4));
    tokio::time::sleep(secs(1)).await;
    world.enqueue("one", Work::then(Do::FailPermanent)).await;
    world.until("it ran", || world.book.ended() == 1).await;
    world.shut_down().await;
    let kept = world.store.events(None, BATCH_MAX).await.unwrap().events;
    assert!(kept.iter().any(|event| matches!(event.kind, EventKind::JobPoisoned { .. })), "{kept:?}");
    assert_eq!(world.store.workers().await.unwrap().len(), 0);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_during_a_shutdown_is_refused_and_says_so() {
    let world = World::start().await;
    world.enqueue("one", Work::lasting(secs(5))).await;
    world.until("it runs", || world.book.running() == 1).await;
    let late = async {
        tokio::time::sleep(secs(1)).await;
        world.try_enqueue("late", Work::succeed(), RunAt::Now, secs(1)).await
    };
    let (_, late) = tokio::join!(world.tree.shutdown(), late);
    let shuts_down =
        |error: &EnqueueError| matches!(error, EnqueueError::ShuttingDown { queue } if *queue == world.queue);
    let late = late.unwrap_err();
    assert!(shuts_down(&late), "{late:?}");
    let after = world.try_enqueue("later", Work::succeed(), RunAt::Now, secs(1)).await.unwrap_err();
    assert!(shuts_down(&after), "{after:?}");
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_an_enqueue_is_refused_at_once_even_if_the_store_is_away() {
    let world = World::start().await;
    world.tree.shutdown().await;
    for away in [false, true] {
        world.store.away(away);
        let begun = Instant::now();
        let late = world.try_enqueue("late", Work::succeed(), RunAt::Now, secs(60)).await.unwrap_err();
        assert!(matches!(late, EnqueueError::ShuttingDown { .. }), "{late:?}");
        assert_eq!(begun.elapsed(), secs(0));
    }
    assert_eq!(world.store.calls(Verb::Enqueue), 0);
    world.store.away(false);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn what_arrived_before_the_shutdown_is_stored() {
    let world = World::start().await;
    world.store.latency(millis(50));
    let work = Work::lasting(secs(1));
    let enqueues = world.enqueue_many("job", 30, &work);
    let (ids, drained) = tokio::join!(enqueues, async {
        tokio::time::sleep(millis(1)).await;
        world.tree.shutdown().await
    });
    assert_eq!(drained.unsettled, 0);
    assert_eq!(ids.len(), 30);
    assert_eq!(world.stats().enqueued_total, 30);
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_root_is_killed_is_lost_and_its_shutdown_is_quick() {
    let world = World::start().await;
    world.enqueue("one", Work::then(Do::Hang)).await;
    world.until("it runs", || world.book.running() == 1).await;
    assert!(world.tree.kill("retraced"));
    assert_eq!(world.tree.wait().await, Ending::Lost);
    let begun = Instant::now();
    world.tree.shutdown().await;
    assert!(begun.elapsed() <= secs(1), "took {:?}", begun.elapsed());
    world.until("the handler is dropped", || world.book.running() == 0).await;
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn a_tree_goes_on_when_its_handle_is_dropped() {
    let world = World::start().await;
    let queue = world.handle();
    drop(world.tree.clone());
    let id = world.enqueue("one", Work::succeed()).await;
    assert_eq!(queue.name(), &world.queue);
    world.until_state(&id, JobState::Completed).await;
    world.close().await;
}
