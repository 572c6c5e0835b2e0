//! What handlers report while they run.

use std::time::Duration;

use retraced_actors::limits::PROGRESS_INTERVAL;
use retraced_jobs::job::JobState;
use retraced_jobs::trace::{AttemptRecord, Progress};

use crate::support::{Action, Fault, Harness, Verb, Work, millis, secs};

/// 10,000 reports in 10 s.
const REPORTS: u32 = 10_000;

#[tokio::test(start_paused = true)]
async fn ten_thousand_reports_cause_no_more_than_one_call_per_interval_for_all_jobs() {
    let harness = Harness::start().await;
    let ids = harness.enqueue_many("job", 4, &Work::then(Action::ReportAndHang(REPORTS))).await;
    harness.until("all run", || harness.recorder.running() == 4).await;
    assert_eq!(harness.store.calls(Verb::Report), 0, "the first interval is not over");
    harness.until("all is reported", || ids.iter().all(|id| reached(&harness, id) == 100)).await;
    let calls = harness.store.calls(Verb::Report);
    let intervals = Duration::from_millis(REPORTS.into()).as_secs() / PROGRESS_INTERVAL.as_secs();
    assert!((2..=intervals as usize + 1).contains(&calls), "{calls} calls");
    assert!(harness.store.calls(Verb::Renew) < 4, "no more renewals than without reports");

    tokio::time::sleep(20 * PROGRESS_INTERVAL).await;
    assert_eq!(harness.store.calls(Verb::Report), calls, "there was nothing new to report");
    harness.close().await;
}

/// The percentage that the store was told last; 0 if none.
fn reached(harness: &Harness, id: &retraced_jobs::job::JobId) -> u8 {
    harness.view(id).running_progress().map_or(0, |stored| stored.progress.percent)
}

#[tokio::test(start_paused = true)]
async fn the_last_progress_of_a_failed_attempt_is_kept_and_the_next_attempt_begins_without() {
    let harness = Harness::start().await;
    let work = Work::then(Action::ReportAndFail(3_000)).and(secs(30), Action::Succeed);
    let id = harness.enqueue("one", work).await;
    harness.until("it has failed", || harness.recorder.of(&id).len() == 2).await;
    let view = harness.view(&id);
    assert_eq!(view.progress_of(1), Some(&Progress::new(100, "3000 of 3000")), "the last report, not the last call");
    assert!(view.progress.as_ref().unwrap().progress.percent < 100, "{view:?}");
    assert_eq!((view.running_progress(), view.progress_of(2)), (None, None));
    harness.until_state(&id, JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_that_hangs_or_is_refused_lets_no_lease_expire_and_is_made_again() {
    for fault in [Fault::NeverAnswered, Fault::RequestLost, Fault::Refused, Fault::Panic] {
        let harness = Harness::build().options(|options| options.lease = secs(6)).start().await;
        harness.store.fault_on_call(Verb::Report, 1, fault);
        let id = harness.enqueue("one", Work::then(Action::ReportAndHang(10))).await;
        harness.until("it is made again", || reached(&harness, &id) == 100).await;
        tokio::time::sleep(secs(20)).await;
        assert_eq!(harness.recorder.of(&id).len(), 1, "{fault:?}");
        assert_eq!(harness.view(&id).counters.crashes, 0, "{fault:?}");
        harness.close().await;
    }
}

/// Its worker dies between two reports.
#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_reported_stays_with_its_attempt() {
    let build = || Harness::build().options(|options| options.lease = secs(6));
    let first = build().start().await;
    let work = Work::then(Action::ReportAndHang(10)).and(millis(1), Action::FailPermanent);
    let id = first.enqueue("one", work).await;
    first.until("it is reported", || reached(&first, &id) == 100).await;
    first.tree.kill("retraced");
    first.tree.wait().await;
    let second = build().sharing_store(&first).start().await;
    second.until_state(&id, JobState::Poisoned).await;
    let view = second.view(&id);
    assert!(matches!(view.history[0].record, Ok(AttemptRecord::Crashed { .. })), "its handler had started: {view:?}");
    assert_eq!(view.progress_of(1), Some(&Progress::new(100, "10 of 10")));
    second.close().await;
    first.assert_clean();
}
