//! Calls that are sent again under the same id.

use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::Duration;

use retraced_jobs::job::{JobState, RunAt};
use retraced_jobs::store::{
    CallId, Enqueued, Reclaim, ReplaySlots, Retention, RetentionRule, StoreError, StoreFuture, TrimPolicy, Verdict,
};
use retraced_jobs::trace::OperatorName;

use super::{Harness, LONG, SHORT, Worker, id, ids, new_job, targets};

static ADA: LazyLock<OperatorName> = LazyLock::new(|| OperatorName::new("ada"));

/// Sends a call and, after some time, sends it again: the reply must be the same, and nothing may change. Then it sends an older call of the same replay slot, which must
/// be refused and change nothing.
async fn twice<T: Debug + PartialEq>(
    harness: &dyn Harness,
    worker: &Worker,
    send: impl for<'a> Fn(&'a Worker, CallId) -> StoreFuture<'a, T>,
) -> T {
    let (older, call) = (worker.call(), worker.call());
    let first = send(worker, call).await.unwrap();
    let after_first = worker.snapshot().await;
    harness.pass_short().await;
    for _ in 0..2 {
        assert_eq!(send(worker, call).await.unwrap(), first, "the call sent again");
        assert_eq!(worker.snapshot().await, after_first, "the call sent again");
    }
    let superseded = send(worker, older).await.unwrap_err();
    assert!(matches!(superseded, StoreError::Superseded { .. }), "{superseded:?}");
    assert!(!superseded.is_retryable());
    assert_eq!(worker.snapshot().await, after_first, "the older call");
    first
}

/// Five claimed jobs; the leases of the first two have expired.
async fn five_claimed(harness: &dyn Harness, worker: &Worker) -> Vec<retraced_jobs::store::ClaimedJob> {
    worker.stamp().await;
    worker.enqueue(&ids(7)).await;
    let mut jobs = worker.claim_for(2, SHORT).await;
    jobs.extend(worker.claim(3).await);
    harness.pass_short().await;
    jobs
}

pub(crate) async fn enqueue_sent_again_enqueues_once(harness: &dyn Harness, worker: Worker) {
    let results = twice(harness, &worker, |worker, call| {
        Box::pin(async move {
            let jobs = [new_job(&id("a"), RunAt::Now), new_job(&id("b"), RunAt::After(LONG))];
            worker.store.enqueue(call, &worker.queue, &jobs).await
        })
    });
    assert_eq!(results.await.len(), 2);
    assert_eq!(worker.stats().await.enqueued_total, 2);
}

pub(crate) async fn claim_sent_again_grants_once(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(5)).await;
    let request = worker.request(2, LONG);
    let claims = twice(harness, &worker, |worker, call| {
        let request = request.clone();
        Box::pin(async move { worker.store.claim(call, &worker.queue, &request).await })
    });
    assert_eq!(claims.await.jobs.len(), 2);
    assert_eq!(worker.stats().await.processing, 2);
}

pub(crate) async fn settle_sent_again_settles_once(harness: &dyn Harness, worker: Worker) {
    let jobs = five_claimed(harness, &worker).await;
    let verdicts = [
        Verdict::Complete { keep: false },
        Verdict::Retry { delay: Duration::ZERO },
        Verdict::DeadLetter,
        Verdict::ReleaseNow,
        Verdict::Complete { keep: true },
    ];
    let settled = twice(harness, &worker, |worker, call| {
        let settlements: Vec<_> =
            jobs.iter().zip(verdicts).map(|(job, verdict)| worker.settlement(job, verdict)).collect();
        Box::pin(async move { worker.store.settle(call, &worker.queue, &settlements).await })
    });
    assert_eq!(settled.await.len(), 5);
    let stats = worker.stats().await;
    assert_eq!((stats.completed_total, stats.failures_total, stats.stale_settlements_total), (2, 2, 0));
}

