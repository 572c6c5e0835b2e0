//! Leasing jobs.

use std::time::Duration;

use retraced_jobs::job::{Counters, JobState, NewJob, RunAt};
use retraced_jobs::store::{BATCH_MAX, ClaimRequest, ClaimedJob, HEADER_BYTES, StoreError, Verdict};

use super::{Harness, LONG, Worker, id, ids};

pub(crate) async fn jobs_are_claimed_in_the_order_they_were_enqueued(_: &dyn Harness, worker: Worker) {
    let names = ids(7);
    worker.enqueue(&names[..3]).await;
    worker.enqueue(&names[3..]).await;
    let mut order = Vec::new();
    for limit in [2, 1, 3, 9] {
        order.extend(worker.claim(limit).await.into_iter().map(|job| job.id));
    }
    assert_eq!(order, names);
    assert_eq!(worker.claim(1).await, []);
}

pub(crate) async fn a_claim_that_finds_nothing_reports_when_the_next_delayed_job_is_due(
    _: &dyn Harness,
    worker: Worker,
) {
    let next_due = async || worker.claims(&worker.request(5, LONG)).await.queue_empty.map(|empty| empty.next_due);
    assert_eq!(next_due().await, Some(None), "nothing is delayed");
    worker.put_at(&id("late"), RunAt::After(Duration::from_secs(90))).await;
    worker.put_at(&id("soon"), RunAt::After(Duration::from_secs(60))).await;
    let due_in = next_due().await.flatten().unwrap();
    assert!((50..=60).contains(&due_in.as_secs()), "{due_in:?}");

    // A claim that was granted jobs, or left some behind, does not report when delayed jobs are due.
    worker.enqueue(&ids(6)).await;
    assert_eq!((next_due().await, next_due().await), (None, None));
    assert!(next_due().await.is_some(), "the last pending job has been claimed");
    worker.enqueue(&[id("held")]).await;
    worker.pause().await;
    assert_eq!(next_due().await, None, "a paused queue is not reported as empty");
}

/// A call may be sent again much later: what its first copy found is out of date then.
pub(crate) async fn a_claim_sent_again_does_not_report_whether_its_queue_is_empty(_: &dyn Harness, worker: Worker) {
    let (call, request) = (worker.call(), worker.request(5, LONG));
    let empty = async || worker.store.claim(call, &worker.queue, &request).await.unwrap().queue_empty;
    assert!(empty().await.is_some());
    assert_eq!(empty().await, None);
}

pub(crate) async fn claims_that_ask_for_it_are_numbered_in_the_order_in_which_they_are_applied(
    _: &dyn Harness,
    worker: Worker,
) {
    worker.enqueue(&ids(5)).await;
    let numbered = |limit| ClaimRequest { numbered: true, ..worker.request(limit, LONG) };
    let (call, request) = (worker.call(), numbered(1));
    let claim = async || worker.store.claim(call, &worker.queue, &request).await.unwrap().number.unwrap();
    let first = claim().await;
    assert_eq!(claim().await, first, "sent again");
    assert_eq!(worker.claims(&worker.request(1, LONG)).await.number, None, "it asked for no number");
    assert_eq!(worker.claims(&numbered(0)).await.number, None, "it asked for no job");
    assert_eq!(worker.claims(&numbered(1)).await.number, Some(first + 1));

    let (call, request) = (worker.call(), numbered(9));
    let settle_and_claim = async || {
        let (_, claims) = worker.store.settle_and_claim(call, &worker.queue, &[], &request).await.unwrap();
        (claims.number, claims.jobs.len())
    };
    assert_eq!(settle_and_claim().await, (Some(first + 2), 2));
    assert_eq!(settle_and_claim().await, (Some(first + 2), 2), "sent again");
    let (_, claims) = worker.store.settle_and_claim(worker.call(), &worker.queue, &[], &numbered(9)).await.unwrap();
    assert_eq!(claims.number, None, "nothing was left");
}

