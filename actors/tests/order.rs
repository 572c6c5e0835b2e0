//! First in, first out: what the README promises for one worker with a concurrency of 1.

use std::time::Duration;

use retraced_actors::{Budget, RestartDelay, RestartPolicy, Strategy, limits};
use retraced_jobs::events::EventKind;
use retraced_jobs::job::{JobId, JobState, RunAt};
use retraced_jobs::store::BATCH_MAX;
use retraced_jobs::typed_job::{JobOptions, seal_job};

use crate::support::{Action, Fault, Harness, Verb, Work, millis, secs};

/// The jobs in the order in which they have started.
fn started(harness: &Harness) -> Vec<JobId> {
    harness.recorder.all().into_iter().map(|run| run.id).collect()
}

#[track_caller]
fn assert_order(started: &[JobId], expected: &[JobId]) {
    let wrong = started.iter().zip(expected).position(|(started, expected)| started != expected);
    let around = |jobs: &[JobId], at: usize| {
        jobs.iter().skip(at.saturating_sub(2)).take(6).map(JobId::to_string).collect::<Vec<_>>()
    };
    if let Some(at) = wrong {
        panic!("start {at} is out of order: {:?} instead of {:?}", around(started, at), around(expected, at));
    }
    assert_eq!(started.len(), expected.len());
}

/// Goal: jobs start in the order in which they were enqueued, whatever the replies of claims do. Method: every other reply of a claim is late by a random time.
#[tokio::test(start_paused = true)]
async fn a_late_reply_of_a_claim_never_changes_the_order_at_a_concurrency_of_one() {
    for seed in 0..5 {
        let harness = Harness::build().concurrency(1).start().await;
        harness.store.latency(millis(2));
        harness.measure_fast_handlers().await;
        harness.pause().await;
        let ids = harness.enqueue_many("job", 300, &Work::lasting(millis(1))).await;
        harness.store.delay_every_other_claim(seed, millis(40));
        harness.resume().await;
        harness.until("all have run", || harness.recorder.ended() == 330).await;
        assert_order(&started(&harness)[30..], &ids);
        harness.close().await;
    }
}

/// The claim is answered after the jobs that were claimed before it have waited so long that they would be released to the front, and before they are claimed again.
#[tokio::test(start_paused = true)]
async fn jobs_that_waited_too_long_are_never_overtaken_by_those_of_an_open_claim() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.measure_fast_handlers().await;
    harness.pause().await;
    let mut ids = vec![harness.enqueue("slow", Work::lasting(secs(3))).await];
    ids.extend(harness.enqueue_many("early", 3, &Work::lasting(millis(1))).await);
    harness.resume().await;
    harness.until("they are claimed", || harness.stats().processing == 4).await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Claim).then_some(Fault::ReplyDelayed(secs(5))));
    ids.extend(harness.enqueue_many("late", 3, &Work::lasting(millis(1))).await);
    harness.until("the late ones are claimed", || harness.stats().processing == 7).await;
    harness.until_all(&ids, JobState::Completed).await;
    assert_order(&started(&harness)[30..], &ids);
    harness.close().await;
}

/// The release arrives at the store after the executor has become free.
#[tokio::test(start_paused = true)]
async fn a_job_on_its_way_back_to_the_front_is_never_overtaken_by_one_claimed_meanwhile() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.measure_fast_handlers().await;
    harness.pause().await;
    let mut ids = vec![harness.enqueue("slow", Work::lasting(millis(1_500))).await];
    ids.extend(harness.enqueue_many("job", 60, &Work::lasting(millis(1))).await);
    harness.resume().await;
    harness.until("some were prefetched", || harness.stats().processing > 3).await;
    assert!(harness.stats().pending > 3, "some must be left");
    harness.store.plan_faults(|verb, n| {
        let settles = matches!(verb, Verb::Settle | Verb::SettleAndClaim);
        (settles && n % 2 == 0).then_some(Fault::RequestDelayed(secs(2)))
    });
    harness.until_all(&ids, JobState::Completed).await;
    assert!(harness.stats().releases_total > 3, "{:?}", harness.stats());
    assert_order(&started(&harness)[30..], &ids);
    harness.close().await;
}

/// More jobs wait than one call to the store releases.
#[tokio::test(start_paused = true)]
async fn many_released_jobs_never_change_their_order() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.store.latency(millis(2));
    let quick = harness.enqueue_many("quick", 60, &Work::succeed()).await;
    harness.until_all(&quick, JobState::Completed).await;
    harness.pause().await;
    let mut ids = vec![harness.enqueue("slow", Work::lasting(secs(20))).await];
    ids.extend(harness.enqueue_many("job", 2 * BATCH_MAX, &Work::lasting(millis(1))).await);
    harness.resume().await;
    harness.until("more than a batch waits", || harness.stats().processing as usize > 1 + 3 * BATCH_MAX / 2).await;
    harness.until("all are released", || harness.stats().processing == 1).await;
    harness.until_all(&ids, JobState::Completed).await;
    assert_order(&started(&harness)[60..], &ids);
    harness.close().await;
}

