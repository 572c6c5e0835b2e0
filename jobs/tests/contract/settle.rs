//! Settling attempts.

use std::time::Duration;

use retraced_jobs::job::{Counters, JobId, JobState, Token};
use retraced_jobs::store::{Moved, QueueStats, Settled, Settlement, Verdict};
use retraced_jobs::trace::AttemptRecord;

use super::{Harness, LONG, SHORT, Worker, id, ids, log};

/// Every verdict, the state to which it leads, and the failures and releases that it counts.
const VERDICTS: [(Verdict, JobState, u32, u32); 12] = [
    (Verdict::Complete { keep: true }, JobState::Completed, 0, 0),
    (Verdict::Retry { delay: Duration::ZERO }, JobState::Pending, 1, 0),
    (Verdict::Retry { delay: LONG }, JobState::Delayed, 1, 0),
    (Verdict::DeadLetter, JobState::Dead, 1, 0),
    (Verdict::Poison, JobState::Poisoned, 1, 0),
    (Verdict::ReleaseNow, JobState::Pending, 0, 1),
    (Verdict::ReleaseAfter { delay: Duration::ZERO }, JobState::Pending, 0, 1),
    (Verdict::ReleaseAfter { delay: LONG }, JobState::Delayed, 0, 1),
    (Verdict::Postpone { delay: Duration::ZERO }, JobState::Pending, 0, 0),
    (Verdict::Postpone { delay: LONG }, JobState::Delayed, 0, 0),
    (Verdict::Reject, JobState::Dead, 0, 1),
    (Verdict::Cancel, JobState::Cancelled, 0, 0),
];

pub(crate) async fn every_verdict_leads_to_its_state_and_adds_to_its_counters(_: &dyn Harness, worker: Worker) {
    for (n, (verdict, state, failures, releases)) in VERDICTS.into_iter().enumerate() {
        let worker = worker.in_queue(&format!("verdict-{n}"));
        let job = worker.run(&id("a")).await;
        let before = worker.now_ms().await;
        assert_eq!(worker.settle(&job, verdict).await, Settled::Done { state }, "{verdict:?}");
        let after = worker.now_ms().await;

        let view = worker.view(&id("a")).await;
        let counters = Counters { attempts: 1, failures, crashes: 0, releases };
        assert_eq!((view.state, view.counters, view.held_by), (state, counters, None), "{verdict:?}");
        let delay = match state {
            JobState::Pending => None,
            JobState::Delayed => Some(LONG),
            _ => Some(Duration::ZERO),
        };
        let delay_ms = delay.map(|delay| u64::try_from(delay.as_millis()).unwrap());
        assert_eq!(view.at_ms.is_some(), delay_ms.is_some(), "{verdict:?}");
        if let (Some(at_ms), Some(delay_ms)) = (view.at_ms, delay_ms) {
            assert!((before + delay_ms..=after + delay_ms).contains(&at_ms), "{verdict:?} at {at_ms}");
        }
        assert_eq!(view.history.len(), 1, "{verdict:?}");
        assert_eq!(view.history[0].attempt, 1);
        assert!((before..=after).contains(&view.history[0].settled_ms));
        match (verdict, &view.history[0].record) {
            (Verdict::Postpone { .. }, Ok(AttemptRecord::Postponed { instance, due_ms })) => {
                assert_eq!(*instance, worker.instance);
                assert_eq!(*due_ms, view.at_ms.unwrap_or(view.history[0].settled_ms));
            }
            (Verdict::Postpone { .. }, record) => panic!("{record:?}"),
            (_, record) => assert!(matches!(record, Ok(AttemptRecord::Reported(_))), "{verdict:?}"),
        }

        let is = |wanted| u64::from(state == wanted);
        let mut expected = QueueStats::default();
        expected.pending = is(JobState::Pending);
        expected.delayed = is(JobState::Delayed);
        expected.completed_kept = is(JobState::Completed);
        expected.dead = is(JobState::Dead);
        expected.poisoned = is(JobState::Poisoned);
        expected.cancelled = is(JobState::Cancelled);
        expected.enqueued_total = 1;
        expected.completed_total = is(JobState::Completed);
        expected.failures_total = u64::from(failures);
        expected.releases_total = u64::from(releases);
        assert_eq!(worker.snapshot().await.stats, expected, "{verdict:?}");
        assert_eq!(worker.check_counts().await.difference(), 0);
    }
}

