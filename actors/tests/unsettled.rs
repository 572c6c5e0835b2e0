//! A store that grants claims and refuses settlements.

use std::sync::{Arc, Mutex};

use retraced_actors::limits;
use retraced_jobs::events::EventKind;
use retraced_jobs::failure::Code;
use retraced_jobs::retry::Retry;
use retraced_jobs::store::BATCH_MAX;
use tokio::time::Instant;

use crate::support::{Action, Fault, Harness, Moment, Verb, Work, millis, secs};

const CONCURRENCY: usize = 4;

/// What this worker may hold of a queue.
const HELD_MAX: usize = limits::UNSETTLED_JOBS_MAX + 4 * CONCURRENCY + limits::PREFETCH_JOBS_MAX;

fn stops(harness: &Harness) -> Vec<(u64, String)> {
    let stop = |kind| match kind {
        EventKind::ClaimsStopped { unsettled, reason, .. } => Some((unsettled, reason)),
        _ => None,
    };
    harness.events().into_iter().filter_map(|event| stop(event.kind)).collect()
}

/// Goal: outcomes that the store does not take never pile up without a bound. Method: many fast jobs, and every settlement is refused, while claims succeed.
#[tokio::test(start_paused = true)]
async fn outcomes_that_the_store_refuses_never_pile_up() {
    let harness = Harness::build().concurrency(CONCURRENCY).start().await;
    harness.pause().await;
    let ids = harness.enqueue_many("job", 2 * HELD_MAX, &Work::lasting(millis(1))).await;
    harness.store.plan_faults(|verb, _| matches!(verb, Verb::Settle | Verb::SettleAndClaim).then_some(Fault::Refused));
    harness.resume().await;
    harness.until("the queue claims no more", || !stops(&harness).is_empty()).await;
    tokio::time::sleep(secs(600)).await;
    let ran = harness.recorder.count();
    assert!((limits::UNSETTLED_JOBS_MAX..=HELD_MAX).contains(&ran), "{ran} jobs ran, and none was settled");
    assert_eq!(harness.recorder.running(), 0);
    let [(unsettled, said)] = &stops(&harness)[..] else { panic!("{:?}", harness.events()) };
    assert!(*unsettled as usize >= limits::UNSETTLED_JOBS_MAX && said.contains("by plan"), "{unsettled} {said}");

    harness.store.clear_faults();
    harness.until("all are settled", || harness.stats().completed_total as usize == ids.len()).await;
    assert_eq!(harness.recorder.count(), ids.len(), "no job ran twice");
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::ClaimsResumed { .. })), 1, "{:?}", harness.events());
    harness.close().await;
}

/// Goal: no log says that a job is poisoned or dead while the store knows nothing of it. Method: every settlement is refused until both attempts have ended.
#[tokio::test(start_paused = true)]
async fn a_job_is_never_reported_as_failed_before_the_store_has_confirmed_it() {
    let harness = Harness::build().rules(|rules| rules.retry = Some(Retry::fixed().max_attempts(1))).start().await;
    harness.store.plan_faults(|verb, _| matches!(verb, Verb::Settle | Verb::SettleAndClaim).then_some(Fault::Refused));
    let poisoned = harness.enqueue("bad", Work::then(Action::FailPermanent)).await;
    let dead = harness.enqueue("down", Work::then(Action::FailTemporary)).await;
    harness.until("both have failed", || harness.recorder.ended() == 2).await;
    tokio::time::sleep(secs(5)).await;
    let failed = |kind: &EventKind| matches!(kind, EventKind::JobPoisoned { .. } | EventKind::JobDied { .. });
    assert_eq!(harness.count(failed), 0, "{:?}", harness.events());

    harness.store.clear_faults();
    harness.until("both are reported", || harness.count(failed) == 2).await;
    for event in harness.events().iter().filter(|event| failed(&event.kind)) {
        match &event.kind {
            EventKind::JobPoisoned { job, code, .. } => assert_eq!((job, code), (&poisoned, &Code::InvalidJobData)),
            EventKind::JobDied { job, code, .. } => assert_eq!((job, code), (&dead, &Code::NetworkError)),
            _ => unreachable!(),
        }
        assert!(event.path.to_string().contains("executor-"), "{event:?}");
    }
    harness.close().await;
}

