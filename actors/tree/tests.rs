//! What only the messages between actors can bring about: messages that arrive late.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ractor::ActorStatus;
use retraced_jobs::context::States;
use retraced_jobs::events::EventKind;
use retraced_jobs::execution::{Rules, Runner};
use retraced_jobs::handler::Handlers;
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{Block, Decorator, StoreFacts, StoreFuture};
use retraced_jobs::trace::ExecutorId;
use uuid::Uuid;

use super::*;
use crate::messages::{PoolMessage, StoreLinkMessage};
use crate::options::QueueOptions;
use crate::workers::executor::ExecutorArgs;
use crate::workers::pool::spawn_unclaimed;

/// A tree with one executor, in which no job runs.
async fn one_executor() -> Tree {
    one_executor_on(Arc::new(MemoryStore::new())).await
}

async fn one_executor_on(store: Arc<dyn Store>) -> Tree {
    Tree::start(spec(store)).await.unwrap()
}

fn spec(store: Arc<dyn Store>) -> TreeSpec {
    let instance = CurrentInstance::from(InstanceId::from(Uuid::from_u128(1)));
    let name = QueueName::new("email").unwrap();
    let (handlers, states) = (Arc::new(Handlers::default()), Arc::new(States::default()));
    let runner = Arc::new(Runner::new(name.clone(), handlers, states, Rules::default(), instance.clone()));
    let options = QueueOptions { concurrency: 1, ..QueueOptions::default() };
    let (tree, handlers) = (Handle::current(), Handle::current());
    let queues = vec![QueueSpec { name, options, runner }];
    TreeSpec { store, instance, queues, options: TreeOptions::default(), tree, handlers }
}

fn executor(tree: &Tree) -> u32 {
    let generation = |actor: LiveActor| (actor.path == "email/executor-0").then_some(actor.generation);
    tree.actors().into_iter().find_map(generation).unwrap()
}

/// The watchdog finds a zombie, and its message arrives after the handler has returned, or after the whole pool was replaced.
#[tokio::test(start_paused = true)]
async fn a_zombie_that_has_been_replaced_already_never_gets_a_second_replacement() {
    let settle = || tokio::time::sleep(Duration::from_secs(1));
    let tree = one_executor().await;
    settle().await;
    let pool = || tree.context.queues[0].pool.get().unwrap();
    for replaced in ["email/executor-0", "email/pool"] {
        let zombie = ExecutorId::new(0, executor(&tree));
        assert!(tree.kill(replaced));
        settle().await;
        let restarted = executor(&tree);
        assert!(restarted > zombie.generation);
        pool().cast(PoolMessage::Replace { zombie }).unwrap();
        settle().await;
        assert_eq!(executor(&tree), restarted, "after {replaced} was killed");
    }
    let zombie = ExecutorId::new(0, executor(&tree));
    pool().cast(PoolMessage::Replace { zombie }).unwrap();
    pool().cast(PoolMessage::Replace { zombie }).unwrap();
    settle().await;
    assert_eq!(executor(&tree), zombie.generation + 1, "the slot of a zombie gets one other executor");
    tree.shutdown().await;
}

/// An event of an actor that was restarted names the actor that is there now.
#[tokio::test(start_paused = true)]
async fn an_event_never_names_an_earlier_generation_of_its_actor() {
    let tree = one_executor().await;
    let mut events = tree.supervision();
    assert!(tree.kill("email/workers"));
    let mut seen = Vec::new();
    // The executor is killed until the pool gives up.
    while !seen.iter().any(|event: &SupervisionEvent| matches!(event.kind, EventKind::Escalated { .. })) {
        tree.kill("email/executor-0");
        tokio::time::sleep(Duration::from_millis(50)).await;
        while let Ok(event) = events.try_recv() {
            seen.push(event);
        }
    }
    let pool = |event: &&SupervisionEvent| event.path == "email/pool";
    let started = seen.iter().filter(pool).find(|event| event.kind == EventKind::Restarted).unwrap().generation;
    let escalated = seen.iter().filter(pool).find(|event| matches!(event.kind, EventKind::Escalated { .. })).unwrap();
    assert_eq!((started, escalated.generation), (1, 1));
    tree.shutdown().await;
}

/// The start of an executor ends just as the pool gives it up, so that nobody takes it.
#[tokio::test(start_paused = true)]
async fn an_executor_whose_start_was_given_up_never_lives_on() {
    let tree = one_executor().await;
    let (runtime, queue) = (tree.context.clone(), tree.context.queues[0].clone());
    let pool = queue.pool.get().unwrap().get_cell();
    let args = ExecutorArgs { runtime, queue, id: ExecutorId::new(0, 7), epoch: 1, seed: 1 };
    drop(tokio::spawn(spawn_unclaimed(args, pool.clone())));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let executors = pool.get_children().iter().filter(|actor| actor.get_status() <= ActorStatus::Running).count();
    assert_eq!(executors, 1, "only that of the pool");
    tree.shutdown().await;
}

/// A store that never answers a probe.
#[derive(Default)]
struct Unprobed {
    inner: MemoryStore,
    probes: AtomicUsize,
}

impl Decorator for Unprobed {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn probe(&self) -> StoreFuture<'_, StoreFacts> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

/// The store link hears that the store is lost again while, for it, the last probe is still under way. Then it hears that this probe has ended.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_lost_as_a_probe_ends_never_goes_unprobed() {
    let store = Arc::new(Unprobed::default());
    let tree = one_executor_on(store.clone()).await;
    let health = tree.context.calls.health();
    health.blocked(Block::Memory, "by the test");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.probes.load(Ordering::SeqCst), 1);
    health.link().send(StoreLinkMessage::NotUp);
    health.link().send(StoreLinkMessage::Probed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(store.probes.load(Ordering::SeqCst), 2);
    tree.shutdown().await;
}

/// Goal: whoever asks for the shutdown last learns of its end. Method: a grace that no option allows, with which the drain panics. The first caller leaves before.
#[tokio::test(start_paused = true)]
async fn a_shutdown_after_one_that_was_left_and_panicked_never_waits_for_ever() {
    let mut spec = spec(Arc::new(MemoryStore::new()));
    spec.options.shutdown_grace = Duration::MAX;
    let (tree, unclaimed) = start(spec).await.unwrap();
    unclaimed.release();
    assert!(tokio::time::timeout(Duration::ZERO, tree.shutdown()).await.is_err(), "the first caller leaves");
    let report = tokio::time::timeout(Duration::from_secs(60), tree.shutdown()).await;
    assert_eq!(report.unwrap(), None, "it is not known what became of the jobs");
    assert!(!tree.is_up());
}
