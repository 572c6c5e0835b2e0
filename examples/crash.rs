//! A handler panics: its executor ends, the pool starts another, and the job is tried again. Run with `cargo run --example crash`.
//!
//! Prints the supervision events as they come, and at the end the whole story of the job.

use std::time::Duration;

use retraced::{Context, EventKind, Job, JobState, MemoryStore, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

/// Far longer than this takes; a mistake in this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Divide {
    cake: u32,
    guests: Vec<u32>,
}

impl Job for Divide {
    const KIND: &'static str = "cake.divide";
}

async fn divide(job: Divide, ctx: Context) {
    // The first attempt meets the bug; the second stands for a repaired version.
    let guests = if ctx.attempt() == 1 { job.guests.len() } else { job.guests.len().max(1) };
    ctx.log(format!("{} pieces for each", job.cake as usize / guests));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Retried soon, so that the example is short.
    let retry = Retry::fixed().base(Duration::from_millis(100)).jitter(0);
    let runtime = Runtime::builder()
        .store(MemoryStore::new())
        .queue(Queue::new("kitchen")?.handler(divide).concurrency(1).retry(retry))
        .start()
        .await?;
    // Subscribed before the job is enqueued, so that nothing is missed.
    let mut events = runtime.supervision();
    let receipt = runtime.queue("kitchen")?.enqueue(Divide { cake: 12, guests: Vec::new() }).await?;

    // The job is settled at once, and a new executor takes over. A panic in a handler does not count against the restart budget.
    loop {
        let event = tokio::time::timeout(TIMEOUT, events.recv()).await??;
        match &event.kind {
            EventKind::HandlerPanicked { message, place, attempt, .. } => {
                let place = place.as_deref().unwrap_or("an unknown place");
                println!("{}: attempt {attempt} panicked at {place}: {message}", event.path);
            }
            EventKind::Restarted => {
                println!("{}: started again, generation {}", event.path, event.generation);
                break;
            }
            _ => {}
        }
    }

    let completed = async {
        while runtime.trace(&receipt.id).await?.view().state != JobState::Completed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        runtime.trace(&receipt.id).await
    };
    print!("{}", tokio::time::timeout(TIMEOUT, completed).await??);
    runtime.shutdown().await?;
    Ok(())
}
