//! Store calls whose requests or replies are lost, delayed or never answered: no job is lost or settled twice, and the counters are exact.

use std::time::Duration;

use retraced_jobs::events::EventKind;
use retraced_jobs::job::{JobState, RunAt};

use crate::support::{Action, Fault, Harness, RunEnd, Verb, Work, millis, secs};

/// How many calls of each verb get a fault, one per run.
const CALLS: usize = 6;

/// A run in which the n-th call of a verb gets a fault.
async fn run_with_fault(verb: Verb, nth: usize, fault: Fault) {
    let what = format!("call {nth} of {verb:?} with {fault:?}");
    let harness = Harness::build().options(|options| options.lease = secs(3)).start().await;
    harness.store.latency(millis(2));
    harness.store.fault_on_call(verb, nth, fault);
    // The slow jobs come first: behind fast ones some would be prefetched and released again.
    let slow = harness.enqueue_many("slow", 4, &Work::lasting(millis(4_000))).await;
    let quick = harness.enqueue_many("quick", 12, &Work::lasting(millis(3))).await;
    let twice =
        harness.enqueue_many("twice", 3, &Work::then(Action::FailAskingFor(30)).and(millis(1), Action::Succeed)).await;
    let later = harness.enqueue_at("later", Work::succeed(), RunAt::After(millis(50))).await;
    for ids in [quick, slow, twice, vec![later]] {
        harness.until_all(&ids, JobState::Completed).await;
    }
    let stats = harness.stats();
    assert_eq!(harness.recorder.count(), 23, "{what}: {stats:?}");
    assert!(harness.recorder.all().iter().all(|run| run.ended.unwrap().1 != RunEnd::Dropped), "{what}");
    assert_eq!((stats.enqueued_total, stats.completed_total), (20, 20), "{what}: {stats:?}");
    assert_eq!((stats.failures_total, stats.crashes_total, stats.releases_total), (3, 0, 0), "{what}: {stats:?}");
    assert_eq!(stats.stale_settlements_total, 0, "{what}: {stats:?}");
    // A call that is sent again with other arguments would look like a call of another process.
    let problem = |kind: &EventKind| {
        matches!(kind, EventKind::LeaseLost { .. } | EventKind::Crashed { .. } | EventKind::InstanceReplaced { .. })
    };
    assert_eq!(harness.count(problem), 0, "{what}: {:?}", harness.events());
    harness.close().await;
}