pub(crate) async fn settle_and_claim_sent_again_takes_effect_once(harness: &dyn Harness, worker: Worker) {
    let jobs = five_claimed(harness, &worker).await;
    let request = worker.request(2, LONG);
    let (settled, claims) = twice(harness, &worker, |worker, call| {
        let settlements: Vec<_> =
            jobs[..3].iter().map(|job| worker.settlement(job, Verdict::Complete { keep: true })).collect();
        let request = request.clone();
        Box::pin(async move { worker.store.settle_and_claim(call, &worker.queue, &settlements, &request).await })
    })
    .await;
    assert_eq!((settled.len(), claims.jobs.len()), (3, 2));
}

pub(crate) async fn promote_sent_again_promotes_once(harness: &dyn Harness, worker: Worker) {
    for name in ids(3) {
        worker.put_at(&name, RunAt::After(SHORT)).await;
    }
    harness.pass_short().await;
    let promoted = twice(harness, &worker, |worker, call| {
        Box::pin(async move { worker.store.promote(call, &worker.queue, 2).await })
    });
    assert_eq!(promoted.await.moved, 2);
    assert_eq!(worker.stats().await.pending, 2);
}

pub(crate) async fn reclaim_sent_again_reclaims_once(harness: &dyn Harness, worker: Worker) {
    five_claimed(harness, &worker).await;
    let reclaimed = twice(harness, &worker, |worker, call| {
        let request = Reclaim { limit: 1, lease: LONG, crashes_max: 3, losses_max: 9 };
        Box::pin(async move { worker.store.reclaim(call, &worker.queue, &request).await })
    });
    assert_eq!(reclaimed.await.jobs.len(), 1);
    assert_eq!(worker.stats().await.releases_total, 1);
}

pub(crate) async fn reconcile_sent_again_releases_once(harness: &dyn Harness, worker: Worker) {
    let jobs = five_claimed(harness, &worker).await;
    let reconciled = twice(harness, &worker, |worker, call| {
        let (instance, lost) = (worker.instance, [jobs[0].token.nonce]);
        Box::pin(async move { worker.store.reconcile(call, &worker.queue, instance, &lost, None).await })
    });
    assert_eq!(reconciled.await.released.len(), 2, "both jobs of the lost claim");
    assert_eq!(worker.stats().await.releases_total, 2);
}

pub(crate) async fn redrive_cancel_and_discard_sent_again_move_once(harness: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.settle(&job, Verdict::DeadLetter).await;
    let names = targets(&[id("a"), id("unknown")]);
    twice(harness, &worker, |worker, call| {
        let names = names.clone();
        Box::pin(async move { worker.store.redrive(call, &worker.queue, &"ada".into(), &names).await })
    })
    .await;
    twice(harness, &worker, |worker, call| {
        let names = names.clone();
        Box::pin(async move { worker.store.cancel(call, &worker.queue, &"ada".into(), &names).await })
    })
    .await;
    twice(harness, &worker, |worker, call| {
        let names = names.clone();
        Box::pin(async move { worker.store.discard(call, &worker.queue, &"ada".into(), &names).await })
    })
    .await;
    assert_eq!(worker.find(&id("a")).await, None);
}

pub(crate) async fn pause_and_resume_sent_again_report_the_same(harness: &dyn Harness, worker: Worker) {
    let pause = twice(harness, &worker, |worker, call| {
        Box::pin(async move { worker.store.pause(call, &worker.queue, &ADA).await })
    });
    assert!(!pause.await, "it was not paused before");
    let resume =
        twice(harness, &worker, |worker, call| Box::pin(async move { worker.store.resume(call, &worker.queue).await }));
    assert!(resume.await, "it was paused before");
}

pub(crate) async fn trim_sent_again_trims_once(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(4)).await;
    for name in ids(4) {
        worker.cancel(&name).await;
    }
    let none = RetentionRule::new(LONG, 0);
    let trimmed = twice(harness, &worker, |worker, call| {
        let policy = TrimPolicy { retention: Retention::default().cancelled(none), limit: 2 };
        Box::pin(async move { worker.store.trim(call, &worker.queue, &policy).await })
    });
    assert_eq!(trimmed.await.removed, 2);
    assert_eq!(worker.stats().await.trimmed_total, 2);
}

