//! The progress that running handlers report.

use std::time::Duration;

use retraced_jobs::job::{JobId, JobState};
use retraced_jobs::store::{BATCH_MAX, Renewal, Report, Retention, RetentionRule, StoreError, TrimPolicy, Verdict};
use retraced_jobs::trace::{AttemptRecord, Progress};

use super::leases::{KEPT, successor_of_expired};
use super::{Harness, LONG, SHORT, Worker, id, ids};

/// What is shown of the latest progress: attempt, percent and note.
async fn shown(worker: &Worker, id: &JobId) -> Option<(u32, u8, String)> {
    let stored = worker.view(id).await.progress?;
    Some((stored.attempt, stored.progress.percent, stored.progress.note))
}

pub(crate) async fn a_report_renews_the_lease_and_shows_how_far_the_attempt_has_come(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(2)).await;
    let jobs = worker.claim_for(2, SHORT).await;
    worker.cancel(&jobs[1].id).await;
    let before_ms = worker.now_ms().await;
    let cancelled = Renewal::Kept { cancel_asked: true };
    assert_eq!(worker.report(LONG, &jobs, 10, "").await, [KEPT, cancelled]);
    assert_eq!(worker.report(LONG, &jobs[..1], 40, "é of 100").await, [KEPT]);
    assert_eq!(worker.report(LONG, &jobs[..1], 40, "é of 100").await, [KEPT], "sent again");

    let view = worker.view(&jobs[0].id).await;
    let stored = view.running_progress().unwrap().clone();
    assert_eq!((stored.attempt, &stored.progress), (1, &Progress::new(40, "é of 100")));
    assert!((before_ms..=view.now_ms).contains(&stored.at_ms), "{stored:?}");
    assert!(view.held_by.unwrap().expires_ms > view.now_ms + 1_000 * 60, "the lease was renewed");
    assert_eq!(shown(&worker, &jobs[1].id).await, Some((1, 10, String::new())));

    let listed = worker.store.jobs(&worker.queue, JobState::Processing, None, 9).await.unwrap().jobs;
    let listed: Vec<_> = listed.into_iter().map(|job| job.progress.map(|stored| stored.progress.percent)).collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&Some(40)) && listed.contains(&Some(10)), "{listed:?}");
}

pub(crate) async fn a_stale_report_never_overwrites_the_progress_of_the_next_attempt(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    worker.enqueue(&ids(3)).await;
    let mut old = worker.claim_for(3, SHORT).await;
    worker.report(SHORT, &old, 90, "of the first attempt").await;
    let (successor, held) = successor_of_expired(harness).await;
    assert_eq!(worker.view(&held[0].id).await.running_progress(), None, "the second attempt has reported nothing");
    let listed = worker.store.jobs(&worker.queue, JobState::Processing, None, 9).await.unwrap().jobs;
    assert_eq!(listed[0].progress, None, "that of the first attempt is not shown as that of the second");

    successor.report(LONG, &held, 5, "of the second attempt").await;
    let before = worker.snapshot().await;
    assert_eq!(
        worker.report(LONG * 2, &old, 95, "too late").await,
        [Renewal::Stale; 3],
        "one is leased to another worker, one is gone, one is pending"
    );
    old[0].token = held[0].token;
    old[0].token.attempt += 1;
    assert_eq!(worker.report(LONG * 2, &old[..1], 95, "too early").await, [Renewal::Stale]);
    assert_eq!(worker.snapshot().await, before);
    assert_eq!(shown(&worker, &held[0].id).await, Some((2, 5, "of the second attempt".into())));
}

