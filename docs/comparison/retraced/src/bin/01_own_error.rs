// An error type of your own: one of its values is retried, the other is not.
use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Attempt, Code, Failure, Queue, Runtime, ShutdownReport};

#[derive(Debug, thiserror::Error)]
enum MailError {
    #[error("the mail server is busy")]
    Busy,
    #[error("no such address: {0}")]
    NoSuchAddress(String),
}

async fn send_email(job: SendEmail, attempt: Attempt) -> Result<(), Failure> {
    println!("{} attempt {}", job.to, attempt.number);
    match (job.to.as_str(), attempt.number) {
        ("nobody", _) => Err(Failure::permanent(Code::InvalidJobData, MailError::NoSuchAddress(job.to))),
        (_, 1) => Err(MailError::Busy.into()),
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Error> {
    let emails = Queue::new("emails")?.handler(send_email);
    let runtime = Runtime::builder().store(redis().await?).queue(emails).start().await?;
    println!("{}", runtime.enqueue(to("nobody")).await?.outcome().await?);
    println!("{}", runtime.enqueue(to("ada")).await?.outcome().await?);
    Ok(runtime.shutdown().await?)
}
