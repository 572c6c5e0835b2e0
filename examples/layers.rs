//! Layers run code around every attempt: one layer measures the time, another rejects jobs before their handler is called.
//!
//! ```text
//! resized to 640
//! picture.resize picture-1 succeeded after 73.589µs
//! picture.resize stranger failed after 7.12µs
//! ```
//!
//! Run with `cargo run --example layers`.

use std::time::Instant;

use retraced::layer::Next;
use retraced::{Code, Context, Failure, Job, MemoryStore, Output, Queue, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Resize(u32);

impl Job for Resize {
    const KIND: &'static str = "picture.resize";
}

async fn resize(Resize(width): Resize) {
    println!("resized to {width}");
}

async fn timed(ctx: Context, next: Next) -> Result<Output, Failure> {
    let started = Instant::now();
    let result = next.run().await;
    let ended = if result.is_ok() { "succeeded" } else { "failed" };
    println!("{} {} {ended} after {:?}", ctx.kind(), ctx.id(), started.elapsed());
    result
}

/// Without `next.run()` the handler is not called.
async fn only_pictures(ctx: Context, next: Next) -> Result<Output, Failure> {
    if !ctx.id().to_string().starts_with("picture-") {
        return Err(Failure::permanent(Code::AuthorizationFailed, "this id is not ours"));
    }
    next.run().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The layer added first is the outermost. Layers of the runtime, `Runtime::builder().layer(…)`, are around those of its queues.
    let queue = Queue::new("pictures")?.layer(timed).layer(only_pictures).handler(resize);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(queue).start().await?;
    for id in ["picture-1", "stranger"] {
        let job = runtime.queue("pictures")?.job(Resize(640)).id(id).enqueue().await?;
        job.outcome().await?;
    }
    runtime.shutdown().await?;
    Ok(())
}
