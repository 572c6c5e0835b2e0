// The producer waits for what the handler returned.
use std::time::Duration;

use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Queue, Runtime, ShutdownReport};

async fn send_email(job: SendEmail) -> Result<String, Error> {
    Ok(format!("sent to {}", job.to))
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Error> {
    let emails = Queue::new("emails")?.handler(send_email);
    let runtime = Runtime::builder().store(redis().await?).queue(emails).start().await?;
    let job = runtime.enqueue(to("ada")).await?;
    println!("{}", job.outcome_timeout(Duration::from_secs(60)).await?.output::<String>()?);
    Ok(runtime.shutdown().await?)
}
