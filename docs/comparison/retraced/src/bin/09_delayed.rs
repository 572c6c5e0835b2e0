// A job that runs after a delay of 2 s.
use std::time::{Duration, Instant};

use comparison_retraced::{Error, SendEmail, redis, to};
use retraced::{Queue, Runtime, ShutdownReport, State};

async fn send_email(job: SendEmail, started: State<Instant>) {
    println!("{} after {:.1?}", job.to, started.elapsed());
}

#[tokio::main]
async fn main() -> Result<ShutdownReport, Error> {
    let emails = Queue::new("emails")?.handler(send_email);
    let runtime = Runtime::builder().store(redis().await?).state(Instant::now()).queue(emails).start().await?;
    let job = runtime.queue("emails")?.job(to("ada")).delay(Duration::from_secs(2)).enqueue().await?;
    job.outcome().await?;
    Ok(runtime.shutdown().await?)
}
