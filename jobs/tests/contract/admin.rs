//! Reading and acting on jobs and queues, as operators do.

use std::time::Duration;

use retraced_jobs::job::{Counters, JobState, QueueName, RunAt};
use retraced_jobs::limits::OPERATOR_NAME_BYTES_MAX;
use retraced_jobs::store::{
    BATCH_MAX, Cursor, Enqueued, Moved, QueueDeletion, QueueStats, Seen, StoreError, Target, UnfinishedJobs, Verdict,
};
use retraced_jobs::trace::OperatorName;

use super::{Harness, LONG, SHORT, Worker, id, ids, targets};

pub(crate) async fn a_queue_nobody_used_is_empty_everywhere(_: &dyn Harness, worker: Worker) {
    assert_eq!(worker.stats().await, QueueStats::default());
    assert_eq!(worker.find(&id("a")).await, None);
    assert_eq!(worker.check_counts().await, Default::default());
    for state in JobState::ALL {
        assert_eq!(worker.listed(state).await, []);
    }
    assert_eq!(worker.promote(9).await, Default::default());
    assert_eq!(worker.reclaim(3).await, Default::default());
}

pub(crate) async fn a_paused_queue_tells_since_when_and_by_whom_until_it_is_resumed(
    harness: &dyn Harness,
    worker: Worker,
) {
    let told = async || {
        let stats = worker.stats().await;
        (stats.paused, stats.paused_since_ms, stats.paused_by)
    };
    let pause = async |by: &str| worker.store.pause(worker.call(), &worker.queue, &by.into()).await.unwrap();
    assert_eq!(told().await, (false, None, None));
    // As long as a name may be, and with a control character.
    let name = OperatorName::new("é\n".repeat(OPERATOR_NAME_BYTES_MAX / 3));
    let before = worker.now_ms().await;
    assert!(!pause(name.as_str()).await);
    let (paused, since_ms, by) = told().await;
    assert!(paused && by == Some(name.clone()), "{by:?}");
    assert!((before..=worker.now_ms().await).contains(&since_ms.unwrap()), "{since_ms:?}");
    // Whoever pauses it again does not take the place of the first.
    harness.pass_short().await;
    assert!(pause("bob").await);
    assert_eq!(told().await, (true, since_ms, Some(name)));
    assert!(worker.resume().await);
    assert_eq!(told().await, (false, None, None));
    assert!(!pause("bob").await);
    let (_, again_ms, by) = told().await;
    assert!(again_ms > since_ms && by == Some("bob".into()), "{again_ms:?} {by:?}");
}

pub(crate) async fn an_empty_batch_is_accepted_by_every_verb(_: &dyn Harness, worker: Worker) {
    let (store, queue) = (&worker.store, &worker.queue);
    assert_eq!(store.enqueue(worker.call(), queue, &[]).await.unwrap(), []);
    assert_eq!(store.settle(worker.call(), queue, &[]).await.unwrap(), []);
    let (settled, claims) = store.settle_and_claim(worker.call(), queue, &[], &worker.request(0, LONG)).await.unwrap();
    assert_eq!((settled.len(), claims.jobs.len()), (0, 0));
    assert_eq!(store.redrive(worker.call(), queue, &"ada".into(), &[]).await.unwrap(), []);
    assert_eq!(store.cancel(worker.call(), queue, &"ada".into(), &[]).await.unwrap(), []);
    assert_eq!(store.discard(worker.call(), queue, &"ada".into(), &[]).await.unwrap(), []);
    assert_eq!(store.renew(queue, LONG, &[]).await.unwrap().results, []);
    let reconciled = store.reconcile(worker.call(), queue, worker.instance, &[], None).await.unwrap();
    assert_eq!(reconciled, Default::default());
    store.announce(&[]).await.unwrap();
    store.record(&[]).await.unwrap();
    store.forget(worker.instance, &[]).await.unwrap();
}

