//! Bounds on the work a tree accepts and claims.

use retraced_actors::{Enqueue, limits};
use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::events::{DropReason, EventKind};
use retraced_jobs::job::{JobId, JobState, Kind, RunAt};
use retraced_jobs::store::{Admin, BATCH_MAX};
use retraced_jobs::typed_job::{JobOptions, seal_job};

use crate::support::{Action, Fault, Harness, Verb, Work, millis, secs};

fn sealed(id: &str) -> Enqueue {
    let options = JobOptions::default().id(id.parse().unwrap());
    Enqueue::sealed(seal_job(&Work::succeed(), &options).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_full_front_door_rejects_enqueues_counts_dropped_casts_and_accepts_again() {
    let harness = Harness::start().await;
    harness.pause().await;
    harness.store.plan_faults(|verb, n| (verb == Verb::Enqueue && n <= 2).then_some(Fault::RequestDelayed(secs(2))));
    let actor = harness.handle().actor().unwrap();
    // Two flushes take one batch each before the rest fills the buffer.
    let capacity = limits::FRONT_DOOR_JOBS_MAX + 2;
    for n in 0..capacity {
        actor.cast(sealed(&format!("cast-{n}"))).unwrap();
        if n < 2 {
            harness.until("a flush has begun", || harness.store.calls(Verb::Enqueue) == n + 1).await;
        }
    }
    for n in 0..7 {
        actor.cast(sealed(&format!("too-many-{n}"))).unwrap();
    }
    let (asking, reply) = sealed("asking").with_reply();
    actor.cast(asking).unwrap();
    let full = |error: &EnqueueError| matches!(error, EnqueueError::QueueFull { queue } if *queue == harness.queue);
    assert!(reply.await.unwrap().is_err_and(|error| full(&error)));
    let impatient = harness.try_enqueue("impatient", Work::succeed(), RunAt::Now, millis(100)).await.unwrap_err();
    assert!(full(&impatient), "{impatient:?}");
    // An enqueue that waits for free capacity succeeds.
    harness.enqueue("patient", Work::succeed()).await;
    harness.until("all are stored", || harness.stats().enqueued_total as usize == capacity + 1).await;
    harness.until("the dropped casts are reported", || dropped(&harness).0 >= 7).await;
    assert_eq!(dropped(&harness), (7, 0), "{:?}", harness.events());
    let is_report = |kind: &EventKind| matches!(kind, EventKind::EnqueuesDropped { .. });
    assert!(harness.events().iter().all(|e| !is_report(&e.kind) || e.path == "email/queue"), "{:?}", harness.events());
    harness.close().await;
}

/// How many casts were reported as dropped, because the buffer was full and because the runtime was shutting down.
fn dropped(harness: &Harness) -> (u64, u64) {
    harness.events().iter().fold((0, 0), |(full, shutting_down), event| match event.kind {
        EventKind::EnqueuesDropped { dropped, reason: DropReason::BufferFull } => (full + dropped, shutting_down),
        EventKind::EnqueuesDropped { dropped, reason: DropReason::ShuttingDown } => (full, shutting_down + dropped),
        _ => (full, shutting_down),
    })
}

#[tokio::test(start_paused = true)]
async fn dropped_casts_are_reported_with_the_reason_of_each() {
    let harness = Harness::start().await;
    harness.pause().await;
    harness.store.plan_faults(|verb, n| (verb == Verb::Enqueue && n <= 2).then_some(Fault::RequestDelayed(secs(2))));
    let actor = harness.handle().actor().unwrap();
    for n in 0..limits::FRONT_DOOR_JOBS_MAX + 2 {
        actor.cast(sealed(&format!("cast-{n}"))).unwrap();
        if n < 2 {
            harness.until("a flush has begun", || harness.store.calls(Verb::Enqueue) == n + 1).await;
        }
    }
    for n in 0..4 {
        actor.cast(sealed(&format!("too-many-{n}"))).unwrap();
    }
    harness.until("the buffer was full", || dropped(&harness).0 > 0).await;
    tokio::join!(harness.shut_down(), async {
        for n in 0..3 {
            actor.cast(sealed(&format!("too-late-{n}"))).unwrap();
        }
    });
    assert_eq!(dropped(&harness), (4, 3), "{:?}", harness.events());
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn many_enqueues_share_round_trips() {
    let harness = Harness::start().await;
    harness.store.latency(millis(10));
    let ids = harness.enqueue_many("job", 400, &Work::succeed()).await;
    assert!(harness.store.calls(Verb::Enqueue) <= 4, "{} calls", harness.store.calls(Verb::Enqueue));
    harness.until_all(&ids, JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_prefetched_for_slow_handlers() {
    let harness = Harness::start().await;
    harness.store.latency(millis(2));
    let ids = harness.enqueue_many("job", 60, &Work::lasting(millis(200))).await;
    let most = std::sync::Mutex::new(0);
    harness
        .until("all done", || {
            let mut most = most.lock().unwrap();
            *most = harness.stats().processing.max(*most);
            harness.stats().completed_total == 60
        })
        .await;
    assert!(*most.lock().unwrap() <= 4, "{most:?} jobs were leased for 4 executors");
    assert!(ids.iter().all(|id| harness.view(id).counters.releases == 0));
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn jobs_for_fast_handlers_are_prefetched_up_to_the_bound() {
    let harness = Harness::start().await;
    harness.store.latency(millis(4));
    let bound = 4 + 2 * 4 + limits::PREFETCH_JOBS_MAX;
    let most = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (memory, queue, seen) = (harness.store.memory().clone(), harness.queue.clone(), most.clone());
    harness.store.observe(move |_, _| {
        let stats = futures_util::FutureExt::now_or_never(memory.stats(&queue)).unwrap().unwrap();
        seen.fetch_max(stats.processing, std::sync::atomic::Ordering::SeqCst);
    });
    harness.pause().await;
    let ids = harness.enqueue_many("job", 2_000, &Work::succeed()).await;
    harness.resume().await;
    harness.until_all(&ids, JobState::Completed).await;
    let most = most.load(std::sync::atomic::Ordering::SeqCst);
    // Finished jobs stay leased until their settlement is confirmed.
    assert!(most > 8, "nothing was prefetched: {most}");
    let settling = limits::SETTLE_CALLS_MAX * BATCH_MAX;
    assert!(most <= (bound + settling) as u64, "{most} jobs were leased");
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn prefetched_jobs_not_started_within_a_second_are_released_once_to_the_front_in_order() {
    let harness = Harness::build().concurrency(1).start().await;
    // Fast jobs make the fetcher prefetch. Then a slow job arrives, and further jobs behind it.
    let quick = harness.enqueue_many("quick", 30, &Work::lasting(millis(1))).await;
    harness.until_all(&quick, JobState::Completed).await;
    harness.pause().await;
    let slow = harness.enqueue("slow", Work::lasting(secs(20))).await;
    let behind = harness.enqueue_many("behind", 12, &Work::succeed()).await;
    harness.resume().await;
    harness.until("some were prefetched", || harness.stats().processing > 1).await;
    let ahead = harness.stats().processing - 1;
    harness.until("they are released", || harness.stats().processing == 1).await;
    assert_eq!(harness.pending(), behind, "not in order");
    harness.until_state(&slow, JobState::Completed).await;
    assert_eq!(
        harness.stats().releases_total,
        ahead,
        "they were claimed and released again while the executor was busy"
    );
    harness.until_all(&behind, JobState::Completed).await;
    for id in &behind {
        let counters = harness.view(id).counters;
        assert_eq!((counters.failures, counters.crashes), (0, 0));
        assert!(counters.releases <= 1, "{id} {counters:?}");
    }
    let order: Vec<_> = harness.recorder.all().into_iter().skip(31).map(|run| run.id).collect();
    assert_eq!(order, behind);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_respects_its_byte_limit_and_large_jobs_still_fill_all_executors() {
    let harness = Harness::build().concurrency(10).start().await;
    harness.pause().await;
    // Only the size of these jobs matters. Each runs for a minute, so all ten run at once.
    let padding = 900 * 1024;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(enqueue_padded(&harness, &format!("big-{n}"), padding).await);
    }
    harness.resume().await;
    harness.until_within(millis(100), "all ten run", || harness.recorder.running() == 10).await;
    harness.until_all(&ids, JobState::Completed).await;
    harness.close().await;
}

/// Goal: a claim that is cut short by its bytes does not count as one that found the queue empty. Method: the second job does not fit beside the first, which is small.
#[tokio::test(start_paused = true)]
async fn a_large_job_behind_a_small_one_does_not_wait_for_a_poll() {
    let large = limits::CLAIM_BYTES_MAX;
    let harness =
        Harness::build().concurrency(2).rules(|rules| rules.payload_bytes_max = Some(2 * large)).start().await;
    harness.pause().await;
    let ids = [enqueue_padded(&harness, "small", 10).await, enqueue_padded(&harness, "large", large).await];
    harness.resume().await;
    harness.until_within(millis(100), "both run", || harness.recorder.running() == 2).await;
    harness.until_all(&ids, JobState::Completed).await;
    harness.close().await;
}

#[derive(serde::Serialize)]
struct Padded {
    steps: Vec<crate::support::Step>,
    padding: String,
}

/// Enqueues a job that runs for a minute and has this many bytes of padding.
async fn enqueue_padded(harness: &Harness, id: &str, padding: usize) -> JobId {
    let steps = vec![crate::support::Step { wait_ms: 60_000, then: Action::Succeed }];
    let mut payload = retraced_jobs::codec::to_payload(&Padded { steps, padding: "x".repeat(padding) }).unwrap();
    payload.shrink_to_fit();
    let options = JobOptions::default().id(id.parse().unwrap()).payload_bytes_max(payload.len());
    let job = options.seal(Kind::new("work").unwrap(), payload.into()).unwrap();
    harness.handle().enqueue(job, secs(5)).await.unwrap().id
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_polled_at_the_idle_interval() {
    let harness = Harness::start().await;
    tokio::time::sleep(secs(5)).await;
    let before = harness.store.calls(Verb::Claim);
    tokio::time::sleep(secs(60)).await;
    let idle = harness.store.calls(Verb::Claim) - before;
    assert!((10..=16).contains(&idle), "{idle} polls in an idle minute");
    harness.close().await;
}

/// The second job is enqueued while the reply to the `settle_and_claim` of the first one is in flight. The poll after the hint finds all credits in use, and
/// then the reply says that the queue is empty.
#[tokio::test(start_paused = true)]
async fn a_hint_that_arrives_while_a_claim_is_in_flight_is_not_lost() {
    // Slow enough that nothing is prefetched.
    let slow = || Work::lasting(limits::PREFETCH_HANDLER_MAX + millis(10));
    let harness = Harness::build().concurrency(2).start().await;
    tokio::time::sleep(secs(20)).await;
    let first = harness.enqueue("first", slow()).await;
    harness.until("the first job runs", || harness.recorder.running() == 1).await;
    harness.store.plan_faults(|verb, _| (verb == Verb::SettleAndClaim).then_some(Fault::ReplyDelayed(millis(300))));
    harness.until_state(&first, JobState::Completed).await;
    tokio::time::sleep(millis(100)).await;
    let second = harness.enqueue("second", slow()).await;
    let done = || harness.view(&second).state == JobState::Completed;
    harness.until_within(limits::POLL_MIN.mul_f64(0.75), "the second job is done", done).await;
    harness.close().await;
}

/// Goal: a settlement call beside another one never has less than half a batch. Method: ten jobs end in each millisecond, and the store answers after 20.
#[tokio::test(start_paused = true)]
async fn no_small_settlement_is_sent_beside_another() {
    let harness = Harness::build().concurrency(10).start().await;
    harness.measure_fast_handlers().await;
    harness.pause().await;
    let batches = 5;
    let ids = harness.enqueue_many("job", batches * BATCH_MAX, &Work::lasting(millis(1))).await;
    harness.store.latency(millis(20));
    let settled = || harness.store.calls(Verb::Settle) + harness.store.calls(Verb::SettleAndClaim);
    let before = settled();
    harness.resume().await;
    harness.until_all(&ids, JobState::Completed).await;
    let calls = settled() - before;
    assert!(calls <= 2 * batches + 2, "{calls} calls settled {batches} batches");
    harness.close().await;
}
