//! Graceful shutdown of a tree.

use std::process::{ExitCode, Termination};

use retraced_actors::{Ending, Enqueue, ShutdownReport};
use retraced_jobs::context::Stop;
use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::events::EventKind;
use retraced_jobs::job::{JobState, RunAt};
use retraced_jobs::store::{Admin, BATCH_MAX, Ledger};
use retraced_jobs::typed_job::{JobOptions, seal_job};
use tokio::time::Instant;

use crate::support::{Action, Fault, Harness, RunEnd, Verb, Work, millis, secs};

#[tokio::test(start_paused = true)]
async fn handlers_that_finish_within_the_grace_are_settled_and_nothing_new_is_claimed() {
    let harness = Harness::start().await;
    let running = harness.enqueue_many("running", 4, &Work::lasting(secs(15))).await;
    let waiting = harness.enqueue_many("waiting", 10, &Work::lasting(secs(15))).await;
    harness.until("four run", || harness.recorder.running() == 4).await;
    let begun = Instant::now();
    let report = harness.shut_down().await;
    assert_eq!((report.running, report.killed, report.unsettled), (4, 0, 0));
    assert!(begun.elapsed() <= secs(16), "took {:?}", begun.elapsed());
    assert!(running.iter().all(|id| harness.state(id) == JobState::Completed));
    assert!(waiting.iter().all(|id| harness.state(id) == JobState::Pending));
    assert_eq!(harness.recorder.count(), 4);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn after_four_fifths_of_the_grace_handlers_are_asked_to_stop_without_counting_a_failure() {
    let harness = Harness::start().await;
    let id = harness.enqueue("one", Work::then(Action::StopWhenAsked)).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let begun = Instant::now();
    let report = harness.shut_down().await;
    assert_eq!((report.running, report.killed, report.unsettled), (1, 0, 0));
    let run = harness.recorder.of(&id).remove(0);
    assert_eq!((run.ended.unwrap().1, run.stopped), (RunEnd::Failed, Some(Stop::Shutdown)));
    assert_eq!(run.ended.unwrap().0 - begun, secs(20));
    let view = harness.view(&id);
    assert_eq!(view.state, JobState::Pending);
    assert_eq!((view.counters.failures, view.counters.crashes, view.counters.releases), (0, 0, 1));
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn handlers_that_do_not_stop_are_killed_and_their_jobs_released_to_the_front_in_order() {
    let harness = Harness::build().concurrency(60).start().await;
    let running = harness.enqueue_many("running", 60, &Work::then(Action::Hang)).await;
    harness.until("all run", || harness.recorder.running() == 60).await;
    let waiting = harness.enqueue_many("waiting", 5, &Work::succeed()).await;
    let begun = Instant::now();
    let report = harness.shut_down().await;
    assert_eq!((report.running, report.killed, report.unsettled), (60, 60, 0));
    assert!(begun.elapsed() <= secs(26), "took {:?}", begun.elapsed());
    for id in &running {
        let counters = harness.view(id).counters;
        assert_eq!((counters.failures, counters.crashes, counters.releases), (0, 0, 1), "{id}");
    }
    let problem = |kind: &EventKind| matches!(kind, EventKind::Crashed { .. } | EventKind::SupervisorClosed { .. });
    assert_eq!(harness.count(problem), 0, "a shutdown is no crash: {:?}", harness.events());
    // The next worker claims them in their original order, before those that never ran.
    let next = Harness::build().sharing_store(&harness).concurrency(1).start().await;
    next.until("all run again", || next.recorder.count() >= 61).await;
    let order: Vec<_> = next.recorder.all().into_iter().skip(60).map(|run| run.id).collect();
    assert_eq!(order[0], running[0]);
    next.shut_down().await;
    next.assert_clean();
    assert!(waiting.iter().all(|id| harness.state(id) == JobState::Pending));
    let front = harness.pending();
    assert_eq!(front[..60], running[..]);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_claim_in_flight_when_the_shutdown_begins_are_released() {
    let harness = Harness::start().await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Claim).then_some(Fault::ReplyDelayed(millis(2_030))));
    let ids = harness.enqueue_many("job", 3, &Work::succeed()).await;
    harness.until("a claim is applied", || harness.stats().processing > 0).await;
    let begun = Instant::now();
    let report = harness.shut_down().await;
    assert_eq!((report.running, report.killed, report.unsettled), (0, 0, 0));
    assert!(begun.elapsed() <= millis(2_035), "took {:?}", begun.elapsed());
    for id in &ids {
        let view = harness.view(id);
        assert_eq!((view.state, view.counters.crashes), (JobState::Pending, 0), "{id}");
    }
    assert_eq!(harness.recorder.count(), 0);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_to_the_end_of_the_grace() {
    let harness = Harness::build().options(|options| options.lease = secs(3)).start().await;
    let other = Harness::build().options(|options| options.lease = secs(3)).sharing_store(&harness).start().await;
    let id = harness.enqueue("one", Work::lasting(secs(19))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    harness.shut_down().await;
    assert_eq!(harness.state(&id), JobState::Completed);
    assert_eq!(harness.recorder.count(), 1, "the other worker reclaimed a job whose lease was renewed");
    assert_eq!(harness.view(&id).counters.crashes, 0);
    harness.assert_clean();
    other.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_waits_for_the_same_end() {
    let harness = Harness::start().await;
    harness.enqueue("one", Work::lasting(secs(10))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let begun = Instant::now();
    let second = async {
        tokio::time::sleep(secs(1)).await;
        harness.tree.shutdown().await;
        begun.elapsed()
    };
    let (first, second) = tokio::join!(harness.tree.shutdown(), second);
    assert_eq!(first.map(|report| report.running), Some(1));
    assert!(second >= secs(10) && second <= secs(11), "{second:?}");
    assert_eq!(harness.tree.wait().await, Ending::Stopped);
    assert_eq!(harness.tree.shutdown().await, first, "a later call reports something else");
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_nobody_waited_for_is_not_reported_as_if_nothing_had_run() {
    let harness = Harness::start().await;
    harness.enqueue("one", Work::lasting(secs(10))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    assert!(tokio::time::timeout(secs(1), harness.tree.shutdown()).await.is_err());
    assert_eq!(harness.tree.shutdown().await.map(|report| report.running), Some(1));
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_while_the_store_is_away_ends_within_its_bounds() {
    let harness = Harness::start().await;
    harness.enqueue_many("job", 4, &Work::lasting(secs(5))).await;
    harness.until("four run", || harness.recorder.running() == 4).await;
    harness.store.set_unavailable(true);
    let begun = Instant::now();
    let report = harness.shut_down().await;
    assert_eq!((report.killed, report.unsettled), (0, 4));
    assert!(begun.elapsed() <= secs(5 + 5 + 15), "took {:?}", begun.elapsed());
    harness.store.set_unavailable(false);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_of_an_idle_tree_is_quick_and_leaves_no_worker_row() {
    let harness = Harness::start().await;
    tokio::time::sleep(secs(15)).await;
    assert_eq!(harness.store.workers().await.unwrap().len(), 1);
    let begun = Instant::now();
    harness.shut_down().await;
    assert!(begun.elapsed() <= secs(1), "took {:?}", begun.elapsed());
    assert_eq!(harness.store.workers().await.unwrap().len(), 0);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn the_last_events_reach_the_ledger() {
    let harness = Harness::start().await;
    harness.store.latency(millis(4));
    tokio::time::sleep(secs(1)).await;
    harness.enqueue("one", Work::then(Action::FailPermanent)).await;
    harness.until("it ran", || harness.recorder.ended() == 1).await;
    harness.shut_down().await;
    let kept = harness.store.events(None, BATCH_MAX).await.unwrap().events;
    assert!(kept.iter().any(|event| matches!(event.kind, EventKind::JobPoisoned { .. })), "{kept:?}");
    assert_eq!(harness.store.workers().await.unwrap().len(), 0);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_during_a_shutdown_succeeds_as_long_as_a_handler_runs() {
    let harness = Harness::start().await;
    harness.enqueue("one", Work::lasting(secs(5))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let late = async {
        tokio::time::sleep(secs(1)).await;
        harness.try_enqueue("late", Work::succeed(), RunAt::Now, secs(1)).await
    };
    let (_, late) = tokio::join!(harness.tree.shutdown(), late);
    assert_eq!(harness.state(&late.unwrap().id), JobState::Pending, "for the next worker");
    let after = harness.try_enqueue("later", Work::succeed(), RunAt::Now, secs(1)).await.unwrap_err();
    assert!(matches!(&after, EnqueueError::ShuttingDown { queue } if *queue == harness.queue), "{after:?}");
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_an_enqueue_is_refused_at_once_even_if_the_store_is_away() {
    let harness = Harness::start().await;
    harness.tree.shutdown().await;
    for away in [false, true] {
        harness.store.set_unavailable(away);
        let begun = Instant::now();
        let late = harness.try_enqueue("late", Work::succeed(), RunAt::Now, secs(60)).await.unwrap_err();
        assert!(matches!(late, EnqueueError::ShuttingDown { .. }), "{late:?}");
        assert_eq!(begun.elapsed(), secs(0));
    }
    assert_eq!(harness.store.calls(Verb::Enqueue), 0);
    harness.store.set_unavailable(false);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn enqueues_received_before_the_shutdown_are_stored() {
    let harness = Harness::start().await;
    harness.store.latency(millis(50));
    let work = Work::lasting(secs(1));
    let enqueues = harness.enqueue_many("job", 30, &work);
    let (mut ids, report) = tokio::join!(enqueues, async {
        tokio::time::sleep(millis(1)).await;
        harness.tree.shutdown().await
    });
    assert_eq!(report.unwrap().unsettled, 0);
    let mut stored = Vec::new();
    for state in JobState::ALL {
        let page = harness.store.jobs(&harness.queue, state, None, BATCH_MAX).await.unwrap();
        stored.extend(page.jobs.into_iter().map(|job| job.id));
    }
    stored.sort();
    ids.sort();
    assert_eq!(stored, ids);
    assert_eq!(harness.stats().enqueued_total, 30);
    harness.assert_clean();
}

/// Goal: nobody waits for the reply to a cast, so the shutdown has to. Method: the store takes 2 s for each call, and the tree is shut down right after the casts.
#[tokio::test(start_paused = true)]
async fn a_shutdown_never_returns_before_the_casts_received_by_then_are_stored() {
    let harness = Harness::start().await;
    harness.store.latency(secs(2));
    let actor = harness.handle().actor().unwrap();
    for n in 0..3 {
        let options = JobOptions::default().id(format!("cast-{n}").parse().unwrap());
        actor.cast(Enqueue::sealed(seal_job(&Work::succeed(), &options).unwrap())).unwrap();
    }
    tokio::task::yield_now().await;
    harness.tree.shutdown().await.unwrap();
    assert_eq!(harness.stats().enqueued_total, 3);
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_root_is_killed_is_lost_and_its_shutdown_is_quick() {
    let harness = Harness::start().await;
    harness.enqueue("one", Work::then(Action::Hang)).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    assert!(harness.tree.is_up());
    assert!(harness.tree.kill("retraced"));
    assert_eq!(harness.tree.wait().await, Ending::Lost);
    assert!(!harness.tree.is_up(), "a health check would say that it runs");
    assert!(!harness.tree.kill("retraced"), "it is dead");
    let begun = Instant::now();
    assert_eq!(harness.tree.shutdown().await, None, "nobody knows what became of the jobs");
    assert!(begun.elapsed() <= secs(1), "took {:?}", begun.elapsed());
    harness.until("the handler is dropped", || harness.recorder.running() == 0).await;
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_tree_keeps_running_when_its_handle_is_dropped() {
    let harness = Harness::start().await;
    let queue = harness.handle();
    drop(harness.tree.clone());
    let id = harness.enqueue("one", Work::succeed()).await;
    assert_eq!(queue.name(), &harness.queue);
    harness.until_state(&id, JobState::Completed).await;
    harness.close().await;
}

/// Goal: a program whose `main` returns the report tells its caller by the exit code that outcomes may be lost.
#[test]
fn a_process_that_leaves_outcomes_unconfirmed_ends_with_1() {
    let mut report = ShutdownReport::default();
    (report.running, report.killed) = (2, 1);
    assert_eq!(report.report(), ExitCode::SUCCESS, "killed jobs were released, nothing is lost");
    report.unsettled = 1;
    assert_eq!(report.report(), ExitCode::FAILURE);
}