pub(crate) async fn a_batch_over_the_bound_is_refused_by_every_verb(_: &dyn Harness, worker: Worker) {
    let names = ids(BATCH_MAX + 1);
    worker.enqueue(&names[..BATCH_MAX]).await;
    let job = worker.claim_one().await;
    let before = worker.snapshot().await;
    let (store, queue) = (&worker.store, &worker.queue);
    let settlements = vec![worker.settlement(&job, Verdict::DeadLetter); BATCH_MAX + 1];
    let refusals = [
        ("settle", store.settle(worker.call(), queue, &settlements).await.unwrap_err()),
        (
            "settle_and_claim",
            store.settle_and_claim(worker.call(), queue, &settlements, &worker.request(1, LONG)).await.unwrap_err(),
        ),
        ("redrive", store.redrive(worker.call(), queue, &"ada".into(), &targets(&names)).await.unwrap_err()),
        ("cancel", store.cancel(worker.call(), queue, &"ada".into(), &targets(&names)).await.unwrap_err()),
        ("discard", store.discard(worker.call(), queue, &"ada".into(), &targets(&names)).await.unwrap_err()),
    ];
    for (verb, error) in refusals {
        assert!(matches!(&error, StoreError::Refused { operation, .. } if *operation == verb), "{verb}: {error:?}");
        assert!(!error.is_retryable());
    }
    assert_eq!(worker.snapshot().await, before);
}

/// Five jobs in every state. They are listed in the order in which they reached the state; those in a final state are listed latest first.
pub(crate) async fn every_state_is_listed_in_its_order_page_by_page(harness: &dyn Harness, worker: Worker) {
    for state in JobState::ALL {
        let worker = worker.in_queue(state.as_str());
        let names = ids(5);
        for name in &names {
            match state {
                JobState::Delayed => drop(worker.put_at(name, RunAt::After(LONG)).await),
                _ => drop(worker.bring(harness, name, state).await),
            }
            harness.advance(Duration::from_millis(2)).await;
        }
        let mut expected = names.clone();
        if state.is_final() {
            expected.reverse();
        }
        for limit in [1, 2, 4, 5, 6] {
            assert_eq!(worker.paged(state, limit).await, expected, "{state} in pages of {limit}");
        }
        let all = worker.store.jobs(&worker.queue, state, None, 5).await.unwrap();
        assert_eq!(all.next, None, "nothing comes after the last {state} job");
        let read: Vec<_> = {
            let page = worker.store.jobs(&worker.queue, state, None, 9).await.unwrap();
            page.jobs.into_iter().map(|job| (job.at_ms.is_some(), job.envelope, job.enqueued_ms.is_some())).collect()
        };
        let timed = state != JobState::Pending;
        let listed = expected.iter().map(|name| (timed, format!("sealed {name}").into(), true)).collect::<Vec<_>>();
        assert_eq!(read, listed, "{state}");
    }
}

pub(crate) async fn jobs_of_the_same_instant_are_listed_in_the_order_of_their_ids(_: &dyn Harness, worker: Worker) {
    let names = [id("c"), id("a"), id("f190163d-8694-739b-aea5-966c26f8ad91"), id("b"), id("aa")];
    worker.enqueue(&names).await;
    let jobs = worker.claim(9).await;
    let mut expected = names.to_vec();
    expected.sort_by(|a, b| a.as_wire().cmp(b.as_wire()));
    assert_eq!(worker.paged(JobState::Processing, 2).await, expected);
    let settlements: Vec<_> = jobs.iter().map(|job| worker.settlement(job, Verdict::DeadLetter)).collect();
    worker.settle_all(&settlements).await;
    expected.reverse();
    assert_eq!(worker.paged(JobState::Dead, 2).await, expected);
}

pub(crate) async fn every_job_is_listed_once_although_jobs_leave_the_list_between_two_pages(
    _: &dyn Harness,
    worker: Worker,
) {
    let names = ids(7);
    worker.enqueue(&names).await;
    let jobs = worker.claim(9).await;
    let settlements: Vec<_> = jobs.iter().map(|job| worker.settlement(job, Verdict::DeadLetter)).collect();
    worker.settle_all(&settlements).await;

    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let page = worker.store.jobs(&worker.queue, JobState::Dead, from, 2).await.unwrap();
        for job in page.jobs {
            worker.redrive(&job.id).await;
            seen.push(job.id);
        }
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, names, "redriving page by page reaches every job");
}