async fn every_call_of(verb: Verb) {
    for nth in 1..=CALLS {
        for fault in
            [Fault::RequestLost, Fault::ReplyLost, Fault::RequestDelayed(millis(700)), Fault::ReplyDelayed(millis(700))]
        {
            run_with_fault(verb, nth, fault).await;
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
async fn a_lost_settle_and_claim_is_sent_again_and_counts_once() {
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
async fn a_lost_reclaim_takes_no_renewed_lease() {
    every_call_of(Verb::Reclaim).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_trim_is_sent_again_and_loses_nothing() {
    every_call_of(Verb::Trim).await;
}

/// Goal: a call whose outcome stays unknown, because a copy of the process has used its replay slot since, loses no job and runs none twice. Method: the reply to a call is lost,
/// and the call sent again is refused.
#[tokio::test(start_paused = true)]
async fn a_lost_call_that_a_copy_of_the_process_has_superseded_loses_no_job() {
    for verb in
        [Verb::Enqueue, Verb::Claim, Verb::SettleAndClaim, Verb::Settle, Verb::Promote, Verb::Reclaim, Verb::Trim]
    {
        for nth in 1..=3 {
            let harness = Harness::build().options(|options| options.lease = secs(3)).start().await;
            let (instance, first) = (harness.tree.instance(), harness.store.calls(verb) + nth);
            harness.store.plan_faults(move |called, n| match n.checked_sub(first) {
                Some(0) if called == verb => Some(Fault::ReplyLost),
                Some(1) if called == verb => Some(Fault::Superseded),
                _ => None,
            });
            let failing = Work::then(Action::FailAskingFor(30)).and(millis(1), Action::Succeed);
            for n in 0..4 {
                let quick = harness.enqueue(&format!("quick-{n}"), Work::lasting(millis(3))).await;
                let failing = harness.enqueue(&format!("failing-{n}"), failing.clone()).await;
                harness.until_all(&[quick, failing], JobState::Completed).await;
            }
            // The calls of actors that poll.
            tokio::time::sleep(secs(10)).await;
            let stats = harness.stats();
            assert_eq!((stats.enqueued_total, stats.completed_total), (8, 8), "{verb:?} {nth}: {stats:?}");
            assert_eq!(harness.recorder.count(), 12, "{verb:?} {nth}: {stats:?}");
            let superseded = harness.store.calls(verb) > first;
            assert_eq!(harness.tree.instance() != instance, superseded, "{verb:?} {nth}");
            assert_eq!(harness.count(|kind| matches!(kind, EventKind::StoreRefused { .. })), 0, "{verb:?} {nth}");
            harness.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_renewal_is_sent_again_before_the_lease_expires() {
    every_call_of(Verb::Renew).await;
}

/// A store that accepts a call and never answers: no caller waits longer than the call's timeout.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_is_sent_again() {
    for verb in
        [Verb::Enqueue, Verb::Claim, Verb::SettleAndClaim, Verb::Settle, Verb::Promote, Verb::Reclaim, Verb::Renew]
    {
        let harness = Harness::start().await;
        harness.store.latency(millis(2));
        harness.store.fault_on_call(verb, 2, Fault::NeverAnswered);
        let ids = harness.enqueue_many("job", 12, &Work::lasting(millis(20))).await;
        harness.until_all(&ids, JobState::Completed).await;
        assert_eq!(harness.recorder.count(), 12, "{verb:?}");
        assert_eq!(harness.stats().completed_total, 12, "{verb:?}");
        // Until the call has timed out and was sent again.
        tokio::time::sleep(secs(20)).await;
        harness.close().await;
    }
}

/// The settlement has been applied, its reply has not arrived, and a renewal returns first: no lease was lost.
#[tokio::test(start_paused = true)]
async fn a_renewal_of_a_settled_job_is_not_a_lost_lease() {
    let harness = Harness::build().options(|options| options.lease = millis(300)).start().await;
    harness.store.plan_faults(|verb, _| match verb {
        Verb::Settle | Verb::SettleAndClaim => Some(Fault::ReplyDelayed(secs(2))),
        _ => None,
    });
    let id = harness.enqueue("one", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    tokio::time::sleep(secs(3)).await;
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::LeaseLost { .. })), 0, "{:?}", harness.events());
    harness.close().await;
}

/// A lease that is shorter than the timeout of a call does not expire because one renewal hangs.
#[tokio::test(start_paused = true)]
async fn an_unanswered_renewal_lets_no_lease_expire() {
    let lease = Duration::from_secs(6);
    let harness = Harness::build().options(|options| options.lease = lease).start().await;
    let id = harness.enqueue("one", Work::lasting(secs(40))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    harness.store.fault_on_call(Verb::Renew, 1, Fault::NeverAnswered);
    harness.until_state(&id, JobState::Completed).await;
    assert_eq!(harness.recorder.of(&id).len(), 1);
    assert_eq!(harness.view(&id).counters.crashes, 0);
    harness.close().await;
}

/// The store refuses settlements for a while: the outcomes are kept and settled later, and nothing runs again.
#[tokio::test(start_paused = true)]
async fn a_refused_settlement_succeeds_once_the_store_accepts_it() {
    let harness = Harness::start().await;
    harness.store.plan_faults(|verb, n| {
        (matches!(verb, Verb::Settle | Verb::SettleAndClaim) && n <= 3).then_some(Fault::Refused)
    });
    let ids = harness.enqueue_many("job", 6, &Work::lasting(millis(5))).await;
    harness.until_all(&ids, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 6);
    assert!(harness.count(|kind| matches!(kind, EventKind::StoreRefused { .. })) >= 1);
    harness.close().await;
}

/// The store panics once per run, at one of the first calls of each verb. The caller is restarted or sends the call again, and nobody waits for ever.
#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_store_blocks_no_caller_for_good() {
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
            let harness = Harness::build().options(|options| options.lease = secs(2)).start().await;
            harness.store.fault_on_call(verb, nth, Fault::Panic);
            for n in 0..3 {
                let slow = harness.enqueue(&format!("slow-{n}"), Work::lasting(secs(5))).await;
                let failing = Work::then(Action::FailAskingFor(500)).and(millis(1), Action::Succeed);
                let failing = harness.enqueue(&format!("failing-{n}"), failing).await;
                harness.until_all(&[slow, failing], JobState::Completed).await;
            }
            let stats = harness.stats();
            assert_eq!((stats.completed_total, stats.failures_total), (6, 3), "{verb:?} {nth}: {stats:?}");
            assert_eq!(harness.recorder.all().iter().filter(|run| run.ended.unwrap().1 == RunEnd::Dropped).count(), 0);
            if verb != Verb::Claim && verb != Verb::SettleAndClaim {
                // A grant whose reply was lost in a panic is found when its lease expires.
                assert_eq!((stats.crashes_total, harness.recorder.count()), (0, 9), "{verb:?} {nth}: {stats:?}");
            }
            harness.close().await;
        }
    }
}

/// Goal: jobs granted to a claim whose reply cannot be read run soon, not a lease later, and no crash is counted.
#[tokio::test(start_paused = true)]
async fn an_unreadable_claim_reply_delays_no_job_by_a_lease() {
    for verb in [Verb::Claim, Verb::SettleAndClaim] {
        let harness = Harness::build().options(|options| options.lease = secs(600)).start().await;
        harness.store.fault_on_call(verb, 1, Fault::UnreadableReply);
        let ids = harness.enqueue_many("job", 12, &Work::lasting(millis(5))).await;
        harness.until_within(secs(20), "all done", || harness.stats().completed_total == 12).await;
        assert!(harness.count(|kind| matches!(kind, EventKind::ClaimsLost { claims: 1, .. })) <= 1, "{verb:?}");
        assert_eq!(harness.store.calls(Verb::Reconcile), 1, "{verb:?}");
        assert_eq!(harness.recorder.count(), 12, "{verb:?}");
        assert!(ids.iter().all(|id| harness.view(id).counters.crashes == 0), "{verb:?}");
        harness.close().await;
    }
}

/// Goal: as above, if the actor that releases the jobs is restarted before the store has answered to it.
#[tokio::test(start_paused = true)]
async fn a_restart_of_the_reclaimer_forgets_no_claim_of_unknown_outcome() {
    let harness = Harness::build().options(|options| options.lease = secs(600)).start().await;
    let (mut claimed, mut reconciled) = (false, false);
    harness.store.plan_faults(move |verb, _| match verb {
        Verb::Claim if !std::mem::replace(&mut claimed, true) => Some(Fault::UnreadableReply),
        Verb::Reconcile if !std::mem::replace(&mut reconciled, true) => Some(Fault::RequestDelayed(secs(60))),
        _ => None,
    });
    harness.enqueue("granted", Work::succeed()).await;
    harness.until("its release is under way", || harness.store.calls(Verb::Reconcile) == 1).await;
    harness.kill_and_await_restart("reclaimer").await;
    harness.until_within(secs(20), "the job is done", || harness.stats().completed_total == 1).await;
    harness.close().await;
}

/// Goal: jobs granted to a claim are found under the process instance that claimed them. Method: while the reply is on its way, another call finds that a copy of the process
/// uses this instance, so that the process takes another one. Then the reply cannot be read.
#[tokio::test(start_paused = true)]
async fn a_claim_that_stays_unknown_while_the_process_takes_another_instance_delays_no_job_by_a_lease() {
    let harness = Harness::build().options(|options| options.lease = secs(600)).start().await;
    let instance = harness.tree.instance();
    harness.store.fault_on_call(Verb::Claim, 1, Fault::UnreadableReply);
    let id = harness.enqueue("granted", Work::succeed()).await;
    harness.store.latency(secs(2));
    harness.until("it is granted", || harness.state(&id) == JobState::Processing).await;
    harness.store.latency(millis(0));
    harness.store.fault_on_call(Verb::Enqueue, 1, Fault::Superseded);
    harness.enqueue("after", Work::succeed()).await;
    assert_ne!(harness.tree.instance(), instance);
    assert_eq!(harness.state(&id), JobState::Processing, "the reply is on its way");
    harness.until_within(secs(20), "all done", || harness.stats().completed_total == 2).await;
    let reported = |kind: &EventKind| matches!(kind, EventKind::ClaimsLost { claims: 1, released: 1, .. });
    harness.until("it is reported", || harness.count(reported) == 1).await;
    harness.close().await;
}
