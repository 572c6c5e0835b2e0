//! Reclaiming expired leases and promoting due jobs.

use std::time::Duration;

use retraced_jobs::failure::Code;
use retraced_jobs::job::{Counters, JobState, RunAt};
use retraced_jobs::limits::CLOCK_STEP_TOLERATED;
use retraced_jobs::store::{ClaimedJob, Reclaim, Renewal, Settled, StoreError, Verdict};
use retraced_jobs::trace::AttemptRecord;

use super::leases::KEPT;
use super::{Harness, LONG, SHORT, TIMEOUT, Worker, id, ids};

pub(crate) async fn an_expired_lease_is_reclaimed_to_the_front_and_counted_only_if_its_handler_had_started(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    let names = ids(4);
    worker.enqueue(&names).await;
    let jobs = worker.claim_for(2, SHORT).await;
    let kept = worker.claim(1).await;
    assert_eq!(worker.begin(SHORT, &jobs[1..]).await, [KEPT]);
    let expired_ms = [worker.view(&names[0]).await.at_ms.unwrap(), worker.view(&names[1]).await.at_ms.unwrap()];
    harness.pass_short().await;

    let other = harness.worker(2);
    let reclaimed = other.reclaim(3).await;
    assert_eq!(reclaimed.grace, None);
    let next_expiry = reclaimed.next_expiry.unwrap();
    assert!(next_expiry > LONG / 2 && next_expiry <= LONG, "{next_expiry:?}");
    let taken: Vec<_> = reclaimed.jobs.iter().map(|job| (job.id.clone(), job.crashes, job.counted)).collect();
    assert_eq!(taken, [(names[0].clone(), 0, false), (names[1].clone(), 1, true)]);
    assert!(reclaimed.jobs.iter().all(|job| job.held_by == Some(worker.instance) && !job.poisoned));
    assert_eq!(worker.listed(JobState::Pending).await, [names[0].clone(), names[1].clone(), names[3].clone()]);

    let instance = worker.instance;
    let (lost, crashed) = (worker.view(&names[0]).await, worker.view(&names[1]).await);
    assert_eq!(lost.counters, Counters { attempts: 1, releases: 1, ..Counters::default() });
    let unknown = AttemptRecord::Lost { instance, lease_expired_ms: expired_ms[0], watched: false, in_a_row: 1 };
    assert_eq!((lost.history[0].attempt, &lost.history[0].record), (1, &Ok(unknown)));
    assert_eq!(crashed.counters, Counters { attempts: 1, crashes: 1, ..Counters::default() });
    let known = AttemptRecord::Crashed { instance, lease_expired_ms: expired_ms[1] };
    assert_eq!((crashed.history[0].attempt, &crashed.history[0].record), (1, &Ok(known)));

    assert_eq!(other.reclaim(3).await.jobs, [], "a second reclaim finds nothing");
    let stats = worker.stats().await;
    assert_eq!((stats.crashes_total, stats.releases_total), (1, 1));
    assert_eq!(worker.settle(&jobs[0], Verdict::Complete { keep: true }).await, Settled::Stale);
    assert_eq!(
        worker.settle(&kept[0], Verdict::Complete { keep: true }).await,
        Settled::Done { state: JobState::Completed }
    );
    assert_eq!(worker.claim_one().await.token.attempt, 2);
}

pub(crate) async fn the_crash_that_reaches_the_limit_poisons_the_job(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&[id("a")]).await;
    for crashes in 1..=3 {
        let jobs = worker.claim_for(1, SHORT).await;
        assert_eq!(worker.begin(SHORT, &jobs).await, [KEPT]);
        // A renewal does not delete the recorded start.
        assert_eq!(worker.renew(SHORT, &jobs).await, [KEPT]);
        harness.pass_short().await;
        let reclaimed = worker.reclaim(3).await;
        assert_eq!((reclaimed.jobs[0].crashes, reclaimed.jobs[0].poisoned), (crashes, crashes == 3));
        assert_eq!(reclaimed.next_expiry, None);
    }
    let view = worker.view(&id("a")).await;
    assert_eq!((view.state, view.history.len()), (JobState::Poisoned, 3));
    assert_eq!(view.counters, Counters { attempts: 3, crashes: 3, ..Counters::default() });
    worker.redrive(&id("a")).await;
    let jobs = worker.claim_for(1, SHORT).await;
    worker.begin(SHORT, &jobs).await;
    harness.pass_short().await;
    assert!(!worker.reclaim(3).await.jobs[0].poisoned, "the crashes of a redriven job are counted from 0 again");
}