pub(crate) async fn a_claim_sent_again_returns_only_what_is_still_held(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(3)).await;
    let (call, request) = (worker.call(), worker.request(3, LONG));
    let first = worker.store.claim(call, &worker.queue, &request).await.unwrap();
    let admin = worker.on_replay_slot(1);
    admin.settle(&first.jobs[0], Verdict::Complete { keep: false }).await;
    admin.settle(&first.jobs[1], Verdict::ReleaseNow).await;
    let released = admin.claim_one().await;
    assert_eq!(released.id, first.jobs[1].id);
    let again = worker.store.claim(call, &worker.queue, &request).await.unwrap();
    assert_eq!(again.jobs, first.jobs[2..], "the first job is completed, and the second is leased to another worker");
}

pub(crate) async fn a_reply_is_replayed_only_to_its_own_slot_process_and_queue(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(4)).await;
    worker.call();
    let workers = [worker.on_replay_slot(1), harness.worker(2), worker.in_queue("elsewhere")];
    // Each of them sends its first call, under a sequence that the replay slot of `worker` has used already.
    for other in &workers {
        other.enqueue(&[id("late"), id("later")]).await;
    }
    assert_eq!(worker.stats().await.enqueued_total, 6);
    assert_eq!(workers[2].stats().await.enqueued_total, 2);
    assert_eq!(worker.claim(9).await.len(), 6);
}

pub(crate) async fn a_call_refused_for_its_size_does_not_block_its_replay_slot(_: &dyn Harness, worker: Worker) {
    let call = worker.call();
    let too_much = worker.request(retraced_jobs::store::BATCH_MAX + 1, LONG);
    assert!(worker.store.claim(call, &worker.queue, &too_much).await.is_err());
    worker.enqueue(&[id("a")]).await;
    let later = worker.call();
    let claims = worker.store.claim(later, &worker.queue, &worker.request(1, LONG)).await.unwrap();
    assert_eq!(claims.jobs.len(), 1);
}

pub(crate) async fn a_call_id_used_for_another_verb_is_refused(_: &dyn Harness, worker: Worker) {
    let call = worker.call();
    let jobs = [new_job(&id("a"), RunAt::Now)];
    worker.store.enqueue(call, &worker.queue, &jobs).await.unwrap();
    let before = worker.snapshot().await;
    let refused = [
        worker.store.claim(call, &worker.queue, &worker.request(1, LONG)).await.unwrap_err(),
        worker.store.settle(call, &worker.queue, &[]).await.unwrap_err(),
        worker.store.cancel(call, &worker.queue, &"ada".into(), &[id("a").into()]).await.unwrap_err(),
        worker.store.discard(call, &worker.queue, &"ada".into(), &[id("a").into()]).await.unwrap_err(),
        worker.store.promote(call, &worker.queue, 1).await.unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, StoreError::CallIdTaken { .. }), "{error:?}");
    }
    let again = worker.store.enqueue(call, &worker.queue, &jobs).await.unwrap();
    assert_eq!(again.len(), 1, "the stored reply is lost");
    assert_eq!(worker.snapshot().await, before);
}

/// Sends a call, then another one of the same verb under the same id, then the first one again.
async fn taken<T: Debug + PartialEq, Content>(
    worker: &Worker,
    send: impl for<'a> Fn(&'a Worker, CallId, &'a Content) -> StoreFuture<'a, T>,
    [first, other]: [Content; 2],
) {
    let call = worker.call();
    let reply = send(worker, call, &first).await.unwrap();
    let before = worker.snapshot().await;
    let refused = send(worker, call, &other).await.unwrap_err();
    assert!(matches!(refused, StoreError::CallIdTaken { .. }), "{refused:?}");
    assert!(!refused.is_retryable() && refused.is_call_id_conflict());
    assert_eq!(worker.snapshot().await, before);
    assert_eq!(send(worker, call, &first).await.unwrap(), reply, "the call sent again");
    assert_eq!(worker.snapshot().await, before);
}

