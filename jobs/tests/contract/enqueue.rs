//! Enqueueing jobs.

use std::time::Duration;

use retraced_jobs::job::{Counters, JobId, JobState, NewJob, RunAt};
use retraced_jobs::store::{BATCH_MAX, Enqueued, StoreError, Verdict};
use uuid::Uuid;

use super::{Harness, LONG, Worker, id, ids, new_job};

const NEW: Enqueued = Enqueued::Created { state: JobState::Pending };
const LATER: Enqueued = Enqueued::Created { state: JobState::Delayed };

pub(crate) async fn a_new_job_is_pending_or_delayed_and_stored_unchanged(_: &dyn Harness, worker: Worker) {
    let before = worker.now_ms().await;
    assert_eq!(worker.put_at(&id("now"), RunAt::Now).await, NEW);
    assert_eq!(worker.put_at(&id("later"), RunAt::After(LONG)).await, LATER);
    let after = worker.now_ms().await;

    let now = worker.view(&id("now")).await;
    assert_eq!((now.state, now.at_ms), (JobState::Pending, None));
    assert_eq!(now.envelope, "sealed now");
    assert_eq!((now.queue, now.held_by, now.counters), (worker.queue.clone(), None, Counters::default()));
    assert!(now.history.is_empty() && now.collapsed == 0);
    assert!((before..=after).contains(&now.enqueued_ms.unwrap()));
    let later = worker.view(&id("later")).await;
    assert_eq!(later.at_ms, Some(later.enqueued_ms.unwrap() + u64::try_from(LONG.as_millis()).unwrap()));
    assert!(later.sequence > now.sequence, "sequences follow the order of enqueueing");

    let stats = worker.stats().await;
    assert_eq!((stats.pending, stats.delayed, stats.enqueued_total), (1, 1, 2));
}

pub(crate) async fn a_start_time_in_the_past_means_now(_: &dyn Harness, worker: Worker) {
    let now = worker.now_ms().await;
    let names = ids(5);
    let times = [RunAt::At(0), RunAt::At(now), RunAt::After(Duration::ZERO), RunAt::After(Duration::from_micros(999))];
    for (name, run_at) in names.iter().zip(times) {
        assert_eq!(worker.put_at(name, run_at).await, NEW, "{run_at:?}");
    }
    assert_eq!(worker.put_at(&names[4], RunAt::At(now + 3_600_000)).await, LATER);
    assert_eq!(worker.view(&names[4]).await.at_ms, Some(now + 3_600_000));
    assert_eq!(worker.listed(JobState::Pending).await, names[..4]);
}

pub(crate) async fn enqueuing_a_kept_id_changes_nothing_in_any_state(harness: &dyn Harness, worker: Worker) {
    for state in JobState::ALL {
        let worker = worker.in_queue(state.as_str());
        worker.bring(harness, &id("taken"), state).await;
        let before = worker.snapshot().await;
        for run_at in [RunAt::Now, RunAt::After(LONG)] {
            let other = NewJob { id: id("taken"), run_at, envelope: "another".into() };
            assert_eq!(worker.put(other).await, Enqueued::Exists { state });
        }
        assert_eq!(worker.snapshot().await, before);
    }
}

pub(crate) async fn an_id_twice_in_one_batch_is_one_job(_: &dyn Harness, worker: Worker) {
    let twice = [
        new_job(&id("a"), RunAt::Now),
        NewJob { id: id("a"), run_at: RunAt::After(LONG), envelope: "second".into() },
        new_job(&id("b"), RunAt::After(LONG)),
        NewJob { id: id("b"), run_at: RunAt::Now, envelope: "second".into() },
    ];
    let results = worker.store.enqueue(worker.call(), &worker.queue, &twice).await.unwrap();
    let exists = |state| Enqueued::Exists { state };
    assert_eq!(results, [NEW, exists(JobState::Pending), LATER, exists(JobState::Delayed)]);
    assert_eq!(worker.view(&id("a")).await.envelope, "sealed a");
    assert_eq!(worker.view(&id("b")).await.envelope, "sealed b");
    assert_eq!(worker.stats().await.enqueued_total, 2);
}

pub(crate) async fn a_batch_keeps_its_order_and_one_over_the_bound_is_refused_as_a_whole(
    _: &dyn Harness,
    worker: Worker,
) {
    let names = ids(BATCH_MAX + 1);
    assert_eq!(worker.enqueue(&names[..BATCH_MAX]).await, vec![NEW; BATCH_MAX]);
    assert_eq!(worker.paged(JobState::Pending, 200).await, names[..BATCH_MAX]);

    let worker = worker.in_queue("refused");
    let jobs: Vec<_> = names.iter().map(|name| new_job(name, RunAt::Now)).collect();
    let refused = worker.store.enqueue(worker.call(), &worker.queue, &jobs).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "enqueue", .. }), "{refused:?}");
    assert_eq!(worker.stats().await, Default::default());
}