/// A job can kill the workers that claim it before its handler starts. An attempt that ends in any other way starts the count of losses in a row again.
pub(crate) async fn a_job_lost_too_often_in_a_row_before_its_handler_started_is_poisoned(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    worker.enqueue(&[id("a")]).await;
    let request = Reclaim { limit: 9, lease: LONG, crashes_max: 1, losses_max: 4 };
    let mut in_a_row = 0;
    for attempt in 1..=8 {
        let jobs = worker.claim_for(1, SHORT).await;
        in_a_row += 1;
        match attempt {
            3 => {
                worker.settle(&jobs[0], Verdict::ReleaseNow).await;
                in_a_row = 0;
                continue;
            }
            _ => harness.pass_short().await,
        }
        let reclaimed = worker.reclaim_with(&request).await;
        let poisoned = in_a_row == 4;
        assert_eq!((reclaimed.jobs[0].counted, reclaimed.jobs[0].poisoned), (false, poisoned), "attempt {attempt}");
        if poisoned {
            break;
        }
    }
    let view = worker.view(&id("a")).await;
    assert_eq!(view.state, JobState::Poisoned);
    assert_eq!(view.counters, Counters { attempts: 7, releases: 7, ..Counters::default() });
    let rows = view.history.iter().filter_map(|attempt| match attempt.record {
        Ok(AttemptRecord::Lost { watched, in_a_row, .. }) => Some((attempt.attempt, watched, in_a_row)),
        _ => None,
    });
    let expected = [(1, false, 1), (2, true, 2), (4, true, 1), (5, true, 2), (6, true, 3), (7, true, 4)];
    assert_eq!(rows.collect::<Vec<_>>(), expected);
    assert_eq!(view.last_error().unwrap().code, Code::LeaseLost);
    let listed = worker.store.jobs(&worker.queue, JobState::Poisoned, None, 9).await.unwrap();
    assert_eq!(listed.jobs[0].last_error, view.last_error());
}

pub(crate) async fn leases_are_reclaimed_in_the_order_they_expired_up_to_the_limit(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    let names = ids(4);
    worker.enqueue(&names).await;
    for _ in 0..2 {
        worker.claim_for(2, SHORT).await;
        harness.pass_short().await;
    }
    let request = Reclaim { limit: 3, lease: LONG, crashes_max: 9, losses_max: 9 };
    let first = worker.reclaim_with(&request).await;
    assert_eq!(first.jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>(), names[..3]);
    assert_eq!(first.next_expiry, Some(Duration::ZERO), "another lease has expired already");
    assert_eq!(worker.listed(JobState::Pending).await, names[..3]);
    assert_eq!(worker.reclaim_with(&Reclaim { limit: 0, ..request }).await.jobs, []);
    let second = worker.reclaim_with(&request).await;
    assert_eq!(second.jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>(), names[3..]);
    assert_eq!(second.next_expiry, None);
}

/// A lease has expired as soon as the clock reads its expiry, not only after that.
pub(crate) async fn a_lease_of_zero_length_expires_at_once(_: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&[id("a")]).await;
    worker.claim_for(1, Duration::ZERO).await;
    assert_eq!(worker.reclaim(3).await.jobs.len(), 1);
}

