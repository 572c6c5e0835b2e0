//! Store outages: no actor crashes, calls wait, and work resumes when the store is back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use retraced_actors::Enqueue;
use retraced_actors::limits::{
    OUTAGE_REPORTED_AFTER, PROBE_DELAY_MAX, PROBE_DELAY_MIN, PROBE_RESET_AFTER, RECLAIM_BATCH_MAX,
};
use retraced_jobs::clock::{Clock, TokioClock};
use retraced_jobs::enqueue::EnqueueError;
use retraced_jobs::events::{DropReason, EventKind};
use retraced_jobs::job::{JobId, JobState, RunAt};
use retraced_jobs::typed_job::{JobOptions, seal_job};
use tokio::time::Instant;

use crate::support::{Action, Fault, Harness, Moment, RunEnd, Verb, Work, millis, secs};

#[tokio::test(start_paused = true)]
async fn an_outage_of_three_leases_counts_no_failure_and_is_reported_once() {
    let harness = Harness::build().concurrency(50).options(|options| options.lease = secs(10)).start().await;
    let other = Harness::build()
        .concurrency(50)
        .options(|options| options.lease = secs(10))
        .sharing_store(&harness)
        .start()
        .await;
    let during = harness.enqueue_many("during", 60, &Work::lasting(secs(15))).await;
    let after = harness.enqueue_many("after", 30, &Work::lasting(secs(50))).await;
    harness.until("all run", || harness.recorder.running() == 90).await;
    harness.store.set_unavailable(true);
    tokio::time::sleep(secs(30)).await;
    assert_eq!(harness.recorder.running(), 30, "handlers keep running during an outage");
    harness.store.set_unavailable(false);
    let back = Instant::now();
    harness
        .until_within(secs(3), "finished jobs are settled", || {
            during.iter().all(|id| harness.state(id) == JobState::Completed)
        })
        .await;
    let id = harness.enqueue("new", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    assert!(back.elapsed() <= secs(3), "took {:?}", back.elapsed());
    harness.until_all(&after, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 91, "jobs ran again");
    let stats = harness.stats();
    assert_eq!((stats.crashes_total, stats.releases_total, stats.stale_settlements_total), (0, 0, 0), "{stats:?}");
    for harness in [&harness, &other] {
        assert_eq!(
            harness.count(|kind| matches!(kind, EventKind::StoreUnreachable { .. })),
            1,
            "{:?}",
            harness.events()
        );
        assert_eq!(harness.count(|kind| matches!(kind, EventKind::StoreReachable { .. })), 1);
        let problem = |kind: &EventKind| {
            matches!(kind, EventKind::Crashed { .. } | EventKind::LeaseLost { .. } | EventKind::LeaseReclaimed { .. })
        };
        assert_eq!(harness.count(problem), 0, "{:?}", harness.events());
    }
    let event = harness
        .until_event("the end of the outage is reported", |e| matches!(e.kind, EventKind::StoreReachable { .. }))
        .await;
    let EventKind::StoreReachable { away_ms } = event.kind else { unreachable!() };
    assert!((28_000..=32_000).contains(&away_ms), "{away_ms}");
    other.close().await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_in_an_outage_fails_fast_and_says_that_nothing_was_stored() {
    let harness = Harness::start().await;
    harness.store.set_unavailable(true);
    harness
        .until("the outage is noticed", || harness.count(|k| matches!(k, EventKind::StoreUnreachable { .. })) == 1)
        .await;
    let begun = Instant::now();
    let refused = harness.try_enqueue("one", Work::succeed(), RunAt::Now, millis(800)).await.unwrap_err();
    assert!(matches!(refused, EnqueueError::StoreUnavailable), "{refused:?}");
    assert!(begun.elapsed() <= millis(800));
    harness.store.set_unavailable(false);
    let id = harness.enqueue("two", Work::succeed()).await;
    harness.until_state(&id, JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_enqueue_that_waits_through_the_end_of_an_outage_is_stored() {
    let harness = Harness::start().await;
    harness.store.set_unavailable(true);
    harness
        .until("the outage is noticed", || harness.count(|k| matches!(k, EventKind::StoreUnreachable { .. })) == 1)
        .await;
    let (id, ()) = tokio::join!(harness.enqueue("one", Work::succeed()), async {
        tokio::time::sleep(secs(7)).await;
        harness.store.set_unavailable(false);
    });
    harness.until_state(&id, JobState::Completed).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_gets_few_calls() {
    let harness = Harness::start().await;
    harness.enqueue_many("job", 8, &Work::lasting(secs(2))).await;
    harness.until("some run", || harness.recorder.running() == 4).await;
    harness.store.set_unavailable(true);
    tokio::time::sleep(secs(5)).await;
    let calls = || {
        use crate::support::Verb::*;
        [Enqueue, Claim, Settle, SettleAndClaim, Promote, Reclaim, Renew, Trim, Record, Heartbeat, Probe, Hints]
            .map(|verb| harness.store.calls(verb))
            .iter()
            .sum::<usize>()
    };
    let before = calls();
    tokio::time::sleep(secs(60)).await;
    let per_second = (calls() - before) / 60;
    assert!(per_second <= 12, "{per_second} calls a second");
    harness.store.set_unavailable(false);
    harness.until("all done", || harness.stats().completed_total == 8).await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_dead_worker_are_reclaimed_after_one_lease() {
    let options = |options: &mut retraced_actors::TreeOptions| options.lease = secs(10);
    let harness = Harness::build().options(options).start().await;
    let ids = harness.enqueue_many("job", 4, &Work::then(Action::Hang).and(millis(1), Action::Succeed)).await;
    harness.until("all run", || harness.recorder.running() == 4).await;
    let other = Harness::build().options(options).sharing_store(&harness).start().await;
    // Killing the root ends every actor and settles nothing: to the store it looks like a process that died.
    assert!(harness.tree.kill("retraced"));
    harness.tree.wait().await;
    let died = Instant::now();
    harness.until("the jobs of the dead worker run again", || harness.stats().completed_total >= 4).await;
    assert!(died.elapsed() <= secs(12), "took {:?}", died.elapsed());
    assert!(ids.iter().all(|id| harness.view(id).counters.releases == 1), "it is not known whether they had started");
    assert_eq!(other.count(|kind| matches!(kind, EventKind::LeaseReclaimed { .. })), 4);
    other.shut_down().await;
    other.assert_clean();
    harness.assert_clean();
}

/// The clock of a store, which a test sets back.
struct SetBack {
    clock: TokioClock,
    by_ms: AtomicU64,
}

impl Clock for SetBack {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms() - self.by_ms.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_dead_worker_do_not_wait_for_a_clock_that_was_set_back() {
    let clock = Arc::new(SetBack { clock: TokioClock::starting_at(1_700_000_000_000), by_ms: AtomicU64::new(0) });
    let options = |lease| {
        let clock = clock.clone();
        move |options: &mut retraced_actors::TreeOptions| {
            options.lease = lease;
            options.wall_clock = clock;
        }
    };
    let harness = Harness::build().options(options(secs(10))).start().await;
    let ids = harness.enqueue_many("job", 4, &Work::then(Action::Hang).and(millis(1), Action::Succeed)).await;
    harness.until("all run", || harness.recorder.running() == 4).await;
    let other = Harness::build().options(options(secs(5))).sharing_store(&harness).start().await;
    let live = other.enqueue("live", Work::lasting(secs(30))).await;
    harness.until("it runs", || harness.recorder.running() == 5).await;
    assert!(harness.tree.kill("retraced"));
    harness.tree.wait().await;
    let died = Instant::now();
    clock.by_ms.store(60 * 60 * 1000, Ordering::Relaxed);
    harness.until("the jobs of the dead worker run again", || harness.stats().completed_total >= 4).await;
    assert!(died.elapsed() <= secs(12), "took {:?}", died.elapsed());
    assert!(ids.iter().all(|id| harness.view(id).counters.releases == 1));
    let shortened = other.count(|kind| matches!(kind, EventKind::LeasesShortened { leases: 5, .. }));
    assert_eq!(shortened, 1, "it is reported once");
    other.until_state(&live, JobState::Completed).await;
    assert_eq!(harness.view(&live).counters.attempts, 1, "the lease of a worker that lives is kept");
    other.shut_down().await;
    other.assert_clean();
    harness.assert_clean();
}

/// A worker that died held more jobs than one call of the reclaimer shortens.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_is_not_reported_once_per_call() {
    let clock = Arc::new(SetBack { clock: TokioClock::starting_at(1_700_000_000_000), by_ms: AtomicU64::new(0) });
    let wall_clock = clock.clone();
    let held = RECLAIM_BATCH_MAX * 2 + 50;
    let harness = Harness::build().concurrency(held).options(|options| options.wall_clock = wall_clock).start().await;
    harness.enqueue_many("job", held, &Work::then(Action::Hang)).await;
    harness.until("all run", || harness.recorder.running() == held).await;
    let wall_clock = clock.clone();
    let other =
        Harness::build().options(|options| options.wall_clock = wall_clock).sharing_store(&harness).start().await;
    assert!(harness.tree.kill("retraced"));
    harness.tree.wait().await;
    clock.by_ms.store(60 * 60 * 1000, Ordering::Relaxed);
    // In this time the other worker looks at the queue several times, and no lease ends.
    tokio::time::sleep(secs(15)).await;
    let events = other.events();
    let reported = events.iter().filter_map(|event| match event.kind {
        EventKind::LeasesShortened { leases, .. } => Some(leases),
        _ => None,
    });
    assert_eq!(reported.collect::<Vec<_>>(), [held]);
    other.shut_down().await;
    other.assert_clean();
    harness.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn queues_with_short_leases_are_reclaimed_often_enough_to_get_no_grace_period() {
    for lease in [millis(300), millis(700), secs(1)] {
        let harness = Harness::build().options(|options| options.lease = lease).start().await;
        let id = harness.enqueue("one", Work::lasting(secs(20))).await;
        harness.until_state(&id, JobState::Completed).await;
        assert_eq!(harness.count(|kind| matches!(kind, EventKind::LeaseGraceGiven { .. })), 0, "{lease:?}");
        assert_eq!(harness.recorder.count(), 1);
        harness.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_lost_its_lease_is_stopped_and_its_outcome_is_refused() {
    let harness = Harness::build().options(|options| options.lease = secs(3)).start().await;
    let other = Harness::build()
        .options(|options| options.lease = secs(3))
        .concurrency(1)
        .sharing_store(&harness)
        .start()
        .await;
    let id = harness.enqueue("one", Work::then(Action::StopWhenAsked).and(millis(10), Action::Succeed)).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    // Only one of the two holds the lease; both stop renewing for a while.
    harness
        .store
        .plan_faults(|verb, _| (verb == crate::support::Verb::Renew).then_some(crate::support::Fault::RequestLost));
    harness.until("the lease is reclaimed", || harness.view(&id).counters.releases == 1).await;
    harness.store.clear_faults();
    harness.until_state(&id, JobState::Completed).await;
    harness.until("the first handler is stopped", || harness.recorder.of(&id)[0].ended.is_some()).await;
    let runs = harness.recorder.of(&id);
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].ended.unwrap().1, RunEnd::Failed);
    assert_eq!(runs[0].stopped, Some(retraced_jobs::context::Stop::LeaseLost));
    let count = |w: &Harness, is: fn(&EventKind) -> bool| w.count(is);
    harness
        .until("both are reported", || {
            [&harness, &other].iter().map(|w| count(w, |k| matches!(k, EventKind::LeaseLost { .. }))).sum::<usize>()
                == 1
                && [&harness, &other]
                    .iter()
                    .map(|w| count(w, |k| matches!(k, EventKind::StaleSettlement { .. })))
                    .sum::<usize>()
                    == 1
        })
        .await;
    let events = [&harness, &other].into_iter().flat_map(Harness::events);
    let stale = events.filter(|e| matches!(e.kind, EventKind::StaleSettlement { .. }));
    assert_eq!(stale.map(|e| e.path).collect::<Vec<_>>(), ["email/settler"]);
    assert_eq!(harness.view(&id).counters.failures, 0);
    other.close().await;
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_hints_jobs_are_found_by_polls_and_subscribing_is_retried_with_a_delay() {
    use crate::support::{Fault, Verb};
    let harness = Harness::start().await;
    harness.store.plan_faults(|verb, _| (verb == Verb::Hints).then_some(Fault::Refused));
    harness.kill_and_await_restart("store-link").await;
    tokio::time::sleep(secs(5)).await;
    let before = harness.store.calls(Verb::Hints);
    let id = harness.enqueue("one", Work::succeed()).await;
    harness.until_within(secs(6), "it is found", || harness.state(&id) == JobState::Completed).await;
    tokio::time::sleep(secs(54)).await;
    let subscriptions = harness.store.calls(Verb::Hints) - before;
    assert!((5..=15).contains(&subscriptions), "{subscriptions} subscriptions in a minute");
    harness.close().await;
}

/// The reply to a claim arrives when the lease has expired and another worker runs the job. A second run would only be a duplicate.
#[tokio::test(start_paused = true)]
async fn a_job_whose_lease_expired_before_it_started_is_released() {
    let build = || Harness::build().options(|options| options.lease = secs(3)).concurrency(1);
    let harness = build().start().await;
    harness.store.fault_on_call(crate::support::Verb::Claim, 1, crate::support::Fault::ReplyDelayed(secs(8)));
    let id = harness.enqueue("one", Work::lasting(secs(20))).await;
    harness.until("it is granted", || harness.state(&id) == JobState::Processing).await;
    let other = build().sharing_store(&harness).start().await;
    harness.until("the other runs it", || harness.recorder.running() == 1).await;
    harness.until("the reply is here", || harness.stats().stale_settlements_total == 1).await;
    harness.until_state(&id, JobState::Completed).await;
    assert_eq!(harness.recorder.count(), 1, "it ran twice at once");
    other.close().await;
    harness.close().await;
}

/// Goal: a store that takes no new jobs delays those that nobody waits for, and loses none of them; callers that wait hear it at once; everything else goes on.
#[tokio::test(start_paused = true)]
async fn a_store_without_memory_loses_no_message_and_tells_callers_at_once() {
    let harness = Harness::start().await;
    let running = harness.enqueue("running", Work::lasting(secs(3))).await;
    harness.until("it runs", || harness.recorder.running() == 1).await;
    let refused = |verb| matches!(verb, Verb::Enqueue | Verb::Probe);
    harness.store.plan_faults(move |verb, _| refused(verb).then_some(Fault::Blocked));
    let actor = harness.handle().actor().unwrap();
    let casts: Vec<_> = (0..10).map(|n| JobId::parse(&format!("cast-{n}")).unwrap()).collect();
    for id in &casts {
        let options = JobOptions::default().id(id.clone());
        actor.cast(Enqueue::sealed(seal_job(&Work::succeed(), &options).unwrap())).unwrap();
    }
    for n in 0..3 {
        let begun = Instant::now();
        let told = harness.try_enqueue(&format!("call-{n}"), Work::succeed(), RunAt::Now, secs(30)).await.unwrap_err();
        assert!(matches!(&told, EnqueueError::Refused { source } if source.is_retryable()), "{told:?}");
        assert!(begun.elapsed() < secs(1), "told after {:?}", begun.elapsed());
    }
    harness.until_state(&running, JobState::Completed).await;
    tokio::time::sleep(secs(20)).await;
    let calls = harness.store.calls(Verb::Enqueue);
    assert!(calls < 60, "the refused jobs were sent {calls} times in 20 s");
    harness.store.clear_faults();
    harness.until("the messages are jobs", || harness.stats().enqueued_total == 11).await;
    harness.until_all(&casts, JobState::Completed).await;
    let count = |is: fn(&EventKind) -> bool| harness.count(is);
    assert_eq!(count(|kind| matches!(kind, EventKind::StoreBlocked { .. })), 1, "{:?}", harness.events());
    assert_eq!(count(|kind| matches!(kind, EventKind::StoreUnblocked { .. })), 1, "{:?}", harness.events());
    assert_eq!(count(|kind| matches!(kind, EventKind::EnqueuesDropped { .. })), 0, "{:?}", harness.events());
    harness.close().await;
}

/// Goal: nobody waits behind a batch that a blocked store refuses. Method: far more callers than one batch enqueue at the same time.
#[tokio::test(start_paused = true)]
async fn callers_of_all_batches_hear_at_once_that_the_store_is_blocked() {
    let harness = Harness::start().await;
    harness.store.plan_faults(|verb, _| matches!(verb, Verb::Enqueue | Verb::Probe).then_some(Fault::Blocked));
    let begun = Instant::now();
    let names: Vec<String> = (0..2_000).map(|n| format!("call-{n}")).collect();
    let calls = names.iter().map(|name| harness.try_enqueue(name, Work::succeed(), RunAt::Now, secs(30)));
    for told in futures_util::future::join_all(calls).await {
        assert!(matches!(told, Err(EnqueueError::Refused { .. })), "{told:?}");
    }
    assert!(begun.elapsed() < secs(1), "the last caller heard after {:?}", begun.elapsed());
    harness.store.clear_faults();
    harness.close().await;
}

/// Goal: messages that nobody waits for do not vanish in silence, whatever becomes of the call that carries them.
#[tokio::test(start_paused = true)]
async fn messages_that_the_store_refuses_or_does_not_answer_never_vanish_uncounted() {
    let faults = [
        (Fault::Refused, DropReason::Refused),
        (Fault::UnreadableReply, DropReason::Unanswered),
        (Fault::Panic, DropReason::Unanswered),
    ];
    for (fault, expected) in faults {
        let harness = Harness::start().await;
        harness.store.plan_faults(move |verb, _| (verb == Verb::Enqueue).then_some(fault));
        let actor = harness.handle().actor().unwrap();
        for n in 0..10 {
            let options = JobOptions::default().id(JobId::parse(&format!("cast-{n}")).unwrap());
            actor.cast(Enqueue::sealed(seal_job(&Work::succeed(), &options).unwrap())).unwrap();
        }
        let dropped = || {
            let dropped = |kind| match kind {
                EventKind::EnqueuesDropped { dropped, reason } => Some((reason, dropped)),
                _ => None,
            };
            harness.events().into_iter().filter_map(|event| dropped(event.kind)).collect::<Vec<_>>()
        };
        let counted = || dropped().iter().map(|(_, dropped)| dropped).sum::<u64>();
        harness.until(&format!("{fault:?}: they are counted"), || counted() == 10).await;
        assert!(dropped().iter().all(|(reason, _)| *reason == expected), "{fault:?}: {:?}", dropped());
        harness.store.clear_faults();
        harness.close().await;
    }
}

/// Goal: a message that is still in the buffer when the runtime ends is reported, and the shutdown does not wait for a store that stays blocked longer than it must.
#[tokio::test(start_paused = true)]
async fn messages_that_a_blocked_store_leaves_behind_at_a_shutdown_are_reported() {
    let harness = Harness::start().await;
    harness.store.plan_faults(|verb, _| matches!(verb, Verb::Enqueue | Verb::Probe).then_some(Fault::Blocked));
    let actor = harness.handle().actor().unwrap();
    for n in 0..10 {
        let options = JobOptions::default().id(JobId::parse(&format!("cast-{n}")).unwrap());
        actor.cast(Enqueue::sealed(seal_job(&Work::succeed(), &options).unwrap())).unwrap();
    }
    harness.until("the store refused them", || harness.store.calls(Verb::Enqueue) > 0).await;
    harness.shut_down().await;
    let dropped: u64 = harness
        .events()
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::EnqueuesDropped { dropped, reason: DropReason::ShuttingDown } => Some(dropped),
            _ => None,
        })
        .sum();
    assert_eq!(dropped, 10, "{:?}", harness.events());
    harness.assert_clean();
}

/// Goal: an outage is reported after a second although no further call ends by then. Method: one call fails, and all later ones hang.
#[tokio::test(start_paused = true)]
async fn an_outage_in_which_calls_hang_is_never_reported_late() {
    let harness = Harness::start().await;
    tokio::time::sleep(secs(1)).await;
    let failed_at = Arc::new(Mutex::new(None));
    let first = failed_at.clone();
    harness.store.plan_faults(move |_, _| {
        let mut first = first.lock().unwrap();
        Some(match *first {
            None => {
                *first = Some(Instant::now());
                Fault::ReplyLost
            }
            Some(_) => Fault::NeverAnswered,
        })
    });
    let unreachable = |kind: &EventKind| matches!(kind, EventKind::StoreUnreachable { .. });
    harness.until("a call has failed", || failed_at.lock().unwrap().is_some()).await;
    harness.until("the report", || harness.count(unreachable) == 1).await;
    let after = failed_at.lock().unwrap().unwrap().elapsed();
    assert!(after >= OUTAGE_REPORTED_AFTER && after < OUTAGE_REPORTED_AFTER + millis(200), "{after:?}");
    harness.store.clear_faults();
    harness.close().await;
}

/// A proxy cuts the subscription, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_cut_again_and_again_never_goes_unreported() {
    let harness = Harness::build().start().await;
    harness.store.end_subscriptions_after(Some(millis(300)));
    let failing = || harness.count(|kind| matches!(kind, EventKind::StoreCallFailing { .. }));
    let recovered = || harness.count(|kind| matches!(kind, EventKind::StoreCallRecovered { .. }));
    // The subscription that is there is not cut before it is replaced.
    harness.kill_and_await_restart("store-link").await;
    tokio::time::sleep(secs(120)).await;
    assert_eq!((failing(), recovered()), (1, 0), "{:?}", harness.events());
    let event =
        harness.until_event("it is reported", |event| matches!(event.kind, EventKind::StoreCallFailing { .. })).await;
    let EventKind::StoreCallFailing { operation, reason } = event.kind else { unreachable!() };
    assert_eq!(operation, "hints");
    assert!(reason.contains("closed again and again"), "{reason}");
    harness.store.end_subscriptions_after(None);
    tokio::time::sleep(secs(30)).await;
    assert_eq!((failing(), recovered()), (1, 1));
    assert_eq!(harness.count(|kind| matches!(kind, EventKind::StoreUnreachable { .. })), 0);
    harness.close().await;
}

/// When calls of this verb were sent, from now on.
fn sent(harness: &Harness, verb: Verb) -> Arc<Mutex<Vec<Instant>>> {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let noted = sent.clone();
    harness.store.observe(move |called, moment| {
        if called == verb && matches!(moment, Moment::Sent) {
            noted.lock().unwrap().push(Instant::now());
        }
    });
    sent
}

/// Goal: each outage begins with short delays between probes, however long the one before it lasted. Method: three long outages, the second soon after the first and the
/// third long after it; the delay between the first two probes of each is compared.
#[tokio::test(start_paused = true)]
async fn an_outage_never_begins_with_the_long_delays_of_the_one_before() {
    let harness = Harness::start().await;
    for sound in [secs(60), secs(3), secs(60)] {
        tokio::time::sleep(sound).await;
        let probes = sent(&harness, Verb::Probe);
        harness.store.set_unavailable(true);
        tokio::time::sleep(secs(60)).await;
        harness.store.set_unavailable(false);
        let probes = probes.lock().unwrap().clone();
        let delays: Vec<_> = probes.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(delays[0] <= PROBE_DELAY_MIN * 2, "{sound:?} after the last outage: {delays:?}");
        assert_eq!(delays.last(), Some(&PROBE_DELAY_MAX), "the delays grow");
    }
    harness.store.clear_faults();
    harness.close().await;
}

/// The same for a store that answers but takes no new jobs: blocked for a while, free for a while, and so on.
#[tokio::test(start_paused = true)]
async fn a_block_never_begins_with_the_long_delays_of_the_one_before() {
    let harness = Harness::start().await;
    for round in 0..3 {
        tokio::time::sleep(secs(60)).await;
        let probes = sent(&harness, Verb::Probe);
        harness.store.plan_faults(|verb, _| matches!(verb, Verb::Enqueue | Verb::Probe).then_some(Fault::Blocked));
        let refused = harness.try_enqueue(&format!("call-{round}"), Work::succeed(), RunAt::Now, secs(30)).await;
        assert!(refused.is_err());
        tokio::time::sleep(secs(60)).await;
        harness.store.clear_faults();
        let probes = probes.lock().unwrap().clone();
        assert!(probes[1] - probes[0] <= PROBE_DELAY_MIN * 2, "round {round}: {:?}", probes[1] - probes[0]);
    }
    harness.close().await;
}

/// Goal: a subscription that lasted is replaced at once when it ends. Method: each lasts for 12 s; by the sixth a delay that only grows would have reached its longest.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_lasted_is_never_replaced_late() {
    let harness = Harness::start().await;
    let lasts = PROBE_RESET_AFTER + secs(2);
    harness.store.end_subscriptions_after(Some(lasts));
    let subscribed = sent(&harness, Verb::Hints);
    // The subscription that is there is not cut before it is replaced.
    harness.kill_and_await_restart("store-link").await;
    tokio::time::sleep(lasts * 10).await;
    let subscribed = subscribed.lock().unwrap().clone();
    assert!(subscribed.len() >= 8, "{}", subscribed.len());
    for two in subscribed.windows(2) {
        let late = (two[1] - two[0]).saturating_sub(lasts);
        assert!(late <= PROBE_DELAY_MIN, "replaced after {late:?}");
    }
    harness.store.end_subscriptions_after(None);
    harness.close().await;
}
