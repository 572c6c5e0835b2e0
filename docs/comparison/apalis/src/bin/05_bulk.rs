// A thousand jobs in few round trips.
use apalis::prelude::*;
use comparison_apalis::{emails, to};

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut emails = emails().await?;
    emails.push_bulk((0..1000).map(|n| to(&format!("user-{n}"))).collect()).await?;
    println!("enqueued");
    Ok(())
}
