//! A process that runs out of something: its jobs do not pay for it.

use retraced_jobs::events::EventKind;
use retraced_jobs::failure::Resource;
use retraced_jobs::job::JobState;

use crate::support::{Action, Harness, Work, millis, secs};

/// Goal: jobs for which the process has no open file are not charged, and do not keep the executors busy. Method: for a while every attempt fails so.
#[tokio::test(start_paused = true)]
async fn a_process_without_open_files_does_not_use_up_its_jobs() {
    let harness = Harness::build().concurrency(2).start().await;
    let mut work = Work::then(Action::FailWithoutFiles);
    for _ in 0..4 {
        work = work.and(millis(0), Action::FailWithoutFiles);
    }
    let work = work.and(millis(0), Action::Succeed);
    let ids = harness.enqueue_many("job", 20, &work).await;
    harness.until_all(&ids, JobState::Completed).await;
    let stats = harness.stats();
    assert_eq!((stats.failures_total, stats.dead), (0, 0), "{stats:?}");
    assert_eq!(harness.recorder.count(), 20 * 6, "every job ran until the process had files again");
    let reported = |kind: &EventKind| matches!(kind, EventKind::OutOfResources { resource: Resource::OpenFiles, .. });
    assert_eq!(harness.count(reported), 1, "it is reported once, not for every attempt");
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_executor_without_open_files_does_not_take_job_after_job() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.enqueue_many("job", 200, &Work::then(Action::FailWithoutFiles)).await;
    tokio::time::sleep(secs(10)).await;
    // Pauses of 0.1, 0.2, 0.4 … 5 s.
    let attempts = harness.recorder.count();
    assert!((5..=9).contains(&attempts), "{attempts} attempts");
    let stats = harness.stats();
    assert!(stats.releases_total <= 12, "jobs are claimed that no executor can take: {stats:?}");
    harness.close().await;
}
