//! What an observer sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use retraced_actors::{AttemptEnded, AttemptStarted, Observer};
use retraced_jobs::events::{EventKind, SupervisionEvent};
use retraced_jobs::failure::Code;
use retraced_jobs::job::{JobState, QueueName};
use retraced_jobs::store::Verdict;

use crate::support::{Action, Harness, Work, millis, secs};

/// Counts everything.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<&'static str, usize>>);

impl Counts {
    fn add(&self, what: &'static str, n: usize) {
        *self.0.lock().unwrap().entry(what).or_default() += n;
    }

    fn of(&self, what: &str) -> usize {
        self.0.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

struct Watching(Arc<Counts>);

impl Observer for Watching {
    fn claimed(&self, _: &QueueName, jobs: usize) {
        self.0.add("claimed", jobs);
    }

    fn attempt_started(&self, _: &AttemptStarted<'_>) {
        self.0.add("started", 1);
    }

    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        let what = match (attempt.verdict, attempt.failure) {
            (Verdict::Complete { .. }, None) => "completed",
            (Verdict::Retry { .. }, Some(Code::NetworkError)) => "retried",
            _ => "other",
        };
        self.0.add(what, 1);
    }

    fn settled(&self, _: &QueueName, confirmed: usize, stale: usize) {
        self.0.add("confirmed", confirmed);
        self.0.add("stale", stale);
    }

    fn leases_renewed(&self, _: &QueueName, kept: usize, lost: usize) {
        self.0.add("kept", kept);
        self.0.add("lost", lost);
    }

    fn supervision(&self, event: &SupervisionEvent) {
        if matches!(event.kind, EventKind::Restarted) {
            self.0.add("restarted", 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_claims_attempts_settlements_renewals_and_restarts() {
    let counts = Arc::new(Counts::default());
    let observer = Watching(counts.clone());
    let harness = Harness::build()
        .options(|options| {
            options.observer = Some(Arc::new(observer));
            options.lease = secs(3);
        })
        .start()
        .await;
    let twice = harness.enqueue("twice", Work::then(Action::FailAskingFor(30)).and(millis(1), Action::Succeed)).await;
    let long = harness.enqueue("long", Work::lasting(secs(5))).await;
    harness.until_all(&[twice, long], JobState::Completed).await;
    harness.kill_and_await_restart("email/fetcher").await;
    harness.until("all outcomes are confirmed", || counts.of("confirmed") == 3).await;
    assert_eq!((counts.of("claimed"), counts.of("started")), (3, 3));
    assert_eq!((counts.of("completed"), counts.of("retried") + counts.of("other")), (2, 1));
    assert_eq!((counts.of("stale"), counts.of("lost")), (0, 0));
    assert!(counts.of("kept") >= 3, "a job of 5 s needs renewals of its lease of 3 s");
    assert_eq!(counts.of("restarted"), 1);
    harness.close().await;
}

/// Panics at every call.
struct Panicking;

impl Observer for Panicking {
    fn claimed(&self, _: &QueueName, _: usize) {
        panic!("claimed");
    }

    fn attempt_started(&self, _: &AttemptStarted<'_>) {
        panic!("started");
    }

    fn attempt_ended(&self, _: &AttemptEnded<'_>) {
        panic!("ended");
    }

    fn settled(&self, _: &QueueName, _: usize, _: usize) {
        panic!("settled");
    }

    fn leases_renewed(&self, _: &QueueName, _: usize, _: usize) {
        panic!("renewed");
    }

    fn supervision(&self, _: &SupervisionEvent) {
        panic!("supervision");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_disturbs_neither_jobs_nor_actors() {
    let harness = Harness::build()
        .options(|options| {
            options.observer = Some(Arc::new(Panicking));
            options.lease = secs(3);
        })
        .start()
        .await;
    let ids = harness.enqueue_many("job", 8, &Work::lasting(secs(5))).await;
    harness.until_all(&ids, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 8, "each ran once");
    harness.kill_and_await_restart("watchdog").await;
    harness.kill_and_await_restart("email").await;
    let crashes = harness.count(|kind| matches!(kind, EventKind::Crashed { .. }));
    assert_eq!(crashes, 2, "only the two actors that were killed");
    harness.close().await;
}

/// A tree with one executor, and what its observer counts.
async fn watched_harness() -> (Harness, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let observer = Arc::new(Watching(counts.clone()));
    (Harness::build().concurrency(1).options(|options| options.observer = Some(observer)).start().await, counts)
}

/// Goal: as below, if the tree is shut down before anything has looked at the attempt. Method: its executor is killed, and nothing is waited for.
#[tokio::test(start_paused = true)]
async fn an_attempt_whose_executor_ends_just_before_a_shutdown_ends_for_the_observer() {
    let (harness, counts) = watched_harness().await;
    harness.enqueue("killed", Work::lasting(secs(5))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    assert!(harness.tree.kill("email/executor-0"));
    harness.close().await;
    let ended = counts.of("completed") + counts.of("retried") + counts.of("other");
    assert_eq!(ended, counts.of("started"));
}

/// Goal: a gauge of running attempts returns to zero. Method: the first attempt of a job is killed, the second one succeeds.
#[tokio::test(start_paused = true)]
async fn every_attempt_that_started_ends_once_for_the_observer() {
    let (harness, counts) = watched_harness().await;
    let id = harness.enqueue("killed", Work::lasting(secs(5))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    harness.kill_and_await_restart("email/executor-0").await;
    harness.until_all(&[id], JobState::Completed).await;
    let ended = || counts.of("completed") + counts.of("retried") + counts.of("other");
    harness.until("both attempts have ended", || ended() == 2).await;
    assert_eq!((counts.of("started"), counts.of("completed")), (2, 1));
    harness.close().await;
}
