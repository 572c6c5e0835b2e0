//! A producer and a worker in two processes that share nothing but a Redis server.
//!
//! ```text
//! producer 571: 3 jobs are stored, and nobody is there to run them
//! worker 574: cat.png
//! worker 574: dog.png
//! worker 574: owl.png
//! ```
//!
//! Connects to `RETRACED_REDIS_URL`, or to Redis on this machine. The producer starts itself again as the worker. Run with `cargo run --example two_processes`.

use std::process::Stdio;
use std::time::Duration;

use retraced::{Client, Job, Queue, RedisStore, Runtime};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

#[derive(Serialize, Deserialize)]
struct Thumbnail(String);

impl Job for Thumbnail {
    const KIND: &'static str = "thumbnail.make";
}

async fn make(Thumbnail(picture): Thumbnail) {
    println!("worker {}: {picture}", std::process::id());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("RETRACED_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let store = RedisStore::connect(&url).await?;
    if std::env::args().nth(1).is_some() { worker(store).await } else { producer(store).await }
}

/// Runs jobs until its standard input is closed. It does not know who enqueues.
async fn worker(store: RedisStore) -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("example-thumbnails")?.handler(make).concurrency(1);
    let runtime = Runtime::builder().store(store).queue(queue).start().await?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    runtime.shutdown().await?;
    Ok(())
}

/// Enqueues jobs and runs none: a client needs no supervision tree.
async fn producer(store: RedisStore) -> Result<(), Box<dyn std::error::Error>> {
    let thumbnails = Client::new(store).queue("example-thumbnails")?;
    let jobs = ["cat.png", "dog.png", "owl.png"].map(|picture| Thumbnail(picture.into()));
    let receipts = thumbnails.enqueue_all(jobs).await?;
    println!("producer {}: {} jobs are stored, and nobody is there to run them", std::process::id(), receipts.len());
    let mut worker = Command::new(std::env::current_exe()?).arg("worker").stdin(Stdio::piped()).spawn()?;
    for receipt in &receipts {
        thumbnails.outcome(&receipt.id, Duration::from_secs(30)).await?;
    }
    worker.wait().await?; // closes the standard input of the worker first
    Ok(())
}
