// A handler enqueues a job of another kind.
use std::time::Duration;

use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Context, Failure, Job, JobId, Queue, Runtime, ShutdownReport};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Archive {
    to: String,
}

impl Job for Archive {
    const KIND: &'static str = "email.archive";
}

async fn send_email(job: SendEmail, ctx: Context) -> Result<JobId, Failure> {
    Ok(ctx.enqueue(Archive { to: job.to }).await?.id.clone())
}

async fn archive(job: Archive) {
    println!("archived the email to {}", job.to);
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Error> {
    let emails = Queue::new("emails")?.handler(send_email).handler(archive);
    let runtime = Runtime::builder().store(redis().await?).queue(emails).start().await?;
    let emails = runtime.queue("emails")?;
    let archive = emails.enqueue(to("ada")).await?.outcome().await?.output::<JobId>()?;
    emails.outcome(&archive, Duration::from_secs(10)).await?;
    Ok(runtime.shutdown().await?)
}
