// A job that runs after a delay of 2 s.
use std::time::Duration;

use apalis::prelude::*;
use comparison_apalis::{SendEmail, emails, to};

async fn send_email(
    job: SendEmail,
    started: Data<std::time::Instant>,
    worker: WorkerContext,
) -> Result<(), BoxDynError> {
    println!("{} after {:.1?}", job.to, started.elapsed());
    Ok(worker.stop()?)
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    emails.push_task(TaskBuilder::new(to("ada")).run_after(Duration::from_secs(2)).build()).await?;
    let worker = WorkerBuilder::new("mailer").backend(emails).data(std::time::Instant::now()).build(send_email);
    Ok(worker.run().await?)
}