/// The torture tests found this fault: the lease that the cursor names was renewed, and the leases between its old and its new place were left out.
pub(crate) async fn a_lease_renewed_between_two_pages_hides_no_other_job(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(4)).await;
    let jobs = worker.claim_for(4, LONG).await;
    let page = worker.store.jobs(&worker.queue, JobState::Processing, None, 1).await.unwrap();
    let renewed: Vec<_> = jobs.into_iter().filter(|job| job.id == page.jobs[0].id).collect();
    worker.renew(LONG * 2, &renewed).await;
    let rest = worker.store.jobs(&worker.queue, JobState::Processing, page.next, 9).await.unwrap();
    let mut listed: Vec<_> = page.jobs.iter().chain(&rest.jobs).map(|job| job.id.clone()).collect();
    listed.sort();
    listed.dedup();
    assert_eq!(listed, ids(4));
}

pub(crate) async fn a_page_is_bounded_and_a_foreign_cursor_is_refused(_: &dyn Harness, worker: Worker) {
    let names = ids(BATCH_MAX + 1);
    worker.enqueue(&names[..BATCH_MAX]).await;
    worker.enqueue(&names[BATCH_MAX..]).await;
    let page = worker.store.jobs(&worker.queue, JobState::Pending, None, usize::MAX).await.unwrap();
    assert_eq!((page.jobs.len(), page.next.is_some()), (BATCH_MAX, true));
    let page = worker.store.jobs(&worker.queue, JobState::Pending, None, 0).await.unwrap();
    assert_eq!(page.jobs.len(), 1);
    for state in JobState::ALL {
        let cursor = Some(Cursor::from("next please".to_owned()));
        let refused = worker.store.jobs(&worker.queue, state, cursor, 9).await.unwrap_err();
        assert!(matches!(refused, StoreError::Refused { .. }), "{state}: {refused:?}");
    }
}

pub(crate) async fn redrive_gives_a_fresh_start_from_every_state_that_allows_it(harness: &dyn Harness, worker: Worker) {
    for state in JobState::ALL {
        let worker = worker.in_queue(state.as_str());
        worker.bring(harness, &id("a"), state).await;
        worker.put_at(&id("b"), RunAt::Now).await;
        let before = worker.view(&id("a")).await;
        let moved = worker.redrive(&id("a")).await;
        let after = worker.view(&id("a")).await;
        match state {
            JobState::Delayed | JobState::Dead | JobState::Poisoned | JobState::Cancelled => {
                assert_eq!(moved, Moved::Moved { from: state, to: Some(JobState::Pending) });
                assert_eq!(worker.listed(JobState::Pending).await, [id("b"), id("a")], "from {state} to the back");
                assert_eq!(after.counters, Counters { failures: 0, crashes: 0, ..before.counters });
                assert_eq!((after.history, after.sequence), (before.history, before.sequence));
                assert_eq!(worker.redrive(&id("a")).await, Moved::Refused { state: JobState::Pending });
                assert_eq!(worker.claim(9).await.len(), 2);
            }
            JobState::Pending | JobState::Processing | JobState::Completed => {
                assert_eq!(moved, Moved::Refused { state });
                assert_eq!((after.state, after.counters), (state, before.counters));
            }
        }
        assert_eq!(worker.redrive(&id("unknown")).await, Moved::NotFound);
        assert_eq!(worker.check_counts().await.difference(), 0);
    }
}

pub(crate) async fn redrive_resets_failures_and_crashes_and_keeps_the_history(harness: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    worker.enqueue(&[id("a")]).await;
    let jobs = worker.claim_for(1, SHORT).await;
    worker.begin(SHORT, &jobs).await;
    harness.pass_short().await;
    worker.reclaim(3).await;
    for verdict in [Verdict::ReleaseNow, Verdict::Retry { delay: Duration::ZERO }, Verdict::DeadLetter] {
        let job = worker.claim_one().await;
        worker.settle(&job, verdict).await;
    }
    assert_eq!(worker.view(&id("a")).await.counters, Counters { attempts: 4, failures: 2, crashes: 1, releases: 1 });
    worker.redrive(&id("a")).await;
    let view = worker.view(&id("a")).await;
    assert_eq!(view.counters, Counters { attempts: 4, ..Counters::default() });
    assert_eq!(view.history.len(), 4);
    assert_eq!(worker.claim_one().await.token.attempt, 5, "no token is ever given twice");
    let stats = worker.stats().await;
    assert_eq!((stats.failures_total, stats.crashes_total), (2, 1), "totals only grow");
}

