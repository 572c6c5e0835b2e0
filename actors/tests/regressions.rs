//! Faults of the system this one succeeds that no other test rules out. `docs/lineage.md` tells what they were, and which test stands against each.

use std::time::Duration;

use bytes::Bytes;
use retraced_jobs::failure::Code;
use retraced_jobs::handler::{JobOptions, seal_job};
use retraced_jobs::job::{Counters, JobId, JobState, NewJob, RunAt};
use retraced_jobs::retry::{OnUnknown, Retry, Strategy};
use retraced_jobs::store::{Admin, Retention, RetentionRule, Transitions};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::support::{Do, Fault, Verb, Work, World, WorldBuilder, millis, secs};

/// Two tries at once, then one after 5 s, then one after 10 s.
fn three_tier() -> WorldBuilder {
    let retry = Retry::three_tier().base(secs(5)).factor(2).jitter(0).immediate_tries(3).max_attempts(5);
    World::build().rules(|rules| rules.retry = retry)
}

/// How long it was between the starts of a job's executions.
fn gaps(world: &World, id: &JobId) -> Vec<Duration> {
    world.book.of(id).windows(2).map(|pair| pair[1].started - pair[0].started).collect()
}

#[tokio::test(start_paused = true)]
async fn an_immediate_retry_never_waits_for_a_watchdog() {
    let world = three_tier().start().await;
    let begun = Instant::now();
    let work = Work::then(Do::FailTemporary).and(millis(0), Do::FailTemporary).and(millis(0), Do::Succeed);
    let id = world.enqueue("one", work).await;
    world.until_state(&id, JobState::Completed).await;
    assert!(begun.elapsed() <= millis(50), "took {:?}", begun.elapsed());
    assert_eq!(world.view(&id).counters, Counters { attempts: 3, failures: 2, ..Counters::default() });
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_three_tier_delay_is_never_over_at_once() {
    let world = three_tier().start().await;
    let id = world.enqueue("one", Work::then(Do::FailTemporary)).await;
    world.until_state(&id, JobState::Delayed).await;
    let view = world.view(&id);
    let waits = view.at_ms.unwrap() - view.history.last().unwrap().settled_ms;
    assert_eq!((waits, world.book.count()), (5_000, 3));
    world.until_state(&id, JobState::Dead).await;
    let gaps = gaps(&world, &id);
    for (gap, least) in gaps.iter().zip([0, 0, 5, 10].map(secs)) {
        assert!(*gap >= least && *gap <= least + millis(20), "{gaps:?}");
    }
    world.close().await;
}

/// Whatever the way back was, at once or over the delayed set.
#[tokio::test(start_paused = true)]
async fn a_try_is_never_counted_twice() {
    for strategy in Strategy::ALL {
        let retry = Retry::new(strategy).base(secs(1)).max_attempts(5);
        let world = World::build().rules(|rules| rules.retry = retry).start().await;
        let id = world.enqueue("one", Work::then(Do::FailTemporary)).await;
        world.until_state(&id, JobState::Dead).await;
        let tries: Vec<_> = world.book.of(&id).iter().map(|run| (run.attempt, run.grant)).collect();
        assert_eq!(tries, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], "{strategy}");
        let counters = Counters { attempts: 5, failures: 5, ..Counters::default() };
        assert_eq!(world.view(&id).counters, counters, "{strategy}");
        world.close().await;
    }
}

