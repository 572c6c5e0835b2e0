//! Requests and replies of the store lost, late, or never answered: nothing is lost or done twice, and the counters are exact.

use std::time::Duration;

use retraced_jobs::job::{JobState, RunAt};
use retraced_jobs::trace::EventKind;

use crate::support::{Do, Fault, How, Verb, Work, World, millis, secs};

/// Calls of one verb that are disturbed, one a run.
const CALLS: usize = 6;

/// A run in which the n-th call of a verb meets a fault.
async fn disturbed(verb: Verb, nth: usize, fault: Fault) {
    let what = format!("call {nth} of {verb:?} met {fault:?}");
    let world = World::build().options(|options| options.lease = secs(3)).start().await;
    world.store.latency(millis(2));
    world.store.once(verb, nth, fault);
    // First the slow ones: behind quick ones some would be fetched ahead, and put back.
    let slow = world.enqueue_many("slow", 4, &Work::lasting(millis(4_000))).await;
    let quick = world.enqueue_many("quick", 12, &Work::lasting(millis(3))).await;
    let twice = world.enqueue_many("twice", 3, &Work::then(Do::FailAskingFor(30)).and(millis(1), Do::Succeed)).await;
    let later = world.enqueue_at("later", Work::succeed(), RunAt::After(millis(50))).await;
    for ids in [quick, slow, twice, vec![later]] {
        world.until_all(&ids, JobState::Completed).await;
    }
    let stats = world.stats();
    assert_eq!(world.book.count(), 23, "{what}: {stats:?}");
    assert!(world.book.all().iter().all(|run| run.ended.unwrap().1 != How::Cut), "{what}");
    assert_eq!((stats.enqueued_total, stats.completed_total), (20, 20), "{what}: {stats:?}");
    assert_eq!((stats.failures_total, stats.crashes_total, stats.releases_total), (3, 0, 0), "{what}: {stats:?}");
    assert_eq!(stats.stale_settlements_total, 0, "{what}: {stats:?}");
    let alarm = |kind: &EventKind| matches!(kind, EventKind::LeaseLost { .. } | EventKind::Crashed { .. });
    assert_eq!(world.count(alarm), 0, "{what}: {:?}", world.events());
    world.close().await;
}

