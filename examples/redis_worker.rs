//! A worker over Redis that ends by itself: enqueues jobs, runs them, and drains. Run with `cargo run --example redis_worker -- --jobs 20`.
//!
//! Connects to `RETRACED_REDIS_URL`, or to Redis on this machine. Start several: they share the jobs, and each job runs in one of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retraced::{Context, Failure, Job, Queue, RedisStore, Retry, Runtime, State};
use serde::{Deserialize, Serialize};

const QUEUE: &str = "example-sums";
/// More than anybody needs; without it a lost server would make this example wait for ever.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Add {
    numbers: Vec<u64>,
}

impl Job for Add {
    const KIND: &'static str = "sum.add";
}

async fn add(job: Add, _: Context, done: State<Arc<AtomicU32>>) -> Result<(), Failure> {
    let _sum: u64 = job.numbers.iter().sum();
    done.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs = how_many()?;
    let url = std::env::var("RETRACED_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let done = Arc::new(AtomicU32::new(0));
    let runtime = Runtime::builder()
        // Fails within seconds when nobody answers; once the worker runs, an outage is waited for.
        .store(RedisStore::connect(&url).await?)
        .state(done.clone())
        .queue(Queue::new(QUEUE)?.concurrency(8).retry(Retry::three_tier()))
        .handler(QUEUE, add)
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
    tokio::time::timeout(PATIENCE, all_done).await?;
    // Lets running handlers finish and tells the store what became of them.
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