pub(crate) async fn a_reclaimed_job_whose_cancellation_was_requested_is_cancelled(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    worker.enqueue(&ids(2)).await;
    worker.claim_for(2, SHORT).await;
    worker.cancel(&ids(1)[0]).await;
    harness.pass_short().await;
    let reclaimed = worker.reclaim(3).await;
    assert_eq!(reclaimed.jobs.iter().map(|job| (job.crashes, job.poisoned)).collect::<Vec<_>>(), [(0, false); 2]);
    assert_eq!(worker.listed(JobState::Cancelled).await, ids(2)[..1]);
    assert_eq!(worker.listed(JobState::Pending).await, ids(2)[1..]);

    let jobs = worker.claim_for(1, SHORT).await;
    worker.cancel(&ids(2)[1]).await;
    assert_eq!(worker.begin(SHORT, &jobs).await, [Renewal::Kept { cancel_asked: true }]);
    harness.pass_short().await;
    assert!(worker.reclaim(1).await.jobs[0].poisoned, "a crash that poisons outweighs a requested cancellation");
}

/// Reclaims until a job is reclaimed, and returns how long that took. The clock advances in steps that are short against the lease, like those of a reclaimer, and the
/// leases of the jobs `kept` are renewed. If a step takes too long on a slow machine, grace is given again, and the reclaim only comes later.
async fn reclaim_after_grace(
    harness: &dyn Harness,
    worker: &Worker,
    request: &Reclaim,
    kept: &[ClaimedJob],
) -> Duration {
    let begun_ms = worker.now_ms().await;
    loop {
        let waited = Duration::from_millis(worker.now_ms().await - begun_ms);
        assert!(waited < TIMEOUT, "the lease was never reclaimed");
        worker.renew(request.lease, kept).await;
        let reclaimed = worker.reclaim_with(request).await;
        if !reclaimed.jobs.is_empty() {
            assert_eq!(reclaimed.grace, None);
            return waited;
        }
        assert!(reclaimed.grace.is_some_and(|grace| grace <= request.lease), "{reclaimed:?}");
        harness.advance(request.lease / 10).await;
    }
}

/// How a worker whose leases have this length reclaims.
fn reclaim_for(lease: Duration) -> Reclaim {
    Reclaim { limit: 9, lease, crashes_max: 9, losses_max: 9 }
}

pub(crate) async fn a_reclaim_gap_counts_no_crash_for_any_job(harness: &dyn Harness, worker: Worker) {
    let lease = Duration::from_millis(400);
    let request = reclaim_for(lease);
    // No worker has visited this queue before.
    worker.enqueue(&ids(2)).await;
    let jobs = worker.claim_for(2, SHORT).await;
    harness.pass_short().await;
    let first = worker.reclaim_with(&request).await;
    assert_eq!((first.jobs.len(), first.grace, first.next_expiry), (0, Some(lease), Some(Duration::ZERO)));
    let waited = reclaim_after_grace(harness, &worker, &request, &jobs[..1]).await;
    assert!(waited >= lease * 9 / 10, "the grace lasts for one lease, not {waited:?}");
    assert_eq!(worker.listed(JobState::Pending).await, [jobs[1].id.clone()]);

    // A worker visited the queue, and then none did for more than half a lease.
    let job = worker.claim_for(1, SHORT).await;
    worker.reclaim_with(&Reclaim { limit: 0, ..request }).await;
    harness.advance(lease + Duration::from_millis(5)).await;
    let after_gap = worker.reclaim_with(&request).await;
    assert_eq!((after_gap.jobs.len(), after_gap.grace), (0, Some(lease)));
    let settled = worker.settle(&job[0], Verdict::Complete { keep: true }).await;
    assert_eq!(settled, Settled::Done { state: JobState::Completed }, "the holder settles within the grace");
}

pub(crate) async fn an_empty_queue_needs_no_grace(harness: &dyn Harness, worker: Worker) {
    let request = reclaim_for(SHORT);
    let first = worker.reclaim_with(&request).await;
    assert_eq!((first.grace, first.next_expiry), (None, None));
    harness.pass_short().await;
    assert_eq!(worker.reclaim_with(&request).await.grace, None);
}

