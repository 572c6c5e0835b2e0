//! A producer and a worker in two processes, which share nothing but a Redis. Run with `cargo run --example two_processes`.
//!
//! Connects to `RETRACED_REDIS_URL`, or to Redis on this machine. The producer starts this program once more as the worker, which ends when its standard
//! input does: with its parent, whatever becomes of that.

use std::process::Stdio;
use std::time::Duration;

use retraced::{Client, Job, JobState, Operator, Queue, RedisStore, Runtime};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

const QUEUE: &str = "example-thumbnails";
/// Far longer than this takes; when the server is lost this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Thumbnail {
    picture: String,
}

impl Job for Thumbnail {
    const KIND: &'static str = "thumbnail.make";
}

async fn make(job: Thumbnail) {
    println!("worker {}: {}", std::process::id(), job.picture);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("RETRACED_REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let store = RedisStore::connect(&url).await?;
    match std::env::args().nth(1).as_deref() {
        Some("worker") => worker(store).await,
        Some(_) => Err("usage: two_processes [worker]".into()),
        None => producer(store).await,
    }
}

/// Runs jobs; it does not know who enqueues them.
async fn worker(store: RedisStore) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().store(store).queue(Queue::new(QUEUE)?.handler(make)).start().await?;
    let (mut parent, mut nothing) = (tokio::io::stdin(), Vec::new());
    tokio::select! {
        ended = parent.read_to_end(&mut nothing) => { ended?; }
        ended = runtime.wait() => { ended?; }
    }
    runtime.shutdown().await?;
    println!("worker {}: ends", std::process::id());
    Ok(())
}

/// Enqueues jobs and runs none: a client needs no supervision tree.
async fn producer(store: RedisStore) -> Result<(), Box<dyn std::error::Error>> {
    let thumbnails = Client::new(store.clone()).queue(QUEUE)?;
    let mut receipts = Vec::new();
    for picture in ["cat.png", "dog.png", "owl.png"] {
        receipts.push(thumbnails.enqueue(Thumbnail { picture: picture.into() }).await?);
    }
    println!("producer {}: {} jobs are stored, and nobody is there to run them", std::process::id(), receipts.len());

    let mut worker =
        Command::new(std::env::current_exe()?).arg("worker").stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let admin = Operator::new(std::sync::Arc::new(store));
    let queue = retraced::QueueName::new(QUEUE)?;
    let all_done = async {
        for receipt in &receipts {
            while admin.job(&queue, &receipt.id).await?.is_none_or(|job| job.state != JobState::Completed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok::<_, retraced::OperatorError>(())
    };
    tokio::time::timeout(TIMEOUT, all_done).await??;
    println!("producer {}: all are completed", std::process::id());

    drop(worker.stdin.take());
    tokio::time::timeout(TIMEOUT, worker.wait()).await??;
    Ok(())
}
