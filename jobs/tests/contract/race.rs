//! Several callers at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use retraced_jobs::job::{JobId, JobState, RunAt};
use retraced_jobs::store::{BATCH_MAX, ClaimedJob, Enqueued, Moved, Reclaim, Settled, Verdict};

use super::{Harness, LONG, SHORT, Worker, id, ids};

/// The number of callers.
const CALLERS: u128 = 8;

/// Runs one task per caller on the threads of the runtime, and returns the results.
async fn by_all_callers<T, F>(harness: &dyn Harness, task: impl Fn(Worker) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks = (0..CALLERS).map(|n| tokio::spawn(task(harness.worker(100 + n))));
    let results = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    for n in 0..CALLERS {
        // The callers of the next round count their calls from 1 again.
        let Worker { store, instance, queue, .. } = harness.worker(100 + n);
        store.forget(instance, &[queue]).await.unwrap();
    }
    results
}

/// The ids as a set. Panics if one of them occurs twice.
fn without_duplicates(ids: impl IntoIterator<Item = JobId>) -> BTreeSet<JobId> {
    let mut seen = BTreeSet::new();
    for id in ids {
        assert!(seen.insert(id.clone()), "{id} occurs twice");
    }
    seen
}

pub(crate) async fn a_job_is_created_once_however_many_producers_send_it(harness: &dyn Harness, worker: Worker) {
    let results = by_all_callers(harness, |worker| async move { worker.enqueue(&ids(50)).await }).await;
    for n in 0..50 {
        let created = results.iter().filter(|results| matches!(results[n], Enqueued::Created { .. })).count();
        assert_eq!(created, 1, "job {n}");
    }
    assert_eq!(worker.listed(JobState::Pending).await, ids(50));
}

pub(crate) async fn a_job_is_granted_once_however_many_workers_claim(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(BATCH_MAX)).await;
    let claimed = by_all_callers(harness, |worker| async move {
        let mut claimed = Vec::new();
        loop {
            let jobs = worker.claim(7).await;
            if jobs.is_empty() {
                return claimed;
            }
            claimed.extend(jobs.into_iter().map(|job| job.id));
        }
    });
    assert_eq!(without_duplicates(claimed.await.into_iter().flatten()), BTreeSet::from_iter(ids(BATCH_MAX)));
}

pub(crate) async fn a_lease_is_reclaimed_once_and_a_due_job_promoted_once(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    for name in ids(40) {
        worker.put_at(&id(&format!("late-{name}")), RunAt::After(SHORT)).await;
    }
    worker.enqueue(&ids(60)).await;
    worker.claim_for(60, SHORT).await;
    harness.pass_short().await;
    let reclaimed = by_all_callers(harness, |worker| async move {
        let promoted = worker.promote(9).await.moved;
        (worker.reclaim(3).await.jobs, promoted + worker.promote(30).await.moved)
    });
    let (reclaimed, promoted): (Vec<_>, Vec<usize>) = reclaimed.await.into_iter().unzip();
    assert_eq!(promoted.into_iter().sum::<usize>(), 40);
    let reclaimed = reclaimed.into_iter().flatten().inspect(|job| assert_eq!((job.crashes, job.counted), (0, false)));
    assert_eq!(without_duplicates(reclaimed.map(|job| job.id)), BTreeSet::from_iter(ids(60)));
    let pending = worker.listed(JobState::Pending).await;
    assert_eq!(without_duplicates(pending).len(), 100);
}

/// When a settlement and a reclaim run at the same time, exactly one of them gets the job.
pub(crate) async fn a_completed_job_never_comes_back(harness: &dyn Harness, worker: Worker) {
    let names = ids(60);
    worker.stamp().await;
    worker.enqueue(&names).await;
    let held = worker.claim_for(60, SHORT).await;
    harness.pass_short().await;
    let settler = worker.on_replay_slot(1);
    let settled = tokio::spawn(async move {
        let mut completed = BTreeSet::new();
        for job in held {
            if settler.settle(&job, Verdict::Complete { keep: true }).await != Settled::Stale {
                completed.insert(job.id);
            }
        }
        completed
    });
    let request = Reclaim { limit: 2, lease: LONG, crashes_max: 3, losses_max: 9 };
    let reclaimed = by_all_callers(harness, |worker| async move {
        let mut reclaimed = Vec::new();
        for _ in 0..5 {
            reclaimed.extend(worker.reclaim_with(&request).await.jobs.into_iter().map(|job| job.id));
        }
        reclaimed
    });
    let (reclaimed, completed) = (reclaimed.await, settled.await.unwrap());
    let mut reclaimed = without_duplicates(reclaimed.into_iter().flatten());
    // The jobs that were neither settled nor reclaimed by then.
    reclaimed.extend(worker.reclaim(3).await.jobs.into_iter().map(|job| job.id));
    assert!(reclaimed.is_disjoint(&completed), "completed and reclaimed");
    assert_eq!(reclaimed.len() + completed.len(), names.len());
    assert_eq!(BTreeSet::from_iter(worker.listed(JobState::Completed).await), completed);
    assert_eq!(without_duplicates(worker.listed(JobState::Pending).await), reclaimed);
    assert_eq!(without_duplicates(worker.claim(99).await.into_iter().map(|job| job.id)), reclaimed);
}

