// On Ctrl-C running jobs get up to 5 s to finish; nothing is lost.
use std::time::Duration;

use apalis::prelude::*;
use comparison_apalis::{SendEmail, emails, to};

async fn send_email(job: SendEmail) -> Result<(), BoxDynError> {
    println!("begin {}", job.to);
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("end {}", job.to);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    emails.push(to("ada")).await?;
    Monitor::new()
        .register(move |_| WorkerBuilder::new("mailer").backend(emails.clone()).build(send_email))
        .shutdown_timeout(Duration::from_secs(5))
        .run_with_signal(tokio::signal::ctrl_c())
        .await?;
    println!("stopped");
    Ok(())
}
