//! The `tracing` span around every attempt: its fields, and that handlers run inside it, blocking ones too. A process has only one subscriber, so this test has a process
//! of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retraced_jobs::context::{AttemptControl, States};
use retraced_jobs::execution::{AttemptInput, AttemptSpan, Layers, Rules, Runner};
use retraced_jobs::handler::Handlers;
use retraced_jobs::job::{Counters, InstanceId, JobId, QueueName, Token};
use retraced_jobs::store::{ClaimedJob, Verdict};
use retraced_jobs::trace::ExecutorId;
use retraced_jobs::typed_job::{Job, JobOptions, seal_job};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Greet;

impl Job for Greet {
    const KIND: &'static str = "greet";
}

#[derive(Serialize, Deserialize)]
struct Print;

impl Job for Print {
    const KIND: &'static str = "print";
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn attempt<J: Job>(job: J) {
    let mut handlers = Handlers::default();
    handlers.add(|_: Greet| async { tracing::info!("hello") }).unwrap();
    handlers.add_blocking(|_: Print| tracing::info!("on paper")).unwrap();
    let mut layers = Layers::default();
    layers.push(AttemptSpan);
    let (queue, instance) = (QueueName::new("mail").unwrap(), InstanceId::from(uuid::Uuid::from_u128(1)));
    let runner = Runner::new(queue, Arc::new(handlers), Arc::new(States::default()), Rules::default(), instance);
    let token = Token { attempt: 3, nonce: [1; 8] };
    let counters = Counters { attempts: 3, failures: 1, ..Counters::default() };
    let envelope = seal_job(&job, &JobOptions::default()).unwrap().envelope;
    let job = ClaimedJob::new(JobId::parse("welcome-42").unwrap(), token, counters, 0, envelope);
    let control = Arc::new(AttemptControl::new(tokio::time::Instant::now() + Duration::from_secs(30)));
    let executor = ExecutorId::new(0, 0);
    let input = AttemptInput { job, executor, started: tokio::time::Instant::now(), started_ms: 0, control, jitter: 0 };
    let outcome = runner.layers(layers).attempt(input).await;
    assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: true });
}

#[tokio::test]
async fn what_a_handler_logs_names_its_job_queue_kind_and_attempt() {
    let written = Written::default();
    let writer = written.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    attempt(Greet).await;
    attempt(Print).await;
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    for (kind, message) in [("greet", "hello"), ("print", "on paper")] {
        let span = format!("attempt{{queue=mail kind={kind} job=welcome-42 attempt=3}}: ");
        let line = text.lines().find(|line| line.ends_with(message)).unwrap();
        assert!(line.contains(&span), "{line:?} does not contain {span:?}");
    }
}
