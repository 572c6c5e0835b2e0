//! Trimming ended jobs by the retention policy.

use std::time::Duration;

use retraced_jobs::job::JobState;
use retraced_jobs::store::{BATCH_MAX, Retention, RetentionRule, StoreError, TrimPolicy, Trimmed, Verdict};

use super::{Harness, LONG, SHORT, Worker, id, ids};

const FINAL: [JobState; 4] = [JobState::Completed, JobState::Dead, JobState::Poisoned, JobState::Cancelled];

fn keep(age_max: Duration, count_max: u64) -> Retention {
    let rule = RetentionRule::new(age_max, count_max);
    Retention::default().completed(rule).dead(rule).poisoned(rule).cancelled(rule)
}

fn trimmed(removed: usize, more: bool) -> Trimmed {
    let mut trimmed = Trimmed::default();
    (trimmed.removed, trimmed.more) = (removed, more);
    trimmed
}

pub(crate) async fn jobs_beyond_the_age_limit_are_trimmed(harness: &dyn Harness, worker: Worker) {
    for state in FINAL {
        worker.bring(harness, &id(&format!("old-{state}")), state).await;
    }
    harness.pass_short().await;
    let waiting = [JobState::Processing, JobState::Pending];
    for state in waiting {
        worker.bring(harness, &id(&format!("live-{state}")), state).await;
    }
    assert_eq!(worker.trim(&TrimPolicy { retention: keep(LONG, 99), limit: 9 }).await, trimmed(0, false));
    assert_eq!(worker.trim(&TrimPolicy { retention: keep(SHORT, 99), limit: 9 }).await, trimmed(4, false));
    for state in FINAL {
        assert_eq!(worker.listed(state).await, []);
        assert_eq!(worker.find(&id(&format!("old-{state}"))).await, None);
    }
    for state in waiting {
        assert_eq!(worker.listed(state).await.len(), 1);
    }
    assert_eq!(worker.stats().await.trimmed_total, 4);
}

pub(crate) async fn jobs_beyond_the_count_limit_are_trimmed_oldest_first_in_batches(
    harness: &dyn Harness,
    worker: Worker,
) {
    for state in FINAL {
        for name in ids(4) {
            worker.bring(harness, &id(&format!("{state}-{name}")), state).await;
            harness.advance(Duration::from_millis(2)).await;
        }
    }
    let policy = TrimPolicy { retention: keep(LONG, 1), limit: 5 };
    let left = async || {
        let stats = worker.stats().await;
        [stats.completed_kept, stats.dead, stats.poisoned, stats.cancelled]
    };
    let slices = [(5, true, [1, 2, 4, 4]), (5, true, [1, 1, 1, 3]), (2, false, [1, 1, 1, 1]), (0, false, [1, 1, 1, 1])];
    for (removed, more, kept) in slices {
        assert_eq!(worker.trim(&policy).await, trimmed(removed, more));
        assert_eq!(left().await, kept);
        assert_eq!(worker.check_counts().await.difference(), 0);
    }
    for state in FINAL {
        assert_eq!(worker.listed(state).await, [id(&format!("{state}-job-0003"))], "the latest job is kept");
    }
    assert_eq!(worker.stats().await.trimmed_total, 12);
}

pub(crate) async fn all_completed_jobs_are_trimmed_when_retention_keeps_none(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(3)).await;
    for job in worker.claim(3).await {
        worker.settle(&job, Verdict::Complete { keep: true }).await;
    }
    let job = worker.run(&id("dead")).await;
    worker.settle(&job, Verdict::DeadLetter).await;
    let policy = TrimPolicy { retention: Retention::default().without_completed(), limit: 2 };
    assert_eq!(worker.trim(&TrimPolicy { limit: 0, ..policy }).await, trimmed(0, true));
    assert_eq!(worker.trim(&TrimPolicy { limit: 1, ..policy }).await, trimmed(1, true));
    assert_eq!(worker.trim(&policy).await, trimmed(2, false));
    let stats = worker.stats().await;
    assert_eq!((stats.completed_kept, stats.completed_total, stats.dead), (0, 3, 1));
    let too_many = TrimPolicy { limit: BATCH_MAX + 1, ..policy };
    let refused = worker.store.trim(worker.call(), &worker.queue, &too_many).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "trim", .. }), "{refused:?}");
}

pub(crate) async fn a_trimmed_id_can_be_used_by_a_new_job(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.settle(&job, Verdict::Poison).await;
    worker.trim(&TrimPolicy { retention: keep(LONG, 0), limit: 9 }).await;
    let job = worker.run(&id("a")).await;
    assert_eq!((job.token.attempt, job.counters.failures), (1, 0));
    assert!(worker.view(&id("a")).await.history.is_empty());
}
