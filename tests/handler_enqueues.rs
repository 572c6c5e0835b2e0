//! A handler that enqueues a follow-up job while the store takes no new jobs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use retraced::job::NewJob;
use retraced::limits::HANDLER_ENQUEUE_TIMEOUT;
use retraced::store::{Block, CallId, Decorator, Enqueued, StoreError, StoreFuture};
use retraced::{
    Context, EnqueueError, Failure, Job, JobRequest, MemoryStore, Operator, Queue, QueueName, Retry, Runtime, State,
    Store,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::Instant;

#[derive(Serialize, Deserialize)]
struct Order;

impl Job for Order {
    const KIND: &'static str = "order";
}

#[derive(Serialize, Deserialize)]
struct Invoice;

impl Job for Invoice {
    const KIND: &'static str = "invoice";
}

/// A store that takes no jobs for the queue `invoices` while it is blocked.
#[derive(Clone)]
struct Blockable {
    inner: MemoryStore,
    by: Arc<Mutex<Option<Block>>>,
}

impl Decorator for Blockable {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        match *self.by.lock().unwrap() {
            Some(by) if queue.as_str() == "invoices" => {
                Box::pin(
                    async move { Err(StoreError::Blocked { operation: "enqueue", by, said: "by the test".into() }) },
                )
            }
            _ => self.inner().enqueue(call, queue, jobs),
        }
    }
}

/// How long an enqueue took, and its error.
type Ending = (Duration, Option<EnqueueError>);

/// What the enqueues of the handlers came to.
#[derive(Clone, Default)]
struct Enqueues(Arc<Mutex<Vec<Ending>>>);

async fn order(_: Order, ctx: Context, seen: State<Enqueues>) -> Result<(), Failure> {
    let begun = Instant::now();
    let invoice = JobRequest::new(Invoice).id(format!("invoice-{}", ctx.id()));
    let result = ctx.queue("invoices").unwrap().enqueue(invoice).await;
    seen.0.lock().unwrap().push((begun.elapsed(), result.as_ref().err().cloned()));
    result?;
    Ok(())
}

/// A runtime on a store that is blocked, with this many orders. Its handlers have four executors, so that some of their enqueues wait for those of others.
async fn start(by: Block, orders: usize) -> (Runtime, Blockable, Enqueues) {
    let store = Blockable { inner: MemoryStore::new(), by: Arc::new(Mutex::new(Some(by))) };
    let seen = Enqueues::default();
    let queue = Queue::new("orders").unwrap().concurrency(4).retry(Retry::fixed().max_attempts(1)).handler(order);
    let builder = Runtime::builder().store(store.clone()).state(seen.clone()).queue(queue);
    let runtime = builder.tree_runtime(Handle::current()).start().await.unwrap();
    runtime.queue("orders").unwrap().enqueue_all((0..orders).map(|_| Order)).await.unwrap();
    (runtime, store, seen)
}

async fn failures(store: &Blockable) -> u64 {
    let operator = Operator::new(store.inner.clone());
    operator.stats(&"orders".parse().unwrap()).await.unwrap().failures_total
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_enqueues_in_a_full_server_never_loses_an_attempt() {
    for by in [Block::Memory, Block::Replica] {
        let (runtime, store, seen) = start(by, 4).await;
        tokio::time::sleep(HANDLER_ENQUEUE_TIMEOUT / 2).await;
        assert_eq!(seen.0.lock().unwrap().len(), 0, "they wait");
        // The application's own enqueues do not wait.
        let begun = Instant::now();
        let refused = runtime.client().queue("invoices").unwrap().enqueue(Invoice).await.unwrap_err();
        assert!(matches!(refused, EnqueueError::Refused { .. }) && begun.elapsed().is_zero(), "{refused}");
        *store.by.lock().unwrap() = None;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let enqueues = seen.0.lock().unwrap().clone();
        assert!(enqueues.len() == 4 && enqueues.iter().all(|(_, error)| error.is_none()), "{enqueues:?}");
        assert_eq!(failures(&store).await, 0);
        runtime.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_enqueues_in_a_full_server_never_waits_beyond_its_timeout() {
    let (runtime, store, seen) = start(Block::Memory, 1).await;
    tokio::time::sleep(HANDLER_ENQUEUE_TIMEOUT + Duration::from_secs(1)).await;
    let (waited, error) = seen.0.lock().unwrap()[0].clone();
    let soonest = HANDLER_ENQUEUE_TIMEOUT - Duration::from_millis(10);
    assert!(waited >= soonest && waited <= HANDLER_ENQUEUE_TIMEOUT + Duration::from_millis(10), "{waited:?}");
    let error = error.unwrap();
    assert!(error.to_string().contains("its memory is full"), "{error}");
    assert!(error.is_retryable() && !error.is_outcome_unknown());
    assert_eq!(error.to_failure().class(), retraced::Class::Temporary);
    assert_eq!(failures(&store).await, 1);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_never_waits_for_a_missing_right() {
    let (runtime, store, seen) = start(Block::Rights, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (waited, error) = seen.0.lock().unwrap()[0].clone();
    assert!(waited < Duration::from_millis(100), "{waited:?}");
    assert!(matches!(error, Some(EnqueueError::Refused { .. })), "{error:?}");
    assert_eq!(failures(&store).await, 1);
    runtime.shutdown().await.unwrap();
}
