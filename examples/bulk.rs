//! Many jobs in few round trips, from a process that runs no jobs. Each job has an id of your own, so it is safe to send the same jobs again.
//!
//! ```text
//! 1000 jobs are stored, 1000 of them are new
//! 1500 jobs are stored, 500 of them are new
//! ```
//!
//! Run with `cargo run --example bulk`.

use retraced::{Client, EnqueueAllError, Job, JobRequest, MemoryStore, QueueHandle};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct SendNewsletter {
    to: String,
}

impl Job for SendNewsletter {
    const KIND: &'static str = "newsletter.send";
}

async fn send_to(email: &QueueHandle, readers: u32) -> Result<(), EnqueueAllError> {
    let jobs =
        (0..readers).map(|n| JobRequest::new(SendNewsletter { to: format!("reader-{n}") }).id(format!("june-{n}")));
    // An error holds the receipts of the stored jobs, and the jobs that are not stored, so that they can be sent again.
    let receipts = email.enqueue_all(jobs).await?;
    let new = receipts.iter().filter(|receipt| receipt.created).count();
    println!("{} jobs are stored, {new} of them are new", receipts.len());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // With workers in other processes use a RedisStore.
    let email = Client::new(MemoryStore::new()).queue("email")?;
    send_to(&email, 1000).await?;
    send_to(&email, 1500).await?;
    Ok(())
}
