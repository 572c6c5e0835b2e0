//! The helpers of `retraced::testing`: what they do, and when they fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use retraced::layer::Next;
use retraced::testing::{TestContext, TestRuntime};
use retraced::{
    Attempt, Client, Code, Context, Failure, Job, JobDefaults, OnUnknown, Queue, Retry, Runtime, State, Stop,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct SendEmail {
    to: String,
}

impl Job for SendEmail {
    const KIND: &'static str = "email.send";
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Archive {
    of: String,
}

impl Job for Archive {
    const KIND: &'static str = "email.archive";
}

async fn send(job: SendEmail, attempt: Attempt) -> Result<(), Failure> {
    match (job.to.as_str(), attempt.number) {
        ("nobody", _) => Err(Failure::permanent(Code::InvalidJobData, "no such user")),
        ("down", _) => Err(Failure::temporary(Code::NetworkError, "no route")),
        ("later", _) => Err(Failure::snooze(Duration::from_secs(60))),
        (_, 1..3) => Err(Failure::temporary(Code::NetworkError, "connection reset")),
        _ => Ok(()),
    }
}

fn email(to: &str) -> SendEmail {
    SendEmail { to: to.into() }
}

/// A test runtime with this base delay, up to a month.
async fn test_runtime(base: Duration) -> TestRuntime {
    let retry = Retry::fixed().base(base).max_delay(Retry::DELAY_MAX).max_attempts(3).jitter(0);
    TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap().handler(send).retry(retry))).await
}

#[tokio::test(start_paused = true)]
async fn drain_jumps_over_delays_until_nothing_is_left() {
    let begun = std::time::Instant::now();
    let test = test_runtime(Duration::from_secs(24 * 60 * 60)).await;
    let (ada, down, nobody) = (
        test.enqueue("email", email("ada")).await,
        test.enqueue("email", email("down")).await,
        test.enqueue("email", email("nobody")).await,
    );
    test.drain().await;
    test.assert_completed(&ada).await;
    test.assert_dead(&down, Code::NetworkError).await;
    test.assert_poisoned(&nobody, Code::InvalidJobData).await;
    assert_eq!(test.job(&ada).await.counters.failures, 2);
    test.drain().await;
    test.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "two days took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "jobs that do not end: email has 0 pending, 1 delayed, 0 processing")]
async fn jobs_that_never_end_are_named() {
    let test = test_runtime(Duration::from_secs(1)).await;
    test.enqueue("email", email("later")).await;
    test.drain().await;
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_a_running_handler() {
    async fn slow(_: SendEmail) {
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    let test = TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap().handler(slow))).await;
    let id = test.enqueue("email", email("ada")).await;
    test.drain().await;
    test.assert_completed(&id).await;
}

#[tokio::test(start_paused = true)]
async fn what_handlers_enqueue_is_found_by_kind_in_every_queue() {
    async fn forwards(job: SendEmail, client: State<Client>) -> Result<(), Failure> {
        client.queue("archive")?.enqueue(Archive { of: job.to }).await?;
        Ok(())
    }
    let first = TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap().handler(send))).await;
    // A handler that enqueues needs a client; here that of another test runtime, which has no such queue.
    let elsewhere = first.client();
    let queue = Queue::new("email").unwrap().handler(forwards);
    let test = TestRuntime::start(Runtime::builder().state(elsewhere).queue(queue)).await;
    for to in ["ada", "grace"] {
        test.enqueue("email", email(to)).await;
        test.drain().await;
    }
    assert_eq!(test.enqueued::<SendEmail>().await, [email("ada"), email("grace")]);
    let archived = first.enqueued::<Archive>().await;
    assert_eq!(archived, [Archive { of: "ada".into() }, Archive { of: "grace".into() }]);
    assert_eq!(test.enqueued::<Archive>().await, []);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "is not completed")]
