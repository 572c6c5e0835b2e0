//! An error type of your own decides in one place which of its values are retried. It may also implement `std::error::Error`, for example with `thiserror`.
//!
//! ```text
//! ada: the job completed
//! nobody: the job is poisoned: INVALID_JOB_DATA: no such address: nobody
//! ```
//!
//! Run with `cargo run --example own_error`.

use std::time::Duration;

use retraced::{Attempt, Code, Failure, IntoFailure, Job, MemoryStore, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

enum MailError {
    Busy,
    NoSuchAddress(String),
}

impl IntoFailure for MailError {
    fn into_failure(self) -> Failure {
        match self {
            MailError::Busy => Failure::temporary(Code::ServiceUnavailable, "the mail server is busy"),
            MailError::NoSuchAddress(to) => Failure::permanent(Code::InvalidJobData, format!("no such address: {to}")),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SendEmail(String);

impl Job for SendEmail {
    const KIND: &'static str = "email.send";
}

async fn send(SendEmail(to): SendEmail, attempt: Attempt) -> Result<(), MailError> {
    match (to.as_str(), attempt.number) {
        ("nobody", _) => Err(MailError::NoSuchAddress(to)),
        (_, 1) => Err(MailError::Busy),
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let email = Queue::new("email")?.handler(send).retry(Retry::fixed().base(Duration::from_millis(50)));
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(email).start().await?;
    for to in ["ada", "nobody"] {
        let job = runtime.enqueue(SendEmail(to.into())).await?;
        println!("{to}: {}", job.outcome().await?);
    }
    runtime.shutdown().await?;
    Ok(())
}
