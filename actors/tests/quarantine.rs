//! A crash of a worker is counted for the jobs that were running, and for no others.

use std::sync::{Arc, Mutex};

use retraced_jobs::events::EventKind;
use retraced_jobs::job::{Counters, JobId, JobState};
use tokio::time::Instant;

use crate::support::{Action, Fault, Harness, Moment, RunEnd, Verb, Work, millis, secs};

const LEASE_S: u64 = 10;

/// Kills the worker, without a shutdown, as soon as this job runs in it. Returns the counters of the job before the kill.
async fn kill_worker_while_running(harness: &Harness, id: &JobId) -> Counters {
    let running = || harness.recorder.of(id).iter().any(|run| run.ended.is_none());
    harness.until(&format!("{id} runs"), running).await;
    let counters = harness.view(id).counters;
    assert!(harness.tree.kill("retraced"));
    harness.tree.wait().await;
    counters
}

/// Goal: a job that kills its worker whenever it runs is poisoned, and the jobs that run beside it each time are not. Method: one worker after the other is
/// killed when the culprit runs. Its neighbours take longer than the culprit lives.
#[tokio::test(start_paused = true)]
async fn a_job_that_kills_its_worker_is_poisoned_and_its_neighbours_finish() {
    let build = || Harness::build().options(|options| options.lease = secs(LEASE_S));
    let first = build().start().await;
    let neighbours = first.enqueue_many("neighbour", 3, &Work::lasting(secs(5))).await;
    let culprit = first.enqueue("culprit", Work::then(Action::Hang)).await;
    first.until("all run", || first.recorder.running() == 4).await;
    kill_worker_while_running(&first, &culprit).await;
    for crashes in 0..3 {
        let harness = build().sharing_store(&first).start().await;
        // The first crash is counted for no job. The second one is counted for all of them, because they ran together.
        assert_eq!(kill_worker_while_running(&harness, &culprit).await.crashes, crashes);
        harness.assert_clean();
    }
    let last = build().sharing_store(&first).start().await;
    last.until_state(&culprit, JobState::Poisoned).await;
    last.until_all(&neighbours, JobState::Completed).await;
    let counters = last.view(&culprit).counters;
    assert_eq!((counters.crashes, counters.failures), (3, 0), "{counters:?}");
    for id in &neighbours {
        let counters = last.view(id).counters;
        assert!(counters.crashes <= 2 && counters.failures == 0, "{id} {counters:?}");
    }
    last.close().await;
    first.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_start_is_recorded_only_for_returned_jobs_and_before_their_handlers_run() {
    let harness = Harness::start().await;
    let recorded: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = recorded.clone();
    harness.store.observe(move |verb, moment| {
        if (verb, moment) == (Verb::Begin, Moment::Applied) {
            seen.lock().unwrap().push(Instant::now());
        }
    });
    harness.store.latency(millis(5));
    let failing = harness.enqueue("failing", Work::then(Action::FailTemporary).and(millis(1), Action::Succeed)).await;
    harness.until_state(&failing, JobState::Completed).await;
    assert_eq!(harness.store.calls(Verb::Begin), 0, "after a failure it is known that the handler ran");

    let snoozing = harness.enqueue("snoozing", Work::then(Action::Snooze(30)).and(millis(1), Action::Succeed)).await;
    harness.until_state(&snoozing, JobState::Completed).await;
    assert_eq!(harness.store.calls(Verb::Begin), 1);
    assert!(harness.recorder.of(&snoozing)[1].started >= recorded.lock().unwrap()[0]);
    harness.close().await;
}

/// If the start cannot be recorded the handler waits, whatever happens to the call, and no crash is counted.
#[tokio::test(start_paused = true)]
async fn a_lost_begin_is_sent_again_and_the_handler_runs_once() {
    for fault in [
        Fault::RequestLost,
        Fault::ReplyLost,
        Fault::RequestDelayed(millis(700)),
        Fault::ReplyDelayed(millis(700)),
        Fault::NeverAnswered,
        Fault::Refused,
    ] {
        let harness = Harness::build().options(|options| options.lease = secs(60)).start().await;
        harness.store.fault_on_call(Verb::Begin, 1, fault);
        let id = harness.enqueue("one", Work::then(Action::Snooze(30)).and(millis(1), Action::Succeed)).await;
        harness.until_state(&id, JobState::Completed).await;
        let how: Vec<_> = harness.recorder.of(&id).iter().map(|run| run.ended.unwrap().1).collect();
        assert_eq!(how, [RunEnd::Failed, RunEnd::Succeeded], "{fault:?}");
        let expected = Counters { attempts: 2, releases: 1, ..Counters::default() };
        assert_eq!(harness.view(&id).counters, expected, "{fault:?}");
        harness.close().await;
    }
}

/// A job whose start is being recorded is released like a running one.
#[tokio::test(start_paused = true)]
async fn a_job_about_to_start_is_released_when_its_executor_pool_or_tree_ends() {
    for path in ["email/executor-0", "email/pool", "email", "shutdown"] {
        let harness = Harness::build().concurrency(1).start().await;
        let id = harness.enqueue("one", Work::then(Action::Snooze(30)).and(millis(1), Action::Succeed)).await;
        harness.store.fault_on_call(Verb::Begin, 1, Fault::ReplyDelayed(secs(8)));
        harness.until("it is about to start", || harness.store.calls(Verb::Begin) == 1).await;
        if path == "shutdown" {
            // The start is confirmed during the shutdown grace, so the handler runs to its end.
            harness.close().await;
            continue;
        }
        harness.kill_and_await_restart(path).await;
        harness.until_state(&id, JobState::Completed).await;
        let counters = harness.view(&id).counters;
        assert_eq!((counters.attempts, counters.releases, counters.crashes), (3, 2, 0), "{path} {counters:?}");
        assert_eq!(harness.recorder.of(&id).len(), 2, "{path}");
        harness.close().await;
    }
}

/// Goal: many quarantined jobs do not keep executors from other work, and each of them runs in the end.
#[tokio::test(start_paused = true)]
async fn quarantined_jobs_that_wait_do_not_delay_other_jobs() {
    let build = || Harness::build().options(|options| options.lease = secs(LEASE_S));
    let first = build().start().await;
    let quarantined = first.enqueue_many("quarantined", 4, &Work::lasting(secs(3))).await;
    let mut harness = None;
    for _ in 0..3 {
        let before: &Harness = harness.as_ref().unwrap_or(&first);
        before.until("all run", || before.recorder.running() == 4).await;
        before.tree.kill("retraced");
        before.tree.wait().await;
        let next = build().sharing_store(&first).start().await;
        if let Some(before) = harness.replace(next) {
            Harness::assert_clean(before);
        }
    }
    let harness = harness.unwrap();
    harness.until("they are reclaimed", || harness.stats().crashes_total == 8).await;
    let healthy = harness.enqueue_many("healthy", 40, &Work::lasting(millis(100))).await;
    // These are forty jobs of 100 ms on four executors, one of which runs a quarantined job.
    harness.until_within(secs(4), "healthy jobs pass", || harness.stats().completed_total >= 40).await;
    harness.until_all(&healthy, JobState::Completed).await;
    // The first four jobs are all quarantined: they run one at a time, and the others are delayed meanwhile.
    harness.until_within(secs(60), "all are done", || harness.stats().completed_total == 44).await;
    for id in &quarantined {
        // The first crash was counted as a release, and the waits are counted as nothing.
        let counters = harness.view(id).counters;
        assert_eq!((counters.crashes, counters.releases), (2, 1), "{id} {counters:?}");
    }
    assert!(harness.count(|kind| matches!(kind, EventKind::JobsPostponed { .. })) > 0, "nothing said that jobs wait");
    let runs: Vec<_> =
        harness.recorder.all().into_iter().filter(|run| run.id.to_string().starts_with("quarantined")).collect();
    let successes: Vec<_> = runs.iter().filter(|run| matches!(run.ended, Some((_, RunEnd::Succeeded)))).collect();
    for pair in successes.windows(2) {
        assert!(pair[0].ended.unwrap().0 <= pair[1].started, "two quarantined jobs at once: {pair:?}");
    }
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::JobPoisoned { .. })), 0);
    harness.close().await;
    first.assert_clean();
}

