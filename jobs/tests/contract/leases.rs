//! Renewing leases, and recording the starts of handlers.

use retraced_jobs::store::{BATCH_MAX, ClaimedJob, Renewal, StoreError, Verdict};

use super::{Harness, LONG, SHORT, Worker, id, ids};

pub(super) const KEPT: Renewal = Renewal::Kept { cancel_asked: false };

/// Lets three short leases expire. The worker returned holds the first job; the second one is completed and gone, the third is pending.
pub(super) async fn successor_of_expired(harness: &dyn Harness) -> (Worker, Vec<ClaimedJob>) {
    harness.pass_short().await;
    let successor = harness.worker(2);
    successor.reclaim(9).await;
    let held = successor.claim(1).await;
    let gone = successor.claim(1).await;
    successor.settle(&gone[0], Verdict::Complete { keep: false }).await;
    (successor, held)
}

pub(crate) async fn a_renewed_lease_runs_from_the_time_of_its_renewal(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&ids(2)).await;
    let jobs = worker.claim_for(2, SHORT).await;
    let held = [jobs[0].lease(worker.instance)];
    let renewed = worker.store.renew(&worker.queue, LONG, &held).await.unwrap();
    assert_eq!(renewed.results, [KEPT]);
    let holder = worker.view(&jobs[0].id).await.held_by.unwrap();
    assert_eq!(holder.expires_ms, renewed.now_ms + u64::try_from(LONG.as_millis()).unwrap());
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
    let mut old = worker.claim_for(3, SHORT).await;
    let (successor, held) = successor_of_expired(harness).await;
    let before = worker.snapshot().await;
    assert_eq!(
        worker.renew(LONG * 2, &old).await,
        [Renewal::Stale; 3],
        "one is leased to another worker, one is gone, one is pending"
    );
    old[0].token = held[0].token;
    old[0].token.attempt += 1;
    assert_eq!(worker.renew(LONG * 2, &old[..1]).await, [Renewal::Stale]);
    assert_eq!(worker.snapshot().await, before);
    assert_eq!(successor.renew(LONG, &held).await, [KEPT]);
}

pub(crate) async fn a_renewal_reports_a_requested_cancellation(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(2)).await;
    let jobs = worker.claim(2).await;
    worker.cancel(&jobs[1].id).await;
    for _ in 0..2 {
        assert_eq!(worker.renew(LONG, &jobs).await, [KEPT, Renewal::Kept { cancel_asked: true }]);
    }
}

pub(crate) async fn recording_a_start_renews_the_lease_and_changes_nothing_with_a_stale_token(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    worker.enqueue(&ids(2)).await;
    let old = worker.claim_for(1, SHORT).await;
    harness.pass_short().await;
    let successor = harness.worker(2);
    successor.reclaim(9).await;
    let held = successor.claim_for(2, SHORT).await;
    let before = worker.snapshot().await;
    assert_eq!(worker.begin(LONG, &old).await, [Renewal::Stale]);
    assert_eq!(worker.snapshot().await, before);
    for _ in 0..2 {
        assert_eq!(successor.begin(LONG, &held[..1]).await, [KEPT]);
    }
    harness.pass_short().await;
    let taken: Vec<_> = worker.reclaim(9).await.jobs.into_iter().map(|job| (job.id, job.counted)).collect();
    assert_eq!(taken, [(held[1].id.clone(), false)]);
    worker.cancel(&held[0].id).await;
    assert_eq!(successor.renew(SHORT, &held[..1]).await, [Renewal::Kept { cancel_asked: true }]);
    harness.pass_short().await;
    assert!(worker.reclaim(9).await.jobs[0].counted, "a requested cancellation hides no crash");
}

pub(crate) async fn a_renewal_takes_a_full_batch_and_an_empty_one_returns_the_time(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(BATCH_MAX)).await;
    let jobs = worker.claim(BATCH_MAX).await;
    assert_eq!(worker.renew(LONG, &jobs).await, vec![KEPT; BATCH_MAX]);
    let too_many: Vec<_> = jobs.iter().chain(&jobs[..1]).map(|job| job.lease(worker.instance)).collect();
    let refused = worker.store.renew(&worker.queue, LONG, &too_many).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "renew", .. }), "{refused:?}");
    let first = worker.now_ms().await;
    assert!(first > 0 && worker.now_ms().await >= first);
}
