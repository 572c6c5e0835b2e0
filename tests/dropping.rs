//! A runtime whose owner is gone: nothing of it goes on, also on a tokio runtime of the application's own.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use retraced::{Client, Job, MemoryStore, Operator, Queue, Runtime, RuntimeBuilder, State};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::yield_now;

#[derive(Serialize, Deserialize)]
struct Work;

impl Job for Work {
    const KIND: &'static str = "work";
}

#[derive(Clone, Default)]
struct Runs(Arc<AtomicUsize>);

async fn work(_: Work, runs: State<Runs>) {
    runs.0.fetch_add(1, Ordering::SeqCst);
}

/// A runtime on the test's own tokio runtime.
fn builder(store: &MemoryStore, runs: &Runs) -> RuntimeBuilder {
    let queue = Queue::new("q").unwrap().handler(work);
    Runtime::builder().store(store.clone()).state(runs.clone()).queue(queue).tree_runtime(Handle::current())
}

/// Enqueues a job, gives a worker all the time it needs, and checks that none is there.
async fn assert_nothing_runs(store: &MemoryStore, runs: &Runs) {
    // Its end takes a few turns of the tokio runtime, and no time.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = runs.0.load(Ordering::SeqCst);
    Client::new(store.clone()).queue("q").unwrap().enqueue(Work).await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(runs.0.load(Ordering::SeqCst), before, "a worker without an owner ran a job");
    let operator = Operator::new(store.clone());
    assert_eq!(operator.workers().await.unwrap(), [], "a worker without an owner sends heartbeats");
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_dropped_never_goes_on_on_a_tokio_runtime_of_the_callers() {
    let (store, runs) = (MemoryStore::new(), Runs::default());
    let runtime = builder(&store, &runs).start().await.unwrap();
    runtime.queue("q").unwrap().enqueue(Work).await.unwrap().outcome().await.unwrap();
    assert_eq!(runs.0.load(Ordering::SeqCst), 1);
    drop(runtime);
    assert_nothing_runs(&store, &runs).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_cancelled_never_leaves_a_tree_running() {
    for polls in 0..1_000 {
        let (store, runs) = (MemoryStore::new(), Runs::default());
        let mut start = Box::pin(builder(&store, &runs).start());
        let mut started = None;
        for _ in 0..polls {
            started = start.as_mut().now_or_never().map(Result::unwrap);
            if started.is_some() {
                break;
            }
            yield_now().await;
        }
        if let Some(runtime) = started {
            assert!(polls > 3, "the start was cancelled at {polls} points only");
            runtime.shutdown().await.unwrap();
            return;
        }
        drop(start);
        assert_nothing_runs(&store, &runs).await;
    }
    panic!("it never started");
}