async fn an_assertion_that_does_not_hold_shows_the_trace() {
    let test = test_runtime(Duration::from_secs(1)).await;
    let id = test.enqueue("email", email("down")).await;
    test.drain().await;
    test.assert_completed(&id).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "is not dead with TIMEOUT")]
async fn a_dead_job_is_asked_for_its_code() {
    let test = test_runtime(Duration::from_secs(1)).await;
    let id = test.enqueue("email", email("down")).await;
    test.drain().await;
    test.assert_dead(&id, Code::Timeout).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the runtime did not start: queue \"email\" has no handler")]
async fn a_builder_that_is_refused_says_why() {
    TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap())).await;
}

#[derive(Serialize, Deserialize)]
struct Report;

impl Job for Report {
    const KIND: &'static str = "report.build";

    fn defaults() -> JobDefaults {
        JobDefaults::new().max_attempts(2)
    }
}

/// Attempts of a job that always fails, of a kind that asks for two, in this queue.
async fn attempts(queue: Queue) -> u64 {
    async fn fails(_: Report) -> Result<(), std::io::Error> {
        Err(std::io::Error::other("disk full"))
    }
    let test = TestRuntime::start(Runtime::builder().queue(queue.handler(fails))).await;
    let id = test.enqueue("reports", Report).await;
    test.drain().await;
    test.assert_dead(&id, Code::JobExecutionFailed).await;
    test.job(&id).await.counters.failures.into()
}

#[tokio::test(start_paused = true)]
async fn a_kinds_defaults_hold_unless_its_queue_sets_its_own_or_does_not_retry() {
    let queue = || Queue::new("reports").unwrap();
    assert_eq!(attempts(queue()).await, 2);
    assert_eq!(attempts(queue().retry(Retry::fixed().max_attempts(4))).await, 4);
    assert_eq!(attempts(queue().on_unknown(OnUnknown::DeadLetter)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_layers_of_the_runtime_are_outside_those_of_the_queue() {
    let seen: Arc<Mutex<Vec<&str>>> = Arc::default();
    let layer = |name: &'static str| {
        let seen = seen.clone();
        move |_: Context, next: Next| {
            seen.lock().unwrap().push(name);
            next.run()
        }
    };
    let queue = Queue::new("email").unwrap().handler(|_: SendEmail| async {}).layer(layer("queue"));
    let builder = Runtime::builder().queue(queue).layer(layer("runtime")).layer(layer("runtime, second"));
    let test = TestRuntime::start(builder).await;
    let id = test.enqueue("email", email("ada")).await;
    test.drain().await;
    test.assert_completed(&id).await;
    assert_eq!(*seen.lock().unwrap(), ["runtime", "runtime, second", "queue"]);
}

#[tokio::test]
async fn a_test_context_provides_everything_a_handler_takes() {
    async fn handler(_: (), ctx: Context, attempt: Attempt, limit: State<u32>) -> Result<u32, Failure> {
        ctx.log(format!("{} of {} in {}", attempt.number, ctx.kind(), ctx.queue_name()));
        ctx.progress(40, "half way");
        if ctx.is_cancelled() { Err(Failure::new(Code::Interrupted, "stopped")) } else { Ok(*limit) }
    }
    let test = TestContext::new().id("a-1").queue("mail").kind("x").attempt(3).max_attempts(3).state(7_u32).build();
    assert_eq!(handler((), test.context(), test.extract(), test.extract()).await.unwrap(), 7);
    assert_eq!((test.logged(), test.progress()), (vec!["3 of x in mail".into()], Some((40, "half way".into()))));
    assert!(test.extract::<Attempt>().is_last() && test.context().id().to_string() == "a-1");
    test.stop(Stop::Cancelled);
    assert!(handler((), test.context(), test.extract(), test.extract()).await.is_err());
    assert_eq!(test.context().why_stopped(), Some(Stop::Cancelled));
}

#[test]
#[should_panic(expected = "no state of type u32")]
fn a_shared_value_that_was_not_given_is_named() {
    let test = TestContext::new().build();
    let _: State<u32> = test.extract();
}
