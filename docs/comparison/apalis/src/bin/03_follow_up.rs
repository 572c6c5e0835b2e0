// A handler enqueues a job of another kind.
use apalis::prelude::*;
use apalis_redis::RedisStorage;
use comparison_apalis::{SendEmail, emails, redis, to};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Archive {
    to: String,
}

async fn send_email(
    job: SendEmail,
    archive: Data<RedisStorage<Archive>>,
    worker: WorkerContext,
) -> Result<(), BoxDynError> {
    (*archive).clone().push(Archive { to: job.to }).await?;
    Ok(worker.stop()?)
}

async fn archive(job: Archive, worker: WorkerContext) -> Result<(), BoxDynError> {
    println!("archived the email to {}", job.to);
    Ok(worker.stop()?)
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    let archives = RedisStorage::<Archive>::new(redis().await?);
    emails.push(to("ada")).await?;
    let mailer = WorkerBuilder::new("mailer").backend(emails).data(archives.clone()).build(send_email);
    let archivist = WorkerBuilder::new("archivist").backend(archives).build(archive);
    tokio::try_join!(mailer.run(), archivist.run())?;
    Ok(())
}
