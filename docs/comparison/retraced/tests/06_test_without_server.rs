// A test of a handler with its retries, without a server: `cargo test --test 06_test_without_server`.
use comparison_retraced::{Error, SendEmail, to};
use retraced::handler::Attempt;
use retraced::{MemoryStore, Queue, Runtime};

async fn send_email(job: SendEmail, attempt: Attempt) -> Result<String, &'static str> {
    if attempt.number == 1 {
        return Err("the mail server is busy");
    }
    Ok(format!("sent to {} at attempt {}", job.to, attempt.number))
}

#[tokio::test]
async fn a_busy_server_is_tried_again() -> Result<(), Error> {
    let emails = Queue::new("emails")?.handler(send_email);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(emails).start().await?;
    let outcome = runtime.queue("emails")?.enqueue(to("ada")).await?.outcome().await?;
    assert_eq!(outcome.output::<String>()?, "sent to ada at attempt 2");
    Ok(())
}
