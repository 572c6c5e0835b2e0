//! Faults of the predecessor that no other test covers. `docs/lineage.md` describes them and names the tests that prevent each.

use std::time::Duration;

use bytes::Bytes;
use retraced_jobs::events::EventKind;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{Counters, JobId, JobState, NewJob, RunAt};
use retraced_jobs::retry::{OnUnknown, Retry, Strategy};
use retraced_jobs::store::{Admin, Retention, RetentionRule, Transitions};
use retraced_jobs::typed_job::{JobOptions, seal_job};
use tokio::time::Instant;

use crate::support::{Action, Fault, Harness, HarnessBuilder, Verb, Work, millis, secs};

/// Two immediate retries, then one after 5 s, then one after 10 s.
fn three_tier() -> HarnessBuilder {
    let retry = Retry::three_tier().base(secs(5)).factor(2).jitter(0).immediate_tries(3).max_attempts(5);
    Harness::build().rules(|rules| rules.retry = Some(retry))
}

/// The time between the starts of a job's executions.
fn gaps(harness: &Harness, id: &JobId) -> Vec<Duration> {
    harness.recorder.of(id).windows(2).map(|pair| pair[1].started - pair[0].started).collect()
}

#[tokio::test(start_paused = true)]
async fn an_immediate_retry_never_waits_for_a_watchdog() {
    let harness = three_tier().start().await;
    let begun = Instant::now();
    let work = Work::then(Action::FailTemporary).and(millis(0), Action::FailTemporary).and(millis(0), Action::Succeed);
    let id = harness.enqueue("one", work).await;
    harness.until_state(&id, JobState::Completed).await;
    assert!(begun.elapsed() <= millis(50), "took {:?}", begun.elapsed());
    assert_eq!(harness.view(&id).counters, Counters { attempts: 3, failures: 2, ..Counters::default() });
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_three_tier_delay_is_never_over_at_once() {
    let harness = three_tier().start().await;
    let id = harness.enqueue("one", Work::then(Action::FailTemporary)).await;
    harness.until_state(&id, JobState::Delayed).await;
    let view = harness.view(&id);
    let waits = view.at_ms.unwrap() - view.history.last().unwrap().settled_ms;
    assert_eq!((waits, harness.recorder.count()), (5_000, 3));
    harness.until_state(&id, JobState::Dead).await;
    let gaps = gaps(&harness, &id);
    for (gap, least) in gaps.iter().zip([0, 0, 5, 10].map(secs)) {
        assert!(*gap >= least && *gap <= least + millis(20), "{gaps:?}");
    }
    harness.close().await;
}

/// This holds for immediate retries and for those that go through the delayed set.
#[tokio::test(start_paused = true)]
async fn an_attempt_is_never_counted_twice() {
    for strategy in Strategy::ALL {
        let retry = Retry::new(strategy).base(secs(1)).max_attempts(5);
        let harness = Harness::build().rules(|rules| rules.retry = Some(retry)).start().await;
        let id = harness.enqueue("one", Work::then(Action::FailTemporary)).await;
        harness.until_state(&id, JobState::Dead).await;
        let numbers: Vec<_> = harness.recorder.of(&id).iter().map(|run| (run.attempt, run.grant)).collect();
        assert_eq!(numbers, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)], "{strategy}");
        let counters = Counters { attempts: 5, failures: 5, ..Counters::default() };
        assert_eq!(harness.view(&id).counters, counters, "{strategy}");
        harness.close().await;
    }
}

