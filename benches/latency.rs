//! Measures how soon an idle worker starts a job: after an enqueue, and after the due time of a delayed job.
//!
//! The time is taken from the producer's call, or from the due time, to the first line of the handler. Producer and worker are in one process, so that both instants
//! come from the same clock. The benchmark starts a Redis server of its own. `make latency` prints a table; compare only figures of the same run.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../jobs/tests/support/redis_server.rs"]
#[allow(dead_code)]
mod redis_server;

use std::time::{Duration, Instant};

use redis_server::RedisServer;
use retraced::{Client, Context, Failure, Job, Queue, RedisStore, Runtime, State};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Jobs per measurement.
const JOBS: usize = 500;
/// The pause between two enqueues: longer than a job takes, so that the worker is idle before the next one.
const PAUSE: Duration = Duration::from_millis(20);
/// Delays are between this and twice this, spread evenly.
const DELAY: Duration = Duration::from_millis(700);
/// The longest wait for one job.
const JOB_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Beat {
    number: usize,
}

impl Job for Beat {
    const KIND: &'static str = "beat";
}

async fn beat(job: Beat, _: Context, started: State<UnboundedSender<(usize, Instant)>>) -> Result<(), Failure> {
    started.send((job.number, Instant::now())).map_err(|error| Failure::permanent(retraced::Code::UnknownError, error))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = RedisServer::start();
    let (started, mut starts) = unbounded_channel();
    let runtime = Runtime::builder()
        .store(RedisStore::connect(&server.url()).await?)
        .state(started)
        .queue(Queue::new("latency")?.handler(beat))
        .start()
        .await?;
    let client = Client::new(RedisStore::connect(&server.url()).await?);
    let (own, other) = (runtime.queue("latency")?, client.queue("latency")?);

    println!("| {JOBS} jobs, one at a time, on an idle worker | p50 | p95 | p99 | max |");
    println!("|---|---|---|---|---|");
    for warm_up in [true, false] {
        let mut took = Vec::new();
        for number in 0..JOBS {
            let sent = Instant::now();
            own.enqueue(Beat { number }).await?;
            took.push(next_start(&mut starts, number).await - sent);
            tokio::time::sleep(PAUSE).await;
        }
        report("enqueue in the worker's own process → its handler starts", took, warm_up);
    }
    let mut took = Vec::new();
    for number in 0..JOBS {
        let sent = Instant::now();
        other.enqueue(Beat { number }).await?;
        took.push(next_start(&mut starts, number).await - sent);
        tokio::time::sleep(PAUSE).await;
    }
    report("enqueue by another client → its handler starts", took, false);

    let mut due = Vec::new();
    for number in 0..JOBS {
        // Different delays, so that due times fall anywhere between two polls of the retry scheduler. The fractions of multiples of the
        // golden ratio, 0.618, are spread evenly.
        let delay = DELAY + DELAY.mul_f64((number as f64 * 0.618).fract());
        let sent = Instant::now();
        other.job(Beat { number }).delay(delay).enqueue().await?;
        due.push(sent + delay);
        tokio::time::sleep(PAUSE).await;
    }
    let mut late = Vec::new();
    while late.len() < JOBS {
        let (number, at) = tokio::time::timeout(JOB_TIMEOUT, starts.recv()).await?.ok_or("the worker ended")?;
        late.push(at.saturating_duration_since(due[number]));
    }
    report("due time of a delayed job → its handler starts", late, false);
    runtime.shutdown().await?;
    Ok(())
}

async fn next_start(starts: &mut UnboundedReceiver<(usize, Instant)>, expected: usize) -> Instant {
    let (number, at) = tokio::time::timeout(JOB_TIMEOUT, starts.recv()).await.unwrap().unwrap();
    assert_eq!(number, expected);
    at
}

fn report(what: &str, mut took: Vec<Duration>, warm_up: bool) {
    if warm_up {
        return;
    }
    took.sort_unstable();
    let rank = |share: f64| took[((took.len() as f64 * share).ceil() as usize).clamp(1, took.len()) - 1];
    let ms = |share: f64| format!("{:.2} ms", rank(share).as_secs_f64() * 1_000.0);
    println!("| {what} | {} | {} | {} | {} |", ms(0.5), ms(0.95), ms(0.99), ms(1.0));
}
