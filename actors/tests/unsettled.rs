//! A store that grants claims and refuses settlements.

use retraced_actors::limits;
use retraced_jobs::events::EventKind;
use retraced_jobs::store::{Admin, BATCH_MAX};
use tokio::time::Instant;

use crate::support::{Fault, Harness, Verb, Work, millis, secs};

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
    harness.store.pause(&harness.queue).await.unwrap();
    let ids = harness.enqueue_many("job", 2 * HELD_MAX, &Work::lasting(millis(1))).await;
    harness.store.plan_faults(|verb, _| matches!(verb, Verb::Settle | Verb::SettleAndClaim).then_some(Fault::Refused));
    harness.store.resume(&harness.queue).await.unwrap();
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

/// Goal: a queue that keeps its order and cannot release what waited too long says that it claims no more, and claims at once when it can. Method: a slow job, and every
/// settlement is refused until its handler has ended.
#[tokio::test(start_paused = true)]
async fn a_queue_whose_releases_are_refused_never_stops_in_silence() {
    let harness = Harness::build().concurrency(1).start().await;
    let quick = harness.enqueue_many("quick", 30, &Work::lasting(millis(1))).await;
    harness.until("prefetch is measured", || harness.stats().completed_total as usize == quick.len()).await;
    harness.store.pause(&harness.queue).await.unwrap();
    harness.enqueue("slow", Work::lasting(secs(3))).await;
    harness.enqueue_many("job", 3, &Work::lasting(millis(1))).await;
    harness.store.plan_faults(|verb, _| matches!(verb, Verb::Settle | Verb::SettleAndClaim).then_some(Fault::Refused));
    harness.store.resume(&harness.queue).await.unwrap();
    harness.until("the queue says that it claims no more", || !stops(&harness).is_empty()).await;
    let [(unsettled, _)] = stops(&harness)[..] else { panic!("{:?}", harness.events()) };
    assert_eq!(unsettled, 3);
    harness.until("the slow one has ended", || harness.recorder.ended() == 31).await;
    harness.store.clear_faults();
    let resumed = |kind: &EventKind| matches!(kind, EventKind::ClaimsResumed { .. });
    harness.until("the queue claims", || harness.count(resumed) == 1).await;
    let since = Instant::now();
    harness.until("the others have run", || harness.recorder.ended() == 34).await;
    assert!(since.elapsed() < limits::POLL_MIN / 2, "only the fetcher's timer claimed, after {:?}", since.elapsed());
    harness.close().await;
}