/// After every store call the job is in exactly one container, and its reported state agrees.
#[tokio::test(start_paused = true)]
async fn a_retried_job_is_never_in_two_containers() {
    let harness = three_tier().start().await;
    harness.store.latency(millis(2));
    let id = harness.enqueue("one", Work::step(millis(3), Action::FailTemporary)).await;
    let mut seen = Vec::new();
    while seen.last() != Some(&JobState::Dead) {
        let stats = harness.stats();
        let containers = [
            (JobState::Pending, stats.pending),
            (JobState::Processing, stats.processing),
            (JobState::Delayed, stats.delayed),
            (JobState::Completed, stats.completed_kept),
            (JobState::Dead, stats.dead),
            (JobState::Poisoned, stats.poisoned),
        ];
        let state = harness.state(&id);
        for (container, jobs) in containers {
            assert_eq!(jobs, u64::from(container == state), "{container}, reported as {state}: {stats:?}");
        }
        assert_eq!(harness.store.check_counts(&harness.queue).await.unwrap().difference(), 0);
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        assert!(seen.len() < 40, "{seen:?}");
        tokio::time::sleep(millis(1)).await;
    }
    assert!(seen.contains(&JobState::Processing) && seen.contains(&JobState::Delayed), "{seen:?}");
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_due_job_never_waits_for_the_scheduler_while_others_run() {
    let harness = Harness::build().concurrency(2).start().await;
    let long = harness.enqueue("long", Work::lasting(secs(60))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let due = harness.enqueue_at("due", Work::lasting(secs(60)), RunAt::After(secs(5))).await;
    let begun = Instant::now();
    harness.until("the due one runs beside it", || harness.recorder.running() == 2).await;
    assert!(begun.elapsed() <= millis(5_020), "took {:?}", begun.elapsed());
    // With all executors busy it is at least promoted to pending.
    let next = harness.enqueue_at("next", Work::succeed(), RunAt::After(secs(5))).await;
    let begun = Instant::now();
    harness.until_state(&next, JobState::Pending).await;
    assert!(begun.elapsed() <= millis(5_020), "took {:?}", begun.elapsed());
    assert_eq!(harness.recorder.running(), 2);
    harness.until_all(&[long, due, next], JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_longer_than_its_lease_never_runs_twice() {
    let build = || Harness::build().options(|options| options.lease = secs(2));
    let harness = build().start().await;
    let other = build().sharing_store(&harness).start().await;
    let ids = harness.enqueue_many("long", 8, &Work::lasting(secs(90))).await;
    harness.until_all(&ids, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 8);
    for id in &ids {
        assert_eq!(harness.view(id).counters, Counters { attempts: 1, ..Counters::default() });
    }
    for harness in [&harness, &other] {
        assert_eq!(harness.count(|kind| matches!(kind, EventKind::LeaseReclaimed { .. })), 0);
    }
    other.close().await;
    harness.close().await;
}

/// The envelopes are bytes that another program wrote, among them the JSON of the predecessor.
#[tokio::test(start_paused = true)]
async fn a_failed_decode_never_loops() {
    let harness = Harness::build().concurrency(1).start().await;
    let garbage: [&[u8]; 4] = [b"", b"{\"jobId\":\"7\",\"status\":\"pending\"}", &[0xc1; 40], &[0x91; 10_000]];
    for (n, bytes) in garbage.into_iter().enumerate() {
        let id = JobId::parse(&format!("garbage-{n}")).unwrap();
        let job = NewJob { id: id.clone(), run_at: RunAt::Now, envelope: Bytes::from_static(bytes) };
        let call = harness.admin_call().await;
        harness.store.enqueue(call, &harness.queue, &[job]).await.unwrap();
        harness.until_state(&id, JobState::Poisoned).await;
        let view = harness.view(&id);
        assert_eq!((view.counters.attempts, view.last_error().unwrap().code), (1, Code::DecodeFailed));
    }
    let good = harness.enqueue("good", Work::succeed()).await;
    harness.until_state(&good, JobState::Completed).await;
    tokio::time::sleep(secs(120)).await;
    assert_eq!((harness.stats().poisoned, harness.stats().failures_total), (4, 4), "they were retried");
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_never_holds_up_the_others() {
    let timeout = secs(60);
    let harness = Harness::build()
        .concurrency(2)
        .options(|options| options.lease = secs(2))
        .rules(|rules| (rules.timeout, rules.retry) = (Some(timeout), Some(Retry::fixed().max_attempts(1))))
        .start()
        .await;
    let hangs = harness.enqueue("hangs", Work::then(Action::Hang)).await;
    harness.until("it hangs", || harness.recorder.running() == 1).await;
    let begun = Instant::now();
    let quick = harness.enqueue_many("quick", 40, &Work::lasting(millis(20))).await;
    harness.until_all(&quick, JobState::Completed).await;
    assert!(begun.elapsed() <= millis(1_000), "took {:?}", begun.elapsed());
    harness.until_state(&hangs, JobState::Dead).await;
    assert!(begun.elapsed() >= timeout - secs(1) && begun.elapsed() <= timeout + secs(1));
    assert_eq!(harness.recorder.of(&hangs).len(), 1, "another executor ran it while it hung");
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn finished_jobs_are_never_kept_for_ever() {
    let rule = RetentionRule::new(secs(60), 20);
    let retention = Retention::default().completed(rule).dead(rule).poisoned(rule).cancelled(rule);
    let harness = Harness::build()
        .queue(|queue| queue.retention = retention)
        .rules(|rules| rules.on_unknown = OnUnknown::DeadLetter)
        .start()
        .await;
    let mut ids = Vec::new();
    for (prefix, ends) in [("done", Action::Succeed), ("dead", Action::FailUnknown), ("poison", Action::FailPermanent)]
    {
        for n in 0..50 {
            // Enqueued directly, because the harness expects to find all its jobs in the end.
            let id = JobId::parse(&format!("{prefix}-{n}")).unwrap();
            let job = seal_job(&Work::then(ends), &JobOptions::default().id(id)).unwrap();
            ids.push(harness.handle().enqueue(job, secs(10)).await.unwrap().id);
        }
    }
    let kept = || {
        let stats = harness.stats();
        [stats.completed_kept, stats.dead, stats.poisoned]
    };
    harness.until("all have run", || harness.recorder.ended() == 150).await;
    harness.until_within(secs(10), "jobs beyond the count limit are trimmed", || kept() == [20; 3]).await;
    harness.until_within(secs(65), "jobs beyond the age limit are trimmed", || kept() == [0; 3]).await;
    assert_eq!(harness.stats().trimmed_total, 150);
    for id in &ids {
        assert_eq!(harness.store.job(&harness.queue, id).await.unwrap(), None);
    }
    assert!(harness.store.calls(Verb::Trim) > 0);
    harness.close().await;
}

/// A harness whose tree receives no hints.
async fn without_hints() -> Harness {
    let harness = Harness::start().await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Hints).then_some(Fault::Refused));
    harness.kill_and_await_restart("store-link").await;
    // Idle polls have reached their longest interval.
    tokio::time::sleep(secs(60)).await;
    harness
}

/// The store link was killed while it was subscribed.
#[tokio::test(start_paused = true)]
async fn a_queue_without_hints_is_never_polled_as_if_it_had_them() {
    let harness = without_hints().await;
    let before = harness.store.calls(Verb::Claim);
    tokio::time::sleep(secs(60)).await;
    let polls = harness.store.calls(Verb::Claim) - before;
    assert!(polls >= 55, "{polls} polls in a minute without hints");
    harness.close().await;
}

/// A fetcher is replaced while its claim is under way, and then that claim panics. There are no hints that would wake the new one.
#[tokio::test(start_paused = true)]
async fn a_claim_of_an_earlier_fetcher_that_panics_never_ends_the_polls() {
    let harness = without_hints().await;
    harness.store.latency(secs(4));
    harness.store.plan_faults(|verb, _| match verb {
        Verb::Claim => Some(Fault::Panic),
        Verb::Hints => Some(Fault::Refused),
        _ => None,
    });
    let claims = harness.store.calls(Verb::Claim);
    harness.until("a claim is under way", || harness.store.calls(Verb::Claim) > claims).await;
    harness.kill_and_await_restart("email/fetcher").await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(harness.store.calls(Verb::Claim), claims + 1, "the new fetcher waits for it");
    harness.store.plan_faults(|verb, _| (verb == Verb::Hints).then_some(Fault::Refused));
    harness.store.latency(secs(0));
    harness.until_within(secs(10), "a further poll", || harness.store.calls(Verb::Claim) > claims + 1).await;
    harness.close().await;
}

/// Another process enqueues the jobs, and this one receives no hints.
#[tokio::test(start_paused = true)]
async fn a_lost_hint_never_leaves_a_job_waiting() {
    let harness = without_hints().await;
    for name in ["one", "two"] {
        let options = JobOptions::default().id(JobId::parse(name).unwrap());
        let job = seal_job(&Work::succeed(), &options).unwrap();
        let id = job.id.clone();
        let call = harness.admin_call().await;
        harness.store.enqueue(call, &harness.queue, &[job]).await.unwrap();
        harness.until_within(secs(6), "it is found", || harness.state(&id) == JobState::Completed).await;
        tokio::time::sleep(secs(60)).await;
    }
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_hint_never_hides_a_cancellation() {
    let harness = without_hints().await;
    let id = harness.enqueue("one", Work::then(Action::StopWhenAsked)).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    harness.cancel(&id).await;
    // A third of a lease of 30 s.
    harness.until_within(secs(11), "it is asked to stop", || harness.recorder.running() == 0).await;
    harness.until_state(&id, JobState::Cancelled).await;
    harness.close().await;
}

/// The store applies an enqueue, its answer is lost, and the call sent again is refused.
#[tokio::test(start_paused = true)]
async fn an_enqueue_whose_answer_was_lost_is_never_said_to_be_refused() {
    let harness = Harness::start().await;
    let mut sent = 0;
    harness.store.plan_faults(move |verb, _| {
        sent += usize::from(verb == Verb::Enqueue);
        (verb == Verb::Enqueue).then_some(if sent == 1 { Fault::ReplyLost } else { Fault::Refused })
    });
    let told = harness.try_enqueue("one", Work::succeed(), RunAt::Now, secs(5)).await.unwrap_err();
    assert!(told.is_outcome_unknown(), "{told:?}");
    harness.store.clear_faults();
    harness.until("it is done", || harness.stats().completed_total == 1).await;
    harness.close().await;
}
