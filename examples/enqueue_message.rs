//! A queue is an actor: other ractor actors, or anybody who holds its `ActorRef`, enqueue by plain messages. Run with `cargo run --example enqueue_message`.

use std::time::Duration;

use retraced::{ActorRef, Enqueue, Failure, Job, MemoryStore, Queue, Runtime, State};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Far longer than this takes; a mistake in this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Ring {
    bell: u32,
}

impl Job for Ring {
    const KIND: &'static str = "bell.ring";
}

async fn ring(job: Ring, rung: State<mpsc::Sender<u32>>) -> Result<(), Failure> {
    Ok(rung.send(job.bell).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (rung, mut bells) = mpsc::channel::<u32>(16);
    let runtime = Runtime::builder()
        .store(MemoryStore::new())
        .state(rung)
        .queue(Queue::new("tower")?.handler(ring))
        .start()
        .await?;

    // The present actor. A reference dies with its actor: ask again rather than keep one for long.
    let tower: ActorRef<Enqueue> = runtime.queue_actor("tower")?.ok_or("the queue actor is being restarted")?;

    // Sent without a receipt: nobody reports whether it was stored, and it is lost if the actor ends before it handles the message.
    tower.cast(Enqueue::new(Ring { bell: 1 })?)?;

    // The same with a receipt: once it is here, the job is in the store.
    let (message, receipt) = Enqueue::new(Ring { bell: 2 })?.with_reply();
    tower.cast(message)?;
    match tokio::time::timeout(TIMEOUT, receipt).await?? {
        Ok(receipt) => println!("stored: {}, {}", receipt.created, receipt.state),
        Err(refusal) => println!("refused: {refusal:?}"),
    }

    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.extend(tokio::time::timeout(TIMEOUT, bells.recv()).await?);
    }
    heard.sort_unstable();
    println!("bells rung: {heard:?}");
    runtime.shutdown().await?;
    Ok(())
}
