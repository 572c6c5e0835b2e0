//! The value a handler returns is kept with the job. The producer waits for the outcome and reads this value with its type.
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

/// Where the result is. An output may have 64 KiB at most, so keep larger results elsewhere.
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
        // `job.outcome()` waits without a limit. Both continue through retries and outages of the store.
        match job.outcome_timeout(Duration::from_secs(10)).await? {
            Outcome::Poisoned { error: Some(error) } => println!("{pages} pages: {}, {}", error.code, error.message),
            outcome => println!("{pages} pages: {}", outcome.output::<Report>()?.path),
        }
    }
    runtime.shutdown().await?;
    Ok(())
}
