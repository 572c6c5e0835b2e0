//! What a handler returns is kept with the job: the producer waits for the outcome and reads it, typed.
//!
//! ```text
//! 12 pages: /reports/12-pages.pdf
//! 0 pages: INVALID_JOB_DATA, a report without pages
//! ```
//!
//! Run with `cargo run --example outcome`.

use std::time::Duration;

use retraced::{Code, Failure, Job, MemoryStore, Outcome, Queue, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Render {
    pages: u32,
}

impl Job for Render {
    const KIND: &'static str = "report.render";
}

/// Where the result is. Outputs are small, 64 KiB at most: what is larger belongs elsewhere.
#[derive(Serialize, Deserialize)]
struct Report {
    path: String,
}

async fn render(job: Render) -> Result<Report, Failure> {
    match job.pages {
        0 => Err(Failure::permanent(Code::InvalidJobData, "a report without pages")),
        pages => Ok(Report { path: format!("/reports/{pages}-pages.pdf") }),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::new("reports")?.handler(render);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(queue).start().await?;
    let reports = runtime.queue("reports")?;
    for pages in [12, 0] {
        let job = reports.enqueue(Render { pages }).await?;
        // Without a limit: `job.outcome()`. Both survive restarts and outages, and poll only when the store's hints are lost.
        match job.outcome_within(Duration::from_secs(10)).await? {
            Outcome::Poisoned { error: Some(error) } => println!("{pages} pages: {}, {}", error.code, error.message),
            outcome => println!("{pages} pages: {}", outcome.output::<Report>()?.path),
        }
    }
    runtime.shutdown().await?;
    Ok(())
}
