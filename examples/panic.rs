//! A handler panics: the pool replaces its executor, and the job is retried. Events report panic and restart; the trace and standard error show the line that panicked.
//!
//! ```text
//! 12 pieces for each
//! kitchen/executor-0: attempt 1 panicked
//! kitchen/executor-0: started again, generation 1
//! job 01a223f8-14a9-71fa-b1ac-5e2788089912 · cake.divide · queue kitchen · completed
//!   attempts 2 · failures 1 · crashes 0 · releases 0
//! 2026-11-28T21:03:10.509Z  enqueued
//! 2026-11-28T21:03:10.509Z  attempt 1 panicked after less than 1ms · PANIC · worker 695bbe97 executor-0#0
//!                             attempt to divide by zero
//!                             at examples/panic.rs:35:36
//!                             → due again in 100ms: fixed, base 100ms, jitter 0 % drawn +0.0 %, at most 5m (failure 1 of 5)
//! 2026-11-28T21:03:10.952Z  attempt 2 succeeded after less than 1ms · worker 695bbe97 executor-0#1
//! 2026-11-28T21:03:10.953Z  completed
//! ```
//!
//! Run with `cargo run --example panic`.

use std::time::Duration;

use retraced::{Attempt, Job, MemoryStore, Queue, Retry, Runtime, supervision::EventKind};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Divide(Vec<u32>);

impl Job for Divide {
    const KIND: &'static str = "cake.divide";
}

/// The first attempt has the bug, a division by zero. The second one stands for a repaired version.
async fn divide(Divide(guests): Divide, attempt: Attempt) {
    let guests = if attempt.number == 1 { guests.len() } else { guests.len().max(1) };
    println!("{} pieces for each", 12 / guests);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let retry = Retry::fixed().base(Duration::from_millis(100)).jitter(0);
    let kitchen = Queue::new("kitchen")?.handler(divide).concurrency(1).retry(retry);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(kitchen).start().await?;
    // Subscribe before the job is enqueued, to miss no event.
    let mut events = runtime.supervision();
    let job = runtime.enqueue(Divide(Vec::new())).await?;
    job.outcome().await?;

    // A panic in a handler does not count against the restart budget.
    while let Ok(event) = events.try_recv() {
        match &event.kind {
            EventKind::HandlerPanicked { attempt, .. } => println!("{}: attempt {attempt} panicked", event.path),
            EventKind::Restarted => println!("{}: started again, generation {}", event.path, event.generation),
            _ => {}
        }
    }
    print!("{}", runtime.trace(&job.id).await?);
    runtime.shutdown().await?;
    Ok(())
}
