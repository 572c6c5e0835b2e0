//! Jobs for later: after a delay, at an instant, and one that is cancelled before it is due. Run with `cargo run --example delayed`.

use std::time::{Duration, Instant, SystemTime};

use retraced::{Failure, Job, JobState, MemoryStore, Queue, Runtime, State};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Far longer than this takes; a mistake in this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Remind {
    of: String,
}

impl Job for Remind {
    const KIND: &'static str = "remind";
}

async fn remind(job: Remind, reminders: State<mpsc::Sender<String>>) -> Result<(), Failure> {
    Ok(reminders.send(job.of).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, mut reminders) = mpsc::channel::<String>(16);
    let runtime = Runtime::builder()
        .store(MemoryStore::new())
        .state(sender)
        .queue(Queue::new("reminders")?.handler(remind))
        .start()
        .await?;
    let queue = runtime.queue("reminders")?;
    let begun = Instant::now();

    // The store keeps the time, so a delay survives the process that asked for it.
    queue.job(Remind { of: "the cake in the oven".into() }).delay(Duration::from_millis(400)).enqueue().await?;
    let soon = SystemTime::now() + Duration::from_millis(200);
    queue.job(Remind { of: "the tea".into() }).at(soon).enqueue().await?;
    queue.enqueue(Remind { of: "what is due now".into() }).await?;

    // An id of your own finds the job again, and makes a second one impossible as long as the first is kept.
    let party = || queue.job(Remind { of: "the party".into() }).id("party").delay(Duration::from_secs(60 * 60));
    let (first, second) = (party().enqueue().await?, party().enqueue().await?);
    println!("party: created {}, then {}; it is {}", first.created, second.created, second.state);
    runtime.operator().cancel(queue.name(), [&first.id]).await?;

    for _ in 0..3 {
        let of = tokio::time::timeout(TIMEOUT, reminders.recv()).await?.ok_or("the handlers are gone")?;
        println!("after {:>3} ms: {of}", begun.elapsed().as_millis());
    }
    let party = runtime.trace(&first.id).await?;
    assert_eq!(party.view().state, JobState::Cancelled);
    println!("party: {}", party.view().state);
    runtime.shutdown().await?;
    Ok(())
}