/// Two workers with different leases on one queue, as in a rolling deploy that changes the setting. Half of the shorter lease decides what is a reclaim gap.
pub(crate) async fn a_worker_with_longer_leases_does_not_take_a_short_one_without_grace(
    harness: &dyn Harness,
    worker: Worker,
) {
    let (short, slow) = (Duration::from_millis(100), harness.worker(2));
    slow.reclaim_with(&reclaim_for(LONG)).await;
    worker.reclaim_with(&reclaim_for(short)).await;
    worker.enqueue(&[id("a")]).await;
    let job = worker.claim_for(1, short).await;
    harness.advance(short + Duration::from_millis(5)).await;
    let after_gap = slow.reclaim_with(&reclaim_for(LONG)).await;
    assert_eq!(after_gap.jobs, [], "its holder had no time to renew it");
    assert!(after_gap.grace.is_some_and(|grace| grace >= short), "{after_gap:?}");
    assert_eq!(worker.renew(LONG, &job).await, [KEPT]);
    assert_eq!(worker.renew(Duration::ZERO, &job).await, [KEPT]);

    // The worker with the shorter leases is gone for good. The others do not take each of their intervals for a gap.
    let mut waited = Duration::ZERO;
    while slow.reclaim_with(&reclaim_for(LONG)).await.jobs.is_empty() {
        assert!(waited < TIMEOUT, "the lease was never reclaimed");
        harness.advance(short).await;
        waited += short;
    }
}

/// The others look at the queue as often as their own leases ask for, so their last look may be long ago for a shorter lease.
pub(crate) async fn a_worker_with_shorter_leases_that_joins_is_no_reclaim_gap(harness: &dyn Harness, worker: Worker) {
    let short = Duration::from_millis(100);
    worker.reclaim_with(&reclaim_for(LONG)).await;
    worker.enqueue(&ids(2)).await;
    worker.claim_for(1, LONG).await;
    let quick = harness.worker(2);
    quick.claim_for(1, short).await;
    harness.advance(short * 3).await;
    let joined = quick.reclaim_with(&reclaim_for(short)).await;
    assert_eq!((joined.grace, joined.jobs.len()), (None, 1));

    // From now on half of its lease counts.
    harness.advance(short).await;
    assert!(quick.reclaim_with(&reclaim_for(short)).await.grace.is_some_and(|grace| grace >= short));
}

/// The grace lasts for the longest lease in use, whoever reclaims.
pub(crate) async fn a_worker_with_shorter_leases_does_not_take_a_long_one_without_grace(
    harness: &dyn Harness,
    worker: Worker,
) {
    let (short, gap, quick) = (Duration::from_millis(50), Duration::from_millis(300), harness.worker(2));
    worker.reclaim_with(&reclaim_for(LONG)).await;
    quick.reclaim_with(&reclaim_for(short)).await;
    worker.enqueue(&[id("a")]).await;
    worker.claim_for(1, SHORT).await;
    harness.advance(gap).await;
    let after_gap = quick.reclaim_with(&reclaim_for(short)).await;
    assert_eq!(after_gap.jobs, []);
    // A lease of more than twice the gap could be renewed all the same, so it needs no grace.
    assert!(after_gap.grace.is_some_and(|grace| grace >= gap * 2), "{after_gap:?}");
}

pub(crate) async fn a_worker_with_shorter_leases_does_not_end_a_grace_for_longer_ones(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.enqueue(&[id("a")]).await;
    worker.claim_for(1, SHORT).await;
    harness.pass_short().await;
    assert_eq!(worker.reclaim_with(&reclaim_for(LONG)).await.grace, Some(LONG));
    let quick = harness.worker(2);
    for _ in 0..5 {
        let reclaimed = quick.reclaim_with(&reclaim_for(SHORT)).await;
        assert_eq!(reclaimed.jobs, [], "the grace of the longer lease is not over");
        assert!(reclaimed.grace.is_some_and(|grace| grace > LONG / 2), "{reclaimed:?}");
        harness.pass_short().await;
    }
}

pub(crate) async fn the_grace_is_never_longer_than_a_lease_that_is_still_in_use(harness: &dyn Harness, worker: Worker) {
    let (long, short) = (Duration::from_millis(100), SHORT);
    worker.reclaim_with(&reclaim_for(long)).await;
    harness.advance(long + Duration::from_millis(5)).await;
    // The first call stores when it looked, which is more than the longer lease after the length was last in use. The second sees that.
    for _ in 0..2 {
        worker.reclaim_with(&reclaim_for(short)).await;
    }
    worker.enqueue(&[id("a")]).await;
    worker.claim_for(1, short).await;
    harness.advance(long).await;
    let after_gap = worker.reclaim_with(&reclaim_for(short)).await;
    assert_eq!((after_gap.jobs.len(), after_gap.grace), (0, Some(short)));
}