pub(crate) async fn a_completed_job_that_is_not_kept_leaves_no_trace(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("plain")).await;
    worker.settle(&job, Verdict::Complete { keep: false }).await;
    let job = worker.run(&id("retried")).await;
    worker.settle(&job, Verdict::Retry { delay: Duration::ZERO }).await;
    let job = worker.claim_one().await;
    let settled = worker.settle(&job, Verdict::Complete { keep: false }).await;
    assert_eq!(settled, Settled::Done { state: JobState::Completed });

    assert_eq!((worker.find(&id("plain")).await, worker.find(&id("retried")).await), (None, None));
    let stats = worker.stats().await;
    assert_eq!((stats.completed_kept, stats.completed_total, stats.enqueued_total), (0, 2, 2));
    assert_eq!(worker.discard(&id("retried")).await, Moved::NotFound);
    let again = worker.run(&id("retried")).await;
    assert_eq!(again.counters, Counters { attempts: 1, ..Counters::default() });
    assert!(worker.view(&id("retried")).await.history.is_empty());
    worker.settle(&again, Verdict::Complete { keep: true }).await;
    assert_eq!(worker.stats().await.completed_kept, 1);
}

pub(crate) async fn what_a_worker_reported_is_kept_unchanged(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.settle(&job, Verdict::Retry { delay: Duration::ZERO }).await;
    let job = worker.claim_one().await;
    worker.settle(&job, Verdict::Complete { keep: true }).await;
    let view = worker.view(&id("a")).await;
    let kept: Vec<_> = view.history.iter().map(|stored| stored.record.clone()).collect();
    let expected = [log(worker.instance, Some("it failed")), log(worker.instance, None)];
    assert_eq!(kept, expected.map(|log| Ok(AttemptRecord::Reported(log))));
    assert_eq!(view.last_error().unwrap().message, "it failed");
    assert_eq!(view.counters.failures, 1, "a completion does not reset the failures");
}

pub(crate) async fn an_attempt_without_a_record_is_only_counted(_: &dyn Harness, worker: Worker) {
    let without_record = |job: &retraced_jobs::store::ClaimedJob, verdict| Settlement {
        record: "".into(),
        ..worker.settlement(job, verdict)
    };
    let job = worker.run(&id("a")).await;
    worker.settle_all(&[without_record(&job, Verdict::ReleaseNow)]).await;
    let view = worker.view(&id("a")).await;
    assert_eq!((view.history.len(), view.collapsed, view.counters.attempts), (0, 1, 1));
    let job = worker.claim_one().await;
    assert_eq!(worker.view(&id("a")).await.collapsed, 1, "the running attempt is not among those without a record");
    worker.settle_all(&[without_record(&job, Verdict::Complete { keep: true })]).await;
    let view = worker.view(&id("a")).await;
    assert_eq!((view.history.len(), view.collapsed), (0, 2));

    let job = worker.run(&id("b")).await;
    worker.settle_all(&[without_record(&job, Verdict::Complete { keep: true })]).await;
    let view = worker.view(&id("b")).await;
    assert_eq!((view.state, view.counters.attempts), (JobState::Completed, 1));
    assert_eq!((view.history.len(), view.collapsed), (0, 1));
}

pub(crate) async fn an_unreadable_record_is_reported_as_such_and_hides_nothing_else(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.settle(&job, Verdict::Retry { delay: Duration::ZERO }).await;
    let job = worker.claim_one().await;
    let garbled = Settlement { record: vec![0xc1, 0xff].into(), ..worker.settlement(&job, Verdict::DeadLetter) };
    worker.settle_all(&[garbled]).await;
    let history = worker.view(&id("a")).await.history;
    assert_eq!(history.len(), 2);
    assert!(history[0].record.is_ok() && history[1].record.is_err(), "{history:?}");
    assert_eq!(worker.listed(JobState::Dead).await, [id("a")]);
}

