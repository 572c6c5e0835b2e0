//! A store that wraps another: this one prints what is enqueued and refuses one queue. All other calls go to the wrapped store unchanged.
//!
//! ```text
//! door/visitor-1: Created { state: Pending }
//! legacy: the job was not accepted: the store refused enqueue: this queue is read-only
//! ```
//!
//! Metrics, or faults for a test, can be added in the same way. Run with `cargo run --example own_store`.

use retraced::job::NewJob;
use retraced::store::{CallId, Decorator, Enqueued, StoreError, StoreFuture};
use retraced::{Client, Job, MemoryStore, QueueName, Store};
use serde::{Deserialize, Serialize};

/// Wraps any store: a `MemoryStore`, a `RedisStore` or another wrapper.
struct Guarded<S>(S);

impl<S: Store> Decorator for Guarded<S> {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        Box::pin(async move {
            if queue.as_str() == "legacy" {
                return Err(StoreError::Refused { operation: "enqueue", reason: "this queue is read-only".into() });
            }
            let enqueued = self.0.enqueue(call, queue, jobs).await?;
            for (job, enqueued) in jobs.iter().zip(&enqueued) {
                println!("{queue}/{}: {enqueued:?}", job.id);
            }
            Ok(enqueued)
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Knock;

impl Job for Knock {
    const KIND: &'static str = "knock";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The same for a runtime: `Runtime::builder().store(Guarded(…))`.
    let client = Client::new(Guarded(MemoryStore::new()));
    for queue in ["door", "legacy"] {
        if let Err(refused) = client.queue(queue)?.job(Knock).id("visitor-1").enqueue().await {
            println!("{queue}: {refused}");
        }
    }
    Ok(())
}
