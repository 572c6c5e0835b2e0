//! A handler reports how far it has come, as often as it likes: the store is told every 2 s at most. Operators see it while the job runs, and the trace keeps how far a failed attempt came.
//!
//! ```text
//! seen while it runs: 40 %, 40 of 100 rows
//! job 01a223f6-d7cf-7655-a2b5-e81abfa1f9d4 · rows.import · queue imports · completed
//!   attempts 2 · failures 1 · crashes 0 · releases 0
//! 2026-11-28T21:01:49.390Z  enqueued
//! 2026-11-28T21:01:49.408Z  attempt 1 failed after 2.1s · NETWORK_ERROR · worker 70617277 executor-8#0
//!                             the connection broke
//!                             it reached 40 %: 40 of 100 rows
//!                             → queued again at once: three-tier, the first 3 attempts do not wait (failure 1 of 5)
//! 2026-11-28T21:01:51.620Z  attempt 2 succeeded after less than 1ms · worker 70617277 executor-7#0
//! 2026-11-28T21:01:51.620Z  completed
//! ```
//!
//! Run with `cargo run --example progress`.

use std::time::Duration;

use retraced::{Attempt, Code, Context, Failure, Job, MemoryStore, Queue, QueueName, Retry, Runtime, ShutdownReport};
use serde::{Deserialize, Serialize};

/// Holds the first attempt until its progress was seen.
static SEEN: tokio::sync::Notify = tokio::sync::Notify::const_new();

#[derive(Serialize, Deserialize)]
struct Import;

impl Job for Import {
    const KIND: &'static str = "rows.import";
}

async fn import(_: Import, ctx: Context, attempt: Attempt) -> Result<(), Failure> {
    for row in 1..=100 {
        ctx.progress(row, format!("{row} of 100 rows"));
        if row == 40 && attempt.number == 1 {
            SEEN.notified().await;
            return Err(Failure::temporary(Code::NetworkError, "the connection broke"));
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Box<dyn std::error::Error>> {
    let imports = Queue::new("imports")?.handler(import).retry(Retry::three_tier().max_attempts(5));
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(imports).start().await?;
    let (job, queue) = (runtime.enqueue(Import).await?, QueueName::new("imports")?);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let view = runtime.operator().job(&queue, &job.id).await?.ok_or("the job is gone")?;
        let Some(stored) = view.running_progress() else { continue };
        println!("seen while it runs: {} %, {}", stored.progress.percent, stored.progress.note);
        break SEEN.notify_one();
    }
    job.outcome().await?;
    print!("{}", runtime.trace(&job.id).await?);
    Ok(runtime.shutdown().await?)
}
