//! What the watchdog keeps in order: queues that do not add up, and what retention no longer keeps.

use std::time::Duration;

use retraced_actors::bounds::{AUDIT_EVERY, LOOK_QUIET_MAX, SLICE_MAX, SLICES_MAX, WATCH_MAX};
use retraced_jobs::handler::{JobOptions, seal_job};
use retraced_jobs::job::JobState;
use retraced_jobs::store::{BATCH_MAX, CallId, ReplaySlots, Retention, RetentionRule, Transitions};
use retraced_jobs::trace::{EventKind, Finding, FindingKind};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::{Moment, Verb, Work, World, millis};

fn repairs(world: &World) -> usize {
    world.count(|kind| matches!(kind, EventKind::QueueRepaired { .. }))
}

/// Goal: a queue that does not add up twice in a row is told of, mended once, and told of again with what was found.
#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_add_up_is_told_of_and_mended() {
    let world = World::start().await;
    let found = Finding::new(FindingKind::Orphaned, 3, Vec::new());
    world.store.damage(found.clone());
    world.until("a repair", || repairs(&world) == 1).await;
    let told = |kind: &EventKind| {
        matches!(kind, EventKind::AuditFailed { queue, difference: 3 } if *queue == world.queue)
            || matches!(kind, EventKind::QueueRepaired { queue, findings } if *queue == world.queue && *findings == [found.clone()])
    };
    assert_eq!(world.count(told), 2);
    tokio::time::sleep(AUDIT_EVERY * 3).await;
    assert_eq!((world.store.calls(Verb::Repair), repairs(&world)), (1, 1), "mended is mended");
    world.close().await;
}

/// Goal: counts that were read while jobs moved are nobody's damage.
#[tokio::test(start_paused = true)]
async fn a_count_that_is_wrong_once_is_not_told() {
    let world = World::start().await;
    tokio::time::sleep(AUDIT_EVERY * 2 + millis(10)).await;
    let audits = world.store.calls(Verb::Audit);
    assert!(audits >= 1, "nobody audits");
    world.store.miscount_once();
    world.until("the next audit", || world.store.calls(Verb::Audit) >= audits + 2).await;
    tokio::time::sleep(AUDIT_EVERY * 2).await;
    assert_eq!(world.store.calls(Verb::Repair), 0);
    assert_eq!(world.count(|kind| matches!(kind, EventKind::AuditFailed { .. })), 0);
    world.close().await;
}

/// Goal: retention holds under load: what one round of trims cannot take, the next takes at once and not a second later. Method: more jobs complete at one
/// instant than two rounds may trim.
#[tokio::test(start_paused = true)]
async fn what_one_round_of_trims_leaves_the_next_takes_at_once() {
    let kept = 10;
    let rule = RetentionRule::new(Duration::from_secs(3600), kept);
    let retention = Retention::default().completed(rule);
    let world = World::build().concurrency(50).queue(|queue| queue.retention = retention).start().await;
    let jobs = 2 * SLICE_MAX * SLICES_MAX + BATCH_MAX;
    let sealed: Vec<_> = (0..jobs).map(|_| seal_job(&Work::succeed(), &JobOptions::default()).unwrap()).collect();
    let admin = ReplaySlots::new(Uuid::new_v4().into(), 1);
    for batch in sealed.chunks(BATCH_MAX) {
        let call: CallId = admin.take().await.next_call();
        world.store.enqueue(call, &world.queue, batch).await.unwrap();
    }
    world.until("all are done", || world.stats().completed_total == jobs as u64).await;
    let done = Instant::now();
    world.until("what is too much is gone", || world.stats().completed_kept == kept).await;
    assert!(done.elapsed() <= WATCH_MAX + WATCH_MAX / 2, "took {:?}", done.elapsed());
    assert_eq!(world.stats().trimmed_total, jobs as u64 - kept);
    world.close().await;
}

/// Goal: what a fetcher's claim tells of a quiet queue is not asked again: the retry scheduler asks at the start, and then when something
/// is due.
#[tokio::test(start_paused = true)]
async fn a_quiet_queue_is_asked_once_for_what_is_pending_and_what_is_delayed() {
    let world = World::start().await;
    tokio::time::sleep(6 * LOOK_QUIET_MAX).await;
    let (claims, promotions) = (world.store.calls(Verb::Claim), world.store.calls(Verb::Promote));
    tokio::time::sleep(12 * LOOK_QUIET_MAX).await;
    assert!(world.store.calls(Verb::Claim) >= claims + 12, "the fetcher polls");
    assert_eq!(world.store.calls(Verb::Promote), promotions);
    world.close().await;
}

/// A queue not looked after for half a lease counts as one nobody could look after, and its leases get a grace: a worker that looks seldom must not bring that about.
#[tokio::test(start_paused = true)]
async fn a_queue_with_short_leases_is_looked_after_more_often_than_every_half_of_one() {
    let lease = Duration::from_secs(1);
    let world = World::build().options(|options| options.lease = lease).start().await;
    let looks = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = looks.clone();
    world.store.watch(move |verb, moment| {
        if (verb, moment) == (Verb::Reclaim, Moment::Applied) {
            seen.lock().unwrap().push(Instant::now());
        }
    });
    let job = world.enqueue("long", Work::lasting(10 * lease)).await;
    world.until_state(&job, JobState::Completed).await;
    let looks = looks.lock().unwrap().clone();
    let longest = looks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= lease / 2, "{longest:?} between two looks");
    world.close().await;
}