pub(crate) async fn a_dead_workers_lease_does_not_stand_because_the_clock_was_set_back(
    harness: &dyn Harness,
    worker: Worker,
) {
    let lease = Duration::from_millis(200);
    let request = Reclaim { limit: 2, ..reclaim_for(lease) };
    worker.reclaim_with(&request).await;
    let names = ids(4);
    worker.enqueue(&names).await;
    let mut jobs = worker.claim_for(4, lease).await;
    harness.set_back(LONG);
    let other = harness.worker(2);
    let first = other.reclaim_with(&request).await;
    assert_eq!((first.jobs.len(), first.shortened), (0, 2), "a call shortens no more leases than its limit");
    assert!(first.next_expiry.is_some_and(|next| next <= lease), "{first:?}");
    assert_eq!(other.reclaim_with(&request).await.shortened, 2);
    let last = other.reclaim_with(&request).await;
    assert_eq!((last.shortened, last.grace), (0, None), "what was set before the clock was set back is no gap");

    let kept = jobs.split_off(3);
    let mut taken = 0;
    let begun_ms = worker.now_ms().await;
    while taken < 3 {
        assert!(worker.now_ms().await - begun_ms < 20_000, "the leases of a dead worker stand");
        assert_eq!(worker.renew(lease, &kept).await, [KEPT], "a holder that lives keeps its lease");
        let reclaimed = other.reclaim_with(&request).await;
        assert_eq!(reclaimed.shortened, 0);
        taken += reclaimed.jobs.len();
        harness.advance(lease / 10).await;
    }
    assert_eq!(worker.listed(JobState::Processing).await, [kept[0].id.clone()]);
}

/// A time server corrects a clock by less than a second every day.
pub(crate) async fn a_small_step_back_of_the_clock_does_not_end_a_lease_grace(harness: &dyn Harness, worker: Worker) {
    let step = Duration::from_millis(300);
    worker.enqueue(&[id("a")]).await;
    let job = worker.claim_for(1, SHORT).await;
    // After the step back the lease has still expired.
    harness.advance(step * 2).await;
    assert_eq!(worker.reclaim_with(&reclaim_for(LONG)).await.grace, Some(LONG));
    harness.set_back(step);
    for other in [&worker, &harness.worker(2)] {
        let reclaimed = other.reclaim_with(&reclaim_for(LONG)).await;
        assert_eq!(reclaimed.jobs, [], "its holder had no time to renew it");
        assert!(reclaimed.grace.is_some_and(|grace| grace > LONG / 2 && grace <= LONG), "{reclaimed:?}");
    }
    assert_eq!(worker.renew(LONG, &job).await, [KEPT]);
}

/// It is no reason for an event, and a lease that ends that much later is no harm.
pub(crate) async fn a_small_step_back_of_the_clock_shortens_no_lease(harness: &dyn Harness, worker: Worker) {
    worker.reclaim_with(&reclaim_for(LONG)).await;
    worker.enqueue(&[id("a")]).await;
    worker.claim_for(1, LONG).await;
    harness.set_back(CLOCK_STEP_TOLERATED);
    assert_eq!(worker.reclaim_with(&reclaim_for(LONG)).await.shortened, 0);
    harness.set_back(LONG);
    assert_eq!(worker.reclaim_with(&reclaim_for(LONG)).await.shortened, 1);
}