/// Kind, payload and retry settings are all in the envelope.
pub(crate) async fn a_redriven_job_never_loses_what_its_producer_sealed(harness: &dyn Harness, worker: Worker) {
    for state in [JobState::Delayed, JobState::Dead, JobState::Poisoned, JobState::Cancelled] {
        let worker = worker.in_queue(state.as_str());
        worker.bring(harness, &id("a"), state).await;
        let before = worker.view(&id("a")).await;
        worker.redrive(&id("a")).await;
        let job = worker.claim_one().await;
        assert_eq!((&job.id, job.envelope), (&id("a"), before.envelope), "from {state}");
        assert_eq!(Some(job.enqueued_ms), before.enqueued_ms, "from {state}");
    }
}

pub(crate) async fn a_delayed_job_that_is_redriven_keeps_its_counters(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.settle(&job, Verdict::Retry { delay: LONG }).await;
    let moved = worker.redrive(&id("a")).await;
    assert_eq!(moved, Moved::Moved { from: JobState::Delayed, to: Some(JobState::Pending) });
    assert_eq!(worker.view(&id("a")).await.counters.failures, 1);
}

pub(crate) async fn cancel_moves_waiting_jobs_at_once_and_is_a_request_for_running_ones(
    harness: &dyn Harness,
    worker: Worker,
) {
    for state in JobState::ALL {
        let worker = worker.in_queue(state.as_str());
        worker.bring(harness, &id("a"), state).await;
        let before = worker.view(&id("a")).await;
        let moved = worker.cancel(&id("a")).await;
        let after = worker.view(&id("a")).await;
        match state {
            JobState::Pending | JobState::Delayed => {
                assert_eq!(moved, Moved::Moved { from: state, to: Some(JobState::Cancelled) });
                assert_eq!((after.state, after.at_ms.is_some()), (JobState::Cancelled, true));
                assert_eq!((worker.claim(9).await.len(), worker.promote(9).await.moved), (0, 0));
                assert_eq!(worker.cancel(&id("a")).await, Moved::Refused { state: JobState::Cancelled });
            }
            JobState::Processing => {
                assert_eq!((moved, after.state), (Moved::Asked, state));
                assert_eq!(worker.cancel(&id("a")).await, Moved::Asked, "a second request changes nothing");
            }
            _ => {
                assert_eq!(moved, Moved::Refused { state });
                assert_eq!((after.state, after.at_ms), (state, before.at_ms));
            }
        }
        assert_eq!(after.counters, before.counters);
        assert_eq!(worker.cancel(&id("unknown")).await, Moved::NotFound);
        assert_eq!(worker.check_counts().await.difference(), 0);
    }
}

pub(crate) async fn discard_removes_every_job_that_does_not_run(harness: &dyn Harness, worker: Worker) {
    for state in JobState::ALL {
        let worker = worker.in_queue(state.as_str());
        worker.bring(harness, &id("a"), state).await;
        let moved = worker.discard(&id("a")).await;
        if state == JobState::Processing {
            assert_eq!(moved, Moved::Refused { state });
            assert_eq!(worker.state(&id("a")).await, Some(state));
        } else {
            assert_eq!(moved, Moved::Moved { from: state, to: None });
            assert_eq!((worker.find(&id("a")).await, worker.listed(state).await), (None, vec![]));
            assert_eq!(worker.discard(&id("a")).await, Moved::NotFound);
            assert_eq!((worker.claim(9).await.len(), worker.promote(9).await.moved), (0, 0));
        }
        assert_eq!(worker.check_counts().await.difference(), 0);
    }
}

