//! The four retry strategies side by side: the delay after each failed attempt, until the job is dead.
//!
//! ```text
//! fixed         20ms   20ms   20ms   20ms   20ms   dead
//! linear        20ms   40ms   60ms   80ms  100ms   dead
//! exponential   20ms   40ms   80ms  160ms  320ms   dead
//! three-tier     0ms    0ms   20ms   40ms   80ms   dead
//! ```
//!
//! The delays are read from the retry decisions that the store keeps with each attempt. Run with `cargo run --example retries`.

use std::time::Duration;

use retraced::job::{AttemptRecord, Ended, StoredAttempt};
use retraced::retry::{Decision, RetryOutcome, Strategy};
use retraced::{Code, Failure, Job, MemoryStore, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Call(String);

impl Job for Call {
    const KIND: &'static str = "call";
}

async fn call(Call(number): Call) -> Result<(), Failure> {
    Err(Failure::temporary(Code::ServiceUnavailable, format!("{number} is busy")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("calls")?.handler(call);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(queue).start().await?;
    for strategy in Strategy::ALL {
        // No jitter, so that the numbers are round. In production keep the default of 20 %: it spreads the retries of jobs that failed together.
        let retry = Retry::new(strategy).base(Duration::from_millis(20)).jitter(0).max_attempts(6);
        let job = runtime.queue("calls")?.job(Call("555-0100".into())).retry(retry).enqueue().await?;
        job.outcome().await?;
        let trace = runtime.trace(&job.id).await?;
        let decisions: Vec<_> = trace.view().history.iter().filter_map(decision).map(table_cell).collect();
        println!("{:<11} {}", strategy.as_str(), decisions.join(" "));
    }
    runtime.shutdown().await?;
    Ok(())
}

fn decision(attempt: &StoredAttempt) -> Option<&Decision> {
    let Ok(AttemptRecord::Reported(log)) = &attempt.record else { return None };
    let Ended::Failed { decision, .. } = &log.ended else { return None };
    decision.as_deref()
}

fn table_cell(decision: &Decision) -> String {
    match decision.outcome {
        RetryOutcome::Retry => format!("{:>6}", format!("{}ms", decision.delay_ms)),
        dead => format!("{:>6}", format!("{dead:?}").to_lowercase()),
    }
}