pub(crate) async fn a_claimed_job_carries_its_token_and_its_counters(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a")]).await;
    let request = worker.request(5, Duration::from_secs(30));
    let claims = worker.claims(&request).await;
    assert_eq!((claims.jobs.len(), claims.paused), (1, false));
    assert_eq!(claims.expires_ms, claims.now_ms + 30_000);
    let job = &claims.jobs[0];
    assert_eq!((job.token.attempt, job.token.nonce), (1, request.nonce));
    assert_eq!(job.counters, Counters { attempts: 1, ..Counters::default() });
    assert_eq!(job.envelope, "sealed a");

    let view = worker.view(&id("a")).await;
    assert_eq!((view.state, view.counters), (JobState::Processing, job.counters));
    assert_eq!((view.enqueued_ms, view.at_ms), (Some(job.enqueued_ms), Some(claims.expires_ms)));
    let holder = view.held_by.unwrap();
    assert_eq!((holder.instance, holder.attempt), (worker.instance, 1));
    assert_eq!((holder.claimed_ms, holder.expires_ms, holder.cancel_asked), (claims.now_ms, claims.expires_ms, false));
    assert_eq!((worker.stats().await.pending, worker.stats().await.processing), (0, 1));
}

pub(crate) async fn every_grant_counts_as_an_attempt_whatever_its_verdict(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a")]).await;
    let verdicts = [
        Verdict::Retry { delay: Duration::ZERO },
        Verdict::ReleaseNow,
        Verdict::ReleaseAfter { delay: Duration::ZERO },
        Verdict::Retry { delay: Duration::ZERO },
    ];
    for (n, verdict) in (1..).zip(verdicts) {
        let job = worker.claim_one().await;
        assert_eq!((job.token.attempt, job.counters.attempts), (n, n));
        worker.settle(&job, verdict).await;
        assert_eq!(worker.view(&id("a")).await.counters.attempts, n);
    }
    let counters = worker.claim_one().await.counters;
    assert_eq!(counters, Counters { attempts: 5, failures: 2, crashes: 0, releases: 2 });
}

/// Once with jobs that were only enqueued, once with jobs that have run before.
pub(crate) async fn a_claim_stays_within_its_bytes_but_grants_one_job_of_any_size(_: &dyn Harness, worker: Worker) {
    for ran_before in [false, true] {
        let worker = worker.in_queue(&format!("ran-before-{ran_before}"));
        let names = ids(5);
        for (name, size) in names.iter().zip([100, 100, 500, 100, 100]) {
            worker.put(NewJob { id: name.clone(), run_at: RunAt::Now, envelope: vec![7; size].into() }).await;
        }
        if ran_before {
            for job in worker.claim(5).await {
                worker.settle(&job, Verdict::Retry { delay: Duration::ZERO }).await;
            }
        }
        let two = 2 * (100 + HEADER_BYTES);
        let steps = [(two, 2, true), (two, 1, true), (two - 1, 1, true), (0, 1, false), (usize::MAX, 0, false)];
        let mut order = Vec::new();
        for (bytes_max, expected, full) in steps {
            let request = ClaimRequest { bytes_max, ..worker.request(9, LONG) };
            let claims = worker.claims(&request).await;
            assert_eq!(
                (claims.jobs.len(), claims.full, claims.more),
                (expected, full, false),
                "with {bytes_max} bytes"
            );
            order.extend(claims.jobs.into_iter().map(|job| job.id));
        }
        assert_eq!(order, names, "a job that does not fit keeps its place");
    }
}

pub(crate) async fn a_paused_queue_grants_nothing_and_does_everything_else(_: &dyn Harness, worker: Worker) {
    let running = worker.run(&id("running")).await;
    assert!(!worker.pause().await);
    assert!(worker.pause().await, "it was paused before");
    assert!(worker.stats().await.paused);

    worker.enqueue(&[id("waiting")]).await;
    let claims = worker.claims(&worker.request(1, LONG)).await;
    assert!(claims.paused && claims.jobs.is_empty());
    let settlements = [worker.settlement(&running, Verdict::ReleaseNow)];
    let (settled, claims) = worker
        .store
        .settle_and_claim(worker.call(), &worker.queue, &settlements, &worker.request(9, LONG))
        .await
        .unwrap();
    assert_eq!(settled.len(), 1);
    assert!(claims.paused && claims.jobs.is_empty());
    assert_eq!(worker.listed(JobState::Pending).await, [id("running"), id("waiting")]);

    assert!(worker.resume().await);
    assert!(!worker.resume().await);
    assert_eq!(worker.claim(9).await.len(), 2);
}

pub(crate) async fn a_claim_with_limit_zero_grants_nothing_and_one_over_the_bound_is_refused(
    _: &dyn Harness,
    worker: Worker,
) {
    worker.enqueue(&[id("a")]).await;
    assert_eq!(worker.claim(0).await, []);
    let request = worker.request(BATCH_MAX + 1, LONG);
    let refused = worker.store.claim(worker.call(), &worker.queue, &request).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "claim", .. }), "{refused:?}");
    let refused = worker.store.settle_and_claim(worker.call(), &worker.queue, &[], &request).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "settle_and_claim", .. }), "{refused:?}");
    assert_eq!(worker.stats().await.pending, 1);
}

