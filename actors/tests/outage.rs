//! The store away: nobody crashes, everybody waits, and work goes on when it is back.

use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::job::{JobState, RunAt};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::support::{Do, How, Work, World, millis, secs};

#[tokio::test(start_paused = true)]
async fn an_outage_of_three_leases_costs_nothing_and_is_told_once() {
    let world = World::build().concurrency(50).options(|options| options.lease = secs(10)).start().await;
    let other = World::build().concurrency(50).options(|options| options.lease = secs(10)).beside(&world).start().await;
    let during = world.enqueue_many("during", 60, &Work::lasting(secs(15))).await;
    let after = world.enqueue_many("after", 30, &Work::lasting(secs(50))).await;
    world.until("all run", || world.book.running() == 90).await;
    world.store.away(true);
    tokio::time::sleep(secs(30)).await;
    assert_eq!(world.book.running(), 30, "handlers go on in an outage");
    world.store.away(false);
    let back = Instant::now();
    world
        .until_within(secs(3), "what had returned is settled", || {
            during.iter().all(|id| world.state(id) == JobState::Completed)
        })
        .await;
    let id = world.enqueue("new", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    assert!(back.elapsed() <= secs(3), "took {:?}", back.elapsed());
    world.until_all(&after, JobState::Completed).await;
    assert_eq!(world.book.count(), 91, "jobs ran again");
    let stats = world.stats();
    assert_eq!((stats.crashes_total, stats.releases_total, stats.stale_settlements_total), (0, 0, 0), "{stats:?}");
    for world in [&world, &other] {
        assert_eq!(world.count(|kind| matches!(kind, EventKind::StoreLost { .. })), 1, "{:?}", world.events());
        assert_eq!(world.count(|kind| matches!(kind, EventKind::StoreBack { .. })), 1);
        let ill = |kind: &EventKind| {
            matches!(kind, EventKind::Crashed { .. } | EventKind::LeaseLost { .. } | EventKind::LeaseReclaimed { .. })
        };
        assert_eq!(world.count(ill), 0, "{:?}", world.events());
    }
    let told = world.until_event("the way back told", |e| matches!(e.kind, EventKind::StoreBack { .. })).await;
    let EventKind::StoreBack { away_ms } = told.kind else { unreachable!() };
    assert!((28_000..=32_000).contains(&away_ms), "{away_ms}");
    other.close().await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_in_an_outage_fails_fast_and_says_that_nothing_was_stored() {
    let world = World::start().await;
    world.store.away(true);
    world.until("the outage is noticed", || world.count(|k| matches!(k, EventKind::StoreLost { .. })) == 1).await;
    let begun = Instant::now();
    let refused = world.try_enqueue("one", Work::succeed(), RunAt::Now, millis(800)).await.unwrap_err();
    assert!(matches!(refused, EnqueueError::StoreUnavailable), "{refused:?}");
    assert!(begun.elapsed() <= millis(800));
    world.store.away(false);
    let id = world.enqueue("two", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_that_waits_through_the_end_of_an_outage_is_stored() {
    let world = World::start().await;
    world.store.away(true);
    world.until("the outage is noticed", || world.count(|k| matches!(k, EventKind::StoreLost { .. })) == 1).await;
    let (id, ()) = tokio::join!(world.enqueue("one", Work::succeed()), async {
        tokio::time::sleep(secs(7)).await;
        world.store.away(false);
    });
    world.until_state(&id, JobState::Completed).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_hammers_a_store_that_is_away() {
    let world = World::start().await;
    world.enqueue_many("job", 8, &Work::lasting(secs(2))).await;
    world.until("some run", || world.book.running() == 4).await;
    world.store.away(true);
    tokio::time::sleep(secs(5)).await;
    let calls = || {
        use crate::support::Verb::*;
        [Enqueue, Claim, Settle, SettleAndClaim, Promote, Reclaim, Renew, Trim, Record, Heartbeat, Probe, Hints]
            .map(|verb| world.store.calls(verb))
            .iter()
            .sum::<usize>()
    };
    let before = calls();
    tokio::time::sleep(secs(60)).await;
    let per_second = (calls() - before) / 60;
    assert!(per_second <= 12, "{per_second} calls a second");
    world.store.away(false);
    world.until("all done", || world.stats().completed_total == 8).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_died_loses_its_jobs_to_another_after_one_lease() {
    let options = |options: &mut retraced_actors::TreeOptions| options.lease = secs(10);
    let world = World::build().options(options).start().await;
    let ids = world.enqueue_many("job", 4, &Work::then(Do::Hang).and(millis(1), Do::Succeed)).await;
    world.until("all run", || world.book.running() == 4).await;
    let other = World::build().options(options).beside(&world).start().await;
    // The root's end takes everything with it and settles nothing: a process that died, as far as the store can tell.
    assert!(world.tree.kill("retraced"));
    world.tree.wait().await;
    let died = Instant::now();
    world.until("those of the dead run again", || world.stats().completed_total >= 4).await;
    assert!(died.elapsed() <= secs(12), "took {:?}", died.elapsed());
    assert!(ids.iter().all(|id| world.view(id).counters.releases == 1), "whether they had begun is not known");
    assert_eq!(other.count(|kind| matches!(kind, EventKind::LeaseReclaimed { .. })), 4);
    other.shut_down().await;
    other.leave();
    world.leave();
}

#[tokio::test(start_paused = true)]
async fn short_leases_are_watched_often_enough_to_be_no_outage() {
    for lease in [millis(300), millis(700), secs(1)] {
        let world = World::build().options(|options| options.lease = lease).start().await;
        let id = world.enqueue("one", Work::lasting(secs(20))).await;
        world.until_state(&id, JobState::Completed).await;
        assert_eq!(world.count(|kind| matches!(kind, EventKind::GraceGiven { .. })), 0, "{lease:?}");
        assert_eq!(world.book.count(), 1);
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_whose_lease_was_taken_is_told_and_its_outcome_does_not_count() {
    let world = World::build().options(|options| options.lease = secs(3)).start().await;
    let other = World::build().options(|options| options.lease = secs(3)).concurrency(1).beside(&world).start().await;
    let id = world.enqueue("one", Work::then(Do::StopWhenAsked).and(millis(10), Do::Succeed)).await;
    world.until("it runs", || world.book.running() == 1).await;
    // Only one of the two holds it; both stop renewing, and only for a while.
    world.store.plan(|verb, _| (verb == crate::support::Verb::Renew).then_some(crate::support::Fault::Before));
    world.until("the lease is taken", || world.view(&id).counters.releases == 1).await;
    world.store.heal();
    world.until_state(&id, JobState::Completed).await;
    world.until("the first is told", || world.book.of(&id)[0].ended.is_some()).await;
    let runs = world.book.of(&id);
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].ended.unwrap().1, How::Failed);
    assert_eq!(runs[0].stopped, Some(retraced_jobs::context::Stop::LeaseLost));
    let told = |w: &World, is: fn(&EventKind) -> bool| w.count(is);
    world
        .until("told", || {
            [&world, &other].iter().map(|w| told(w, |k| matches!(k, EventKind::LeaseLost { .. }))).sum::<usize>() == 1
                && [&world, &other]
                    .iter()
                    .map(|w| told(w, |k| matches!(k, EventKind::StaleSettlement { .. })))
                    .sum::<usize>()
                    == 1
        })
        .await;
    assert_eq!(world.view(&id).counters.failures, 0);
    other.close().await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_hints_work_is_found_by_polls_and_the_store_is_not_hammered_for_them() {
    use crate::support::{Fault, Verb};
    let world = World::start().await;
    world.store.plan(|verb, _| (verb == Verb::Hints).then_some(Fault::Refuse));
    world.kill_and_await_successor("store-link").await;
    tokio::time::sleep(secs(5)).await;
    let before = world.store.calls(Verb::Hints);
    let id = world.enqueue("one", Work::succeed()).await;
    world.until_within(secs(6), "it is found", || world.state(&id) == JobState::Completed).await;
    tokio::time::sleep(secs(54)).await;
    let asked = world.store.calls(Verb::Hints) - before;
    assert!((5..=15).contains(&asked), "{asked} times in a minute");
    world.close().await;
}

/// The reply to a claim comes when the lease it gave has run out and somebody else runs the job: a second run would only be a duplicate.
#[tokio::test(start_paused = true)]
async fn a_job_whose_lease_ran_out_before_it_could_begin_is_handed_back() {
    let build = || World::build().options(|options| options.lease = secs(3)).concurrency(1);
    let world = build().start().await;
    world.store.once(crate::support::Verb::Claim, 1, crate::support::Fault::Slow(secs(8)));
    let id = world.enqueue("one", Work::lasting(secs(20))).await;
    world.until("it is granted", || world.state(&id) == JobState::Processing).await;
    let other = build().beside(&world).start().await;
    world.until("the other runs it", || world.book.running() == 1).await;
    world.until("the reply is here", || world.stats().stale_settlements_total == 1).await;
    world.until_state(&id, JobState::Completed).await;
    assert_eq!(world.book.count(), 1, "it ran beside itself");
    other.close().await;
    world.close().await;
}
