//! What a shutdown does to three jobs that run: one finishes, one listens and stops, one does not listen. Run with `cargo run --example graceful_shutdown`.
//!
//! Shuts down on Ctrl-C or SIGTERM, and by itself after half a second. No job is lost, and no interruption counts as a failure.

use std::sync::Arc;
use std::time::Duration;

use retraced::{Cancelled, Code, Failure, Job, JobId, MemoryStore, Operator, Queue, Runtime};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

/// Four fifths of it are for handlers to finish, the last one for those that are asked to stop; then what is left is killed.
const GRACE: Duration = Duration::from_secs(2);
const RUNS_AT_MOST: Duration = Duration::from_millis(500);
/// Far longer than this takes; a mistake in this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
enum Work {
    /// Is done within the grace.
    Quick,
    /// Takes long, and listens.
    Polite,
    /// Takes long, and does not.
    Deaf,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

async fn work(job: Work, id: JobId, cancelled: Cancelled) -> Result<(), Failure> {
    println!("{id} runs");
    match job {
        Work::Quick => tokio::time::sleep(Duration::from_secs(1)).await,
        Work::Polite => tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60 * 60)) => {}
            why = cancelled.wait() => {
                println!("{id} stops, because of {why:?}");
                // An error returned during a shutdown costs no attempt: the job goes back to the front of its queue.
                return Err(Failure::new(Code::Interrupted, "stopped half way"));
            }
        },
        Work::Deaf => tokio::time::sleep(Duration::from_secs(60 * 60)).await,
    }
    println!("{id} is done");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Listened to before anything runs, so that no signal ends the process in between.
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // Shared, to look at the jobs when the runtime has ended.
    let store = Arc::new(MemoryStore::new());
    let runtime = Runtime::builder()
        .shared_store(store.clone())
        .queue(Queue::new("works")?.handler(work))
        .grace(GRACE)
        .start()
        .await?;
    let works = runtime.queue("works")?;
    let queue = works.name().clone();
    let mut ids = Vec::new();
    for (id, job) in [("quick", Work::Quick), ("polite", Work::Polite), ("deaf", Work::Deaf)] {
        ids.push(works.job(job).id(id).enqueue().await?.id.clone());
    }
    let all_run = async {
        while runtime.running() < ids.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, all_run).await?;

    tokio::select! {
        _ = interrupted.recv() => println!("Ctrl-C: shutting down"),
        _ = terminated.recv() => println!("SIGTERM: shutting down"),
        () = tokio::time::sleep(RUNS_AT_MOST) => println!("time is up: shutting down"),
        // Without this a runtime that gave up would leave a process behind that does nothing.
        ended = runtime.wait() => { ended?; }
    }
    let drained = runtime.shutdown().await?;
    println!("{} ran, {} killed, {} unsettled", drained.running, drained.killed, drained.unsettled);

    let admin = Operator::new(store);
    for id in ids {
        let job = admin.job(&queue, &id).await?.ok_or("not kept")?;
        println!("{id}: {}, {} failures, {} releases", job.state, job.counters.failures, job.counters.releases);
    }
    Ok(())
}
