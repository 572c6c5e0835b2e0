//! What a shutdown does to three running jobs: one finishes, one stops when asked, one ignores that and is killed. No job is lost.
//!
//! ```text
//! quick is done
//! polite stops, because of Shutdown
//! 3 ran, 1 killed, 0 unsettled
//! quick: completed, 0 failures
//! polite: pending, 0 failures
//! deaf: pending, 0 failures
//! ```
//!
//! Run with `cargo run --example graceful_shutdown`.

use std::time::Duration;

use retraced::{Code, Failure, Job, JobId, MemoryStore, Queue, Runtime, StopRequest};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

#[derive(Serialize, Deserialize)]
struct Work(Duration);

impl Job for Work {
    const KIND: &'static str = "work";
}

async fn work(Work(duration): Work, id: JobId, stop: StopRequest) -> Result<(), Failure> {
    tokio::select! {
        () = sleep(duration) => println!("{id} is done"),
        why = stop.wait(), if id.to_string() == "polite" => {
            println!("{id} stops, because of {why:?}");
            // An error returned after this request counts no failure: the job goes back to the front of its queue.
            return Err(Failure::new(Code::Interrupted, "stopped half way"));
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // For four fifths of the shutdown grace handlers may finish. Then the others are asked to stop; at the end of the grace they are killed.
    let builder = Runtime::builder().store(MemoryStore::new()).shutdown_grace(Duration::from_secs(2));
    let runtime = builder.queue(Queue::new("works")?.handler(work)).start().await?;
    let works = runtime.queue("works")?;
    let mut jobs = Vec::new();
    for (id, secs) in [("quick", 1), ("polite", 3600), ("deaf", 3600)] {
        jobs.push(works.job(Work(Duration::from_secs(secs))).id(id).enqueue().await?);
    }
    while runtime.running() < jobs.len() {
        sleep(Duration::from_millis(10)).await;
    }
    let report = runtime.shutdown().await?;
    println!("{} ran, {} killed, {} unsettled", report.running, report.killed, report.unsettled);
    for job in jobs {
        let trace = runtime.trace(&job.id).await?;
        println!("{}: {}, {} failures", job.id, trace.view().state, trace.view().counters.failures);
    }
    Ok(())
}