pub(crate) async fn ids_of_every_form_are_returned_unchanged(_: &dyn Harness, worker: Worker) {
    let x = "x".repeat(128);
    let texts = [
        "0190163d-8694-739b-aea5-966c26f8ad91",
        // Other spellings of the same UUID are other ids, such as a hex digest that looks like one.
        "0190163d8694739baea5966c26f8ad91",
        "0190163D-8694-739B-AEA5-966C26F8AD91",
        "9e107d9d372bb6826bd81d3542a419d6",
        "urn:uuid:0190163d-8694-739b-aea5-966c26f8ad91",
        "exactly-16-bytes",
        "a:b.c_d-E",
        &x,
        "7",
    ];
    let ids_of_every_form = texts.map(id);
    assert_eq!(ids_of_every_form[0], JobId::from(Uuid::from_u128(0x0190163d_8694_739b_aea5_966c26f8ad91)));
    worker.enqueue(&ids_of_every_form).await;
    assert_eq!(worker.listed(JobState::Pending).await, ids_of_every_form);
    let claimed: Vec<_> = worker.claim(9).await.into_iter().map(|job| job.id).collect();
    assert_eq!(claimed, ids_of_every_form);
    assert_eq!(claimed.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
}

pub(crate) async fn queues_are_independent(_: &dyn Harness, worker: Worker) {
    let (one, two) = (worker.in_queue("one"), worker.in_queue("two"));
    assert_eq!(one.enqueue(&[id("same")]).await, [NEW]);
    assert_eq!(two.claim(1).await, []);
    assert_eq!(two.enqueue(&[id("same")]).await, [NEW]);
    let job = one.claim_one().await;
    one.settle(&job, Verdict::Complete { keep: false }).await;
    assert_eq!(two.state(&id("same")).await, Some(JobState::Pending));
}

pub(crate) async fn a_discarded_id_starts_afresh_and_its_old_entries_are_ignored(_: &dyn Harness, worker: Worker) {
    // The old entry of a discarded job must not start a new job with the same id, and a delayed one never before its time.
    worker.enqueue(&[id("early"), id("b")]).await;
    worker.discard(&id("early")).await;
    assert_eq!(worker.put_at(&id("early"), RunAt::After(LONG)).await, LATER);
    let claimed = worker.claim(9).await;
    assert_eq!(claimed.iter().map(|job| &job.id).collect::<Vec<_>>(), [&id("b")]);
    assert_eq!(worker.state(&id("early")).await, Some(JobState::Delayed));
    worker.settle(&claimed[0], Verdict::Complete { keep: false }).await;

    // The old entry must not give the new job an earlier place in the queue, or a second one.
    worker.enqueue(&[id("a"), id("b"), id("c")]).await;
    worker.discard(&id("a")).await;
    worker.enqueue(&[id("a")]).await;
    assert_eq!(worker.check_counts().await.difference(), 0);
    assert_eq!(worker.listed(JobState::Pending).await, [id("b"), id("c"), id("a")]);
    let order: Vec<_> = worker.claim(9).await.into_iter().map(|job| job.id).collect();
    assert_eq!(order, [id("b"), id("c"), id("a")]);

    // Nothing of the first job is left in the second.
    let job = worker.run(&id("again")).await;
    worker.settle(&job, Verdict::DeadLetter).await;
    worker.discard(&id("again")).await;
    let job = worker.run(&id("again")).await;
    assert_eq!((job.token.attempt, job.counters), (1, Counters { attempts: 1, ..Counters::default() }));
    assert!(worker.view(&id("again")).await.history.is_empty());
}

pub(crate) async fn an_entry_of_a_cancelled_job_is_not_used_again(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a"), id("b")]).await;
    worker.cancel(&id("a")).await;
    worker.redrive(&id("a")).await;
    assert_eq!(worker.stats().await.pending, 2);
    assert_eq!(worker.listed(JobState::Pending).await, [id("b"), id("a")]);
    let order: Vec<_> = worker.claim(9).await.into_iter().map(|job| job.id).collect();
    assert_eq!(order, [id("b"), id("a")]);

    worker.enqueue(&[id("c"), id("d")]).await;
    worker.cancel(&id("c")).await;
    assert_eq!((worker.stats().await.pending, worker.stats().await.cancelled), (1, 1));
    let order: Vec<_> = worker.claim(1).await.into_iter().map(|job| job.id).collect();
    assert_eq!(order, [id("d")], "a cancelled job must not use up the limit of a claim");
}
