// An attempt that takes too long is ended, and the job is retried.
use std::time::Duration;

use apalis::layers::retry::RetryPolicy;
use apalis::prelude::*;
use comparison_apalis::{SendEmail, emails, to};

async fn send_email(_: SendEmail, attempt: Attempt, worker: WorkerContext) -> Result<(), BoxDynError> {
    println!("attempt {}", attempt.current());
    if attempt.current() == 1 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    Ok(worker.stop()?)
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    emails.push(to("ada")).await?;
    let worker = WorkerBuilder::new("mailer")
        .backend(emails)
        .retry(RetryPolicy::retries(2))
        .timeout(Duration::from_secs(1))
        .build(send_email);
    Ok(worker.run().await?)
}
