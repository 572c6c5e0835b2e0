//! The first minute: a queue in this process, no Redis. Run with `cargo run --example hello`.

use std::time::Duration;

use retraced::{Context, Failure, Job, JobState, MemoryStore, Queue, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    const KIND: &'static str = "greet";
}

async fn greet(job: Greet, ctx: Context) -> Result<(), Failure> {
    println!("hello {}, from job {} (try {})", job.name, ctx.id(), ctx.attempt());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder()
        .store(MemoryStore::new())
        .queue(Queue::new("greetings")?)
        .handler("greetings", greet)
        .start()
        .await?;

    let greetings = runtime.queue("greetings")?;
    let receipt = greetings.enqueue(Greet { name: "world".into() }).await?;

    // Enqueueing returns before the job has run. An application goes on; this one waits to see what became of it.
    while runtime.trace(&receipt.id).await?.view().state != JobState::Completed {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    print!("{}", runtime.trace(&receipt.id).await?);
    runtime.shutdown().await?;
    Ok(())
}
