// An attempt that takes too long is ended, and the job is retried.
use std::time::Duration;

use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Attempt, Queue, Runtime, ShutdownReport};

async fn send_email(_: SendEmail, attempt: Attempt) {
    println!("attempt {}", attempt.number);
    if attempt.number == 1 {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Error> {
    let emails = Queue::new("emails")?.timeout(Duration::from_secs(1)).handler(send_email);
    let runtime = Runtime::builder().store(redis().await?).queue(emails).start().await?;
    let job = runtime.enqueue(to("ada")).await?;
    job.outcome().await?;
    print!("{}", runtime.trace(&job.id).await?);
    Ok(runtime.shutdown().await?)
}
