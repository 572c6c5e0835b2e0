// On Ctrl-C running jobs get up to 5 s to finish; nothing is lost.
use std::time::Duration;

use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Queue, Runtime};

async fn send_email(job: SendEmail) {
    println!("begin {}", job.to);
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("end {}", job.to);
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let emails = Queue::new("emails")?.handler(send_email);
    let builder = Runtime::builder().store(redis().await?).queue(emails);
    let runtime = builder.shutdown_grace(Duration::from_secs(5)).start().await?;
    runtime.enqueue(to("ada")).await?;
    tokio::signal::ctrl_c().await?;
    runtime.shutdown().await?;
    println!("stopped");
    Ok(())
}
