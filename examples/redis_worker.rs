//! A worker with a Redis store: it enqueues jobs, runs them and adds up their outputs. Start it several times, and the processes share the jobs.
//!
//! ```text
//! 30 jobs enqueued
//! the sum of their squares is 9455
//! 0 killed, 0 outcomes unsettled
//! ```
//!
//! Connects to `RETRACED_REDIS_URL`, or to Redis on this machine. Run with `cargo run --example redis_worker`.

use std::convert::Infallible;
use std::time::Duration;

use retraced::{Job, Queue, RedisStore, Retry, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Square {
    number: u64,
}

impl Job for Square {
    const KIND: &'static str = "number.square";
}

async fn square(job: Square) -> Result<u64, Infallible> {
    Ok(job.number * job.number)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("RETRACED_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    // Fails within seconds when Redis does not answer. Later, once the worker runs, an outage does not end it.
    let store = RedisStore::connect(&url).await?;
    let queue = Queue::new("example-squares")?.handler(square).concurrency(8).retry(Retry::three_tier());
    let runtime = Runtime::builder().store(store).queue(queue).start().await?;

    let squares = runtime.queue("example-squares")?;
    let receipts = squares.enqueue_all((1..=30).map(|number| Square { number })).await?;
    println!("{} jobs enqueued", receipts.len());
    let mut sum = 0;
    for receipt in &receipts {
        sum += squares.outcome(&receipt.id, Duration::from_secs(30)).await?.output::<u64>()?;
    }
    println!("the sum of their squares is {sum}");
    // Lets running handlers finish, and settles their jobs.
    let report = runtime.shutdown().await?;
    println!("{} killed, {} outcomes unsettled", report.killed, report.unsettled);
    Ok(())
}
