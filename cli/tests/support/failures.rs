//! Jobs that fail in every way, run in the test's own process: one at a time, one attempt each.

use std::time::Duration;

use retraced::{Code, Context, Failure, Queue, RawJob, RedisStore, Retry, Runtime};

use crate::harness::Harness;
use crate::support::eventually;

/// Longest the jobs may take on a busy machine.
const WORKED_WITHIN: Duration = Duration::from_secs(60);

/// An error text that tries to take over the terminal.
pub(crate) fn hostile() -> String {
    format!("\u{1b}[2J\u{1b}]0;owned\u{7}\r\nerror: forged \u{202e}gnp.exe 日本語 {}", "x".repeat(1_000_000))
}

async fn work(job: RawJob, _: Context) -> Result<(), Failure> {
    match job.kind.as_str() {
        "bad.data" => Err(Failure::permanent(Code::InvalidJobData, "no recipient")),
        "mail.down" => Err(Failure::temporary(Code::NetworkError, "no route to mail.example.com")),
        "hostile" => Err(Failure::permanent(Code::AuthorizationFailed, hostile())),
        "panics" => panic!("index out of bounds"),
        _ => Ok(()),
    }
}

/// Enqueues one job for each id and kind to queue `q`, and runs the jobs until all have ended.
pub(crate) fn run_jobs(harness: &Harness, jobs: &[(&str, &str)]) {
    let lines =
        jobs.iter().map(|(id, kind)| format!("{{\"kind\":\"{kind}\",\"payload\":{{\"n\":1}},\"id\":\"{id}\"}}\n"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.jsonl");
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    harness.json(&["enqueue", "q", "--from", path.to_str().unwrap()]);
    let url = harness.redis.url();
    let total = jobs.len() as u64;
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let queue = Queue::new("q").unwrap().concurrency(1).retry(Retry::fixed().max_attempts(1));
        let store = RedisStore::connect(&url).await.unwrap();
        let runtime = Runtime::builder().store(store).queue(queue.any_handler(work)).start().await.unwrap();
        let operator = runtime.operator();
        let name = "q".parse().unwrap();
        eventually("the end of all jobs", WORKED_WITHIN, || async {
            let stats = operator.stats(&name).await.unwrap();
            stats.completed_kept + stats.dead + stats.poisoned >= total
        })
        .await;
        runtime.shutdown().await.unwrap();
    });
}