/// Only a clock that was set back makes a lease end later than it may. A lease of another length does not.
pub(crate) async fn a_lease_longer_than_that_of_the_reclaiming_worker_is_not_shortened(
    harness: &dyn Harness,
    worker: Worker,
) {
    let quick = harness.worker(2);
    worker.enqueue(&ids(4)).await;
    // Claimed before anybody knows how long leases are, and after that.
    let mut jobs = worker.claim_for(1, LONG).await;
    for longer in [1, 2] {
        let reclaimed = quick.reclaim_with(&reclaim_for(SHORT)).await;
        assert_eq!(reclaimed.shortened, 0);
        jobs.extend(worker.claim_for(1, LONG * 2 * longer).await);
    }
    let settlements = [worker.settlement(&jobs.remove(0), Verdict::Complete { keep: true })];
    let request = worker.request(1, LONG * 6);
    let (_, claims) =
        worker.store.settle_and_claim(worker.call(), &worker.queue, &settlements, &request).await.unwrap();
    jobs.extend(claims.jobs);
    assert_eq!(worker.renew(LONG * 8, &jobs[..1]).await, [KEPT]);
    assert_eq!(worker.begin(LONG * 10, &jobs[1..2]).await, [KEPT]);
    let before = worker.snapshot().await;
    for _ in 0..3 {
        harness.pass_short().await;
        let reclaimed = quick.reclaim_with(&reclaim_for(SHORT)).await;
        assert_eq!((reclaimed.jobs.len(), reclaimed.shortened), (0, 0));
    }
    assert_eq!(worker.snapshot().await, before);
}

pub(crate) async fn due_jobs_are_promoted_to_the_back_in_the_order_of_their_times(
    harness: &dyn Harness,
    worker: Worker,
) {
    let now = worker.now_ms().await;
    let at = |n: u64| RunAt::At(now + 4 + n);
    let names = ids(6);
    for (name, run_at) in names.iter().zip([at(400), at(200), at(300), at(200), RunAt::After(LONG)]) {
        worker.put_at(name, run_at).await;
    }
    worker.put_at(&names[5], RunAt::Now).await;
    assert_eq!(worker.listed(JobState::Delayed).await, [1, 3, 2, 0, 4].map(|n| names[n].clone()));
    harness.advance(Duration::from_millis(410)).await;
    assert_eq!(worker.stats().await.delayed, 5, "due jobs wait for a promotion");
    assert!(worker.stats().await.delayed_overdue_ms.unwrap() >= 200);

    let none = worker.promote(0).await;
    assert_eq!((none.moved, none.next_due), (0, Some(Duration::ZERO)));
    let first = worker.promote(2).await;
    assert_eq!((first.moved, first.next_due), (2, Some(Duration::ZERO)));
    let rest = worker.promote(9).await;
    assert_eq!(rest.moved, 2);
    let next_due = rest.next_due.unwrap();
    assert!(next_due > LONG / 2 && next_due <= LONG, "{next_due:?}");
    assert_eq!(worker.promote(9).await.moved, 0);
    assert!(worker.stats().await.delayed_overdue_ms.unwrap() < 0);
    assert_eq!(worker.listed(JobState::Pending).await, [5, 1, 3, 2, 0].map(|n| names[n].clone()));
    let order: Vec<_> = worker.claim(9).await.into_iter().map(|job| job.id).collect();
    assert_eq!(order, [5, 1, 3, 2, 0].map(|n| names[n].clone()));
}

pub(crate) async fn a_retry_comes_back_with_its_counters(harness: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.settle(&job, Verdict::Retry { delay: SHORT }).await;
    assert_eq!(worker.claim(1).await, []);
    harness.pass_short().await;
    let promoted = worker.promote(9).await;
    assert_eq!((promoted.moved, promoted.next_due), (1, None));
    let job = worker.claim_one().await;
    assert_eq!((job.token.attempt, job.counters.failures), (2, 1));
    assert_eq!(worker.view(&id("a")).await.history.len(), 1);
}

pub(crate) async fn promoting_or_reclaiming_more_than_a_batch_is_refused(_: &dyn Harness, worker: Worker) {
    let limit = retraced_jobs::store::BATCH_MAX + 1;
    let refused = worker.store.promote(worker.call(), &worker.queue, limit).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "promote", .. }), "{refused:?}");
    let request = Reclaim { limit, lease: LONG, crashes_max: 3, losses_max: 9 };
    let refused = worker.store.reclaim(worker.call(), &worker.queue, &request).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "reclaim", .. }), "{refused:?}");
}