/// After every call of anybody's the job is in one place, and what is told of it agrees.
#[tokio::test(start_paused = true)]
async fn a_retried_job_is_never_in_two_places() {
    let world = three_tier().start().await;
    world.store.latency(millis(2));
    let id = world.enqueue("one", Work::step(millis(3), Do::FailTemporary)).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&JobState::Dead) {
        let stats = world.stats();
        let places = [
            (JobState::Pending, stats.pending),
            (JobState::Processing, stats.processing),
            (JobState::Delayed, stats.delayed),
            (JobState::Completed, stats.completed_kept),
            (JobState::Dead, stats.dead),
            (JobState::Poisoned, stats.poisoned),
        ];
        let state = world.state(&id);
        for (place, jobs) in places {
            assert_eq!(jobs, u64::from(place == state), "{place}, told as {state}: {stats:?}");
        }
        assert_eq!(world.store.audit(&world.queue).await.unwrap().difference(), 0);
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        assert!(seen.len() < 40, "{seen:?}");
        tokio::time::sleep(millis(1)).await;
    }
    assert!(seen.contains(&JobState::Processing) && seen.contains(&JobState::Delayed), "{seen:?}");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_due_job_never_waits_for_the_scheduler_while_others_run() {
    let world = World::build().concurrency(2).start().await;
    let long = world.enqueue("long", Work::lasting(secs(60))).await;
    world.until("it runs", || world.book.running() == 1).await;
    let due = world.enqueue_at("due", Work::lasting(secs(60)), RunAt::After(secs(5))).await;
    let begun = Instant::now();
    world.until("the due one runs beside it", || world.book.running() == 2).await;
    assert!(begun.elapsed() <= millis(5_020), "took {:?}", begun.elapsed());
    // With all executors busy it is at least in its place in the queue.
    let next = world.enqueue_at("next", Work::succeed(), RunAt::After(secs(5))).await;
    let begun = Instant::now();
    world.until_state(&next, JobState::Pending).await;
    assert!(begun.elapsed() <= millis(5_020), "took {:?}", begun.elapsed());
    assert_eq!(world.book.running(), 2);
    world.until_all(&[long, due, next], JobState::Completed).await;
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_longer_than_its_lease_never_runs_twice() {
    let build = || World::build().options(|options| options.lease = secs(2));
    let world = build().start().await;
    let other = build().beside(&world).start().await;
    let ids = world.enqueue_many("long", 8, &Work::lasting(secs(90))).await;
    world.until_all(&ids, JobState::Completed).await;
    assert_eq!(world.book.count(), 8);
    for id in &ids {
        assert_eq!(world.view(id).counters, Counters { attempts: 1, ..Counters::default() });
    }
    for world in [&world, &other] {
        assert_eq!(world.count(|kind| matches!(kind, EventKind::LeaseReclaimed { .. })), 0);
    }
    other.close().await;
    world.close().await;
}

/// What a stranger put there: bytes that are no envelope, the JSON of the system before among them.
#[tokio::test(start_paused = true)]
async fn a_failed_decode_never_loops() {
    let world = World::build().concurrency(1).start().await;
    let strange: [&[u8]; 4] = [b"", b"{\"jobId\":\"7\",\"status\":\"pending\"}", &[0xc1; 40], &[0x91; 10_000]];
    for (n, bytes) in strange.into_iter().enumerate() {
        let id = JobId::parse(&format!("strange-{n}")).unwrap();
        let job = NewJob { id: id.clone(), run_at: RunAt::Now, envelope: Bytes::from_static(bytes) };
        let call = world.desk_call().await;
        world.store.enqueue(call, &world.queue, &[job]).await.unwrap();
        world.until_state(&id, JobState::Poisoned).await;
        let view = world.view(&id);
        assert_eq!((view.counters.attempts, view.last_error().unwrap().code), (1, Code::DecodeFailed));
    }
    let good = world.enqueue("good", Work::succeed()).await;
    world.until_state(&good, JobState::Completed).await;
    tokio::time::sleep(secs(120)).await;
    assert_eq!((world.stats().poisoned, world.stats().failures_total), (4, 4), "they came back");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_never_holds_up_the_others() {
    let timeout = secs(60);
    let world = World::build()
        .concurrency(2)
        .options(|options| options.lease = secs(2))
        .rules(|rules| (rules.timeout, rules.retry) = (timeout, Retry::fixed().max_attempts(1)))
        .start()
        .await;
    let hangs = world.enqueue("hangs", Work::then(Do::Hang)).await;
    world.until("it hangs", || world.book.running() == 1).await;
    let begun = Instant::now();
    let quick = world.enqueue_many("quick", 40, &Work::lasting(millis(20))).await;
    world.until_all(&quick, JobState::Completed).await;
    assert!(begun.elapsed() <= millis(1_000), "took {:?}", begun.elapsed());
    world.until_state(&hangs, JobState::Dead).await;
    assert!(begun.elapsed() >= timeout - secs(1) && begun.elapsed() <= timeout + secs(1));
    assert_eq!(world.book.of(&hangs).len(), 1, "it was given to somebody else while it hung");
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_is_never_kept_for_ever() {
    let rule = RetentionRule::new(secs(60), 20);
    let retention = Retention::default().completed(rule).dead(rule).poisoned(rule).cancelled(rule);
    let world = World::build()
        .queue(|queue| queue.retention = retention)
        .rules(|rules| rules.on_unknown = OnUnknown::DeadLetter)
        .start()
        .await;
    let mut ids = Vec::new();
    for (prefix, ends) in [("done", Do::Succeed), ("dead", Do::FailUnknown), ("poison", Do::FailPermanent)] {
        for n in 0..50 {
            // Not as the world does it, which expects to find all of them in the end.
            let id = Some(JobId::parse(&format!("{prefix}-{n}")).unwrap());
            let job = seal_job(&Work::then(ends), &JobOptions { id, ..JobOptions::default() }).unwrap();
            ids.push(world.handle().enqueue(job, secs(10)).await.unwrap().id);
        }
    }
    let kept = || {
        let stats = world.stats();
        [stats.completed_kept, stats.dead, stats.poisoned]
    };
    world.until("all have run", || world.book.ended() == 150).await;
    world.until_within(secs(10), "what is too much goes", || kept() == [20; 3]).await;
    world.until_within(secs(65), "what is too old goes", || kept() == [0; 3]).await;
    assert_eq!(world.stats().trimmed_total, 150);
    for id in &ids {
        assert_eq!(world.store.job(&world.queue, id).await.unwrap(), None);
    }
    assert!(world.store.calls(Verb::Trim) > 0);
    world.close().await;
}

/// A world that hears no hints.
async fn deaf() -> World {
    let world = World::start().await;
    world.store.plan(|verb, _| (verb == Verb::Hints).then_some(Fault::Refuse));
    world.kill_and_await_successor("store-link").await;
    // Idle polls have become as rare as they get.
    tokio::time::sleep(secs(60)).await;
    world
}

/// Put there by another process, which tells this one nothing.
#[tokio::test(start_paused = true)]
async fn a_lost_hint_never_leaves_a_job_waiting() {
    let world = deaf().await;
    for name in ["one", "two"] {
        let options = JobOptions { id: Some(JobId::parse(name).unwrap()), ..JobOptions::default() };
        let job = seal_job(&Work::succeed(), &options).unwrap();
        let id = job.id.clone();
        let call = world.desk_call().await;
        world.store.enqueue(call, &world.queue, &[job]).await.unwrap();
        world.until_within(secs(6), "it is found", || world.state(&id) == JobState::Completed).await;
        tokio::time::sleep(secs(60)).await;
    }
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_never_hides_a_wish_to_cancel() {
    let world = deaf().await;
    let id = world.enqueue("one", Work::then(Do::StopWhenAsked)).await;
    world.until("it runs", || world.book.running() == 1).await;
    world.cancel(&id).await;
    // A third of a lease of 30 s.
    world.until_within(secs(11), "it is told", || world.book.running() == 0).await;
    world.until_state(&id, JobState::Cancelled).await;
    world.close().await;
}
