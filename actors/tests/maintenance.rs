//! Maintenance of queues: audits and repairs, retention, promotion and reclaiming.

use std::time::Duration;

use retraced_actors::limits::{
    AUDIT_INTERVAL, AUDIT_INTERVAL_MIN, BATCHES_PER_ROUND_MAX, PROMOTE_BATCH_MAX, PROMOTE_POLL_IDLE_MAX,
    RECLAIM_BATCH_MAX, RECLAIM_POLL_MAX, TRIM_DELAY_MAX, TRIM_IDLE_INTERVAL, TRIM_REPORT_INTERVAL,
};
use retraced_jobs::events::{EventKind, Finding, FindingKind, SupervisionEvent, TrimReason};
use retraced_jobs::job::{InstanceId, JobId, JobState, QueueName, RunAt};
use retraced_jobs::retry::OnUnknown;
use retraced_jobs::store::{
    Admin, BATCH_MAX, CallId, ReplaySlots, Retention, RetentionRule, Transitions, UnfinishedJobs,
};
use retraced_jobs::typed_job::{JobOptions, seal_job};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::{Action, Fault, Harness, Moment, Verb, Work, millis, secs};

fn repairs(harness: &Harness) -> usize {
    harness.count(|kind| matches!(kind, EventKind::QueueRepaired { .. }))
}

/// Goal: a queue that two audits in a row find inconsistent is reported, repaired once, and the repair is reported with its findings.
#[tokio::test(start_paused = true)]
async fn an_inconsistent_queue_is_reported_and_repaired() {
    let harness = Harness::start().await;
    let found = Finding::new(FindingKind::Orphaned, 3, Vec::new());
    harness.store.damage(found.clone());
    harness.until("a repair", || repairs(&harness) == 1).await;
    let reported = |kind: &EventKind| {
        matches!(kind, EventKind::AuditFailed { queue, difference: 3 } if *queue == harness.queue)
            || matches!(kind, EventKind::QueueRepaired { queue, findings } if *queue == harness.queue && *findings == [found.clone()])
    };
    assert_eq!(harness.count(reported), 2);
    tokio::time::sleep(AUDIT_INTERVAL * 3).await;
    assert_eq!((harness.store.calls(Verb::Repair), repairs(&harness)), (1, 1), "it is repaired only once");
    harness.close().await;
}

/// Goal: counts that were read while jobs moved are not taken for damage.
#[tokio::test(start_paused = true)]
async fn a_count_that_is_wrong_once_is_not_reported() {
    let harness = Harness::start().await;
    tokio::time::sleep(AUDIT_INTERVAL * 2 + millis(10)).await;
    let audits = harness.store.calls(Verb::CheckCounts);
    assert!(audits >= 1, "no audit ran");
    harness.store.miscount_once();
    harness.until("the next audit", || harness.store.calls(Verb::CheckCounts) >= audits + 2).await;
    tokio::time::sleep(AUDIT_INTERVAL * 2).await;
    assert_eq!(harness.store.calls(Verb::Repair), 0);
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::AuditFailed { .. })), 0);
    harness.close().await;
}

/// Goal: that the store has lost its data is reported once, with numbers, soon after the first outcome that finds no lease. Method: the queue is removed from the store while
/// jobs run.
#[tokio::test(start_paused = true)]
async fn a_store_that_has_lost_its_data_is_reported_with_numbers() {
    let harness = Harness::start().await;
    harness.enqueue_many("job", 10, &Work::lasting(AUDIT_INTERVAL * 2)).await;
    harness.until("some run", || harness.recorder.running() == 4).await;
    tokio::time::sleep(AUDIT_INTERVAL + secs(1)).await;
    harness.lose_data().await;
    harness.enqueue("later", Work::succeed()).await;
    let lost = |kind: &EventKind| {
        let EventKind::DataLost { queue, jobs_before: 10, jobs, enqueued_before: 10, enqueued: 1, counted_before_ms } =
            kind
        else {
            return false;
        };
        *queue == harness.queue && *jobs == 1 && *counted_before_ms <= 60_000
    };
    harness.until_within(secs(25), "the report", || harness.count(lost) == 1).await;
    tokio::time::sleep(AUDIT_INTERVAL * 2).await;
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::DataLost { .. })), 1, "{:?}", harness.events());
    harness.close().await;
}

