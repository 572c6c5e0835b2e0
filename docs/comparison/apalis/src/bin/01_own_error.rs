// An error type of your own: one of its values is retried, the other is not.
use apalis::prelude::*;
use comparison_apalis::{SendEmail, emails, to};

#[derive(Debug, thiserror::Error)]
enum MailError {
    #[error("the mail server is busy")]
    Busy,
    #[error("no such address: {0}")]
    NoSuchAddress(String),
}

async fn send_email(job: SendEmail, attempt: Attempt, worker: WorkerContext) -> Result<(), BoxDynError> {
    println!("{} attempt {}", job.to, attempt.current());
    match (job.to.as_str(), attempt.current()) {
        ("nobody", _) => Err(AbortError::new(MailError::NoSuchAddress(job.to)).into()),
        (_, 1) => Err(MailError::Busy.into()),
        _ => Ok(worker.stop()?),
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    emails.push(to("nobody")).await?;
    emails.push(to("ada")).await?;
    let worker = WorkerBuilder::new("mailer").backend(emails).build(send_email);
    Ok(worker.run().await?)
}
