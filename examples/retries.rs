//! The four retry strategies side by side: when each tries again, and when it gives up. Run with `cargo run --example retries`.
//!
//! Nothing here is computed for show: the table is read from the decisions the store keeps with each failed attempt.

use std::time::Duration;

use retraced::job::{AttemptRecord, Ended, JobView, StoredAttempt};
use retraced::retry::{Decision, Outcome, Strategy, Why};
use retraced::{Code, Failure, Job, JobState, MemoryStore, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

/// Far longer than this takes; a mistake in this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Serialize, Deserialize)]
struct Call {
    number: String,
}

impl Job for Call {
    const KIND: &'static str = "call";
}

async fn call(job: Call) -> Result<(), Failure> {
    // Temporary failures are retried, and those of unknown class, as `?` makes them. A permanent one would be poisoned at once.
    Err(Failure::temporary(Code::ServiceUnavailable, format!("{} is busy", job.number)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime =
        Runtime::builder().store(MemoryStore::new()).queue(Queue::new("calls")?.handler(call)).start().await?;
    let calls = runtime.queue("calls")?;

    println!("{}", row("strategy", (1..=6).map(|n| format!("try {n}"))));
    for strategy in Strategy::ALL {
        // The policy of a call overrides its queue's. No jitter, so that the table is clean: keep the default of 20 % where many jobs fail together.
        let retry = Retry::new(strategy).base(Duration::from_millis(20)).jitter(0).max_attempts(6);
        let receipt = calls.job(Call { number: "555-0100".into() }).retry(retry).enqueue().await?;
        let given_up = async {
            while runtime.trace(&receipt.id).await?.view().state != JobState::Dead {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            runtime.trace(&receipt.id).await
        };
        let trace = tokio::time::timeout(TIMEOUT, given_up).await??;
        println!("{}", row(strategy.as_str(), decisions(trace.view()).map(in_words)));
    }
    runtime.shutdown().await?;
    Ok(())
}

/// What was decided after each failed try, oldest first.
fn decisions(job: &JobView) -> impl Iterator<Item = &Decision> {
    job.history.iter().filter_map(|StoredAttempt { record, .. }| match record {
        Ok(AttemptRecord::Reported(log)) => match &log.ended {
            Ended::Failed { decision, .. } => decision.as_deref(),
            _ => None,
        },
        _ => None,
    })
}

fn in_words(decision: &Decision) -> String {
    match (decision.outcome, decision.why) {
        (Outcome::Retry, Why::ImmediateTry) => "at once".into(),
        (Outcome::Retry, _) => format!("{} ms", decision.delay_ms),
        (Outcome::Dead, _) => "dead".into(),
        (Outcome::Poisoned, _) => "poisoned".into(),
    }
}

fn row(name: &str, cells: impl Iterator<Item = String>) -> String {
    cells.fold(format!("{name:<12}"), |row, cell| format!("{row} {cell:>8}"))
}
