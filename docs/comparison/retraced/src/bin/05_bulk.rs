// A thousand jobs in few round trips.
use comparison_retraced::{Error, redis, to};
use retraced::Client;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let emails = Client::new(redis().await?).queue("emails")?;
    let receipts = emails.enqueue_all((0..1000).map(|n| to(&format!("user-{n}")))).await?;
    println!("{} enqueued", receipts.len());
    Ok(())
}
