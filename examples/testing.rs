//! Tests of handlers without a server: a handler called as a plain function, and a day of retries in paused time.
//!
//! ```text
//! 24 hours of retries are tested
//! ```
//!
//! Needs the feature `testing`, as your own tests will. Run with `cargo run --example testing --features testing`.

use std::time::Duration;

use retraced::testing::{TestContext, TestRuntime};
use retraced::{Attempt, Code, Context, Failure, Job, Queue, Retry, Runtime};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Charge(u32);

impl Job for Charge {
    const KIND: &'static str = "card.charge";
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Thank(u32);

impl Job for Thank {
    const KIND: &'static str = "customer.thank";
}

async fn charge(Charge(cents): Charge, attempt: Attempt, ctx: Context) -> Result<(), Failure> {
    if attempt.number < 3 {
        return Err(Failure::temporary(Code::ServiceUnavailable, "the bank is closed"));
    }
    ctx.enqueue(Thank(cents)).await?;
    Ok(())
}

// In a test: #[tokio::test(start_paused = true)]
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Failure> {
    let test = TestContext::new().attempt(3).build();
    charge(Charge(500), test.extract(), test.context()).await?;
    assert_eq!(test.enqueued::<Thank>(), [Thank(500)]);

    let started = tokio::time::Instant::now();
    // The default cap of 5 min would cut the delay of 12 h.
    let retry = Retry::fixed().base(Duration::from_secs(12 * 60 * 60)).max_delay(Retry::DELAY_MAX).jitter(0);
    let cards = Queue::new("cards")?.handler(charge).handler(|_: Thank| async {}).retry(retry);
    let test = TestRuntime::start(Runtime::builder().queue(cards)).await;
    let job = test.enqueue("cards", Charge(500)).await;
    test.run_until_idle().await;
    test.assert_completed(&job).await;
    assert_eq!(test.enqueued::<Thank>().await, [Thank(500)]);
    println!("{} hours of retries are tested", started.elapsed().as_secs() / 3600);
    Ok(())
}
