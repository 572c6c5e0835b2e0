//! Releasing the jobs of claims whose outcome is unknown.

use std::collections::BTreeSet;

use retraced_jobs::job::{Counters, JobId, JobState, Nonce};
use retraced_jobs::store::{BATCH_MAX, ClaimedJob, Settled, Verdict};
use retraced_jobs::trace::AttemptRecord;

use super::{Harness, Worker, id, ids};

/// Reconciles all slices of the queue.
async fn reconcile(worker: &Worker, lost: &[Nonce]) -> BTreeSet<JobId> {
    let mut released = BTreeSet::new();
    let mut cursor = None;
    for _ in 0..100 {
        let call = worker.call();
        let slice = worker.store.reconcile(call, &worker.queue, worker.instance, lost, cursor).await.unwrap();
        for id in slice.released {
            assert!(released.insert(id.clone()), "{id} was released twice");
        }
        cursor = slice.next;
        if cursor.is_none() {
            return released;
        }
    }
    panic!("the slices never end");
}

fn names(jobs: &[ClaimedJob]) -> BTreeSet<JobId> {
    jobs.iter().map(|job| job.id.clone()).collect()
}

pub(crate) async fn jobs_of_a_lost_claim_are_released_to_the_front_without_counting_a_failure(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.enqueue(&ids(6)).await;
    let lost = worker.claim(2).await;
    let kept = worker.claim(2).await;
    let other = harness.worker(2);
    let others = other.claim(1).await;
    let nonces = [lost[0].token.nonce, others[0].token.nonce, *b"unknown!"];

    assert_eq!(reconcile(&worker, &nonces).await, names(&lost));
    let pending = worker.listed(JobState::Pending).await;
    assert_eq!(pending[..2].iter().cloned().collect::<BTreeSet<_>>(), names(&lost));
    assert_eq!(pending[2..], ids(6)[5..]);
    let view = worker.view(&lost[0].id).await;
    assert_eq!(view.counters, Counters { attempts: 1, releases: 1, ..Counters::default() });
    let unclaimed = AttemptRecord::Unclaimed { instance: worker.instance };
    assert_eq!((view.history.len(), &view.history[0].record), (1, &Ok(unclaimed)));
    assert_eq!(worker.stats().await.releases_total, 2);

    assert_eq!(reconcile(&worker, &nonces).await, BTreeSet::new(), "a second reconcile changes nothing");
    assert_eq!(worker.settle(&lost[0], Verdict::Complete { keep: true }).await, Settled::Stale);
    for held in [&kept[0], &kept[1], &others[0]] {
        assert_eq!(worker.state(&held.id).await, Some(JobState::Processing), "{:?}", held.id);
    }
}

pub(crate) async fn reconcile_reaches_every_lost_grant_slice_by_slice(harness: &dyn Harness, worker: Worker) {
    let other = harness.worker(2);
    let all = ids(BATCH_MAX + 60);
    worker.enqueue(&all[..BATCH_MAX]).await;
    worker.enqueue(&all[BATCH_MAX..]).await;
    let (mut lost, mut nonces) = (BTreeSet::new(), Vec::new());
    loop {
        let jobs = worker.claim(40).await;
        let Some(job) = jobs.first() else { break };
        nonces.push(job.token.nonce);
        lost.extend(names(&jobs));
        other.claim(40).await;
    }
    assert_eq!(reconcile(&worker, &nonces).await, lost);
    assert_eq!(worker.stats().await.pending, lost.len() as u64);
}

pub(crate) async fn a_lost_grant_whose_cancellation_was_requested_is_cancelled(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.cancel(&id("a")).await;
    assert_eq!(reconcile(&worker, &[job.token.nonce]).await, BTreeSet::from([id("a")]));
    assert_eq!(worker.state(&id("a")).await, Some(JobState::Cancelled));
}
