//! What bounds the work that is taken in.

use retraced_actors::{Enqueue, bounds};
use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::handler::{JobOptions, seal_job};
use retraced_jobs::job::{JobState, Kind, RunAt};
use retraced_jobs::store::{Admin, BATCH_MAX};
use retraced_jobs::trace::EventKind;

use crate::support::{Do, Fault, Verb, Work, World, millis, secs};

fn sealed(id: &str) -> Enqueue {
    let options = JobOptions { id: Some(id.parse().unwrap()), ..JobOptions::default() };
    Enqueue::sealed(seal_job(&Work::succeed(), &options).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_full_front_door_answers_busy_counts_casts_and_opens_again() {
    let world = World::start().await;
    world.store.pause(&world.queue).await.unwrap();
    world.store.plan(|verb, n| (verb == Verb::Enqueue && n <= 2).then_some(Fault::Late(secs(2))));
    let actor = world.handle().actor().unwrap();
    // Two flushes take a batch along each, before the rest fills the buffer.
    let fits = bounds::FRONT_DOOR_JOBS_MAX + 2;
    for n in 0..fits {
        actor.cast(sealed(&format!("cast-{n}"))).unwrap();
        if n < 2 {
            world.until("a flush has begun", || world.store.calls(Verb::Enqueue) == n + 1).await;
        }
    }
    for n in 0..7 {
        actor.cast(sealed(&format!("too-many-{n}"))).unwrap();
    }
    let (asking, reply) = sealed("asking").with_reply();
    actor.cast(asking).unwrap();
    let full = |error: &EnqueueError| matches!(error, EnqueueError::QueueFull { queue } if *queue == world.queue);
    assert!(reply.await.unwrap().is_err_and(|error| full(&error)));
    let impatient = world.try_enqueue("impatient", Work::succeed(), RunAt::Now, millis(100)).await.unwrap_err();
    assert!(full(&impatient), "{impatient:?}");
    // One that waits for room gets in.
    world.enqueue("patient", Work::succeed()).await;
    world.until("all are stored", || world.stats().enqueued_total as usize == fits + 1).await;
    let refused = |kind: &EventKind| if let EventKind::Busy { refused } = kind { *refused } else { 0 };
    world.until("the casts are told", || world.events().iter().map(|e| refused(&e.kind)).sum::<u64>() >= 7).await;
    assert_eq!(world.events().iter().map(|e| refused(&e.kind)).sum::<u64>(), 7, "{:?}", world.events());
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn many_enqueues_share_round_trips() {
    let world = World::start().await;
    world.store.latency(millis(10));
    let ids = world.enqueue_many("job", 400, &Work::succeed()).await;
    assert!(world.store.calls(Verb::Enqueue) <= 4, "{} calls", world.store.calls(Verb::Enqueue));
    world.until_all(&ids, JobState::Completed).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn slow_handlers_are_not_fed_ahead() {
    let world = World::start().await;
    world.store.latency(millis(2));
    let ids = world.enqueue_many("job", 60, &Work::lasting(millis(200))).await;
    let most = std::sync::Mutex::new(0);
    world
        .until("all done", || {
            let mut most = most.lock().unwrap();
            *most = world.stats().processing.max(*most);
            world.stats().completed_total == 60
        })
        .await;
    assert!(*most.lock().unwrap() <= 4, "{most:?} jobs were leased for 4 executors");
    assert!(ids.iter().all(|id| world.view(id).counters.releases == 0));
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn quick_handlers_are_fed_ahead_within_the_bound() {
    let world = World::start().await;
    world.store.latency(millis(4));
    let bound = 4 + 2 * 4 + bounds::PREFETCH_JOBS_MAX;
    let most = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (memory, queue, seen) = (world.store.memory().clone(), world.queue.clone(), most.clone());
    world.store.watch(move |_, _| {
        let stats = futures_util::FutureExt::now_or_never(memory.stats(&queue)).unwrap().unwrap();
        seen.fetch_max(stats.processing, std::sync::atomic::Ordering::SeqCst);
    });
    world.store.pause(&world.queue).await.unwrap();
    let ids = world.enqueue_many("job", 2_000, &Work::succeed()).await;
    world.store.resume(&world.queue).await.unwrap();
    world.until_all(&ids, JobState::Completed).await;
    let most = most.load(std::sync::atomic::Ordering::SeqCst);
    // Until their settlement is confirmed, finished jobs are leased too.
    assert!(most > 8, "nothing was fetched ahead: {most}");
    let settling = bounds::SETTLE_CYCLES_MAX * BATCH_MAX;
    assert!(most <= (bound + settling) as u64, "{most} jobs were leased");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_a_second_unstarted_goes_back_to_the_front_in_order_and_only_once() {
    let world = World::build().concurrency(1).start().await;
    // Quick ones make the fetcher fetch ahead; then a slow one comes, and others behind it.
    let quick = world.enqueue_many("quick", 30, &Work::lasting(millis(1))).await;
    world.until_all(&quick, JobState::Completed).await;
    world.store.pause(&world.queue).await.unwrap();
    let slow = world.enqueue("slow", Work::lasting(secs(20))).await;
    let behind = world.enqueue_many("behind", 12, &Work::succeed()).await;
    world.store.resume(&world.queue).await.unwrap();
    world.until("some were fetched ahead", || world.stats().processing > 1).await;
    let ahead = world.stats().processing - 1;
    world.until("they are back", || world.stats().processing == 1).await;
    assert_eq!(world.pending(), behind, "not in order");
    world.until_state(&slow, JobState::Completed).await;
    assert_eq!(world.stats().releases_total, ahead, "they came and went while the executor was busy");
    world.until_all(&behind, JobState::Completed).await;
    for id in &behind {
        let counters = world.view(id).counters;
        assert_eq!((counters.failures, counters.crashes), (0, 0));
        assert!(counters.releases <= 1, "{id} {counters:?}");
    }
    let order: Vec<_> = world.book.all().into_iter().skip(31).map(|run| run.id).collect();
    assert_eq!(order, behind);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_takes_as_many_bytes_as_allowed_and_large_jobs_still_fill_all_executors() {
    let world = World::build().concurrency(10).start().await;
    world.store.pause(&world.queue).await.unwrap();
    // Undecodable for the handler's kind; what counts is their size. They wait in a handler that hangs on a valid envelope.
    let padding = 900 * 1024;
    let mut ids = Vec::new();
    for n in 0..10 {
        let work = Work { steps: vec![crate::support::Step { wait_ms: 60_000, then: Do::Succeed }; 1] };
        let mut payload =
            retraced_jobs::codec::to_payload(&Padded { steps: work.steps, padding: "x".repeat(padding) }).unwrap();
        payload.shrink_to_fit();
        let options = JobOptions { id: Some(format!("big-{n}").parse().unwrap()), ..JobOptions::default() };
        let job = options.seal(Kind::new("work").unwrap(), payload.into()).unwrap();
        ids.push(world.handle().enqueue(job, secs(5)).await.unwrap().id);
    }
    world.store.resume(&world.queue).await.unwrap();
    world.until_within(millis(100), "all ten run", || world.book.running() == 10).await;
    world.until_all(&ids, JobState::Completed).await;
    world.close().await;
}

#[derive(serde::Serialize)]
struct Padded {
    steps: Vec<crate::support::Step>,
    padding: String,
}

#[tokio::test(start_paused = true)]
async fn a_long_trickle_of_work_is_not_polled_for_while_the_queue_is_known_to_be_empty() {
    let world = World::start().await;
    tokio::time::sleep(secs(5)).await;
    let before = world.store.calls(Verb::Claim);
    tokio::time::sleep(secs(60)).await;
    let idle = world.store.calls(Verb::Claim) - before;
    assert!((10..=16).contains(&idle), "{idle} polls in an idle minute");
    world.close().await;
}

/// While the reply to the turn that settles the first job is on its way, the second job is enqueued: the poll of its hint finds all credits asked for already, and then
/// the reply says that the queue is empty.
#[tokio::test(start_paused = true)]
async fn a_hint_that_comes_while_a_claim_is_on_its_way_back_is_not_lost() {
    // Slow enough that nothing is fetched ahead.
    let slow = || Work::lasting(bounds::PREFETCH_HANDLER_MAX + millis(10));
    let world = World::build().concurrency(2).start().await;
    tokio::time::sleep(secs(20)).await;
    let first = world.enqueue("first", slow()).await;
    world.until("the first job runs", || world.book.running() == 1).await;
    world.store.plan(|verb, _| (verb == Verb::SettleAndClaim).then_some(Fault::Slow(millis(300))));
    world.until_state(&first, JobState::Completed).await;
    tokio::time::sleep(millis(100)).await;
    let second = world.enqueue("second", slow()).await;
    let done = || world.view(&second).state == JobState::Completed;
    world.until_within(bounds::POLL_MIN.mul_f64(0.75), "the second job is done", done).await;
    world.close().await;
}
