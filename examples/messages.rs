//! A queue is also an actor: other ractor actors, and any code that holds its `ActorRef`, can enqueue by plain messages.
//!
//! ```text
//! stored: true, pending
//! bell 2 rang
//! ```
//!
//! Run with `cargo run --example messages`.

use std::convert::Infallible;

use retraced::{ActorRef, Enqueue, Job, MemoryStore, Queue, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Ring {
    bell: u32,
}

impl Job for Ring {
    const KIND: &'static str = "bell.ring";
}

async fn ring(job: Ring) -> Result<u32, Infallible> {
    Ok(job.bell)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("tower")?.handler(ring);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(queue).start().await?;

    // After a restart of the actor this reference is dead: get a new one rather than keep it for long.
    let tower: ActorRef<Enqueue> = runtime.queue_actor("tower")?.ok_or("the queue actor is being restarted")?;
    // Without a reply: the sender does not learn whether the job was stored. It is lost if the actor ends before it handles the message.
    tower.cast(Enqueue::new(Ring { bell: 1 })?)?;

    // With a reply: once the receipt has arrived, the job is in the store.
    let (message, receipt) = Enqueue::new(Ring { bell: 2 })?.with_reply();
    tower.cast(message)?;
    let stored = receipt.await??;
    println!("stored: {}, {}", stored.created, stored.state);

    let outcome = runtime.outcome(&stored.queue, &stored.id, std::time::Duration::from_secs(10)).await?;
    println!("bell {} rang", outcome.output::<u32>()?);
    runtime.shutdown().await?;
    Ok(())
}
