//! A handler panics: its executor ends, the pool starts another, and the job is tried again. Run with `cargo run --example crash`.
//!
//! Prints the supervision events as they come, and at the end the whole story of the job.

use std::time::Duration;

use retraced::{Context, EventKind, Failure, Job, JobState, MemoryStore, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

/// More than anybody needs; without it a mistake in this example would wait for ever.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Divide {
    cake: u32,
    guests: Vec<u32>,
}

impl Job for Divide {
    const KIND: &'static str = "cake.divide";
}

async fn divide(job: Divide, ctx: Context) -> Result<(), Failure> {
    // The first try meets the bug, as if the second ran a mended version.
    let guests = if ctx.attempt() == 1 { job.guests.len() } else { job.guests.len().max(1) };
    ctx.log(format!("{} pieces for each", job.cake as usize / guests));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Retried soon, so that the example is short.
    let retry = Retry::fixed().base(Duration::from_millis(100)).jitter(0);
    let runtime = Runtime::builder()
        .store(MemoryStore::new())
        .queue(Queue::new("kitchen")?.concurrency(1).retry(retry))
        .handler("kitchen", divide)
        .start()
        .await?;
    // Subscribed before the job is enqueued, so that nothing is missed.
    let mut events = runtime.supervision();
    let receipt = runtime.queue("kitchen")?.enqueue(Divide { cake: 12, guests: Vec::new() }).await?;

    // The panic is the job's fault: it is settled at once, costs the tree no restart of its budget, and a new executor takes the place.
    loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await??;
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
    print!("{}", tokio::time::timeout(PATIENCE, completed).await??);
    runtime.shutdown().await?;
    Ok(())
}
