//! Grants whose reply never arrived.

use std::collections::BTreeSet;

use retraced_jobs::job::{Counters, Incarnation, JobId, JobState};
use retraced_jobs::store::{BATCH_MAX, Settled, Verdict};
use retraced_jobs::trace::AttemptRecord;

use super::{Worker, World, id, ids};

/// All slices.
async fn reconcile(worker: &Worker, owner: Incarnation, known: &[JobId]) -> BTreeSet<JobId> {
    let mut released = BTreeSet::new();
    let mut cursor = None;
    for _ in 0..100 {
        let slice = worker.store.reconcile(worker.call(), &worker.queue, owner, known, cursor).await.unwrap();
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

pub(crate) async fn grants_their_owner_does_not_know_go_back_to_the_front_at_no_cost(
    world: &dyn World,
    worker: Worker,
) {
    worker.enqueue(&ids(6)).await;
    let jobs = worker.claim(4).await;
    let other = world.worker(2);
    let others = other.claim(1).await;
    let known = [jobs[1].id.clone(), jobs[3].id.clone(), id("never-heard-of")];

    let released = reconcile(&worker, worker.incarnation, &known).await;
    assert_eq!(released, BTreeSet::from([jobs[0].id.clone(), jobs[2].id.clone()]));
    let pending = worker.listed(JobState::Pending).await;
    assert_eq!(pending[..2].iter().cloned().collect::<BTreeSet<_>>(), released);
    assert_eq!(pending[2..], ids(6)[5..]);
    let view = worker.view(&jobs[0].id).await;
    assert_eq!(view.counters, Counters { attempts: 1, releases: 1, ..Counters::default() });
    let unclaimed = AttemptRecord::Unclaimed { incarnation: worker.incarnation };
    assert_eq!((view.history.len(), &view.history[0].record), (1, &Ok(unclaimed)));
    assert_eq!(worker.stats().await.releases_total, 2);

    assert_eq!(reconcile(&worker, worker.incarnation, &known).await, BTreeSet::new(), "harmless when done again");
    assert_eq!(worker.settle(&jobs[0], Verdict::Complete { keep: true }).await, Settled::Stale);
    for held in [&jobs[1], &jobs[3], &others[0]] {
        assert_eq!(worker.state(&held.id).await, Some(JobState::Processing), "{:?}", held.id);
    }
}

pub(crate) async fn everything_is_seen_slice_by_slice(world: &dyn World, worker: Worker) {
    let other = world.worker(2);
    let names = ids(BATCH_MAX + 60);
    worker.enqueue(&names[..BATCH_MAX]).await;
    worker.enqueue(&names[BATCH_MAX..]).await;
    let mut held = Vec::new();
    while let Some(job) = worker.claim(40).await.into_iter().map(|job| job.id).reduce(|_, last| last) {
        held.push(job);
        other.claim(40).await;
    }
    let ours: BTreeSet<_> = names.chunks(80).flat_map(|chunk| chunk.iter().take(40)).cloned().collect();
    let lost: BTreeSet<_> = ours.iter().filter(|id| !held.contains(id)).cloned().collect();
    assert_eq!(reconcile(&worker, worker.incarnation, &held).await, lost);
    assert_eq!(worker.stats().await.pending, lost.len() as u64);
}

pub(crate) async fn a_lost_grant_that_was_to_be_cancelled_is_cancelled(_: &dyn World, worker: Worker) {
    worker.run(&id("a")).await;
    worker.cancel(&id("a")).await;
    assert_eq!(reconcile(&worker, worker.incarnation, &[]).await, BTreeSet::from([id("a")]));
    assert_eq!(worker.state(&id("a")).await, Some(JobState::Cancelled));
}
