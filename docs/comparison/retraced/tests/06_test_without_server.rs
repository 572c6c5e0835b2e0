// A test of a handler with its retries, without a server: `cargo test --test 06_test_without_server`.
use comparison_retraced::{SendEmail, to};
use retraced::testing::TestRuntime;
use retraced::{Attempt, Queue, Runtime};

async fn send_email(job: SendEmail, attempt: Attempt) -> Result<(), &'static str> {
    if attempt.number == 1 {
        return Err("the mail server is busy");
    }
    println!("sent to {} at attempt {}", job.to, attempt.number);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_tried_again() {
    let test = TestRuntime::start(Runtime::builder().queue(Queue::new("emails").unwrap().handler(send_email))).await;
    let job = test.enqueue("emails", to("ada")).await;
    test.run_until_idle().await;
    test.assert_completed(&job).await;
}