pub(crate) async fn a_full_batch_can_be_claimed_and_settled_at_once(_: &dyn Harness, worker: Worker) {
    let names = ids(BATCH_MAX);
    worker.enqueue(&names).await;
    let jobs = worker.claim(BATCH_MAX).await;
    assert_eq!(jobs.iter().map(|job| &job.id).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    let settlements: Vec<_> = jobs.iter().map(|job| worker.settlement(job, Verdict::ReleaseNow)).collect();
    let settled = worker.settle_all(&settlements).await;
    assert!(settled.iter().all(|settled| *settled == retraced_jobs::store::Settled::Done { state: JobState::Pending }));
    assert_eq!(worker.listed(JobState::Pending).await, names);
}

pub(crate) async fn settle_and_claim_settles_before_it_claims(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a"), id("b")]).await;
    let first = worker.claim(1).await;
    let settlements = [worker.settlement(&first[0], Verdict::ReleaseNow)];
    let request = worker.request(1, LONG);
    let (settled, claims) =
        worker.store.settle_and_claim(worker.call(), &worker.queue, &settlements, &request).await.unwrap();
    assert_eq!(settled, [retraced_jobs::store::Settled::Done { state: JobState::Pending }]);
    assert_eq!(claims.jobs.len(), 1);
    assert_eq!((&claims.jobs[0].id, claims.jobs[0].token.attempt), (&id("a"), 2));
    assert_eq!(claims.jobs[0].counters.releases, 1);

    let settlements = [worker.settlement(&claims.jobs[0], Verdict::Complete { keep: false })];
    let request = worker.request(9, LONG);
    let (settled, claims) =
        worker.store.settle_and_claim(worker.call(), &worker.queue, &settlements, &request).await.unwrap();
    assert_eq!(settled, [retraced_jobs::store::Settled::Done { state: JobState::Completed }]);
    assert_eq!(claims.jobs.iter().map(|job| &job.id).collect::<Vec<_>>(), [&id("b")]);
}

/// Only the retry state of a cancelled job tells that its entry is stale, so claims must look for it whatever retry states the queue holds.
pub(crate) async fn a_cancelled_job_is_never_granted_whatever_was_retried_before(_: &dyn Harness, worker: Worker) {
    let retry = |delay| Verdict::Retry { delay };
    let cancelled_before_live = async |round: u64| {
        let [gone, live] = ["gone", "live"].map(|name| id(&format!("{name}-{round}")));
        worker.enqueue(&[gone.clone(), live.clone()]).await;
        worker.cancel(&gone).await;
        (gone, live)
    };
    let names = |jobs: Vec<ClaimedJob>| jobs.into_iter().map(|job| job.id).collect::<Vec<_>>();
    // No job was retried so far.
    let (gone, live) = cancelled_before_live(0).await;
    assert_eq!(names(worker.claim(2).await), [live]);
    // Every job that had a retry state is gone: first the cancelled one, then one that was retried.
    worker.discard(&gone).await;
    worker.enqueue(&[id("retried")]).await;
    for verdict in [retry(Duration::ZERO), Verdict::Complete { keep: false }] {
        worker.settle(&worker.claim_one().await, verdict).await;
    }
    for round in [1, 2] {
        let (gone, live) = cancelled_before_live(round).await;
        assert_eq!(names(worker.claim(2).await), [live]);
        worker.discard(&gone).await;
    }
    // Another job has a retry state.
    worker.enqueue(&[id("waits")]).await;
    worker.settle(&worker.claim_one().await, retry(LONG)).await;
    let (gone, live) = cancelled_before_live(3).await;
    assert_eq!(names(worker.claim(2).await), [live]);
    for job in [&id("waits"), &gone] {
        worker.discard(job).await;
    }
    // The settlement in the same call writes the first retry state.
    let job = worker.run(&id("released")).await;
    let released = [worker.settlement(&job, Verdict::ReleaseNow)];
    let request = worker.request(2, LONG);
    let (_, claims) = worker.store.settle_and_claim(worker.call(), &worker.queue, &released, &request).await.unwrap();
    let counters: Vec<_> = claims.jobs.iter().map(|job| (job.id.clone(), job.counters.attempts)).collect();
    assert_eq!(counters, [(id("released"), 2)]);
    assert_eq!(worker.check_counts().await.difference(), 0);
}
