// A handler panics; the worker continues, and the job is retried.
use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Attempt, Queue, Runtime, ShutdownReport};

async fn send_email(job: SendEmail, attempt: Attempt) {
    println!("{} attempt {}", job.to, attempt.number);
    if attempt.number == 1 {
        panic!("index out of bounds");
    }
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Error> {
    let emails = Queue::new("emails")?.handler(send_email);
    let runtime = Runtime::builder().store(redis().await?).queue(emails).start().await?;
    let job = runtime.enqueue(to("ada")).await?;
    job.outcome().await?;
    print!("{}", runtime.trace(&job.id).await?);
    Ok(runtime.shutdown().await?)
}