pub(crate) async fn retries_join_the_back_and_released_jobs_the_front_in_their_order(_: &dyn Harness, worker: Worker) {
    let names = ids(8);
    worker.enqueue(&names).await;
    let jobs = worker.claim(6).await;
    let verdicts = [
        Verdict::Retry { delay: Duration::ZERO },
        Verdict::ReleaseNow,
        Verdict::Retry { delay: Duration::ZERO },
        Verdict::ReleaseNow,
        Verdict::ReleaseAfter { delay: Duration::ZERO },
        Verdict::ReleaseNow,
    ];
    let settlements: Vec<_> = jobs.iter().zip(verdicts).map(|(job, verdict)| worker.settlement(job, verdict)).collect();
    worker.settle_all(&settlements).await;
    let expected = [1, 3, 5, 6, 7, 0, 2, 4].map(|n| names[n].clone());
    assert_eq!(worker.listed(JobState::Pending).await, expected);
    let order: Vec<_> = worker.claim(9).await.into_iter().map(|job| job.id).collect();
    assert_eq!(order, expected);
}

pub(crate) async fn a_retry_is_never_overtaken_by_jobs_enqueued_after_it(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("soon"), id("later"), id("before")]).await;
    let jobs = worker.claim(2).await;
    worker.settle(&jobs[0], Verdict::Retry { delay: Duration::ZERO }).await;
    worker.settle(&jobs[1], Verdict::Retry { delay: SHORT }).await;
    worker.enqueue(&[id("between")]).await;
    harness.pass_short().await;
    worker.promote(9).await;
    worker.enqueue(&[id("after")]).await;
    let expected = ["before", "soon", "between", "later", "after"].map(id);
    let mut order = Vec::new();
    while let [job] = &worker.claim(1).await[..] {
        order.push(job.id.clone());
        // A steady stream of new jobs must not starve a retry.
        worker.enqueue(&[id(&format!("newcomer-{}", order.len()))]).await;
        if order.len() == expected.len() {
            break;
        }
    }
    assert_eq!(order, expected);
}

pub(crate) async fn jobs_of_several_claims_released_in_one_call_keep_the_order_of_the_call(
    _: &dyn Harness,
    worker: Worker,
) {
    let names = ids(4);
    worker.enqueue(&names).await;
    let (first, second) = (worker.claim(2).await, worker.claim(2).await);
    let mixed = [&first[1], &second[0], &first[0], &second[1]];
    let settlements: Vec<_> = mixed.iter().map(|job| worker.settlement(job, Verdict::ReleaseNow)).collect();
    worker.settle_all(&settlements).await;
    assert_eq!(worker.listed(JobState::Pending).await, mixed.map(|job| job.id.clone()));
}

pub(crate) async fn a_stale_token_changes_nothing_whatever_the_verdict(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&[id("taken")]).await;
    let old = worker.claim_for(1, SHORT).await.remove(0);
    harness.pass_short().await;
    let successor = harness.worker(2);
    assert_eq!(successor.reclaim(9).await.jobs.len(), 1);
    let held = successor.claim_one().await;
    let settled = worker.run(&id("settled")).await;
    worker.settle(&settled, Verdict::Complete { keep: true }).await;
    worker.enqueue(&[id("waiting")]).await;

    let before = worker.snapshot().await;
    let other_nonce = Token { nonce: [1; 8], ..held.token };
    let other_attempt = Token { attempt: held.token.attempt + 1, ..held.token };
    let cases: [(JobId, Token); 6] = [
        (id("taken"), old.token),
        (id("taken"), other_nonce),
        (id("taken"), other_attempt),
        (id("settled"), settled.token),
        (id("waiting"), held.token),
        (id("unknown"), held.token),
    ];
    let mut stale = 0;
    for (verdict, ..) in VERDICTS {
        let settlements: Vec<_> = cases
            .iter()
            .map(|(id, token)| Settlement { id: id.clone(), token: *token, verdict, record: "record".into() })
            .collect();
        assert_eq!(worker.settle_all(&settlements).await, [Settled::Stale; 6], "{verdict:?}");
        stale += 6;
        let mut after = worker.snapshot().await;
        assert_eq!(after.stats.stale_settlements_total, stale);
        after.stats.stale_settlements_total = 0;
        assert_eq!(after, before, "{verdict:?}");
    }
    assert_eq!(
        successor.settle(&held, Verdict::Complete { keep: true }).await,
        Settled::Done { state: JobState::Completed }
    );
}