/// Goal: a quarantined job does not run beside a crash suspect, even if the suspect is not quarantined. Method: the culprit arrives later than its neighbour, so
/// it has one crash less. Whenever the culprit runs its worker dies, and the neighbour must not be running then.
#[tokio::test(start_paused = true)]
async fn a_quarantined_job_never_runs_beside_another_crash_suspect() {
    let build = || Harness::build().options(|options| options.lease = secs(LEASE_S));
    let first = build().start().await;
    let neighbour = first.enqueue("neighbour", Work::lasting(secs(5))).await;
    kill_worker_while_running(&first, &neighbour).await;
    let culprit = JobId::parse("culprit").unwrap();
    for later in [true, false] {
        let harness = build().sharing_store(&first).start().await;
        if later {
            harness.enqueue("culprit", Work::then(Action::Hang)).await;
        }
        harness
            .until("the culprit runs too", || harness.recorder.of(&culprit).iter().any(|run| run.ended.is_none()))
            .await;
        kill_worker_while_running(&harness, &neighbour).await;
        harness.assert_clean();
    }
    for crashes in [1, 2] {
        let harness = build().sharing_store(&first).start().await;
        harness.until("the culprit runs", || harness.recorder.of(&culprit).iter().any(|run| run.ended.is_none())).await;
        // By now both would have started, whichever came first.
        tokio::time::sleep(secs(2)).await;
        assert!(harness.recorder.of(&neighbour).iter().all(|run| run.ended.is_some()), "ran beside the culprit");
        assert_eq!(kill_worker_while_running(&harness, &culprit).await.crashes, crashes);
        harness.assert_clean();
    }
    let last = build().sharing_store(&first).start().await;
    last.until_state(&culprit, JobState::Poisoned).await;
    last.until_state(&neighbour, JobState::Completed).await;
    assert_eq!(last.view(&neighbour).counters.crashes, 2);
    last.close().await;
    first.assert_clean();
}
