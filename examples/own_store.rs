//! A store of your own around another: this one prints every transition of a job. Run with `cargo run --example own_store`.
//!
//! Metrics, faults for a test or a second copy are added the same way: by wrapping, without a change to the store inside.

use std::time::Duration;

use retraced::job::NewJob;
use retraced::store::{CallId, ClaimRequest, Claims, Decorator, Enqueued, Settled, Settlement, StoreFuture};
use retraced::{Attempt, Code, Failure, Job, JobState, MemoryStore, Queue, QueueName, Retry, Runtime, Store};
use serde::{Deserialize, Serialize};

/// Far longer than this takes; a mistake in this example fails instead of hanging.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Wraps any store: a `RedisStore` as well, or another wrapper. What is not written here is passed on.
struct Printing<S>(S);

impl<S: Store> Decorator for Printing<S> {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        Box::pin(async move {
            let enqueued = self.0.enqueue(call, queue, jobs).await?;
            for (job, enqueued) in jobs.iter().zip(&enqueued) {
                println!("{} enqueued: {enqueued:?}", job.id);
            }
            Ok(enqueued)
        })
    }

    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims> {
        Box::pin(async move {
            let claims = self.0.claim(call, queue, request).await?;
            print_claims(&claims);
            Ok(claims)
        })
    }

    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>> {
        Box::pin(async move {
            let settled = self.0.settle(call, queue, settlements).await?;
            print_settled(settlements, &settled);
            Ok(settled)
        })
    }

    /// Settles and claims in one step: while jobs finish, this is what is called.
    fn settle_and_claim<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
        request: &'a ClaimRequest,
    ) -> StoreFuture<'a, (Vec<Settled>, Claims)> {
        Box::pin(async move {
            let (settled, claims) = self.0.settle_and_claim(call, queue, settlements, request).await?;
            print_settled(settlements, &settled);
            print_claims(&claims);
            Ok((settled, claims))
        })
    }
}

fn print_claims(claims: &Claims) {
    for job in &claims.jobs {
        println!("{} claimed: attempt {}", job.id, job.token.attempt);
    }
}

fn print_settled(settlements: &[Settlement], settled: &[Settled]) {
    for (Settlement { id, verdict, .. }, settled) in settlements.iter().zip(settled) {
        println!("{id} settled: {verdict:?}, {settled:?}");
    }
}

#[derive(Serialize, Deserialize)]
struct Knock;

impl Job for Knock {
    const KIND: &'static str = "knock";
}

async fn knock(_: Knock, attempt: Attempt) -> Result<(), Failure> {
    match attempt.number {
        1 => Err(Failure::temporary(Code::ServiceUnavailable, "nobody is at home")),
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let retry = Retry::fixed().base(Duration::from_millis(50)).jitter(0);
    let runtime = Runtime::builder()
        .store(Printing(MemoryStore::new()))
        .queue(Queue::new("door")?.handler(knock).retry(retry))
        .start()
        .await?;
    let receipt = runtime.queue("door")?.job(Knock).id("visitor-1").enqueue().await?;
    let completed = async {
        while runtime.trace(&receipt.id).await?.view().state != JobState::Completed {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok::<_, retraced::TraceError>(())
    };
    tokio::time::timeout(TIMEOUT, completed).await??;
    runtime.shutdown().await?;
    Ok(())
}