pub(crate) async fn a_call_id_used_with_other_content_is_refused_and_stores_nothing(
    harness: &dyn Harness,
    worker: Worker,
) {
    let jobs = five_claimed(harness, &worker).await;
    worker.put_at(&id("delayed"), RunAt::After(LONG)).await;
    let job = |name, run_at| vec![new_job(&id(name), run_at)];
    let enqueue = [job("a", RunAt::Now), job("b", RunAt::Now)];
    taken(&worker, |worker, call, jobs| worker.store.enqueue(call, &worker.queue, jobs), enqueue).await;
    let enqueue = [job("c", RunAt::Now), job("c", RunAt::After(LONG))];
    taken(&worker, |worker, call, jobs| worker.store.enqueue(call, &worker.queue, jobs), enqueue).await;
    let claim = [worker.request(1, LONG), worker.request(1, LONG)];
    taken(&worker, |worker, call, request| worker.store.claim(call, &worker.queue, request), claim).await;
    let settle = [0, 1].map(|n| vec![worker.settlement(&jobs[n], Verdict::DeadLetter)]);
    taken(&worker, |worker, call, settled| worker.store.settle(call, &worker.queue, settled), settle).await;
    let both = [0, 1].map(|n| (vec![worker.settlement(&jobs[2], Verdict::Poison)], worker.request(n, LONG)));
    let settle_and_claim = taken(
        &worker,
        |worker, call, (settled, request)| worker.store.settle_and_claim(call, &worker.queue, settled, request),
        both,
    );
    settle_and_claim.await;
    taken(&worker, |worker, call, limit| worker.store.promote(call, &worker.queue, *limit), [1, 2]).await;
    let reclaim = [3, 4].map(|crashes_max| Reclaim { limit: 1, lease: LONG, crashes_max, losses_max: 9 });
    taken(&worker, |worker, call, request| worker.store.reclaim(call, &worker.queue, request), reclaim).await;
    let lost = [3, 4].map(|n| vec![jobs[n].token.nonce, worker.nonce()]);
    let reconcile = taken(
        &worker,
        |worker, call, lost| worker.store.reconcile(call, &worker.queue, worker.instance, lost, None),
        lost,
    );
    reconcile.await;
    let aims = || [targets(&[id("delayed")]), targets(&[id("a")])];
    taken(&worker, |worker, call, jobs| worker.store.redrive(call, &worker.queue, &ADA, jobs), aims()).await;
    taken(&worker, |worker, call, jobs| worker.store.cancel(call, &worker.queue, &ADA, jobs), aims()).await;
    taken(&worker, |worker, call, jobs| worker.store.discard(call, &worker.queue, &ADA, jobs), aims()).await;
    let trim = [1, 2].map(|limit| TrimPolicy { retention: Retention::default(), limit });
    taken(&worker, |worker, call, policy| worker.store.trim(call, &worker.queue, policy), trim).await;
}

/// Goal: two processes that go on from one memory (a fork, a restored snapshot) never take each other's calls for their own. Method: both count on from the same
/// number, and enqueue different jobs.
pub(crate) async fn a_copy_of_a_process_never_gets_the_replies_of_the_other(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("before")]).await;
    let original = ReplaySlots::new(worker.instance, 1);
    let copy = ReplaySlots::new(worker.instance, 1);
    let mut slots = [original.take().await, copy.take().await];
    slots.iter_mut().for_each(|slot| assert_eq!(slot.next_call().sequence, 1));
    let enqueue =
        async |call, name: &str| worker.store.enqueue(call, &worker.queue, &[new_job(&id(name), RunAt::Now)]).await;
    enqueue(slots[0].next_call(), "of-the-original").await.unwrap();
    let taken = enqueue(slots[1].next_call(), "of-the-copy").await.unwrap_err();
    assert!(matches!(taken, StoreError::CallIdTaken { .. }), "{taken:?}");
    enqueue(slots[0].next_call(), "of-both").await.unwrap();
    let taken = enqueue(slots[1].next_call(), "of-both").await.unwrap_err();
    assert!(matches!(taken, StoreError::CallIdTaken { .. }), "two calls that say the same: {taken:?}");
    assert!(copy.current_instance().replace(worker.instance, harness.worker(2).instance));
    enqueue(slots[1].next_call(), "of-the-copy").await.unwrap();
    let both = enqueue(slots[1].next_call(), "of-both").await.unwrap();
    assert_eq!(both, [Enqueued::Exists { state: JobState::Pending }]);
    let pending = worker.listed(JobState::Pending).await;
    assert_eq!(pending, ["before", "of-the-original", "of-both", "of-the-copy"].map(id));
}

