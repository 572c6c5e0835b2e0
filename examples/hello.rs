//! The first minute: a queue in this process, no Redis. Run with `cargo run --example hello`.
//!
//! One job succeeds, one fails once and is retried. The trace shows what happened to each.

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
    if job.name == "moon" && attempt.number == 1 {
        return Err(Failure::temporary(Code::ServiceUnavailable, "the moon has not risen yet"));
    }
    println!("hello {}, on attempt {}", job.name, attempt.number);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Retried soon, so that the example is short.
    let retry = Retry::exponential().base(Duration::from_millis(200));
    let runtime = Runtime::builder()
        .store(MemoryStore::new())
        .queue(Queue::new("greetings")?.handler(greet).retry(retry))
        .start()
        .await?;

    let greetings = runtime.queue("greetings")?;
    for name in ["world", "moon"] {
        // Enqueueing returns as soon as the job is stored. An application goes on; this one waits for the outcome.
        let job = greetings.enqueue(Greet { name: name.into() }).await?;
        job.outcome().await?;
        println!("{}", runtime.trace(&job.id).await?);
    }
    runtime.shutdown().await?;
    Ok(())
}
