//! Jobs for later: after a delay, or at an instant. An id of your own prevents a second job, and lets you find a job and cancel it.
//!
//! ```text
//! party: created true, then false; it is delayed
//! party: the job is cancelled
//! after 17 ms: what is due now
//! after 227 ms: the tea
//! after 417 ms: the cake in the oven
//! ```
//!
//! Run with `cargo run --example delayed`.

use std::time::{Duration, Instant, SystemTime};

use retraced::{Job, MemoryStore, Queue, Runtime, State};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Remind(String);

impl Job for Remind {
    const KIND: &'static str = "remind";
}

async fn remind(Remind(text): Remind, started: State<Instant>) {
    println!("after {} ms: {text}", started.elapsed().as_millis());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("reminders")?.handler(remind);
    let builder = Runtime::builder().store(MemoryStore::new()).queue(queue);
    let runtime = builder.state(Instant::now()).start().await?;
    let queue = runtime.queue("reminders")?;

    // While a job with this id is kept, enqueueing it again creates no second job.
    let party = || queue.job(Remind("the party".into())).id("party").delay(Duration::from_secs(60 * 60));
    let (first, second) = (party().enqueue().await?, party().enqueue().await?);
    println!("party: created {}, then {}; it is {}", first.created, second.created, second.state);
    runtime.operator().cancel(queue.name(), [&first.id]).await?;
    println!("party: {}", first.outcome().await?);

    // The due time is in the store: with a RedisStore, a delayed job survives the end of the process that enqueued it.
    let cake = queue.job(Remind("the cake in the oven".into())).delay(Duration::from_millis(400)).enqueue().await?;
    let soon = SystemTime::now() + Duration::from_millis(200);
    queue.job(Remind("the tea".into())).at(soon).enqueue().await?;
    queue.enqueue(Remind("what is due now".into())).await?;
    cake.outcome().await?;
    runtime.shutdown().await?;
    Ok(())
}