/// A repair of a large queue takes minutes.
#[tokio::test(start_paused = true)]
async fn the_repair_of_one_queue_never_delays_the_search_for_lost_data_in_another() {
    let harness = Harness::build().queues(&["email", "other"]).start().await;
    let other: QueueName = "other".parse().unwrap();
    let enqueue = async || {
        let job = seal_job(&Work::succeed(), &JobOptions::default()).unwrap();
        harness.tree.queue(&other).unwrap().enqueue(job, secs(1)).await.unwrap();
    };
    for _ in 0..3 {
        enqueue().await;
    }
    tokio::time::sleep(AUDIT_INTERVAL + secs(1)).await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Repair).then_some(Fault::RequestDelayed(AUDIT_INTERVAL * 10)));
    harness.store.damage_only(&harness.queue, Finding::new(FindingKind::Orphaned, 3, Vec::new()));
    harness.until_within(AUDIT_INTERVAL * 2, "a repair", || harness.store.calls(Verb::Repair) == 1).await;
    harness.store.memory().delete_queue(&other, UnfinishedJobs::Delete).await.unwrap();
    enqueue().await;
    let lost = |kind: &EventKind| matches!(kind, EventKind::DataLost { queue, .. } if *queue == other);
    harness.until_within(AUDIT_INTERVAL * 2, "the report", || harness.count(lost) == 1).await;
    assert_eq!(repairs(&harness), 0, "the repair goes on");
    harness.until_within(AUDIT_INTERVAL * 12, "its end", || repairs(&harness) == 1).await;
    let failed = |kind: &EventKind| matches!(kind, EventKind::AuditFailed { .. });
    assert_eq!((harness.store.calls(Verb::Repair), harness.count(failed)), (1, 1), "it is requested once");
    tokio::time::sleep(AUDIT_INTERVAL * 2).await;
    assert_eq!(harness.store.calls(Verb::Repair), 1);
    harness.close().await;
}

/// Goal: requests to count jobs do not put off the audit, which repairs. Method: every four seconds a job loses its lease, because its queue is removed from the store.
#[tokio::test(start_paused = true)]
async fn leases_that_are_lost_again_and_again_never_put_off_the_repair_of_a_queue() {
    let harness = Harness::start().await;
    tokio::time::sleep(secs(1)).await;
    harness.store.damage(Finding::new(FindingKind::Orphaned, 3, Vec::new()));
    for n in 0..30 {
        harness.enqueue(&format!("job-{n}"), Work::lasting(secs(1))).await;
        harness.until("it runs", || harness.recorder.running() == 1).await;
        harness.lose_data().await;
        tokio::time::sleep(AUDIT_INTERVAL_MIN - secs(1)).await;
    }
    assert!(harness.count(|kind| matches!(kind, EventKind::StaleSettlement { .. })) > 20, "no lease was lost");
    assert_eq!((harness.store.calls(Verb::Repair), repairs(&harness)), (1, 1));
    harness.close().await;
}

/// Goal: a queue whose jobs cannot be counted is not counted all the time. Method: the store refuses to count; the queue claims a job every second.
#[tokio::test(start_paused = true)]
async fn a_queue_that_cannot_be_counted_is_not_counted_at_every_claim() {
    let harness = Harness::start().await;
    harness.store.plan_faults(|verb, _| (verb == Verb::CheckCounts).then_some(Fault::Refused));
    tokio::time::sleep(AUDIT_INTERVAL_MIN).await;
    let (before, begun) = (harness.store.calls(Verb::CheckCounts), Instant::now());
    for n in 0.. {
        harness.enqueue(&format!("job-{n}"), Work::succeed()).await;
        tokio::time::sleep(secs(1)).await;
        if begun.elapsed() >= AUDIT_INTERVAL * 5 {
            break;
        }
    }
    let counts = harness.store.calls(Verb::CheckCounts) - before;
    assert!((4..=7).contains(&counts), "counted {counts} times: once per audit, and once at the first job");
    harness.close().await;
}

/// Goal: retention holds under load. Jobs that one round of trims leaves are trimmed by the next round at once, not a second later. Method: more jobs
/// complete at one instant than two rounds may trim.
#[tokio::test(start_paused = true)]
async fn jobs_left_by_one_round_of_trims_are_trimmed_by_the_next_at_once() {
    let kept = 10;
    let rule = RetentionRule::new(Duration::from_secs(3600), kept);
    let retention = Retention::default().completed(rule);
    let harness = Harness::build().concurrency(50).queue(|queue| queue.retention = retention).start().await;
    let jobs = 2 * RECLAIM_BATCH_MAX * BATCHES_PER_ROUND_MAX + BATCH_MAX;
    let sealed: Vec<_> = (0..jobs).map(|_| seal_job(&Work::succeed(), &JobOptions::default()).unwrap()).collect();
    let admin = ReplaySlots::new(InstanceId::from(Uuid::new_v4()), 1);
    for batch in sealed.chunks(BATCH_MAX) {
        let call: CallId = admin.take().await.next_call();
        harness.store.enqueue(call, &harness.queue, batch).await.unwrap();
    }
    harness.until("all are done", || harness.stats().completed_total == jobs as u64).await;
    let done = Instant::now();
    harness.until("the jobs beyond the limit are trimmed", || harness.stats().completed_kept == kept).await;
    assert!(done.elapsed() <= RECLAIM_POLL_MAX + RECLAIM_POLL_MAX / 2, "took {:?}", done.elapsed());
    assert_eq!(harness.stats().trimmed_total, jobs as u64 - kept);
    harness.close().await;
}