async fn every_call_of(verb: Verb) {
    for nth in 1..=CALLS {
        for fault in [Fault::Before, Fault::After, Fault::Late(millis(700)), Fault::Slow(millis(700))] {
            disturbed(verb, nth, fault).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_enqueue_is_sent_again_and_stored_once() {
    every_call_of(Verb::Enqueue).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_claim_is_sent_again_and_granted_once() {
    every_call_of(Verb::Claim).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_turn_is_sent_again_and_counts_once() {
    every_call_of(Verb::SettleAndClaim).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_settlement_is_sent_again_and_counts_once() {
    every_call_of(Verb::Settle).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_promotion_is_sent_again_and_loses_nothing() {
    every_call_of(Verb::Promote).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_reclaim_takes_nothing_that_is_renewed() {
    every_call_of(Verb::Reclaim).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_renewal_is_sent_again_before_the_lease_runs_out() {
    every_call_of(Verb::Renew).await;
}

/// A store that accepts a call and never answers: nobody waits longer than the call's time-out.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_is_sent_again() {
    for verb in
        [Verb::Enqueue, Verb::Claim, Verb::SettleAndClaim, Verb::Settle, Verb::Promote, Verb::Reclaim, Verb::Renew]
    {
        let world = World::start().await;
        world.store.latency(millis(2));
        world.store.once(verb, 2, Fault::Silence);
        let ids = world.enqueue_many("job", 12, &Work::lasting(millis(20))).await;
        world.until_all(&ids, JobState::Completed).await;
        assert_eq!(world.book.count(), 12, "{verb:?}");
        assert_eq!(world.stats().completed_total, 12, "{verb:?}");
        // Until the call has been given up and sent again.
        tokio::time::sleep(secs(20)).await;
        world.close().await;
    }
}

/// The settlement has been applied, its reply is not here yet, and a renewal comes back: nobody has lost anything.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_meets_a_settled_job_is_not_a_lost_lease() {
    let world = World::build().options(|options| options.lease = millis(300)).start().await;
    world.store.plan(|verb, _| match verb {
        Verb::Settle | Verb::SettleAndClaim => Some(Fault::Slow(secs(2))),
        _ => None,
    });
    let id = world.enqueue("one", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    tokio::time::sleep(secs(3)).await;
    assert_eq!(world.count(|kind| matches!(kind, EventKind::LeaseLost { .. })), 0, "{:?}", world.events());
    world.close().await;
}

/// A renewal that hangs must not cost a lease shorter than a call's time-out.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_never_answered_costs_no_lease() {
    let lease = Duration::from_secs(6);
    let world = World::build().options(|options| options.lease = lease).start().await;
    let id = world.enqueue("one", Work::lasting(secs(40))).await;
    world.until("it runs", || world.book.running() == 1).await;
    world.store.once(Verb::Renew, 1, Fault::Silence);
    world.until_state(&id, JobState::Completed).await;
    assert_eq!(world.book.of(&id).len(), 1);
    assert_eq!(world.view(&id).counters.crashes, 0);
    world.close().await;
}

/// The store refuses for a while, and then no more: what was held is settled, and nothing runs again.
#[tokio::test(start_paused = true)]
async fn what_the_store_refused_to_settle_is_settled_when_it_no_longer_refuses() {
    let world = World::start().await;
    world
        .store
        .plan(|verb, n| (matches!(verb, Verb::Settle | Verb::SettleAndClaim) && n <= 3).then_some(Fault::Refuse));
    let ids = world.enqueue_many("job", 6, &Work::lasting(millis(5))).await;
    world.until_all(&ids, JobState::Completed).await;
    assert_eq!(world.book.count(), 6);
    assert!(world.count(|kind| matches!(kind, EventKind::StoreRefused { .. })) >= 1);
    world.close().await;
}

/// A bug in a store, once in each verb and at each of its first calls: whoever called is started anew or tries again, and nobody waits for ever.
#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_store_stops_nobody_for_good() {
    let verbs = [
        Verb::Enqueue,
        Verb::Claim,
        Verb::SettleAndClaim,
        Verb::Settle,
        Verb::Promote,
        Verb::Reclaim,
        Verb::Trim,
        Verb::Renew,
        Verb::Begin,
        Verb::Record,
        Verb::Heartbeat,
        Verb::Hints,
    ];
    for verb in verbs {
        for nth in 1..=3 {
            let world = World::build().options(|options| options.lease = secs(2)).start().await;
            world.store.once(verb, nth, Fault::Panic);
            for n in 0..3 {
                let slow = world.enqueue(&format!("slow-{n}"), Work::lasting(secs(5))).await;
                let failing = Work::then(Do::FailAskingFor(500)).and(millis(1), Do::Succeed);
                let failing = world.enqueue(&format!("failing-{n}"), failing).await;
                world.until_all(&[slow, failing], JobState::Completed).await;
            }
            let stats = world.stats();
            assert_eq!((stats.completed_total, stats.failures_total), (6, 3), "{verb:?} {nth}: {stats:?}");
            assert_eq!(world.book.all().iter().filter(|run| run.ended.unwrap().1 == How::Cut).count(), 0);
            if verb != Verb::Claim && verb != Verb::SettleAndClaim {
                // A grant whose reply was lost in a panic is found again when its lease runs out.
                assert_eq!((stats.crashes_total, world.book.count()), (0, 9), "{verb:?} {nth}: {stats:?}");
            }
            world.close().await;
        }
    }
}

/// Goal: what a claim was granted whose reply cannot be read runs soon, not a lease later, and nobody is charged.
#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_read_costs_no_lease() {
    for verb in [Verb::Claim, Verb::SettleAndClaim] {
        let world = World::build().options(|options| options.lease = secs(600)).start().await;
        world.store.once(verb, 1, Fault::Garbled);
        let ids = world.enqueue_many("job", 12, &Work::lasting(millis(5))).await;
        world.until_within(secs(20), "all done", || world.stats().completed_total == 12).await;
        assert!(world.count(|kind| matches!(kind, EventKind::ClaimsLost { claims: 1, .. })) <= 1, "{verb:?}");
        assert_eq!(world.store.calls(Verb::Reconcile), 1, "{verb:?}");
        assert_eq!(world.book.count(), 12, "{verb:?}");
        assert!(ids.iter().all(|id| world.view(id).counters.crashes == 0), "{verb:?}");
        world.close().await;
    }
}
