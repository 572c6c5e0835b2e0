// A test of a handler with its retries, without a server: `cargo test --test 06_test_without_server`.
use apalis::layers::retry::RetryPolicy;
use apalis::prelude::*;
use comparison_apalis::SendEmail;

async fn send_email(job: SendEmail, attempt: Attempt, worker: WorkerContext) -> Result<(), BoxDynError> {
    if attempt.current() == 1 {
        return Err("the mail server is busy".into());
    }
    println!("sent to {} at attempt {}", job.to, attempt.current());
    Ok(worker.stop()?)
}

#[tokio::test]
async fn a_busy_server_is_tried_again() -> Result<(), BoxDynError> {
    let mut emails = MemoryStorage::new();
    emails.push(comparison_apalis::to("ada")).await?;
    let worker = WorkerBuilder::new("mailer").backend(emails).retry(RetryPolicy::retries(2)).build(send_email);
    Ok(tokio::time::timeout(std::time::Duration::from_secs(5), worker.run()).await??)
}
