// State that all handlers share.
use apalis::prelude::*;
use comparison_apalis::{SendEmail, emails, to};

#[derive(Clone)]
struct Mailer {
    from: &'static str,
}

async fn send_email(job: SendEmail, mailer: Data<Mailer>, worker: WorkerContext) -> Result<(), BoxDynError> {
    println!("from {} to {}", mailer.from, job.to);
    Ok(worker.stop()?)
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    emails.push(to("ada")).await?;
    let worker = WorkerBuilder::new("mailer").backend(emails).data(Mailer { from: "us" }).build(send_email);
    Ok(worker.run().await?)
}
