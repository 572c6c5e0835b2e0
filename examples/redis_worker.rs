//! A worker over Redis that ends by itself: enqueues jobs, runs them, and drains. Run with `cargo run --example redis_worker -- --jobs 20`.
//!
//! Connects to `RETRACED_REDIS_URL`, or to Redis on this machine. Start several: they share the jobs, and each job runs in one of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retraced::{Job, Queue, RedisStore, Retry, Runtime, State};
use serde::{Deserialize, Serialize};

const QUEUE: &str = "example-sums";
/// Far longer than this takes; when the server is lost this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Add {
    numbers: Vec<u64>,
}

impl Job for Add {
    const KIND: &'static str = "sum.add";
}

/// The sum is kept with the job, as its output.
async fn add(job: Add, done: State<Arc<AtomicU32>>) -> Result<u64, Infallible> {
    done.fetch_add(1, Ordering::Relaxed);
    Ok(job.numbers.iter().sum())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs = how_many()?;
    let url = std::env::var("RETRACED_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let done = Arc::new(AtomicU32::new(0));
    let runtime = Runtime::builder()
        // Fails within seconds when nobody answers. Once the worker runs, it waits for an outage to end.
        .store(RedisStore::connect(&url).await?)
        .state(done.clone())
        .queue(Queue::new(QUEUE)?.handler(add).concurrency(8).retry(Retry::three_tier()))
        .start()
        .await?;

    let sums = runtime.queue(QUEUE)?;
    for number in 0..u64::from(jobs) {
        sums.enqueue(Add { numbers: vec![number, 1] }).await?;
    }
    println!("{jobs} jobs enqueued");

    let all_done = async {
        while done.load(Ordering::Relaxed) < jobs {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, all_done).await?;
    // Lets running handlers finish and writes their outcomes to the store.
    let drained = runtime.shutdown().await?;
    println!("{} jobs run, {} outcomes unsettled", done.load(Ordering::Relaxed), drained.unsettled);
    Ok(())
}

/// `--jobs N`, or 20.
fn how_many() -> Result<u32, String> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(20),
        (Some("--jobs"), Some(number)) => number.parse().map_err(|_| format!("--jobs {number} is not a number")),
        _ => Err("usage: redis_worker [--jobs N]".into()),
    }
}