/// Goal: the retry scheduler polls once at the start, and then only when a job is due. Until then the fetcher's claims show that nothing is due.
#[tokio::test(start_paused = true)]
async fn an_idle_queue_is_promoted_only_when_a_job_is_due() {
    let harness = Harness::start().await;
    tokio::time::sleep(6 * PROMOTE_POLL_IDLE_MAX).await;
    let (claims, promotions) = (harness.store.calls(Verb::Claim), harness.store.calls(Verb::Promote));
    tokio::time::sleep(12 * PROMOTE_POLL_IDLE_MAX).await;
    assert!(harness.store.calls(Verb::Claim) >= claims + 12, "the fetcher polls");
    assert_eq!(harness.store.calls(Verb::Promote), promotions);
    harness.close().await;
}

/// If no worker visits a queue for half a lease, that is a reclaim gap, and its leases get a lease grace. A worker that polls rarely must not cause that.
#[tokio::test(start_paused = true)]
async fn a_queue_with_short_leases_is_reclaimed_more_often_than_every_half_lease() {
    let lease = Duration::from_secs(1);
    let harness = Harness::build().options(|options| options.lease = lease).start().await;
    let reclaims = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = reclaims.clone();
    harness.store.observe(move |verb, moment| {
        if (verb, moment) == (Verb::Reclaim, Moment::Applied) {
            seen.lock().unwrap().push(Instant::now());
        }
    });
    let job = harness.enqueue("long", Work::lasting(10 * lease)).await;
    harness.until_state(&job, JobState::Completed).await;
    let reclaims = reclaims.lock().unwrap().clone();
    let longest = reclaims.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= lease / 2, "{longest:?} between two reclaims");
    harness.close().await;
}

/// Goal: a queue with many due jobs does not hold up the promotion of another queue. Method: every promotion is answered late, and one queue needs many of them.
#[tokio::test(start_paused = true)]
async fn many_due_jobs_of_one_queue_do_not_delay_those_of_another() {
    const BATCHES: usize = 40;
    let harness = Harness::build().queues(&["email", "other"]).start().await;
    let answer_after = Duration::from_millis(100);
    harness.store.plan_faults(move |verb, _| (verb == Verb::Promote).then_some(Fault::ReplyDelayed(answer_after)));
    let admin = ReplaySlots::new(InstanceId::from(Uuid::new_v4()), 1);
    for _ in 0..BATCHES {
        let due = JobOptions::default().run_at(RunAt::After(Duration::from_secs(1)));
        let jobs: Vec<_> = (0..PROMOTE_BATCH_MAX).map(|_| seal_job(&Work::succeed(), &due).unwrap()).collect();
        harness.store.enqueue(admin.take().await.next_call(), &harness.queue, &jobs).await.unwrap();
    }
    let later = JobOptions::default().run_at(RunAt::After(Duration::from_millis(1_500)));
    let late = seal_job(&Work::succeed(), &later).unwrap();
    let other = QueueName::new("other").unwrap();
    harness.store.enqueue(admin.take().await.next_call(), &other, std::slice::from_ref(&late)).await.unwrap();
    let begun = Instant::now();
    harness.until("the job of the other queue runs", || !harness.recorder.of(&late.id).is_empty()).await;
    assert!(begun.elapsed() < Duration::from_millis(1_500) + 3 * answer_after, "took {:?}", begun.elapsed());
    assert!(harness.stats().delayed > 0, "the first queue still has due jobs");
    harness.close().await;
}

/// The dead and poisoned jobs that the events of a harness report as trimmed.
fn reported(harness: &Harness, of: JobState, for_reason: TrimReason) -> u64 {
    let one = |event: SupervisionEvent| match event.kind {
        EventKind::JobsTrimmed { state, count, reason, .. } if state == of && reason == for_reason => count,
        EventKind::JobsTrimmed { state, .. } => {
            assert!(matches!(state, JobState::Dead | JobState::Poisoned), "a trim of {state} jobs is reported");
            0
        }
        _ => 0,
    };
    harness.events().into_iter().map(one).sum()
}