pub(crate) async fn two_operators_never_redrive_a_dead_letter_twice(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(30)).await;
    let dead: Vec<_> = worker.claim(30).await.iter().map(|job| worker.settlement(job, Verdict::DeadLetter)).collect();
    worker.settle_all(&dead).await;
    let redriven = by_all_callers(harness, |operator| async move {
        let mut moved = Vec::new();
        for name in ids(30) {
            if operator.redrive(&name).await != (Moved::Refused { state: JobState::Pending }) {
                moved.push(name);
            }
        }
        moved
    });
    assert_eq!(without_duplicates(redriven.await.into_iter().flatten()).len(), 30);
    assert_eq!(without_duplicates(worker.listed(JobState::Pending).await).len(), 30);
    assert_eq!(without_duplicates(worker.claim(99).await.into_iter().map(|job| job.id)).len(), 30);
}

pub(crate) async fn an_attempt_is_settled_once_however_many_calls_try(harness: &dyn Harness, worker: Worker) {
    let verdicts = [
        Verdict::Complete { keep: true },
        Verdict::Complete { keep: false },
        Verdict::Retry { delay: LONG },
        Verdict::Retry { delay: Duration::ZERO },
        Verdict::DeadLetter,
        Verdict::ReleaseNow,
        Verdict::Cancel,
        Verdict::Poison,
    ];
    for round in 0..5 {
        let job = worker.run(&id(&format!("round-{round}"))).await;
        let settled = by_all_callers(harness, |worker| {
            let (job, verdicts) = (job.clone(), verdicts);
            async move {
                let n = usize::from(worker.instance.as_bytes()[15]) % verdicts.len();
                worker.settle(&job, verdicts[n]).await
            }
        });
        let settled = settled.await;
        let counted: Vec<_> = settled.iter().filter(|settled| **settled != Settled::Stale).collect();
        assert_eq!(counted.len(), 1, "{settled:?}");
        worker.discard(&job.id).await;
    }
}

pub(crate) async fn a_cancel_that_races_the_end_of_an_attempt_is_never_forgotten(_: &dyn Harness, worker: Worker) {
    for (n, verdict) in [Verdict::Retry { delay: LONG }, Verdict::ReleaseNow, Verdict::Complete { keep: true }]
        .into_iter()
        .cycle()
        .take(30)
        .enumerate()
    {
        let name = id(&format!("job-{n}"));
        let job: ClaimedJob = worker.run(&name).await;
        let (operator, settler) = (worker.on_replay_slot(1), worker.on_replay_slot(2));
        // These values count their calls from 1 in every round. Skipping the calls of earlier rounds continues the sequence of the replay slot.
        for _ in 0..n {
            operator.call();
            settler.call();
        }
        let cancelled = tokio::spawn({
            let name = name.clone();
            async move { operator.cancel(&name).await }
        });
        let settled = tokio::spawn(async move { settler.settle(&job, verdict).await });
        let (cancelled, settled) = (cancelled.await.unwrap(), settled.await.unwrap());
        let state = worker.state(&name).await.unwrap();
        assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
        match cancelled {
            Moved::Asked if state == JobState::Completed => assert_eq!(verdict, Verdict::Complete { keep: true }),
            Moved::Asked | Moved::Moved { .. } => assert_eq!(state, JobState::Cancelled, "{verdict:?}, {settled:?}"),
            Moved::Refused { state: JobState::Completed } => assert_eq!(state, JobState::Completed),
            other => panic!("{other:?}"),
        }
    }
}
