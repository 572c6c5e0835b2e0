// The producer waits for what the handler returned.
use apalis::prelude::*;
use comparison_apalis::{SendEmail, emails, to};
use futures::StreamExt;

async fn send_email(job: SendEmail) -> Result<String, BoxDynError> {
    Ok(format!("sent to {}", job.to))
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    let worker = WorkerBuilder::new("mailer").backend(emails.clone()).build(send_email);
    tokio::spawn(worker.run());
    let id = TaskId::from_ulid(ulid::Ulid::generate());
    let task = TaskBuilder::new(to("ada")).task_id(id.clone()).build();
    emails.push_task(task).await?;
    let mut outcomes = WaitForCompletion::<String>::wait_for_single(&mut emails, id);
    let outcome = tokio::time::timeout(std::time::Duration::from_secs(60), outcomes.next()).await?;
    println!("{:?}", outcome.ok_or("no outcome")??.take());
    Ok(())
}