/// Stores jobs directly, because the harness expects to find all its jobs in the end.
async fn store_jobs(harness: &Harness, prefix: &str, count: u64, ends: Action) {
    let sealed: Vec<_> = (0..count)
        .map(|n| {
            let id = JobId::parse(&format!("{prefix}-{n}")).unwrap();
            seal_job(&Work::then(ends), &JobOptions::default().id(id)).unwrap()
        })
        .collect();
    harness.store.enqueue(harness.admin_call().await, &harness.queue, &sealed).await.unwrap();
}

/// Goal: dead and poisoned jobs are never trimmed without a report, and a queue that is trimmed again and again is not reported each time.
#[tokio::test(start_paused = true)]
async fn dead_jobs_are_never_trimmed_without_a_report() {
    let rule = RetentionRule::new(secs(600), 20);
    let retention = Retention::default().completed(rule).dead(rule).poisoned(rule.bytes_max(0));
    let harness = Harness::build()
        .queue(|queue| queue.retention = retention)
        .rules(|rules| rules.on_unknown = OnUnknown::DeadLetter)
        .start()
        .await;
    store_jobs(&harness, "done", 50, Action::Succeed).await;
    store_jobs(&harness, "poison", 30, Action::FailPermanent).await;
    for n in 0..6 {
        store_jobs(&harness, &format!("dead-{n}"), 50, Action::FailUnknown).await;
        tokio::time::sleep(TRIM_DELAY_MAX * 3).await;
    }
    harness.until("more than 20 are trimmed", || harness.stats().trimmed_total == 340).await;
    assert_eq!((harness.stats().trimmed_dead_total, harness.stats().trimmed_poisoned_total), (280, 30));
    let is_trim = |kind: &EventKind| matches!(kind, EventKind::JobsTrimmed { .. });
    let at_once = harness.count(is_trim);
    assert!((1..=4).contains(&at_once), "{at_once} reports");
    // How many poisoned jobs exceed which bound depends on when they are trimmed.
    let all_reported = || {
        let poisoned =
            [TrimReason::Count, TrimReason::Bytes].map(|reason| reported(&harness, JobState::Poisoned, reason));
        (reported(&harness, JobState::Dead, TrimReason::Count), poisoned.iter().sum()) == (280, 30)
    };
    harness.until_within(TRIM_REPORT_INTERVAL * 2 + TRIM_IDLE_INTERVAL, "the others are reported", all_reported).await;
    assert!(harness.count(is_trim) <= at_once + 3);
    harness.until_within(secs(700), "the last ones are too old", || harness.stats().dead == 0).await;
    harness
        .until_within(TRIM_REPORT_INTERVAL * 2, "that is reported", || {
            reported(&harness, JobState::Dead, TrimReason::Age) == 20
        })
        .await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_never_leaves_a_trim_unreported() {
    let none = RetentionRule::new(secs(600), 0);
    let harness = Harness::build().queue(|queue| queue.retention = Retention::default().poisoned(none)).start().await;
    for n in 0..3 {
        store_jobs(&harness, &format!("poison-{n}"), 10, Action::FailPermanent).await;
        let trimmed = 10 * (n + 1);
        harness.until("they are trimmed", || harness.stats().trimmed_poisoned_total == trimmed).await;
    }
    assert!(reported(&harness, JobState::Poisoned, TrimReason::Count) < 30, "nothing is left to report");
    harness.shut_down().await;
    let count = || reported(&harness, JobState::Poisoned, TrimReason::Count);
    harness.until("the rest is reported", || count() == 30).await;
    harness.assert_clean();
}

/// Goal: a trim that is under way when its janitor ends is reported. Method: the answers of trims are late, and the shutdown begins when the store has removed the jobs.
#[tokio::test(start_paused = true)]
async fn a_trim_whose_answer_comes_after_the_end_of_the_janitor_is_never_unreported() {
    let none = RetentionRule::new(secs(600), 0);
    for restart in [false, true] {
        let retention = Retention::default().poisoned(none);
        let harness = Harness::build().queue(|queue| queue.retention = retention).start().await;
        harness.store.plan_faults(|verb, _| (verb == Verb::Trim).then_some(Fault::ReplyDelayed(millis(500))));
        store_jobs(&harness, "poison", 10, Action::FailPermanent).await;
        harness.until("they are trimmed", || harness.stats().trimmed_poisoned_total == 10).await;
        if restart {
            harness.kill_and_await_restart("janitor").await;
        }
        harness.shut_down().await;
        let count = || reported(&harness, JobState::Poisoned, TrimReason::Count);
        harness.until("the trim is reported", || count() == 10).await;
        harness.assert_clean();
    }
}