/// Goal: an operator's action changes a job only if the job still is what the operator saw. Method: every action on a job in every state; the target names every
/// other state, or more or fewer attempts. Only a target that fits has the effect of an action without `seen`.
pub(crate) async fn an_action_on_a_job_whose_state_or_attempts_have_changed_has_no_effect(
    harness: &dyn Harness,
    worker: Worker,
) {
    for state in JobState::ALL {
        let worker = worker.in_queue(state.as_str());
        worker.bring(harness, &id("a"), state).await;
        let before = worker.snapshot().await;
        let attempts = before.jobs[0].counters.attempts;
        let action = async |verb: &str, seen| {
            let target = [Target { id: id("a"), seen: Some(seen) }];
            let (store, call, queue) = (&worker.store, worker.call(), &worker.queue);
            let moved = match verb {
                "redrive" => store.redrive(call, queue, &"ada".into(), &target).await,
                "cancel" => store.cancel(call, queue, &"ada".into(), &target).await,
                _ => store.discard(call, queue, &"ada".into(), &target).await,
            };
            moved.unwrap()[0]
        };
        for verb in ["redrive", "cancel", "discard"] {
            for other in JobState::ALL.into_iter().filter(|other| *other != state) {
                assert_eq!(action(verb, Seen { state: other, attempts }).await, Moved::Refused { state });
            }
            for attempts in [attempts + 1, attempts.wrapping_sub(1)] {
                assert_eq!(action(verb, Seen { state, attempts }).await, Moved::Refused { state });
            }
        }
        assert_eq!(worker.snapshot().await, before, "{state}");
        let found = worker.view(&id("a")).await;
        assert_eq!(Target::from(&found).seen, Some(Seen { state, attempts }));
        let cancelled = action("cancel", Seen { state, attempts }).await;
        let expected = match state {
            JobState::Pending | JobState::Delayed => Moved::Moved { from: state, to: Some(JobState::Cancelled) },
            JobState::Processing => Moved::Asked,
            _ => Moved::Refused { state },
        };
        assert_eq!(cancelled, expected);
    }
}

/// Goal: a job was listed as dead, redriven by another operator, and is dead again. A discard on the basis of the old list does not remove it.
pub(crate) async fn a_dead_letter_redriven_meanwhile_is_not_discarded_by_an_old_list(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(3)).await;
    for job in worker.claim(3).await {
        worker.settle(&job, Verdict::DeadLetter).await;
    }
    let listed = worker.store.jobs(&worker.queue, JobState::Dead, None, 9).await.unwrap();
    let targets: Vec<_> = listed.jobs.iter().map(Target::from).collect();
    worker.redrive(&id("job-0000")).await;
    worker.redrive(&id("job-0001")).await;
    let again = worker.claim_one().await;
    worker.settle(&again, Verdict::DeadLetter).await;
    let moved = worker.store.discard(worker.call(), &worker.queue, &"ada".into(), &targets).await.unwrap();
    let by_id: std::collections::BTreeMap<_, _> = targets.iter().map(|target| target.id.clone()).zip(moved).collect();
    let expected = [
        Moved::Refused { state: JobState::Dead },
        Moved::Refused { state: JobState::Pending },
        Moved::Moved { from: JobState::Dead, to: None },
    ];
    assert_eq!(by_id.into_values().collect::<Vec<_>>(), expected);
}

pub(crate) async fn a_job_named_twice_in_one_call_is_moved_once(_: &dyn Harness, worker: Worker) {
    let twice = targets(&[id("a"), id("a")]);
    let (store, queue) = (&worker.store, &worker.queue);
    worker.enqueue(&[id("a")]).await;
    let cancelled = store.cancel(worker.call(), queue, &"ada".into(), &twice).await.unwrap();
    let (pending, gone) = (JobState::Pending, JobState::Cancelled);
    assert_eq!(cancelled, [Moved::Moved { from: pending, to: Some(gone) }, Moved::Refused { state: gone }]);
    let redriven = store.redrive(worker.call(), queue, &"ada".into(), &twice).await.unwrap();
    assert_eq!(redriven, [Moved::Moved { from: gone, to: Some(pending) }, Moved::Refused { state: pending }]);
    assert_eq!(worker.listed(pending).await, [id("a")]);
    let discarded = store.discard(worker.call(), queue, &"ada".into(), &twice).await.unwrap();
    assert_eq!(discarded, [Moved::Moved { from: pending, to: None }, Moved::NotFound]);
    assert_eq!(worker.claim(9).await, []);
}

