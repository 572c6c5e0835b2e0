// A handler panics; the worker continues, and the job is retried.
use apalis::layers::catch_panic::{CatchPanicLayer, PanicError};
use apalis::layers::retry::RetryPolicy;
use apalis::prelude::*;
use comparison_apalis::{SendEmail, emails, to};

async fn send_email(job: SendEmail, attempt: Attempt, worker: WorkerContext) -> Result<(), BoxDynError> {
    println!("{} attempt {}", job.to, attempt.current());
    if attempt.current() == 1 {
        panic!("index out of bounds");
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
        .layer(CatchPanicLayer::with_panic_handler(|_| PanicError("panicked".into())))
        .build(send_email);
    Ok(worker.run().await?)
}
