//! An observer is called for each attempt, settlement and supervision event (and more) as it happens. Use it for metrics.
//!
//! ```text
//! 3 attempts, 1 failed
//! ```
//!
//! Run with `cargo run --example observer`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use retraced::{AttemptEnded, AttemptStarted, Job, MemoryStore, Observer, Queue, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Parse(String);

impl Job for Parse {
    const KIND: &'static str = "number.parse";
}

async fn parse(Parse(text): Parse) -> Result<i64, std::num::ParseIntError> {
    text.parse()
}

#[derive(Default)]
struct Counts {
    started: AtomicU64,
    failed: AtomicU64,
}

/// Called on the threads of the supervision tree and of the handlers: return at once, and move longer work to another task.
struct Metrics(Arc<Counts>);

impl Observer for Metrics {
    fn attempt_started(&self, _: &AttemptStarted<'_>) {
        self.0.started.fetch_add(1, Ordering::Relaxed);
    }

    fn attempt_ended(&self, attempt: &AttemptEnded<'_>) {
        self.0.failed.fetch_add(attempt.failure.is_some().into(), Ordering::Relaxed);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counts = Arc::new(Counts::default());
    let queue = Queue::new("numbers")?.handler(parse).on_unknown(retraced::OnUnknown::DeadLetter);
    let builder = Runtime::builder().store(MemoryStore::new()).queue(queue).observer(Metrics(counts.clone()));
    let runtime = builder.start().await?;
    for text in ["7", "seven", "77"] {
        runtime.enqueue(Parse(text.into())).await?.outcome().await?;
    }
    runtime.shutdown().await?;
    println!("{} attempts, {} failed", counts.started.load(Ordering::Relaxed), counts.failed.load(Ordering::Relaxed));
    Ok(())
}