/// A handler that reported has started, so its crash is counted.
pub(crate) async fn the_last_progress_of_a_crashed_attempt_stays_visible(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&[id("a")]).await;
    let jobs = worker.claim_for(1, SHORT).await;
    worker.report(SHORT, &jobs, 40, "40 of 100").await;
    harness.pass_short().await;
    let reclaimed = worker.reclaim(9).await.jobs;
    assert_eq!((reclaimed[0].crashes, reclaimed[0].counted), (1, true));
    let kept = |view: &retraced_jobs::store::JobView| view.progress_of(1).map(|progress| progress.percent);
    let view = worker.view(&id("a")).await;
    assert!(matches!(view.history[0].record, Ok(AttemptRecord::Crashed { .. })), "{view:?}");
    assert_eq!((kept(&view), view.running_progress()), (Some(40), None));

    // A later attempt without a report changes nothing, whatever its end.
    for verdict in [Verdict::Retry { delay: Duration::ZERO }, Verdict::ReleaseNow, Verdict::DeadLetter] {
        let job = worker.claim_one().await;
        worker.settle(&job, verdict).await;
        assert_eq!(kept(&worker.view(&id("a")).await), Some(40), "{verdict:?}");
    }
    worker.redrive(&id("a")).await;
    let job = worker.claim_one().await;
    worker.report(LONG, std::slice::from_ref(&job), 70, "").await;
    worker.settle(&job, Verdict::Complete { keep: true }).await;
    assert_eq!(shown(&worker, &id("a")).await, Some((5, 70, String::new())), "the latest report");
}

pub(crate) async fn progress_never_outlives_its_job(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    let report = async |lease, percent| {
        let jobs = worker.claim_for(1, lease).await;
        assert_eq!(worker.report(lease, &jobs, percent, "note").await, [KEPT]);
        jobs
    };
    // The ways in which a job is deleted. The scan after each test finds what they leave behind.
    for deletion in ["completion", "completion after a crash", "discard", "trim", "trim of a completed job"] {
        worker.enqueue(&[id("a")]).await;
        match deletion {
            "completion" => {
                let jobs = report(LONG, 1).await;
                worker.settle(&jobs[0], Verdict::Complete { keep: false }).await;
            }
            "completion after a crash" => {
                report(SHORT, 1).await;
                harness.pass_short().await;
                assert_eq!(worker.reclaim(9).await.jobs.len(), 1);
                let job = worker.claim_one().await;
                worker.settle(&job, Verdict::Complete { keep: false }).await;
            }
            "discard" => {
                let jobs = report(LONG, 1).await;
                worker.settle(&jobs[0], Verdict::DeadLetter).await;
                worker.discard(&id("a")).await;
            }
            _ => {
                let jobs = report(LONG, 1).await;
                let completed = deletion == "trim of a completed job";
                let verdict = if completed { Verdict::Complete { keep: true } } else { Verdict::DeadLetter };
                worker.settle(&jobs[0], verdict).await;
                let none = RetentionRule::new(Duration::ZERO, 0);
                let retention = Retention::default().dead(none).completed(none);
                assert_eq!(worker.trim(&TrimPolicy { retention, limit: 10 }).await.removed, 1);
            }
        }
        assert_eq!(worker.find(&id("a")).await, None, "after a {deletion}");
        worker.enqueue(&[id("a")]).await;
        assert_eq!(shown(&worker, &id("a")).await, None, "after a {deletion}");
        worker.discard(&id("a")).await;
    }
}

pub(crate) async fn a_report_of_more_than_a_batch_is_refused(_: &dyn Harness, worker: Worker) {
    let all = ids(BATCH_MAX);
    worker.enqueue(&all).await;
    let jobs = worker.claim(BATCH_MAX).await;
    assert_eq!(worker.report(LONG, &jobs, 1, &"n".repeat(512)).await, vec![KEPT; BATCH_MAX]);
    let report = Report { lease: jobs[0].lease(worker.instance), progress: Progress::new(1, "") };
    let refused = worker.store.report(&worker.queue, LONG, &vec![report; BATCH_MAX + 1]).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "report", .. }), "{refused:?}");
    assert_eq!(worker.report(LONG, &[], 1, "").await, []);
}
