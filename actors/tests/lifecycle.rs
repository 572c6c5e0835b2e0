//! The lifecycle of a job in a healthy tree.

use retraced_jobs::context::Stop;
use retraced_jobs::events::EventKind;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{JobState, Kind, RunAt};
use retraced_jobs::retry::OnUnknown;
use retraced_jobs::typed_job::JobOptions;
use tokio::time::Instant;

use crate::support::{Action, Harness, RunEnd, Work, millis, secs};

#[tokio::test(start_paused = true)]
async fn a_job_runs_once_and_is_completed() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    let runs = harness.recorder.of(&id);
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].grant, runs[0].attempt), (1, 1));
    let counters = harness.view(&id).counters;
    assert_eq!((counters.attempts, counters.failures, counters.crashes, counters.releases), (1, 0, 0, 0));
    let report = harness.close().await;
    assert_eq!((report.running, report.killed), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_enqueued_job_starts_at_once_when_an_executor_is_idle() {
    let harness = Harness::start().await;
    tokio::time::sleep(secs(60)).await;
    let enqueued = Instant::now();
    let id = harness.enqueue("one", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    assert!(enqueued.elapsed() <= millis(5), "took {:?}", enqueued.elapsed());
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn all_executors_work_at_once_and_never_more() {
    let harness = Harness::start().await;
    let ids = harness.enqueue_many("job", 40, &Work::lasting(millis(100))).await;
    let begun = Instant::now();
    harness.until_all(&ids, JobState::Completed).await;
    assert_eq!(harness.recorder.overlap_max(), 4);
    assert_eq!(harness.recorder.count(), 40);
    assert!(begun.elapsed() <= millis(1100), "took {:?}", begun.elapsed());
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_id_is_stored_once() {
    let harness = Harness::start().await;
    let work = Work::lasting(secs(1));
    let first = harness.try_enqueue("same", work.clone(), RunAt::Now, secs(1)).await.unwrap();
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let second = harness.try_enqueue("same", work, RunAt::Now, secs(1)).await.unwrap();
    assert!(first.created && !second.created);
    assert_eq!(second.state, JobState::Processing);
    harness.until_state(&first.id, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 1);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_failure_is_retried_after_its_delay() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::FailTemporary).and(millis(0), Action::Succeed)).await;
    harness.until_state(&id, JobState::Completed).await;
    let runs = harness.recorder.of(&id);
    assert_eq!(runs.iter().map(|run| run.attempt).collect::<Vec<_>>(), [1, 2]);
    let waited = runs[1].started - runs[0].ended.unwrap().0;
    assert!(waited >= secs(1) && waited <= millis(1010), "waited {waited:?}");
    let view = harness.view(&id);
    assert_eq!((view.counters.attempts, view.counters.failures), (2, 1));
    assert_eq!(view.last_error().unwrap().code, Code::NetworkError);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_asks_for_a_retry_delay_is_retried_after_that_delay() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::FailAskingFor(7_000)).and(millis(0), Action::Succeed)).await;
    harness.until_state(&id, JobState::Completed).await;
    let runs = harness.recorder.of(&id);
    let waited = runs[1].started - runs[0].ended.unwrap().0;
    assert!(waited >= secs(7) && waited <= millis(7_010), "waited {waited:?}");
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_always_fails_is_dead_after_its_attempts() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::FailTemporary)).await;
    harness.until_state(&id, JobState::Dead).await;
    assert_eq!(harness.recorder.of(&id).len(), 5);
    assert_eq!(harness.view(&id).counters.failures, 5);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_poisoned_at_once_and_reported() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::FailPermanent)).await;
    harness.until_state(&id, JobState::Poisoned).await;
    assert_eq!(harness.recorder.of(&id).len(), 1);
    let event =
        harness.until_event("the poisoned job is reported", |e| matches!(e.kind, EventKind::JobPoisoned { .. })).await;
    assert!(matches!(event.kind, EventKind::JobPoisoned { job, code: Code::InvalidJobData, .. } if job == id));
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_unknown_class_is_retried_unless_its_queue_says_otherwise() {
    for (on_unknown, runs) in [(OnUnknown::Retry, 5), (OnUnknown::DeadLetter, 1)] {
        let harness = Harness::build().rules(|rules| rules.on_unknown = on_unknown).start().await;
        let id = harness.enqueue("one", Work::then(Action::FailUnknown)).await;
        harness.until_state(&id, JobState::Dead).await;
        assert_eq!(harness.recorder.of(&id).len(), runs, "{on_unknown:?}");
        harness.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_snoozed_job_runs_again_later_without_counting_a_failure() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::Snooze(5_000)).and(millis(0), Action::Succeed)).await;
    harness.until_state(&id, JobState::Completed).await;
    let runs = harness.recorder.of(&id);
    assert_eq!(runs.iter().map(|run| run.attempt).collect::<Vec<_>>(), [1, 1]);
    assert!(runs[1].started - runs[0].started >= secs(5));
    let counters = harness.view(&id).counters;
    assert_eq!((counters.failures, counters.releases), (0, 1));
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_cannot_be_decoded_is_put_off_and_does_not_come_back_for_ever() {
    let harness = Harness::start().await;
    let job = JobOptions::default().seal(Kind::new("work").unwrap(), "x".into()).unwrap();
    let id = harness.handle().enqueue(job, secs(1)).await.unwrap().id;
    harness.until_state(&id, JobState::Delayed).await;
    harness.until_within(secs(900), "the job is poisoned", || harness.state(&id) == JobState::Poisoned).await;
    let counters = harness.view(&id).counters;
    assert_eq!((counters.attempts, counters.failures, counters.releases), (21, 1, 20));
    assert_eq!(harness.view(&id).last_error().unwrap().code, Code::DecodeFailed);
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::Undecodable { .. })), 20);
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::JobPoisoned { .. })), 1);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_of_unknown_kind_is_released_and_finally_dead() {
    let harness = Harness::start().await;
    let job = JobOptions::default().seal(Kind::new("unknown.kind").unwrap(), "x".into()).unwrap();
    let id = harness.handle().enqueue(job, secs(1)).await.unwrap().id;
    harness.until_state(&id, JobState::Delayed).await;
    harness.until_within(secs(900), "the job is rejected", || harness.state(&id) == JobState::Dead).await;
    let counters = harness.view(&id).counters;
    assert_eq!((counters.attempts, counters.failures, counters.releases), (21, 0, 21));
    assert_eq!(harness.view(&id).last_error().unwrap().code, Code::UnknownKind);
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::UnknownKind { .. })), 21);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_settled_and_reported_with_its_location_and_uses_no_restart_budget() {
    let harness = Harness::start().await;
    let work = Work::then(Action::Panic).and(millis(0), Action::Succeed);
    let id = harness.enqueue("one", work).await;
    let event =
        harness.until_event("the panic is reported", |e| matches!(e.kind, EventKind::HandlerPanicked { .. })).await;
    let EventKind::HandlerPanicked { queue, job, attempt, message, location } = event.kind else { unreachable!() };
    assert_eq!((queue, job, attempt), (harness.queue.clone(), id.clone(), 1));
    assert_eq!(message, "boom one");
    assert!(location.unwrap().contains("harness.rs:"));
    assert!(event.path.starts_with("email/executor-"));
    harness.until_state(&id, JobState::Completed).await;
    let view = harness.view(&id);
    assert_eq!((view.counters.failures, view.counters.crashes), (1, 0));
    assert_eq!(view.last_error().unwrap().code, Code::Panic);
    let replaced =
        |e: &retraced_jobs::events::SupervisionEvent| e.path == event.path && e.generation == event.generation + 1;
    harness.until_event("the executor is replaced", |e| replaced(e) && e.kind == EventKind::Restarted).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn many_panics_in_a_row_neither_close_the_queue_nor_use_restart_budget() {
    let harness =
        Harness::build().rules(|rules| rules.retry = rules.retry.map(|retry| retry.max_attempts(1))).start().await;
    let ids = harness.enqueue_many("bad", 200, &Work::then(Action::Panic)).await;
    harness.until_all(&ids, JobState::Dead).await;
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::HandlerPanicked { .. })), 200);
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::Crashed { .. } | EventKind::RestartScheduled { .. })), 0);
    let id = harness.enqueue("good", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn delayed_jobs_start_on_time_in_the_order_of_their_due_times() {
    let harness = Harness::build().concurrency(1).start().await;
    let late = harness.enqueue_at("late", Work::succeed(), RunAt::After(millis(90_500))).await;
    let soon = harness.enqueue_at("soon", Work::succeed(), RunAt::After(millis(2_250))).await;
    let begun = Instant::now();
    assert_eq!(harness.state(&late), JobState::Delayed);
    harness.until_state(&late, JobState::Completed).await;
    for (id, due) in [(soon, millis(2_250)), (late, millis(90_500))] {
        let waited = harness.recorder.of(&id)[0].started - begun;
        assert!(
            waited + millis(2) >= due && waited <= due + millis(10),
            "{id} was due after {due:?}, ran after {waited:?}"
        );
    }
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_past_its_timeout_is_dropped_and_its_attempt_has_failed() {
    let harness = Harness::build().rules(|rules| rules.timeout = Some(secs(2))).start().await;
    let id = harness.enqueue("one", Work::then(Action::Hang).and(millis(0), Action::Succeed)).await;
    harness.until_state(&id, JobState::Completed).await;
    let runs = harness.recorder.of(&id);
    let (ended, how) = runs[0].ended.unwrap();
    assert_eq!(how, RunEnd::Dropped);
    assert_eq!(ended - runs[0].started, secs(2));
    assert_eq!(runs[0].stopped, Some(Stop::TimedOut));
    assert_eq!(harness.view(&id).last_error().unwrap().code, Code::Timeout);
    assert_eq!(harness.view(&id).counters.failures, 1);
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::Zombie { .. } | EventKind::Crashed { .. })), 0);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_running_job_stops_its_handler_soon_and_the_job_is_cancelled() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::StopWhenAsked)).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let asked = Instant::now();
    harness.cancel(&id).await;
    harness.until_state(&id, JobState::Cancelled).await;
    assert!(asked.elapsed() <= millis(10), "took {:?}", asked.elapsed());
    assert_eq!(harness.recorder.of(&id)[0].stopped, Some(Stop::Cancelled));
    assert_eq!(harness.view(&id).counters.failures, 0);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_whose_handler_completes_anyway_is_completed() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::SucceedWhenAsked)).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    harness.cancel(&id).await;
    harness.until_state(&id, JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_from_a_paused_queue_and_jobs_run_at_once_when_it_is_resumed() {
    let harness = Harness::start().await;
    harness.pause().await;
    let ids = harness.enqueue_many("job", 10, &Work::succeed()).await;
    tokio::time::sleep(secs(30)).await;
    assert_eq!((harness.recorder.count(), harness.stats().pending), (0, 10));
    let resumed = Instant::now();
    harness.resume().await;
    harness.until_all(&ids, JobState::Completed).await;
    assert!(resumed.elapsed() <= millis(10), "took {:?}", resumed.elapsed());
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_start_in_the_order_they_were_enqueued() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.pause().await;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(harness.enqueue(&format!("job-{n}"), Work::lasting(millis(n % 3))).await);
    }
    harness.resume().await;
    harness.until_all(&ids, JobState::Completed).await;
    let order: Vec<_> = harness.recorder.all().into_iter().map(|run| run.id).collect();
    assert_eq!(order, ids);
    harness.close().await;
}