/// Goal: the bound costs nothing while the store settles. Method: more jobs than the bound end at the same instant.
#[tokio::test(start_paused = true)]
async fn a_store_that_settles_slowly_is_not_reported() {
    let harness = Harness::build().concurrency(CONCURRENCY).start().await;
    harness.store.latency(millis(50));
    let ids = harness.enqueue_many("job", 2 * limits::UNSETTLED_JOBS_MAX, &Work::succeed()).await;
    harness.until("all are settled", || harness.stats().completed_total as usize == ids.len()).await;
    assert!(stops(&harness).is_empty(), "{:?}", harness.events());
    assert!(harness.store.calls(Verb::SettleAndClaim) >= ids.len() / BATCH_MAX);
    harness.close().await;
}

/// Goal: a queue that keeps its order and cannot release what waited too long says that it claims no more. Method: a slow job, and every
/// settlement is refused until its handler has ended.
#[tokio::test(start_paused = true)]
async fn a_queue_whose_releases_are_refused_never_stops_in_silence() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.measure_fast_handlers().await;
    harness.pause().await;
    harness.enqueue("slow", Work::lasting(secs(3))).await;
    harness.enqueue_many("job", 3, &Work::lasting(millis(1))).await;
    harness.store.plan_faults(|verb, _| matches!(verb, Verb::Settle | Verb::SettleAndClaim).then_some(Fault::Refused));
    harness.resume().await;
    harness.until("the queue says that it claims no more", || !stops(&harness).is_empty()).await;
    let [(unsettled, _)] = stops(&harness)[..] else { panic!("{:?}", harness.events()) };
    assert_eq!(unsettled, 3);
    harness.until("the slow one has ended", || harness.recorder.ended() == 31).await;
    harness.store.clear_faults();
    let resumed = |kind: &EventKind| matches!(kind, EventKind::ClaimsResumed { .. });
    harness.until("the queue claims", || harness.count(resumed) == 1).await;
    harness.until("the others have run", || harness.recorder.ended() == 34).await;
    harness.close().await;
}

/// Goal: a queue that was held back claims as soon as the store has settled. Method: the release of what waited too long is refused
/// once, and then settled together with the outcome of the slow job, so that no later settlement claims, and
/// without hints.
#[tokio::test(start_paused = true)]
async fn a_queue_that_was_held_back_never_waits_for_its_timer() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Hints).then_some(Fault::Refused));
    harness.kill_and_await_restart("store-link").await;
    harness.measure_fast_handlers().await;
    harness.pause().await;
    harness.enqueue("slow", Work::lasting(secs(3))).await;
    harness.enqueue("late", Work::lasting(millis(1))).await;
    let mut fault = Some(Fault::Refused);
    harness.store.plan_faults(move |verb, _| match verb {
        Verb::Hints => Some(Fault::Refused),
        Verb::Settle => fault.take(),
        _ => None,
    });
    let settled = Arc::new(Mutex::new(Vec::new()));
    let seen = settled.clone();
    harness.store.observe(move |verb, moment| {
        if verb == Verb::Settle && moment == Moment::Applied {
            seen.lock().unwrap().push(Instant::now());
        }
    });
    harness.resume().await;
    harness.until("both have run", || harness.recorder.ended() == 32).await;
    let started = harness.recorder.all()[31].started;
    let [released] = settled.lock().unwrap().iter().copied().filter(|at| *at <= started).collect::<Vec<_>>()[..] else {
        panic!("one call settles both: {:?}", harness.events())
    };
    assert!(started - released < millis(20), "only the fetcher's timer claimed, after {:?}", started - released);
    harness.close().await;
}

/// Goal: a job that is enqueued while the only claim is under way starts at once, also if the store refuses that claim. Method: the claim is part of a settlement, and the
/// executor becomes free before the refusal.
#[tokio::test(start_paused = true)]
async fn a_hint_that_came_during_a_refused_claim_is_never_forgotten() {
    let harness = Harness::build().concurrency(1).start().await;
    harness.measure_fast_handlers().await;
    harness.pause().await;
    harness.enqueue("first", Work::lasting(millis(5))).await;
    harness.enqueue("second", Work::lasting(millis(200))).await;
    harness.store.plan_faults(|verb, _| (verb == Verb::SettleAndClaim).then_some(Fault::Refused));
    harness.resume().await;
    harness.until("the first runs", || harness.recorder.running() == 1).await;
    let claims = harness.store.calls(Verb::SettleAndClaim);
    harness.store.latency(secs(1));
    harness.until("it is settled", || harness.store.calls(Verb::SettleAndClaim) > claims).await;
    harness.store.latency(millis(0));
    let hinted = Instant::now();
    harness.enqueue("hinted", Work::succeed()).await;
    harness.until("it has run", || harness.recorder.ended() == 33).await;
    assert!(hinted.elapsed() < millis(600), "only the fetcher's timer claimed, after {:?}", hinted.elapsed());
    harness.store.clear_faults();
    harness.close().await;
}
