//! Where retries (and likewise timeouts) are set: by the kind of job. The queue overrides the kind, and the call that enqueues overrides both.
//!
//! ```text
//! as the kind says: 2 attempts, then the job is dead: JOB_EXECUTION_FAILED: the bank is closed
//! as its queue says: 3 attempts, then the job is dead: JOB_EXECUTION_FAILED: the bank is closed
//! as the call says: 4 attempts, then the job is dead: JOB_EXECUTION_FAILED: the bank is closed
//! ```
//!
//! Run with `cargo run --example kind_defaults`.

use std::time::Duration;

use retraced::{Job, JobDefaults, MemoryStore, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

const SOON: Retry = Retry::fixed().base(Duration::from_millis(10)).jitter(0);

#[derive(Serialize, Deserialize)]
struct Charge;

impl Job for Charge {
    const KIND: &'static str = "card.charge";

    fn defaults() -> JobDefaults {
        JobDefaults::new().retry(SOON.max_attempts(2)).timeout(Duration::from_secs(20))
    }
}

/// A `std::io::Error` becomes a failure of unknown class, which is retried by policy.
async fn charge(_: Charge) -> Result<(), std::io::Error> {
    Err(std::io::Error::other("the bank is closed"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cards = Queue::new("cards")?.handler(charge);
    let patient = Queue::new("patient")?.handler(charge).retry(SOON.max_attempts(3));
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(cards).queue(patient).start().await?;

    let (cards, patient) = (runtime.queue("cards")?, runtime.queue("patient")?);
    let jobs = [
        ("as the kind says", cards.enqueue(Charge).await?),
        ("as its queue says", patient.enqueue(Charge).await?),
        ("as the call says", patient.job(Charge).retry(SOON.max_attempts(4)).enqueue().await?),
    ];
    for (source, job) in jobs {
        let outcome = job.outcome().await?;
        let failures = runtime.trace(&job.id).await?.view().counters.failures;
        println!("{source}: {failures} attempts, then {outcome}");
    }
    runtime.shutdown().await?;
    Ok(())
}