/// A worker with a job that hangs, more waiting jobs than one call releases, and a claim that is answered late. Returns the jobs in their order.
async fn crowded() -> (Harness, Vec<JobId>) {
    let harness = Harness::build().concurrency(1).queue(|queue| queue.policy = FRAGILE).start().await;
    harness.store.latency(millis(2));
    let quick = harness.enqueue_many("quick", 60, &Work::succeed()).await;
    harness.until_all(&quick, JobState::Completed).await;
    harness.pause().await;
    let mut ids = vec![harness.enqueue("hangs", Work::then(Action::Hang).and(millis(1), Action::Succeed)).await];
    ids.extend(harness.enqueue_many("job", BATCH_MAX + 50, &Work::lasting(millis(1))).await);
    harness.resume().await;
    harness.until("more than a batch waits", || harness.stats().processing as usize == 1 + BATCH_MAX + 50).await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Claim).then_some(Fault::ReplyDelayed(millis(500))));
    ids.extend(harness.enqueue_many("late", 3, &Work::lasting(millis(1))).await);
    harness.until("the late ones are claimed", || harness.stats().processing as usize == 1 + BATCH_MAX + 53).await;
    // Of two calls under way, the second arrives first.
    harness.store.plan_faults(|verb, n| {
        (verb == Verb::Settle).then_some(Fault::RequestDelayed(millis(if n % 2 == 0 { 10 } else { 200 })))
    });
    (harness, ids)
}

const FRAGILE: RestartPolicy = RestartPolicy::new(
    Strategy::OneForOne,
    Budget::new(1, Duration::from_secs(60)),
    RestartDelay::new(Duration::from_millis(10), Duration::from_millis(100), 0),
);

/// Goal: the next worker starts the jobs in their order, the interrupted one first.
#[tokio::test(start_paused = true)]
async fn a_shutdown_never_changes_the_order_of_waiting_jobs_at_a_concurrency_of_one() {
    let (harness, ids) = crowded().await;
    let report = harness.shut_down().await;
    assert_eq!((report.killed, report.unsettled), (1, 0));
    let next = Harness::build().sharing_store(&harness).concurrency(1).start().await;
    next.until_all(&ids, JobState::Completed).await;
    assert_order(&started(&next)[61..], &ids);
    next.close().await;
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn closing_workers_never_change_the_order_of_their_jobs_at_a_concurrency_of_one() {
    let (harness, ids) = crowded().await;
    harness.kill_and_await_restart("email/settler").await;
    harness.tree.kill("email/settler");
    harness.until("all are released", || harness.stats().processing == 0).await;
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::SupervisorClosed { .. })), 1);
    harness.store.clear_faults();
    harness.until_all(&ids, JobState::Completed).await;
    assert_order(&started(&harness)[61..], &ids);
    harness.close().await;
}

/// The jobs of an executor that was killed are released to the front, and those behind them must not start before.
#[tokio::test(start_paused = true)]
async fn a_restart_of_the_pool_never_changes_the_order_of_jobs_at_a_concurrency_of_one() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.measure_fast_handlers().await;
    harness.pause().await;
    let mut ids = vec![harness.enqueue("hangs", Work::then(Action::Hang).and(millis(1), Action::Succeed)).await];
    ids.extend(harness.enqueue_many("job", 20, &Work::lasting(millis(1))).await);
    harness.resume().await;
    harness.until("some wait", || harness.stats().processing > 10).await;
    harness.kill_and_await_restart("email/pool").await;
    harness.until_all(&ids, JobState::Completed).await;
    assert_order(&started(&harness)[31..], &ids);
    harness.close().await;
}

/// Goal: a job whose enqueue was awaited before the next one was sent is before it in the queue. Method: requests and replies of enqueues are late or lost, and messages
/// that nobody waits for keep both flushes busy.
#[tokio::test(start_paused = true)]
async fn a_job_whose_receipt_was_awaited_is_never_overtaken_by_one_sent_after_it() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.pause().await;
    harness.store.plan_faults(|verb, n| match (verb, n % 5) {
        (Verb::Enqueue, 0) => Some(Fault::RequestDelayed(millis(30))),
        (Verb::Enqueue, 2) => Some(Fault::ReplyDelayed(millis(20))),
        (Verb::Enqueue, 3) => Some(Fault::ReplyLost),
        _ => None,
    });
    let actor = harness.handle().actor().unwrap();
    let mut ids = Vec::new();
    for n in 0..40 {
        for m in 0..limits::FLUSHES_MAX {
            let options = JobOptions::default().id(JobId::parse(&format!("noise-{n}-{m}")).unwrap());
            actor.cast(retraced_actors::Enqueue::sealed(seal_job(&Work::succeed(), &options).unwrap())).unwrap();
            tokio::time::sleep(millis(1)).await;
        }
        ids.push(harness.enqueue_at(&format!("job-{n}"), Work::succeed(), RunAt::Now).await);
    }
    harness.store.clear_faults();
    harness.resume().await;
    harness.until_all(&ids, JobState::Completed).await;
    let awaited: Vec<_> = started(&harness).into_iter().filter(|id| ids.contains(id)).collect();
    assert_order(&awaited, &ids);
    harness.close().await;
}
