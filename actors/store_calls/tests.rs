//! Calls to a store that does as it is told.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use retraced_jobs::clock::TokioClock;
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::trace::EventKind;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::supervision::event::Events;

const LIMIT: Duration = Duration::from_secs(1);

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
    /// The sequence of every call that was sent.
    sent: Mutex<Vec<u64>>,
}

impl World {
    fn new(slots: u16) -> Self {
        let ended = CancellationToken::new();
        let events = Events::new(instance(), Arc::new(TokioClock::starting_at(0)), None);
        let health = Health::new(events.clone(), ended.clone());
        let slots = ReplaySlots::new(instance(), slots);
        let calls = StoreCalls::with_health(Arc::new(MemoryStore::new()), slots, health);
        Self { calls, events, ended, sent: Mutex::default() }
    }

    /// A call that is unavailable this often, and then answered.
    fn fails<'a>(&'a self, times: usize) -> impl Fn(&'a dyn Store, CallId) -> StoreFuture<'a, usize> {
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
    assert_eq!(world.calls.until_known("test", world.fails(3)).await.unwrap().unwrap(), 4);
    assert_eq!(*world.sent.lock().unwrap(), [1, 1, 1, 1]);
    let reported = world.reported();
    assert!(matches!(reported[..], [EventKind::StoreLost { .. }, EventKind::StoreBack { .. }]), "{reported:?}");
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

#[tokio::test(start_paused = true)]
async fn a_runtime_that_ends_gives_open_calls_up() {
    let world = World::new(1);
    world.ended.cancel();
    assert!(world.calls.until_known("test", world.fails(usize::MAX)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_counts_as_unanswered() {
    let world = World::new(1);
    let hangs = world.calls.once("test", |_| Box::pin(std::future::pending::<Result<(), StoreError>>()));
    assert!(hangs.await.unwrap_err().is_retryable());
    assert!(!world.calls.health().is_up());
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_deadline_is_sent_again_until_it_is_answered() {
    let world = World::new(1);
    assert_eq!(world.calls.until(LIMIT, world.fails(3)).await.unwrap(), 4);
    assert_eq!(*world.sent.lock().unwrap(), [1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn at_its_deadline_a_call_fails_with_the_last_answer_or_with_none() {
    let world = World::new(1);
    let begun = Instant::now();
    let error = world.calls.until(LIMIT, world.fails(usize::MAX)).await.unwrap_err();
    assert!(matches!(&error, CallError::Store(StoreError::Unavailable { .. })) && error.is_outcome_unknown());
    let hangs = world.calls.read_until(LIMIT, |_| Box::pin(std::future::pending::<Result<(), StoreError>>()));
    assert_eq!(hangs.await.unwrap_err().to_string(), "the store did not answer within 1s");
    assert!(begun.elapsed() <= 2 * LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_the_wait_for_a_replay_slot() {
    let world = World::new(1);
    let _slot = world.calls.slots.take().await;
    let begun = Instant::now();
    let error = world.calls.until(LIMIT, world.fails(0)).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { limit: LIMIT }));
    assert_eq!((begun.elapsed(), world.sent.lock().unwrap().len()), (LIMIT, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_a_call_with_a_deadline_at_once() {
    let world = World::new(1);
    let error = world.calls.until(LIMIT, |_, _| Box::pin(async { refused::<()>() })).await.unwrap_err();
    assert!(matches!(error, CallError::Store(StoreError::Refused { .. })) && !error.is_outcome_unknown());
}