pub(crate) async fn a_settlement_counts_after_the_lease_expired_unless_it_was_reclaimed(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.enqueue(&[id("a")]).await;
    let job = worker.claim_for(1, SHORT).await.remove(0);
    harness.pass_short().await;
    assert_eq!(
        worker.settle(&job, Verdict::Complete { keep: true }).await,
        Settled::Done { state: JobState::Completed }
    );
    assert_eq!(worker.stats().await.stale_settlements_total, 0);
}

pub(crate) async fn an_attempt_settled_twice_in_one_call_is_settled_once(_: &dyn Harness, worker: Worker) {
    let cases = [
        (Verdict::Complete { keep: true }, Verdict::Complete { keep: true }, JobState::Completed),
        (Verdict::Complete { keep: false }, Verdict::Complete { keep: false }, JobState::Completed),
        (Verdict::DeadLetter, Verdict::ReleaseNow, JobState::Dead),
        (Verdict::Retry { delay: LONG }, Verdict::Complete { keep: true }, JobState::Delayed),
        (Verdict::ReleaseNow, Verdict::ReleaseNow, JobState::Pending),
    ];
    for (n, (first, second, state)) in cases.into_iter().enumerate() {
        let worker = worker.in_queue(&format!("twice-{n}"));
        let job = worker.run(&id("a")).await;
        let settlements = [worker.settlement(&job, first), worker.settlement(&job, second)];
        let settled = worker.settle_all(&settlements).await;
        assert_eq!(settled, [Settled::Done { state }, Settled::Stale], "{first:?}, then {second:?}");
        let stats = worker.stats().await;
        let completed = u64::from(state == JobState::Completed);
        assert_eq!((stats.completed_total, stats.stale_settlements_total), (completed, 1), "{first:?}");
        assert_eq!((worker.check_counts().await.difference(), stats.processing), (0, 0));
    }
}

pub(crate) async fn a_job_whose_cancellation_was_requested_does_not_run_again(_: &dyn Harness, worker: Worker) {
    for (n, (verdict, state, failures, releases)) in VERDICTS.into_iter().enumerate() {
        let worker = worker.in_queue(&format!("asked-{n}"));
        let job = worker.run(&id("a")).await;
        assert_eq!(worker.cancel(&id("a")).await, Moved::Asked);
        assert!(worker.view(&id("a")).await.held_by.unwrap().cancel_asked);
        let runs_again = matches!(state, JobState::Pending | JobState::Delayed);
        let state = if runs_again { JobState::Cancelled } else { state };
        assert_eq!(worker.settle(&job, verdict).await, Settled::Done { state }, "{verdict:?}");
        let view = worker.view(&id("a")).await;
        assert_eq!(view.counters, Counters { attempts: 1, failures, crashes: 0, releases }, "{verdict:?}");
        let recorded = usize::from(!matches!(verdict, Verdict::Postpone { .. }));
        assert_eq!((view.state, view.history.len()), (state, recorded), "{verdict:?}");
        assert_eq!((worker.claim(9).await.len(), worker.check_counts().await.difference()), (0, 0), "{verdict:?}");
    }
}

pub(crate) async fn a_cancelled_job_that_is_redriven_runs_as_any_other(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.cancel(&id("a")).await;
    worker.settle(&job, Verdict::Cancel).await;
    worker.redrive(&id("a")).await;
    let job = worker.claim_one().await;
    assert!(
        !worker.view(&id("a")).await.held_by.unwrap().cancel_asked,
        "the cancellation was requested for the earlier attempt"
    );
    assert_eq!(worker.settle(&job, Verdict::ReleaseNow).await, Settled::Done { state: JobState::Pending });
}
