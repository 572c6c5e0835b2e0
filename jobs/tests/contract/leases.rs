//! Keeping what is held.

use retraced_jobs::store::{BATCH_MAX, Renewal, StoreError, Verdict};

use super::{Harness, LONG, SHORT, Worker, id, ids};

pub(super) const KEPT: Renewal = Renewal::Kept { cancel_asked: false };

pub(crate) async fn a_renewed_lease_lasts_from_the_renewal(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&ids(2)).await;
    let jobs = worker.claim_for(2, SHORT).await;
    let held = [jobs[0].lease(worker.instance)];
    let renewed = worker.store.renew(&worker.queue, LONG, &held).await.unwrap();
    assert_eq!(renewed.results, [KEPT]);
    let expires_ms = worker.view(&jobs[0].id).await.claimant.unwrap().expires_ms;
    assert_eq!(expires_ms, renewed.now_ms + u64::try_from(LONG.as_millis()).unwrap());
    harness.pass_short().await;
    let taken: Vec<_> = worker.reclaim(9).await.jobs.into_iter().map(|job| job.id).collect();
    assert_eq!(taken, [jobs[1].id.clone()]);
}

pub(crate) async fn an_expired_lease_can_be_renewed_until_it_is_reclaimed(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&[id("a")]).await;
    let jobs = worker.claim_for(1, SHORT).await;
    harness.pass_short().await;
    assert_eq!(worker.renew(SHORT, &jobs).await, [KEPT]);
    harness.pass_short().await;
    assert_eq!(worker.reclaim(9).await.jobs.len(), 1);
    assert_eq!(worker.renew(LONG, &jobs).await, [Renewal::Stale]);
}

pub(crate) async fn a_stale_renewal_never_extends_another_lease(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&ids(3)).await;
    let mut late = worker.claim_for(3, SHORT).await;
    harness.pass_short().await;
    let thief = harness.worker(2);
    thief.reclaim(9).await;
    let held = thief.claim(1).await;
    let gone = thief.claim(1).await;
    thief.settle(&gone[0], Verdict::Complete { keep: false }).await;
    let before = worker.snapshot().await;
    assert_eq!(worker.renew(LONG * 2, &late).await, [Renewal::Stale; 3], "held by another, gone, waiting");
    late[0].token = held[0].token;
    late[0].token.attempt += 1;
    assert_eq!(worker.renew(LONG * 2, &late[..1]).await, [Renewal::Stale]);
    assert_eq!(worker.snapshot().await, before);
    assert_eq!(thief.renew(LONG, &held).await, [KEPT]);
}

pub(crate) async fn a_renewal_reports_a_requested_cancellation(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(2)).await;
    let jobs = worker.claim(2).await;
    worker.cancel(&jobs[1].id).await;
    for _ in 0..2 {
        assert_eq!(worker.renew(LONG, &jobs).await, [KEPT, Renewal::Kept { cancel_asked: true }]);
    }
}

pub(crate) async fn a_begin_extends_a_lease_as_a_renewal_does_and_a_stale_one_changes_nothing(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    worker.enqueue(&ids(2)).await;
    let late = worker.claim_for(1, SHORT).await;
    harness.pass_short().await;
    let thief = harness.worker(2);
    thief.reclaim(9).await;
    let held = thief.claim_for(2, SHORT).await;
    let before = worker.snapshot().await;
    assert_eq!(worker.begin(LONG, &late).await, [Renewal::Stale]);
    assert_eq!(worker.snapshot().await, before);
    for _ in 0..2 {
        assert_eq!(thief.begin(LONG, &held[..1]).await, [KEPT]);
    }
    harness.pass_short().await;
    let taken: Vec<_> = worker.reclaim(9).await.jobs.into_iter().map(|job| (job.id, job.charged)).collect();
    assert_eq!(taken, [(held[1].id.clone(), false)]);
    worker.cancel(&held[0].id).await;
    assert_eq!(thief.renew(SHORT, &held[..1]).await, [Renewal::Kept { cancel_asked: true }]);
    harness.pass_short().await;
    assert!(worker.reclaim(9).await.jobs[0].charged, "a wish to cancel hides no crash");
}

pub(crate) async fn renewals_come_in_batches_and_an_empty_one_returns_the_time(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(BATCH_MAX)).await;
    let jobs = worker.claim(BATCH_MAX).await;
    assert_eq!(worker.renew(LONG, &jobs).await, vec![KEPT; BATCH_MAX]);
    let too_many: Vec<_> = jobs.iter().chain(&jobs[..1]).map(|job| job.lease(worker.instance)).collect();
    let refused = worker.store.renew(&worker.queue, LONG, &too_many).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "renew", .. }), "{refused:?}");
    let first = worker.now_ms().await;
    assert!(first > 0 && worker.now_ms().await >= first);
}
