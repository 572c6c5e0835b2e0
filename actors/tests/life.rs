//! The life of a job in a healthy tree.

use retraced_jobs::context::Stop;
use retraced_jobs::failure::Code;
use retraced_jobs::handler::JobOptions;
use retraced_jobs::job::{JobState, Kind, RunAt};
use retraced_jobs::retry::OnUnknown;
use retraced_jobs::store::Admin;
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::support::{Do, How, Work, World, millis, secs};

#[tokio::test(start_paused = true)]
async fn a_job_runs_once_and_is_completed() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    let runs = world.book.of(&id);
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].grant, runs[0].attempt), (1, 1));
    let counters = world.view(&id).counters;
    assert_eq!((counters.attempts, counters.failures, counters.crashes, counters.releases), (1, 0, 0, 0));
    let drained = world.close().await;
    assert_eq!((drained.running, drained.killed), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_enqueued_job_starts_at_once_when_an_executor_is_idle() {
    let world = World::start().await;
    tokio::time::sleep(secs(60)).await;
    let enqueued = Instant::now();
    let id = world.enqueue("one", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    assert!(enqueued.elapsed() <= millis(5), "took {:?}", enqueued.elapsed());
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn all_executors_work_at_once_and_never_more() {
    let world = World::start().await;
    let ids = world.enqueue_many("job", 40, &Work::lasting(millis(100))).await;
    let begun = Instant::now();
    world.until_all(&ids, JobState::Completed).await;
    assert_eq!(world.book.overlap_max(), 4);
    assert_eq!(world.book.count(), 40);
    assert!(begun.elapsed() <= millis(1100), "took {:?}", begun.elapsed());
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_id_is_stored_once() {
    let world = World::start().await;
    let work = Work::lasting(secs(1));
    let first = world.try_enqueue("same", work.clone(), RunAt::Now, secs(1)).await.unwrap();
    world.until("it runs", || world.book.running() == 1).await;
    let second = world.try_enqueue("same", work, RunAt::Now, secs(1)).await.unwrap();
    assert!(first.created && !second.created);
    assert_eq!(second.state, JobState::Processing);
    world.until_state(&first.id, JobState::Completed).await;
    assert_eq!(world.book.count(), 1);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_failure_is_tried_again_after_its_delay() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::FailTemporary).and(millis(0), Do::Succeed)).await;
    world.until_state(&id, JobState::Completed).await;
    let runs = world.book.of(&id);
    assert_eq!(runs.iter().map(|run| run.attempt).collect::<Vec<_>>(), [1, 2]);
    let waited = runs[1].started - runs[0].ended.unwrap().0;
    assert!(waited >= secs(1) && waited <= millis(1010), "waited {waited:?}");
    let view = world.view(&id);
    assert_eq!((view.counters.attempts, view.counters.failures), (2, 1));
    assert_eq!(view.last_error().unwrap().code, Code::NetworkError);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_says_when_to_come_back_is_believed() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::FailAskingFor(7_000)).and(millis(0), Do::Succeed)).await;
    world.until_state(&id, JobState::Completed).await;
    let runs = world.book.of(&id);
    let waited = runs[1].started - runs[0].ended.unwrap().0;
    assert!(waited >= secs(7) && waited <= millis(7_010), "waited {waited:?}");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_always_fails_is_dead_after_its_attempts() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::FailTemporary)).await;
    world.until_state(&id, JobState::Dead).await;
    assert_eq!(world.book.of(&id).len(), 5);
    assert_eq!(world.view(&id).counters.failures, 5);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_poisoned_at_once_and_told() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::FailPermanent)).await;
    world.until_state(&id, JobState::Poisoned).await;
    assert_eq!(world.book.of(&id).len(), 1);
    let told = world.until_event("poison told", |e| matches!(e.kind, EventKind::JobPoisoned { .. })).await;
    assert!(matches!(told.kind, EventKind::JobPoisoned { job, code: Code::InvalidJobData, .. } if job == id));
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_unknown_class_is_retried_unless_its_queue_says_otherwise() {
    for (on_unknown, runs) in [(OnUnknown::Retry, 5), (OnUnknown::DeadLetter, 1)] {
        let world = World::build().rules(|rules| rules.on_unknown = on_unknown).start().await;
        let id = world.enqueue("one", Work::then(Do::FailUnknown)).await;
        world.until_state(&id, JobState::Dead).await;
        assert_eq!(world.book.of(&id).len(), runs, "{on_unknown:?}");
        world.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_snoozed_job_comes_back_later_at_no_cost() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::Snooze(5_000)).and(millis(0), Do::Succeed)).await;
    world.until_state(&id, JobState::Completed).await;
    let runs = world.book.of(&id);
    assert_eq!(runs.iter().map(|run| run.attempt).collect::<Vec<_>>(), [1, 1]);
    assert!(runs[1].started - runs[0].started >= secs(5));
    let counters = world.view(&id).counters;
    assert_eq!((counters.failures, counters.releases), (0, 1));
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_of_unknown_kind_is_put_back_and_in_the_end_given_up() {
    let world = World::build().rules(|rules| rules.unknown_kind_releases_max = 3).start().await;
    let job = JobOptions::default().seal(Kind::new("nobody.knows").unwrap(), "x".into()).unwrap();
    let id = world.handle().enqueue(job, secs(1)).await.unwrap().id;
    world.until_state(&id, JobState::Delayed).await;
    world.until_state(&id, JobState::Dead).await;
    let counters = world.view(&id).counters;
    assert_eq!((counters.attempts, counters.failures, counters.releases), (4, 0, 4));
    assert_eq!(world.view(&id).last_error().unwrap().code, Code::UnknownKind);
    assert_eq!(world.count(|kind| matches!(kind, EventKind::UnknownKind { .. })), 4);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_settled_told_with_its_place_and_costs_the_tree_nothing() {
    let world = World::start().await;
    let work = Work::then(Do::Panic).and(millis(0), Do::Succeed);
    let id = world.enqueue("one", work).await;
    let told = world.until_event("the panic told", |e| matches!(e.kind, EventKind::HandlerPanicked { .. })).await;
    let EventKind::HandlerPanicked { queue, job, attempt, message, place } = told.kind else { unreachable!() };
    assert_eq!((queue, job, attempt), (world.queue.clone(), id.clone(), 1));
    assert_eq!(message, "boom one");
    assert!(place.unwrap().contains("world.rs:"));
    assert!(told.path.starts_with("email/executor-"));
    world.until_state(&id, JobState::Completed).await;
    let view = world.view(&id);
    assert_eq!((view.counters.failures, view.counters.crashes), (1, 0));
    assert_eq!(view.last_error().unwrap().code, Code::Panic);
    let replaced =
        |e: &retraced_jobs::trace::SupervisionEvent| e.path == told.path && e.generation == told.generation + 1;
    world.until_event("the executor replaced", |e| replaced(e) && e.kind == EventKind::Restarted).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn many_panics_in_a_row_neither_close_the_queue_nor_charge_a_budget() {
    let world = World::build().rules(|rules| rules.retry = rules.retry.max_attempts(1)).start().await;
    let ids = world.enqueue_many("bad", 200, &Work::then(Do::Panic)).await;
    world.until_all(&ids, JobState::Dead).await;
    assert_eq!(world.count(|kind| matches!(kind, EventKind::HandlerPanicked { .. })), 200);
    assert_eq!(world.count(|kind| matches!(kind, EventKind::Crashed { .. } | EventKind::RestartScheduled { .. })), 0);
    let id = world.enqueue("good", Work::succeed()).await;
    world.until_state(&id, JobState::Completed).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn delayed_jobs_start_on_time_in_the_order_of_their_due_times() {
    let world = World::build().concurrency(1).start().await;
    let late = world.enqueue_at("late", Work::succeed(), RunAt::After(millis(90_500))).await;
    let soon = world.enqueue_at("soon", Work::succeed(), RunAt::After(millis(2_250))).await;
    let begun = Instant::now();
    assert_eq!(world.state(&late), JobState::Delayed);
    world.until_state(&late, JobState::Completed).await;
    for (id, due) in [(soon, millis(2_250)), (late, millis(90_500))] {
        let waited = world.book.of(&id)[0].started - begun;
        assert!(
            waited + millis(2) >= due && waited <= due + millis(10),
            "{id} was due after {due:?}, ran after {waited:?}"
        );
    }
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_past_its_timeout_is_dropped_and_the_attempt_failed() {
    let world = World::build().rules(|rules| rules.timeout = secs(2)).start().await;
    let id = world.enqueue("one", Work::then(Do::Hang).and(millis(0), Do::Succeed)).await;
    world.until_state(&id, JobState::Completed).await;
    let runs = world.book.of(&id);
    let (ended, how) = runs[0].ended.unwrap();
    assert_eq!(how, How::Cut);
    assert_eq!(ended - runs[0].started, secs(2));
    assert_eq!(runs[0].stopped, Some(Stop::TimedOut));
    assert_eq!(world.view(&id).last_error().unwrap().code, Code::Timeout);
    assert_eq!(world.view(&id).counters.failures, 1);
    assert_eq!(world.count(|kind| matches!(kind, EventKind::Zombie { .. } | EventKind::Crashed { .. })), 0);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_job_that_is_cancelled_is_told_soon_and_ends_cancelled() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::StopWhenAsked)).await;
    world.until("it runs", || world.book.running() == 1).await;
    let asked = Instant::now();
    world.cancel(&id).await;
    world.until_state(&id, JobState::Cancelled).await;
    assert!(asked.elapsed() <= millis(10), "took {:?}", asked.elapsed());
    assert_eq!(world.book.of(&id)[0].stopped, Some(Stop::Cancelled));
    assert_eq!(world.view(&id).counters.failures, 0);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_whose_handler_completes_anyway_is_completed() {
    let world = World::start().await;
    let id = world.enqueue("one", Work::then(Do::SucceedWhenAsked)).await;
    world.until("it runs", || world.book.running() == 1).await;
    world.cancel(&id).await;
    world.until_state(&id, JobState::Completed).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_queue_claims_nothing_and_goes_on_at_once_when_resumed() {
    let world = World::start().await;
    world.store.pause(&world.queue).await.unwrap();
    let ids = world.enqueue_many("job", 10, &Work::succeed()).await;
    tokio::time::sleep(secs(30)).await;
    assert_eq!((world.book.count(), world.stats().pending), (0, 10));
    let resumed = Instant::now();
    world.store.resume(&world.queue).await.unwrap();
    world.until_all(&ids, JobState::Completed).await;
    assert!(resumed.elapsed() <= millis(10), "took {:?}", resumed.elapsed());
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_start_in_the_order_they_were_enqueued() {
    let world = World::build().concurrency(1).start().await;
    world.store.pause(&world.queue).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(world.enqueue(&format!("job-{n}"), Work::lasting(millis(n % 3))).await);
    }
    world.store.resume(&world.queue).await.unwrap();
    world.until_all(&ids, JobState::Completed).await;
    let order: Vec<_> = world.book.all().into_iter().map(|run| run.id).collect();
    assert_eq!(order, ids);
    world.close().await;
}
