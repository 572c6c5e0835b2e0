// State that all handlers share.
use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Queue, Runtime, ShutdownReport, State};

struct Mailer {
    from: &'static str,
}

async fn send_email(job: SendEmail, mailer: State<Mailer>) {
    println!("from {} to {}", mailer.from, job.to);
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Error> {
    let emails = Queue::new("emails")?.handler(send_email);
    let runtime = Runtime::builder().store(redis().await?).state(Mailer { from: "us" }).queue(emails).start().await?;
    runtime.enqueue(to("ada")).await?.outcome().await?;
    Ok(runtime.shutdown().await?)
}