pub(crate) async fn a_forgotten_process_may_use_its_call_ids_again(harness: &dyn Harness, worker: Worker) {
    let (older, call) = (worker.call(), worker.call());
    let enqueue =
        async |call, name: &str| worker.store.enqueue(call, &worker.queue, &[new_job(&id(name), RunAt::Now)]).await;
    enqueue(call, "a").await.unwrap();
    let other = harness.worker(2);
    other.enqueue(&[id("other")]).await;
    worker.store.forget(worker.instance, std::slice::from_ref(&worker.queue)).await.unwrap();
    enqueue(older, "b").await.unwrap();
    assert_eq!(worker.listed(JobState::Pending).await, [id("a"), id("other"), id("b")], "the jobs are kept");
    let stale = CallId { sequence: 0, ..other.call() };
    let kept = worker.store.enqueue(stale, &worker.queue, &[new_job(&id("c"), RunAt::Now)]).await.unwrap_err();
    assert!(
        matches!(kept, StoreError::Superseded { .. }),
        "the replay slots of other processes are not forgotten: {kept:?}"
    );
}

/// A first sending that finds nothing keeps no reply. If its reply is lost, the next sending may find something; whatever arrives later gets the reply to that one.
pub(crate) async fn a_claim_whose_first_sending_found_nothing_never_grants_twice(_: &dyn Harness, worker: Worker) {
    let claimer = worker.on_replay_slot(1);
    let (call, request) = (claimer.call(), worker.request(1, LONG));
    let first = CallId { first_sending: true, ..call };
    let claim = async |call| worker.store.claim(call, &worker.queue, &request).await;
    assert_eq!(claim(first).await.unwrap().jobs, []);
    worker.enqueue(&ids(3)).await;
    let granted = claim(call).await.unwrap().jobs;
    assert_eq!(granted.len(), 1);
    // The caller sends it again, and a first sending that was given up arrives late.
    for sending in [call, first] {
        assert_eq!(claim(sending).await.unwrap().jobs, granted);
    }
    // A first sending that grants something keeps its reply, like any other.
    let (call, request) = (claimer.call(), worker.request(1, LONG));
    let first = CallId { first_sending: true, ..call };
    let granted = worker.store.claim(first, &worker.queue, &request).await.unwrap().jobs;
    assert_eq!(granted.len(), 1);
    assert_eq!(worker.store.claim(call, &worker.queue, &request).await.unwrap().jobs, granted);
    assert_eq!(worker.stats().await.processing, 2);
}

/// The caller of a first claim gave it up. Its next call is not announced as a first sending, so the queue keeps the reply, and refuses the first claim when it arrives late.
pub(crate) async fn a_claim_that_was_given_up_grants_nothing_after_a_later_call(_: &dyn Harness, worker: Worker) {
    let (given_up, next) = (CallId { first_sending: true, ..worker.call() }, worker.call());
    let request = worker.request(1, LONG);
    assert_eq!(worker.store.claim(next, &worker.queue, &request).await.unwrap().jobs, []);
    worker.on_replay_slot(1).enqueue(&ids(1)).await;
    let late = worker.store.claim(given_up, &worker.queue, &request).await.unwrap_err();
    assert!(matches!(late, StoreError::Superseded { .. }), "{late:?}");
    assert_eq!(worker.stats().await.pending, 1);
}

pub(crate) async fn a_promotion_whose_first_sending_found_nothing_promotes_once(harness: &dyn Harness, worker: Worker) {
    let call = worker.on_replay_slot(1).call();
    let first = CallId { first_sending: true, ..call };
    let promote = async |call| worker.store.promote(call, &worker.queue, 1).await.unwrap().moved;
    assert_eq!(promote(first).await, 0);
    for name in ids(2) {
        worker.put_at(&name, RunAt::After(SHORT)).await;
    }
    harness.pass_short().await;
    for sending in [call, call, first] {
        assert_eq!(promote(sending).await, 1);
    }
    assert_eq!(worker.stats().await.pending, 1);
}
