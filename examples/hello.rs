//! A first program, without Redis: a job fails, is retried and succeeds. Its trace shows what happened, and why.
//!
//! ```text
//! hello moon, on attempt 2
//! job 01a223f6-d7cf-7655-a2b5-e81abfa1f9d4 · greet · queue greetings · completed
//!   attempts 2 · failures 1 · crashes 0 · releases 0
//! 2026-11-28T21:01:49.390Z  enqueued
//! 2026-11-28T21:01:49.408Z  attempt 1 failed after less than 1ms · SERVICE_UNAVAILABLE · worker 70617277 executor-8#0
//!                             the moon has not risen yet
//!                             → due again in 193ms: exponential, base 200ms, factor 2, n 1, jitter 20 % drawn -3.6 %, at most 5m (failure 1 of 5)
//! 2026-11-28T21:01:49.620Z  attempt 2 succeeded after less than 1ms · worker 70617277 executor-7#0
//! 2026-11-28T21:01:49.620Z  completed
//! ```
//!
//! Run with `cargo run --example hello`.

use std::time::Duration;

use retraced::{Attempt, Code, Failure, Job, MemoryStore, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    const KIND: &'static str = "greet";
}

async fn greet(job: Greet, attempt: Attempt) -> Result<(), Failure> {
    if attempt.number == 1 {
        return Err(Failure::temporary(Code::ServiceUnavailable, format!("the {} has not risen yet", job.name)));
    }
    println!("hello {}, on attempt {}", job.name, attempt.number);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A short delay, so that the example ends soon.
    let greetings =
        Queue::new("greetings")?.handler(greet).retry(Retry::exponential().base(Duration::from_millis(200)));
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(greetings).start().await?;

    // `enqueue` returns as soon as the job is stored. A real application would continue; this one waits for the outcome.
    let job = runtime.enqueue(Greet { name: "moon".into() }).await?;
    job.outcome().await?;
    print!("{}", runtime.trace(&job.id).await?);
    runtime.shutdown().await?;
    Ok(())
}
