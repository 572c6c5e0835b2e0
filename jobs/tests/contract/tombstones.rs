//! What is left of removed jobs.

use std::time::Duration;

use retraced_jobs::events::TrimReason;
use retraced_jobs::job::{JobId, JobState};
use retraced_jobs::limits::KEPT_BYTES_MIN;
use retraced_jobs::store::{
    BATCH_MAX, Removal, Retention, RetentionRule, TOMBSTONES_MAX, Tombstone, TrimPolicy, UnfinishedJobs,
};

use super::{Harness, LONG, Worker, id, ids, targets};

impl Worker {
    async fn tombstone(&self, id: &JobId) -> Option<Tombstone> {
        self.store.tombstone(&self.queue, id).await.unwrap()
    }
}

pub(crate) async fn no_dead_job_is_removed_without_a_tombstone(harness: &dyn Harness, worker: Worker) {
    let rule = RetentionRule::by_age(LONG);
    let (aged, none) = (RetentionRule::by_age(Duration::ZERO), RetentionRule::new(LONG, 0));
    let few_bytes = rule.bytes_max(KEPT_BYTES_MIN - 1);
    let cases = [
        (JobState::Dead, Retention::default().dead(aged), Some(TrimReason::Age)),
        (JobState::Dead, Retention::default().dead(few_bytes), Some(TrimReason::Bytes)),
        (JobState::Poisoned, Retention::default().poisoned(none), Some(TrimReason::Count)),
        (JobState::Completed, Retention::default().completed(none), None),
        (JobState::Cancelled, Retention::default().cancelled(none), None),
    ];
    for (id, (state, policy, reason)) in ids(cases.len()).into_iter().zip(cases) {
        worker.bring(harness, &id, state).await;
        let ended_ms = worker.view(&id).await.at_ms;
        assert_eq!(worker.tombstone(&id).await, None, "{id} is kept");
        harness.pass_short().await;
        let before_ms = worker.now_ms().await;
        let policy = TrimPolicy { retention: policy, limit: 9 };
        let call = worker.call();
        for _ in 0..2 {
            assert_eq!(worker.store.trim(call, &worker.queue, &policy).await.unwrap().removed, 1);
        }
        let left = worker.tombstone(&id).await;
        let removed_ms = left.as_ref().map_or(before_ms, |left| left.removed_ms);
        assert!((before_ms..=worker.now_ms().await).contains(&removed_ms), "{left:?}");
        let expected =
            reason.map(|reason| Tombstone::new(id, state, ended_ms, removed_ms, Removal::Trimmed { reason }));
        assert_eq!(left, expected);
    }
}

pub(crate) async fn a_discarded_job_never_hides_who_discarded_it(harness: &dyn Harness, worker: Worker) {
    for state in [JobState::Pending, JobState::Delayed, JobState::Completed, JobState::Dead, JobState::Cancelled] {
        worker.bring(harness, &id("a"), state).await;
        let ended_ms = worker.view(&id("a")).await.at_ms.filter(|_| state.is_final());
        let by = format!("{state}\u{1b}ö").as_str().into();
        worker.store.discard(worker.call(), &worker.queue, &by, &[id("a").into()]).await.unwrap();
        // The latest counts, of several jobs of one id.
        let left = worker.tombstone(&id("a")).await.unwrap();
        assert_eq!((left.state, left.ended_ms), (state, ended_ms));
        assert_eq!(left.removal, Removal::Discarded { by });
    }
    assert_eq!(worker.tombstone(&id("unknown")).await, None);
    let running = worker.run(&id("runs")).await;
    worker.discard(&running.id).await;
    assert_eq!(worker.tombstone(&running.id).await, None, "a running job is not discarded");
    worker.store.delete_queue(&worker.queue, UnfinishedJobs::Delete).await.unwrap();
    assert_eq!(worker.tombstone(&id("a")).await, None, "they are deleted with their queue");
}

pub(crate) async fn tombstones_never_outgrow_their_bound(_: &dyn Harness, worker: Worker) {
    let all = ids(TOMBSTONES_MAX + 2);
    for some in all.chunks(BATCH_MAX) {
        worker.enqueue(some).await;
        let call = worker.call();
        for _ in 0..2 {
            let discarded = worker.store.discard(call, &worker.queue, &"ada".into(), &targets(some)).await.unwrap();
            assert_eq!(discarded.len(), some.len());
        }
    }
    let mut kept = Vec::new();
    for id in [&all[0], &all[1], &all[2], all.last().unwrap()] {
        kept.push(worker.tombstone(id).await.is_some());
    }
    assert_eq!(kept, [false, false, true, true], "the oldest leave first");
}
