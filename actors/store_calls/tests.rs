//! Calls whose answers the tests decide.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use retraced_jobs::clock::TokioClock;
use retraced_jobs::events::EventKind;
use retraced_jobs::job::InstanceId;
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{Block, CallId, StoreFuture};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::limits::{
    ACTOR_CALL_TIMEOUT, FAILING_CALL_REPORTED_AFTER, OUTAGE_REPORTED_AFTER, REFUSALS_REMEMBERED_MAX,
    REFUSED_REPORT_INTERVAL, RESEND_DELAY,
};
use crate::observer::GuardedObserver;
use crate::supervision::event::Events;
use crate::supervision::registry::Registry;

mod copies;

const TIMEOUT: Duration = Duration::from_secs(1);

fn instance() -> InstanceId {
    InstanceId::from(Uuid::from_u128(1))
}

fn unavailable<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable { operation: "test", cause: "connection reset".into() })
}

fn refused<T>() -> Result<T, StoreError> {
    Err(StoreError::Refused { operation: "test", reason: "wrong password".into() })
}

struct World {
    calls: StoreCalls,
    events: Events,
    ended: CancellationToken,
    /// The sequence number of every call that was sent.
    sent: Mutex<Vec<u64>>,
}

impl World {
    fn new(slots: u16) -> Self {
        Self::on(MemoryStore::new(), slots)
    }

    fn on(store: MemoryStore, slots: u16) -> Self {
        let ended = CancellationToken::new();
        let slots = ReplaySlots::new(instance(), slots);
        let (clock, instance) = (Arc::new(TokioClock::starting_at(0)), slots.current_instance().clone());
        let events = Events::new(instance, clock, GuardedObserver::default(), Registry::default());
        let health = Health::new(events.clone(), ended.clone());
        let calls = StoreCalls::of_tree(Arc::new(store), slots, health, Handle::current());
        Self { calls, events, ended, sent: Mutex::default() }
    }

