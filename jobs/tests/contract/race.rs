//! Several callers at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use retraced_jobs::job::{JobId, JobState, RunAt};
use retraced_jobs::store::{BATCH_MAX, ClaimedJob, Enqueued, Moved, Reclaim, Settled, Verdict};

use super::{Harness, LONG, SHORT, Worker, id, ids};

/// Callers at once.
const CALLERS: u128 = 8;

/// Runs one task a caller, on threads of the runtime, and returns what they returned.
async fn at_once<T, F>(harness: &dyn Harness, task: impl Fn(Worker) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks = (0..CALLERS).map(|n| tokio::spawn(task(harness.worker(100 + n))));
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

/// The ids, which must all be different.
fn once_each(ids: impl IntoIterator<Item = JobId>) -> BTreeSet<JobId> {
    let mut seen = BTreeSet::new();
    for id in ids {
        assert!(seen.insert(id.clone()), "{id} twice");
    }
    seen
}

pub(crate) async fn a_job_is_created_once_however_many_producers_send_it(harness: &dyn Harness, worker: Worker) {
    let results = at_once(harness, |worker| async move { worker.enqueue(&ids(50)).await }).await;
    for n in 0..50 {
        let created = results.iter().filter(|results| matches!(results[n], Enqueued::Created { .. })).count();
        assert_eq!(created, 1, "job {n}");
    }
    assert_eq!(worker.listed(JobState::Pending).await, ids(50));
}

pub(crate) async fn a_job_is_granted_once_however_many_workers_claim(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(BATCH_MAX)).await;
    let claimed = at_once(harness, |worker| async move {
        let mut claimed = Vec::new();
        loop {
            let jobs = worker.claim(7).await;
            if jobs.is_empty() {
                return claimed;
            }
            claimed.extend(jobs.into_iter().map(|job| job.id));
        }
    });
    assert_eq!(once_each(claimed.await.into_iter().flatten()), BTreeSet::from_iter(ids(BATCH_MAX)));
}

pub(crate) async fn a_lease_is_reclaimed_once_and_a_due_job_promoted_once(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    for name in ids(40) {
        worker.put_at(&id(&format!("late-{name}")), RunAt::After(SHORT)).await;
    }
    worker.enqueue(&ids(60)).await;
    worker.claim_for(60, SHORT).await;
    harness.pass_short().await;
    let taken = at_once(harness, |worker| async move {
        let promoted = worker.promote(9).await.moved;
        (worker.reclaim(3).await.jobs, promoted + worker.promote(30).await.moved)
    });
    let (taken, promoted): (Vec<_>, Vec<usize>) = taken.await.into_iter().unzip();
    assert_eq!(promoted.into_iter().sum::<usize>(), 40);
    let taken = taken.into_iter().flatten().inspect(|job| assert_eq!((job.crashes, job.charged), (0, false)));
    assert_eq!(once_each(taken.map(|job| job.id)), BTreeSet::from_iter(ids(60)));
    let pending = worker.listed(JobState::Pending).await;
    assert_eq!(once_each(pending).len(), 100);
}

/// A settlement and a reclaim at the same moment: one of the two gets the job, never both.
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
    let taken = at_once(harness, |worker| async move {
        let mut taken = Vec::new();
        for _ in 0..5 {
            taken.extend(worker.reclaim_with(&request).await.jobs.into_iter().map(|job| job.id));
        }
        taken
    });
    let (taken, completed) = (taken.await, settled.await.unwrap());
    let mut taken = once_each(taken.into_iter().flatten());
    // Whatever neither of them had yet.
    taken.extend(worker.reclaim(3).await.jobs.into_iter().map(|job| job.id));
    assert!(taken.is_disjoint(&completed), "completed and reclaimed");
    assert_eq!(taken.len() + completed.len(), names.len());
    assert_eq!(BTreeSet::from_iter(worker.listed(JobState::Completed).await), completed);
    assert_eq!(once_each(worker.listed(JobState::Pending).await), taken);
    assert_eq!(once_each(worker.claim(99).await.into_iter().map(|job| job.id)), taken);
}

pub(crate) async fn two_operators_never_redrive_a_dead_letter_twice(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(30)).await;
    let dead: Vec<_> = worker.claim(30).await.iter().map(|job| worker.settlement(job, Verdict::Bury)).collect();
    worker.settle_all(&dead).await;
    let redriven = at_once(harness, |operator| async move {
        let mut moved = Vec::new();
        for name in ids(30) {
            if operator.redrive(&name).await != (Moved::Refused { state: JobState::Pending }) {
                moved.push(name);
            }
        }
        moved
    });
    assert_eq!(once_each(redriven.await.into_iter().flatten()).len(), 30);
    assert_eq!(once_each(worker.listed(JobState::Pending).await).len(), 30);
    assert_eq!(once_each(worker.claim(99).await.into_iter().map(|job| job.id)).len(), 30);
}

pub(crate) async fn an_attempt_is_settled_once_however_many_calls_try(harness: &dyn Harness, worker: Worker) {
    let verdicts = [
        Verdict::Complete { keep: true },
        Verdict::Complete { keep: false },
        Verdict::Retry { delay: LONG },
        Verdict::Retry { delay: Duration::ZERO },
        Verdict::Bury,
        Verdict::ReleaseNow,
        Verdict::Cancel,
        Verdict::Poison,
    ];
    for round in 0..5 {
        let job = worker.run(&id(&format!("round-{round}"))).await;
        let settled = at_once(harness, |worker| {
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
        // Their replay slots are new in every round: numbers continue from the round before.
        for _ in 0..n {
            operator.call();
            settler.call();
        }
        let wish = tokio::spawn({
            let name = name.clone();
            async move { operator.cancel(&name).await }
        });
        let settled = tokio::spawn(async move { settler.settle(&job, verdict).await });
        let (wish, settled) = (wish.await.unwrap(), settled.await.unwrap());
        let state = worker.state(&name).await.unwrap();
        assert!(matches!(settled, Settled::Done { .. }), "{settled:?}");
        match wish {
            Moved::Asked if state == JobState::Completed => assert_eq!(verdict, Verdict::Complete { keep: true }),
            Moved::Asked | Moved::Moved { .. } => assert_eq!(state, JobState::Cancelled, "{verdict:?}, {settled:?}"),
            Moved::Refused { state: JobState::Completed } => assert_eq!(state, JobState::Completed),
            other => panic!("{other:?}"),
        }
    }
}