pub(crate) async fn stats_show_how_long_the_front_of_the_queue_has_waited(harness: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a")]).await;
    harness.pass_short().await;
    worker.enqueue(&[id("b")]).await;
    let short_ms = u64::try_from(SHORT.as_millis()).unwrap();
    assert!(worker.stats().await.oldest_pending_ms.unwrap() >= short_ms);
    worker.cancel(&id("a")).await;
    let front = worker.view(&id("b")).await;
    let (waited, limit) = (worker.stats().await.oldest_pending_ms.unwrap(), worker.now_ms().await);
    assert!(front.enqueued_ms.unwrap() + waited <= limit, "the front is b now");
    worker.claim(9).await;
    assert_eq!(worker.stats().await.oldest_pending_ms, None);
    worker.put_at(&id("c"), RunAt::After(LONG)).await;
    let overdue = worker.stats().await.delayed_overdue_ms.unwrap();
    assert!(overdue < 0 && overdue >= -i64::try_from(LONG.as_millis()).unwrap(), "{overdue}");
}

pub(crate) async fn the_store_answers_a_health_check(_: &dyn Harness, worker: Worker) {
    let before = worker.now_ms().await;
    let facts = worker.store.probe().await.unwrap();
    assert!(!facts.name.is_empty());
    // By this instant operators tell live workers from stale ones.
    assert!(facts.now_ms.is_some_and(|now| (before..=before + 60_000).contains(&now)), "{facts:?} after {before}");
}

/// A queue with a job in every state, beside another one.
pub(crate) async fn a_deleted_queue_leaves_nothing_and_one_with_unfinished_jobs_is_deleted_only_on_demand(
    harness: &dyn Harness,
    worker: Worker,
) {
    let (gone, other) = (worker.in_queue("gone"), worker.in_queue("other"));
    other.enqueue(&ids(1)).await;
    let names = ids(JobState::ALL.len());
    // The pending job comes last, because the others are claimed from the front.
    for (name, state) in names.iter().zip(JobState::ALL.into_iter().rev()) {
        drop(gone.bring(harness, name, state).await);
    }
    gone.store.announce(&[gone.queue.clone(), other.queue.clone()]).await.unwrap();
    gone.pause().await;
    let listed = async || -> Vec<QueueName> { gone.store.queues().await.unwrap() };
    let delete = async |unfinished| gone.store.delete_queue(&gone.queue, unfinished).await.unwrap();
    let refused = |[pending, processing, delayed, dead, poisoned]: [u64; 5]| QueueDeletion::Refused {
        pending,
        processing,
        delayed,
        dead,
        poisoned,
    };

    let before = gone.snapshot().await;
    assert_eq!(delete(UnfinishedJobs::Refuse).await, refused([1, 1, 1, 1, 1]), "one job of each state");
    assert_eq!(gone.snapshot().await, before);
    assert!(listed().await.contains(&gone.queue));

    assert_eq!(delete(UnfinishedJobs::Delete).await, QueueDeletion::Deleted { jobs: names.len() as u64 });
    assert_eq!(gone.stats().await, QueueStats::default());
    for name in &names {
        assert_eq!(gone.find(name).await, None);
    }
    let left = listed().await;
    assert!(!left.contains(&gone.queue) && left.contains(&other.queue), "{left:?}");
    assert_eq!(other.stats().await.pending, 1);
    assert_eq!(delete(UnfinishedJobs::Refuse).await, QueueDeletion::Deleted { jobs: 0 }, "sent again");

    // The name and the ids can be used again.
    assert_eq!(gone.enqueue(&names[..1]).await, [Enqueued::Created { state: JobState::Pending }]);
    assert_eq!(gone.claim(9).await.len(), 1);
    assert_eq!(delete(UnfinishedJobs::Refuse).await, refused([0, 1, 0, 0, 0]));
    delete(UnfinishedJobs::Delete).await;

    // Dead letters are not done either.
    for (name, state, counts) in
        [(&names[0], JobState::Dead, [0, 0, 0, 1, 0]), (&names[1], JobState::Poisoned, [0, 0, 0, 0, 1])]
    {
        drop(gone.bring(harness, name, state).await);
        assert_eq!(delete(UnfinishedJobs::Refuse).await, refused(counts));
        assert_eq!(delete(UnfinishedJobs::Delete).await, QueueDeletion::Deleted { jobs: 1 });
    }
}