    /// A call that finds the store unavailable the first `times` times, and is then answered.
    fn fails_first<'a>(&'a self, times: usize) -> impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, usize> {
        move |_, call| {
            let mut sent = self.sent.lock().unwrap();
            sent.push(call.sequence);
            let n = sent.len();
            Box::pin(async move { if n <= times { unavailable() } else { Ok(n) } })
        }
    }

    fn reported(&self) -> Vec<EventKind> {
        self.events.take_unstored(100).into_iter().map(|event| event.kind).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_sent_again_under_the_same_id_and_the_outage_is_reported_once() {
    let world = World::new(1);
    assert_eq!(world.calls.until_known("test", world.fails_first(3)).await.unwrap().unwrap(), 4);
    assert_eq!(*world.sent.lock().unwrap(), [1, 1, 1, 1]);
    let reported = world.reported();
    assert!(
        matches!(reported[..], [EventKind::StoreUnreachable { .. }, EventKind::StoreReachable { .. }]),
        "{reported:?}"
    );
}

/// A call that is answered after this many sendings without an answer, and notes what each sending says of itself.
fn noting<'a>(said: &'a Mutex<Vec<bool>>, unanswered: usize) -> impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, ()> {
    let sent = AtomicUsize::new(0);
    move |_, call| {
        said.lock().unwrap().push(call.first_sending);
        let is_answered = sent.fetch_add(1, Ordering::Relaxed) == unanswered;
        Box::pin(async move { if is_answered { Ok(()) } else { unavailable() } })
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_first_sending_of_a_call_says_that_it_is_the_first_and_none_after_a_call_that_was_given_up() {
    let (world, said) = (World::new(1), Mutex::default());
    let taken = || std::mem::take(&mut *said.lock().unwrap());
    for (unanswered, expected) in [(0, vec![true]), (2, vec![true, false, false]), (0, vec![true])] {
        world.calls.until_known("test", noting(&said, unanswered)).await.unwrap().unwrap();
        assert_eq!(taken(), expected);
    }
    let given_up = world.calls.until_known("test", noting(&said, usize::MAX));
    assert!(tokio::time::timeout(TIMEOUT, given_up).await.is_err());
    assert_eq!(taken().iter().filter(|first| **first).count(), 1);
    // A late copy of that call may be on its way to any queue, so each queue has to keep the replies to all later ones.
    for _ in 0..2 {
        world.calls.until_known("test", noting(&said, 0)).await.unwrap().unwrap();
        assert_eq!(taken(), [false]);
    }
}

/// One call with this answer. What is due to be reported half of the time later that makes an outage is reported, as the store link does.
async fn answer(world: &World, result: fn() -> Result<(), StoreError>) {
    let _ = world.calls.once("test", |_| Box::pin(async move { result() })).await;
    tokio::time::sleep(OUTAGE_REPORTED_AFTER / 2).await;
    world.calls.health().report_outage();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_and_is_back_within_a_second_is_no_outage() {
    let world = World::new(1);
    for _ in 0..3 {
        answer(&world, unavailable).await;
        assert!(!world.calls.health().is_reachable());
        assert_eq!(world.calls.store_status(), StoreStatus::Up);
        answer(&world, || Ok(())).await;
        assert!(world.calls.health().is_up());
    }
    assert_eq!(world.reported(), []);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_for_a_moment_does_not_hide_a_block() {
    let world = World::new(1);
    for result in [blocked, unavailable, blocked, unavailable, || Ok(())] {
        answer(&world, result).await;
        assert!(!world.calls.health().is_up());
    }
    assert!(world.calls.health().is_reachable());
    world.calls.health().unblocked();
    let reported = world.reported();
    assert!(matches!(reported[..], [EventKind::StoreBlocked { .. }, EventKind::StoreUnblocked { .. }]), "{reported:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_had_no_answer_for_a_second_is_an_outage_even_if_the_next_one_is_answered() {
    let world = World::new(1);
    let hangs = world.calls.once("test", |_| Box::pin(std::future::pending::<Result<(), StoreError>>()));
    assert!(hangs.await.is_err());
    let _ = world.calls.once("test", |_| Box::pin(async { Ok(()) })).await;
    let reported = world.reported();
    let [EventKind::StoreUnreachable { .. }, EventKind::StoreReachable { away_ms }] = reported[..] else {
        panic!("{reported:?}")
    };
    assert_eq!(Duration::from_millis(away_ms), ACTOR_CALL_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_outage_without_further_calls_is_reported_when_its_time_has_come() {
    let world = World::new(1);
    answer(&world, unavailable).await;
    tokio::time::sleep(OUTAGE_REPORTED_AFTER / 2).await;
    for _ in 0..2 {
        world.calls.health().report_outage();
    }
    assert!(matches!(world.reported()[..], [EventKind::StoreUnreachable { .. }]));
    assert_eq!(world.calls.store_status(), StoreStatus::Unreachable);
    assert_eq!(world.calls.health().unreported_outage(), None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_outcome_and_the_same_one_is_reported_once() {
    let world = World::new(1);
    for _ in 0..3 {
        let result = world.calls.until_known("test", |_, _| Box::pin(async { refused::<()>() })).await;
        assert!(matches!(result, Some(Err(StoreError::Refused { .. }))));
    }
    assert!(matches!(world.reported()[..], [EventKind::StoreRefused { .. }]));
    assert!(world.calls.health().is_up());
}

fn operation_refused(kind: EventKind) -> String {
    match kind {
        EventKind::StoreRefused { operation, .. } => operation,
        kind => panic!("{kind:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_that_alternate_are_never_reported_more_than_once_a_minute() {
    let world = World::new(1);
    for _ in 0..10 {
        for operation in ["claim", "trim"] {
            let refuse = || Err::<(), _>(StoreError::Refused { operation, reason: "WRONGTYPE".into() });
            let _ = world.calls.once(operation, |_| Box::pin(async move { refuse() })).await;
        }
        tokio::time::sleep(REFUSED_REPORT_INTERVAL / 8).await;
    }
    let operations: Vec<String> = world.reported().into_iter().map(operation_refused).collect();
    assert_eq!(operations, ["claim", "trim", "claim", "trim"]);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_many_texts_are_remembered_up_to_their_bound() {
    let world = World::new(1);
    for n in 0..2 * REFUSALS_REMEMBERED_MAX {
        let refused = StoreError::Refused { operation: "test", reason: format!("key {n}") };
        world.calls.health().report_refused(&refused);
        world.calls.health().report_refused(&refused);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.events.take_unstored(1_000).len(), 2 * REFUSALS_REMEMBERED_MAX, "each once");
    world.calls.health().report_refused(&StoreError::Refused { operation: "test", reason: "key 0".into() });
    assert_eq!(world.reported().len(), 1, "the oldest were forgotten");
}

/// Has other calls answered, twice a second, for as long as `failing` goes on.
async fn beside_answers<T>(world: &World, failing: impl Future<Output = T>) -> T {
    let others = async {
        loop {
            answer(world, || Ok(())).await;
        }
    };
    tokio::select! {
        biased;
        result = failing => result,
        () = others => unreachable!(),
    }
}

/// The operations that were reported as failing, and as recovered with a `+` before.
fn failures(world: &World) -> Vec<String> {
    let name = |kind: EventKind| match kind {
        EventKind::StoreCallFailing { operation, reason } => {
            assert!(reason.contains("connection reset"), "{reason}");
            operation
        }
        EventKind::StoreCallRecovered { operation, failed_ms } => {
            assert!(u128::from(failed_ms) >= FAILING_CALL_REPORTED_AFTER.as_millis(), "{failed_ms}");
            format!("+{operation}")
        }
        kind => panic!("{kind:?}"),
    };
    world.reported().into_iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_again_and_again_while_others_are_answered_never_goes_unreported() {
    let world = World::new(1);
    let reply = beside_answers(&world, world.calls.until_known("claim", world.fails_first(300))).await;
    assert_eq!(reply.unwrap().unwrap(), 301);
    assert_eq!(failures(&world), ["claim", "+claim"]);
    assert!(world.calls.health().is_up());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_for_less_than_its_time_is_not_reported() {
    let world = World::new(1);
    let begun = Instant::now();
    beside_answers(&world, world.calls.until_known("claim", world.fails_first(10))).await.unwrap().unwrap();
    assert!(begun.elapsed() > FAILING_CALL_REPORTED_AFTER / 4 && begun.elapsed() < FAILING_CALL_REPORTED_AFTER);
    assert_eq!(failures(&world), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_verb_that_fail_together_are_never_reported_one_by_one() {
    let world = World::new(4);
    let fails = || world.calls.until_answered("settle", |_| Box::pin(async { unavailable::<()>() }));
    let all = async { tokio::join!(fails(), fails(), fails()) };
    let some_time = tokio::time::timeout(3 * REFUSED_REPORT_INTERVAL, all);
    assert!(beside_answers(&world, some_time).await.is_err());
    assert_eq!(failures(&world), ["settle", "+settle"], "they are given up, so none fails any more");
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_and_recover_in_turn_are_reported_once_a_minute() {
    let world = World::new(1);
    let in_turn = async {
        for _ in 0..6 {
            world.sent.lock().unwrap().clear();
            world.calls.until_known("claim", world.fails_first(120)).await.unwrap().unwrap();
        }
    };
    let begun = Instant::now();
    beside_answers(&world, in_turn).await;
    let minutes = usize::try_from(begun.elapsed().as_secs() / REFUSED_REPORT_INTERVAL.as_secs()).unwrap();
    let reports = failures(&world);
    assert!((2..=2 * (minutes + 1)).contains(&reports.len()), "{reports:?} in {minutes} minutes");
}

#[tokio::test(start_paused = true)]
async fn a_verb_whose_calls_are_sent_once_and_always_fail_never_goes_unreported() {
    let world = World::new(1);
    let heartbeats = async {
        for n in 0..100 {
            let result = || if n < 99 { unavailable() } else { Ok(()) };
            let _ = world.calls.once("heartbeat", |_| Box::pin(async { result() })).await;
            tokio::time::sleep(TIMEOUT).await;
        }
    };
    beside_answers(&world, heartbeats).await;
    assert_eq!(failures(&world), ["heartbeat", "+heartbeat"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_meets_two_broken_connections_in_a_row_is_never_reported() {
    let world = World::new(1);
    let checks = async {
        for n in 0..9 {
            let result = || if n % 3 == 2 { Ok(()) } else { unavailable() };
            let _ = world.calls.once("check_counts", |_| Box::pin(async { result() })).await;
            tokio::time::sleep(2 * FAILING_CALL_REPORTED_AFTER).await;
        }
    };
    beside_answers(&world, checks).await;
    assert_eq!(failures(&world), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_never_reported_as_failing_calls_too() {
    let world = World::new(2);
    let known = world.calls.until_known("claim", world.fails_first(100));
    let reports = async {
        tokio::time::sleep(OUTAGE_REPORTED_AFTER).await;
        world.calls.health().report_outage();
    };
    tokio::join!(known, reports).0.unwrap().unwrap();
    let reported = world.reported();
    assert!(
        matches!(reported[..], [EventKind::StoreUnreachable { .. }, EventKind::StoreReachable { .. }]),
        "{reported:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_ends_gives_open_calls_up() {
    let world = World::new(1);
    world.ended.cancel();
    assert!(world.calls.until_known("test", world.fails_first(usize::MAX)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_counts_as_unanswered() {
    let world = World::new(1);
    let hangs = world.calls.once("test", |_| Box::pin(std::future::pending::<Result<(), StoreError>>()));
    assert!(hangs.await.unwrap_err().is_retryable());
    assert!(!world.calls.health().is_up());
}

fn without_tree(calls_max: u16) -> StoreCalls {
    StoreCalls::new(Arc::new(MemoryStore::new()), calls_max, None)
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_deadline_is_sent_again_as_the_same_call_until_it_is_answered() {
    for calls in [without_tree(1), World::new(1).calls] {
        let ids = Arc::new(Mutex::new(Vec::new()));
        let seen = ids.clone();
        let reply = calls.until_known_by(TIMEOUT * 5, move |_, id| {
            let mut ids = seen.lock().unwrap();
            ids.push(id);
            let reply = if ids.len() < 4 { unavailable() } else { Ok(ids.len()) };
            async move { reply }
        });
        assert_eq!(reply.await.unwrap(), 4);
        let ids = ids.lock().unwrap();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_deadline_pauses_before_it_is_sent_again_even_if_other_calls_are_answered() {
    for calls in [without_tree(2), World::new(2).calls] {
        let sent = Arc::new(Mutex::new(0_u32));
        let count = sent.clone();
        let refused_for_now = calls.until_known_by(TIMEOUT, move |_, _| {
            *count.lock().unwrap() += 1;
            async { unavailable::<()>() }
        });
        let others = async {
            loop {
                calls.once_by(TIMEOUT, |_| async { Ok(()) }).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = refused_for_now => {}
            () = others => {}
        }
        let most = u32::try_from(TIMEOUT.as_millis() / RESEND_DELAY.as_millis()).unwrap();
        assert!((2..=most).contains(&*sent.lock().unwrap()), "sent {} times", sent.lock().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_unknown_at_the_deadline_and_not_before() {
    let begun = Instant::now();
    let failed = without_tree(1).until_known_by(TIMEOUT, |_, _| async { unavailable::<()>() }).await;
    assert!(matches!(failed, Err(CallError::OutcomeUnknown(Some(_)))), "{failed:?}");
    assert!((TIMEOUT - RESEND_DELAY * 2..=TIMEOUT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let silent = without_tree(1).until_known_by(TIMEOUT, |_, _| std::future::pending::<Result<(), _>>()).await;
    assert!(matches!(silent, Err(CallError::OutcomeUnknown(None))), "{silent:?}");
    assert!(begun.elapsed() <= TIMEOUT * 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_a_call_with_a_deadline_at_once_and_only_the_caller_learns_of_it() {
    let (world, begun) = (World::new(1), Instant::now());
    let called = world.calls.until_known_by(TIMEOUT, |_, _| async { refused::<()>() }).await;
    let once = world.calls.once_by(TIMEOUT, |_| async { refused::<()>() }).await;
    for failed in [called, once] {
        assert!(matches!(failed, Err(CallError::Refused(StoreError::Refused { .. }))), "{failed:?}");
    }
    assert_eq!((begun.elapsed(), world.reported().len()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn an_outage_found_by_a_call_with_a_deadline_is_known_to_all_and_a_missed_deadline_is_no_outage() {
    let world = World::new(1);
    let silent = world.calls.until_known_by(TIMEOUT, |_, _| std::future::pending::<Result<(), _>>()).await;
    assert!(silent.is_err() && world.calls.health().is_up());
    let failed = world.calls.once_by(TIMEOUT, |_| async { unavailable::<()>() }).await;
    assert!(matches!(failed, Err(CallError::OutcomeUnknown(Some(_)))), "{failed:?}");
    assert!(!world.calls.health().is_up());
    world.calls.once_by(TIMEOUT, |_| async { Ok(()) }).await.unwrap();
    assert!(world.calls.health().is_up());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_replay_slot_by_its_deadline_was_not_sent() {
    let (calls, begun) = (without_tree(1), Instant::now());
    let _slot = calls.slots.take().await;
    let failed = calls.until_known_by(TIMEOUT, |_, _| async { unreachable!() as Result<(), _> }).await;
    assert!(matches!(failed, Err(CallError::NoReplaySlot)), "{failed:?}");
    assert_eq!(begun.elapsed(), TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_sent_twice_is_sent_again_until_its_deadline_and_needs_no_replay_slot() {
    for calls in [without_tree(1), World::new(1).calls] {
        let _slot = calls.slots.take().await;
        let sent = Arc::new(Mutex::new(0));
        let count = sent.clone();
        let reply = calls.until_answered_by(TIMEOUT * 5, move |_| {
            *count.lock().unwrap() += 1;
            let reply = if *count.lock().unwrap() < 4 { unavailable() } else { Ok("read") };
            async move { reply }
        });
        assert_eq!((reply.await.unwrap(), *sent.lock().unwrap()), ("read", 4));
        let failed = calls.until_answered_by(TIMEOUT, |_| async { unavailable::<()>() }).await;
        assert!(matches!(failed, Err(CallError::OutcomeUnknown(Some(_)))), "{failed:?}");
    }
}

#[test]
fn a_call_on_a_runtime_that_has_ended_says_so() {
    let other = tokio::runtime::Runtime::new().unwrap();
    let calls = StoreCalls::new(Arc::new(MemoryStore::new()), 1, Some(other.handle().clone()));
    drop(other);
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = here.block_on(calls.until_known_by(TIMEOUT, |_, _| async { Ok(()) }));
    assert!(matches!(ended, Err(CallError::RuntimeEnded { begun: false })), "{ended:?}");
}

#[tokio::test]
async fn a_store_that_panics_has_an_unknown_outcome_and_the_runtime_has_not_ended() {
    let world = World::new(1);
    let panics = |_: Arc<dyn Store>| async { panic!("of the store") as Result<(), StoreError> };
    let error = world.calls.once_by(TIMEOUT, panics).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown(Some(StoreError::Unavailable { .. }))), "{error:?}");
    assert!(world.calls.once_by(TIMEOUT, |_| async { Ok(()) }).await.is_ok());
}

fn blocked<T>() -> Result<T, StoreError> {
    Err(StoreError::Blocked { operation: "test", by: Block::Memory, said: "OOM".into() })
}

/// Goal: nobody's success hides another's failure. Method: refused and answered calls alternate, and then a probe finds the store free again.
#[tokio::test(start_paused = true)]
async fn a_block_is_reported_once_and_only_a_probe_ends_it() {
    let world = World::new(1);
    for _ in 0..10 {
        let refused = world.calls.once("test", |_| Box::pin(async { blocked::<()>() })).await;
        assert!(matches!(refused, Err(StoreError::Blocked { .. })));
        world.calls.once("test", |_| Box::pin(async { Ok(()) })).await.unwrap();
        assert!(!world.calls.health().is_up() && world.calls.health().is_reachable());
        // Not even after the time within which the same refusal is not reported again.
        tokio::time::sleep(REFUSED_REPORT_INTERVAL / 4).await;
    }
    world.calls.health().unblocked();
    assert!(world.calls.health().is_up());
    let reported = world.reported();
    assert!(matches!(reported[..], [EventKind::StoreBlocked { .. }, EventKind::StoreUnblocked { .. }]), "{reported:?}");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_store_that_is_lost_meanwhile_is_reported_as_both_in_their_order() {
    let world = World::new(1);
    let answers: [fn() -> Result<(), StoreError>; 4] = [blocked, unavailable, unavailable, blocked];
    for answer in answers {
        let _ = world.calls.once("test", |_| Box::pin(async move { answer() })).await;
        // The same cause is not reported again before that.
        tokio::time::sleep(REFUSED_REPORT_INTERVAL).await;
    }
    let reported = world.reported();
    let expected = matches!(
        reported[..],
        [
            EventKind::StoreBlocked { .. },
            EventKind::StoreUnreachable { .. },
            EventKind::StoreReachable { .. },
            EventKind::StoreBlocked { .. }
        ]
    );
    assert!(expected, "{reported:?}");
}

/// Goal: a right that is missing for one call holds up no actor: it has other calls to make.
#[tokio::test(start_paused = true)]
async fn a_call_that_lacks_a_right_is_answered_and_not_sent_for_ever() {
    let world = World::new(1);
    let lacking = || Err::<(), _>(StoreError::Blocked { operation: "test", by: Block::Rights, said: "NOPERM".into() });
    let begun = Instant::now();
    let answer = world.calls.until_known("test", |_, _| Box::pin(async move { lacking() })).await;
    assert!(matches!(answer, Some(Err(StoreError::Blocked { by: Block::Rights, .. }))), "{answer:?}");
    assert!(begun.elapsed() < RESEND_DELAY);
    assert!(matches!(world.reported()[..], [EventKind::StoreBlocked { .. }]));
}

/// Goal: two causes that are met in turn are reported once each, not at every change.
#[tokio::test(start_paused = true)]
async fn causes_that_alternate_are_reported_once_each() {
    let world = World::new(1);
    for by in [Block::Memory, Block::Rights, Block::Memory, Block::Rights, Block::Memory] {
        world.calls.health().blocked(by, "for a test");
    }
    world.calls.health().unblocked();
    let reported = world.reported();
    let [EventKind::StoreBlocked { .. }, EventKind::StoreBlocked { .. }, EventKind::StoreUnblocked { .. }] =
        reported[..]
    else {
        panic!("{reported:?}")
    };
}

/// Goal: each call has its own backoff. Method: an actor's call is refused for 20 s, while others succeed and the store is found free again and again.
#[tokio::test(start_paused = true)]
async fn a_call_that_stays_refused_is_sent_less_and_less_whatever_other_calls_do() {
    let world = World::new(2);
    let sent = Mutex::new(0_u32);
    let refused = world.calls.until_known("test", |_, _| {
        *sent.lock().unwrap() += 1;
        Box::pin(async { blocked::<()>() })
    });
    let others = async {
        loop {
            world.calls.once("test", |_| Box::pin(async { Ok(()) })).await.unwrap();
            world.calls.health().unblocked();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = refused => unreachable!(),
        () = others => unreachable!(),
        () = tokio::time::sleep(Duration::from_secs(20)) => {}
    }
    assert!((10..=25).contains(&*sent.lock().unwrap()), "sent {} times", sent.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_a_deadline_hears_at_once_what_a_blocked_store_said() {
    for calls in [without_tree(1), World::new(1).calls] {
        let begun = Instant::now();
        let told = calls.until_known_by(TIMEOUT, |_, _| async { blocked::<()>() }).await;
        assert!(matches!(told, Err(CallError::Blocked(StoreError::Blocked { .. }))), "{told:?}");
        let told = calls.once_by(TIMEOUT, |_| async { blocked::<()>() }).await;
        assert!(matches!(told, Err(CallError::Blocked(_))), "{told:?}");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

/// Goal: a call that may have been applied is never reported as one that was not. Method: its first sending is not answered, the later ones are refused.
#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_stays_unknown_when_the_store_is_blocked_afterwards() {
    let sent = Arc::new(Mutex::new(0_u32));
    let call = move |_: Arc<dyn Store>, _| {
        let mut sent = sent.lock().unwrap();
        *sent += 1;
        let answer = if *sent == 1 { unavailable::<()>() } else { blocked() };
        async { answer }
    };
    let told = without_tree(1).until_known_by(TIMEOUT, call).await;
    assert!(matches!(told, Err(CallError::OutcomeUnknown(Some(_)))), "{told:?}");
}

/// Goal: a refusal of a later sending says nothing about an earlier one without an answer. Method: each error that ends a call follows such a sending.
#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_stays_unknown_when_it_is_refused_afterwards() {
    let rights = || StoreError::Blocked { operation: "test", by: Block::Rights, said: "NOPERM".into() };
    let password = || StoreError::Refused { operation: "test", reason: "wrong password".into() };
    let damaged = || StoreError::Corrupt { operation: "test", what: "WRONGTYPE".into() };
    for refusal in [rights as fn() -> StoreError, password, damaged] {
        let sent = Arc::new(Mutex::new(0_u32));
        let send = move || {
            let mut sent = sent.lock().unwrap();
            *sent += 1;
            let answer = if *sent % 2 == 1 { unavailable::<()>() } else { Err(refusal()) };
            async { answer }
        };
        let calls = without_tree(1).waiting_while_blocked();
        let by_deadline = send.clone();
        let told = calls.until_known_by(TIMEOUT, move |_, _| by_deadline()).await;
        let Err(CallError::OutcomeUnknown(Some(last))) = told else { panic!("{told:?}") };
        assert_eq!(last.to_string(), refusal().to_string());
        // An actor learns of it too, instead of waiting for ever.
        let world = World::new(1);
        let told = world.calls.until_known("test", |_, _| Box::pin(send())).await;
        assert_eq!(told.unwrap().unwrap_err().to_string(), refusal().to_string());
    }
}

/// Goal: a block that ends by itself is waited for, and if it does not end in time the caller learns that its call was not applied.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_loading_is_waited_for_until_the_deadline() {
    let begun = Instant::now();
    let loading = || StoreError::Blocked { operation: "test", by: Block::Loading, said: "LOADING".into() };
    let told = without_tree(1).until_known_by(TIMEOUT, move |_, _| async move { Err::<(), _>(loading()) }).await;
    assert!(matches!(told, Err(CallError::Blocked(_))), "{told:?}");
    assert!((TIMEOUT / 2..=TIMEOUT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

/// Goal: a call whose last sending had no answer is never reported as one that was not applied. Method: its first sending meets a store that is loading.
#[tokio::test(start_paused = true)]
async fn a_call_whose_last_sending_had_no_answer_is_unknown_whatever_came_before() {
    let sent = Arc::new(Mutex::new(0_u32));
    let call = move |_: Arc<dyn Store>, _| {
        let mut sent = sent.lock().unwrap();
        *sent += 1;
        let first = *sent == 1;
        async move {
            match first {
                true => Err(StoreError::Blocked { operation: "test", by: Block::Loading, said: "LOADING".into() }),
                false => std::future::pending::<Result<(), StoreError>>().await,
            }
        }
    };
    let told = without_tree(1).until_known_by(TIMEOUT, call).await;
    assert!(matches!(told, Err(CallError::OutcomeUnknown(_))), "{told:?}");
}

/// Goal: a store that is blocked and free in turn does not flood the log. Method: it changes every 100 ms for 90 s, as a server that is nearly full may.
#[tokio::test(start_paused = true)]
async fn a_block_that_comes_and_goes_is_reported_once_a_minute() {
    let world = World::new(1);
    for _ in 0..900 {
        let _ = world.calls.once("test", |_| Box::pin(async { blocked::<()>() })).await;
        world.calls.health().unblocked();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let reported = world.reported();
    let blocks = reported.iter().filter(|kind| matches!(kind, EventKind::StoreBlocked { .. })).count();
    assert_eq!((blocks, reported.len()), (2, 4), "{reported:?}");
}

/// Goal: a block is not passed over because an earlier one was reported. Method: it comes back and stays.
#[tokio::test(start_paused = true)]
async fn a_block_that_comes_back_and_stays_is_reported_within_a_minute() {
    let world = World::new(1);
    let refused = || world.calls.once("test", |_| Box::pin(async { blocked::<()>() }));
    let _ = refused().await;
    world.calls.health().unblocked();
    assert_eq!(world.reported().len(), 2);
    for _ in 0..65 {
        let _ = refused().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let reported = world.reported();
    assert!(matches!(reported[..], [EventKind::StoreBlocked { .. }]), "{reported:?}");
}

/// Goal: the same if another block came between: a server that misses its replicas, is a replica for a while and misses its replicas again.
#[tokio::test(start_paused = true)]
async fn a_block_that_comes_back_after_another_one_and_stays_is_reported_within_a_minute() {
    let world = World::new(1);
    let refused = async |by| {
        let refusal = || Err::<(), _>(StoreError::Blocked { operation: "test", by, said: "no".into() });
        let _ = world.calls.once("test", |_| Box::pin(async { refusal() })).await;
    };
    refused(Block::MissingReplicas).await;
    world.calls.health().unblocked();
    refused(Block::Replica).await;
    let before = world.reported();
    assert_eq!(before.len(), 3, "{before:?}");
    for _ in 0..65 {
        refused(Block::MissingReplicas).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let reported = world.reported();
    assert!(
        matches!(&reported[..], [EventKind::StoreBlocked { reason }] if reason.contains("replicas")),
        "{reported:?}"
    );
    world.calls.health().unblocked();
    assert!(matches!(world.reported()[..], [EventKind::StoreUnblocked { .. }]));
}
