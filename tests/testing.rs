//! The helpers of `retraced::testing`: what they do, and which mistakes of a test they report.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use retraced::layer::Next;
use retraced::testing::{TestContext, TestRuntime};
use retraced::{
    Attempt, Client, Code, Context, EnqueueError, Failure, Job, JobDefaults, JobRequest, JobState, MemoryStore,
    OnUnknown, Outcome, OutcomeError, Queue, Retry, Runtime, State, Stop,
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

/// A test runtime that retries after this delay, which may be up to a month.
async fn test_runtime(base: Duration) -> TestRuntime {
    let retry = Retry::fixed().base(base).max_delay(Retry::DELAY_MAX).max_attempts(3).jitter(0);
    TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap().handler(send).retry(retry))).await
}

#[tokio::test(start_paused = true)]
async fn run_until_idle_jumps_over_delays_until_nothing_is_left() {
    let begun = std::time::Instant::now();
    let test = test_runtime(Duration::from_secs(24 * 60 * 60)).await;
    let (ada, down, nobody) = (
        test.enqueue("email", email("ada")).await,
        test.enqueue("email", email("down")).await,
        test.enqueue("email", email("nobody")).await,
    );
    test.run_until_idle().await;
    test.assert_completed(&ada).await;
    test.assert_dead(&down, Code::NetworkError).await;
    test.assert_poisoned(&nobody, Code::InvalidJobData).await;
    assert_eq!(test.job(&ada).await.counters.failures, 2);
    test.run_until_idle().await;
    test.shutdown().await;
    test.shutdown().await; // The second one returns at once.
    assert!(begun.elapsed() < Duration::from_secs(20), "two days of delays took {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "jobs that do not end: email has 0 pending, 1 delayed, 0 processing")]
async fn run_until_idle_names_the_queues_of_jobs_that_never_end() {
    let test = test_runtime(Duration::from_secs(1)).await;
    test.enqueue("email", email("later")).await;
    test.run_until_idle().await;
}

#[tokio::test(start_paused = true)]
async fn run_until_idle_waits_for_a_running_handler() {
    async fn slow(_: SendEmail) {
        tokio::time::sleep(Duration::from_secs(100)).await;
    }
    let test = TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap().handler(slow))).await;
    let id = test.enqueue("email", email("ada")).await;
    test.run_until_idle().await;
    test.assert_completed(&id).await;
}

#[tokio::test(start_paused = true)]
async fn what_handlers_enqueue_is_found_by_kind_in_every_queue() {
    async fn forwards(job: SendEmail, client: State<Client>) -> Result<(), Failure> {
        client.queue("archive")?.enqueue(Archive { of: job.to }).await?;
        Ok(())
    }
    let first = TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap().handler(send))).await;
    // The handler enqueues through the client of another test runtime, which has no worker for that queue.
    let elsewhere = first.client();
    let queue = Queue::new("email").unwrap().handler(forwards);
    let test = TestRuntime::start(Runtime::builder().state(elsewhere).queue(queue)).await;
    for to in ["ada", "grace"] {
        test.enqueue("email", email(to)).await;
        test.run_until_idle().await;
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
    test.run_until_idle().await;
    test.assert_completed(&id).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "is not dead with TIMEOUT")]
async fn assert_dead_fails_for_another_code() {
    let test = test_runtime(Duration::from_secs(1)).await;
    let id = test.enqueue("email", email("down")).await;
    test.run_until_idle().await;
    test.assert_dead(&id, Code::Timeout).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the runtime did not start: queue \"email\" has no handler")]
async fn a_test_runtime_that_does_not_start_says_why() {
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

/// The failures of a job in this queue whose handler always fails. The defaults of its kind set two attempts.
async fn attempts(queue: Queue) -> u64 {
    async fn fails(_: Report) -> Result<(), std::io::Error> {
        Err(std::io::Error::other("disk full"))
    }
    let test = TestRuntime::start(Runtime::builder().queue(queue.handler(fails))).await;
    let id = test.enqueue("reports", Report).await;
    test.run_until_idle().await;
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
    test.run_until_idle().await;
    test.assert_completed(&id).await;
    assert_eq!(*seen.lock().unwrap(), ["runtime", "runtime, second", "queue"]);
}

#[tokio::test]
async fn a_layer_that_times_out_on_blocking_handlers_never_runs_two_of_them_at_once() {
    let (running, runs) = (Arc::new(Mutex::new((0_u32, 0_u32))), Arc::new(Mutex::new(0)));
    let (inside, begun) = (running.clone(), runs.clone());
    let handler = move |_: SendEmail, _: Context| {
        *begun.lock().unwrap() += 1;
        let change = |by: i32| {
            let mut running = inside.lock().unwrap();
            running.0 = running.0.saturating_add_signed(by);
            running.1 = running.1.max(running.0);
        };
        change(1);
        // The handler ignores that it is asked to stop.
        std::thread::sleep(Duration::from_millis(200));
        change(-1);
    };
    let impatient = |_: Context, next: Next| async move {
        let ended = tokio::time::timeout(Duration::from_millis(20), next.run()).await;
        ended.unwrap_or_else(|_| Err(Failure::temporary(Code::ServiceUnavailable, "the layer gave up")))
    };
    let retry = Retry::fixed().base(Duration::from_millis(1)).max_attempts(3);
    let queue = Queue::new("email").unwrap().blocking_handler(handler).layer(impatient).retry(retry);
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(queue).start().await.unwrap();
    let job = runtime.queue("email").unwrap().enqueue(email("ada")).await.unwrap();
    let outcome = job.outcome_timeout(Duration::from_secs(20)).await.unwrap();
    let Outcome::Dead { error: Some(error) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.code, Code::ServiceUnavailable);
    assert_eq!((running.lock().unwrap().1, *runs.lock().unwrap()), (1, 3));
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_test_context_provides_everything_a_handler_takes() {
    async fn handler(_: (), ctx: Context, attempt: Attempt, limit: State<u32>) -> Result<u32, Failure> {
        ctx.log(format!("{} of {} in {}", attempt.number, ctx.kind(), ctx.queue_name()));
        ctx.progress(40, "half way");
        if ctx.is_stop_requested() { Err(Failure::new(Code::Interrupted, "stopped")) } else { Ok(*limit) }
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

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Bill {
    of: String,
}

impl Job for Bill {
    const KIND: &'static str = "bill.write";

    fn defaults() -> JobDefaults {
        JobDefaults::new().queue("bills")
    }
}

#[derive(Serialize, Deserialize)]
struct Lost;

impl Job for Lost {
    const KIND: &'static str = "lost";

    fn defaults() -> JobDefaults {
        JobDefaults::new().queue("no such name")
    }
}

fn bill() -> Bill {
    Bill { of: "ada".into() }
}

/// Two follow-up jobs that name no queue, and one that does.
async fn follow_up(job: SendEmail, ctx: Context) -> Result<(), Failure> {
    ctx.enqueue(Archive { of: job.to }).await?;
    ctx.enqueue(JobRequest::new(bill()).id("bill-ada")).await?;
    ctx.queue("copies")?.enqueue(bill()).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_handler_enqueues_is_recorded_by_kind_and_queue() {
    let test = TestContext::new().queue("email").build();
    follow_up(email("ada"), test.context()).await.unwrap();
    assert_eq!(test.enqueued::<Archive>(), [Archive { of: "ada".into() }]);
    assert_eq!(test.enqueued::<Bill>(), [bill(), bill()]);
    let of_queue = |queue| (test.enqueued_to::<Archive>(queue).len(), test.enqueued_to::<Bill>(queue).len());
    assert_eq!(["email", "bills", "copies", "nowhere"].map(of_queue), [(1, 0), (0, 1), (0, 1), (0, 0)]);

    // A second attempt enqueues a second archive, but no second bill to `bills`: that bill has an id of its own.
    follow_up(email("ada"), test.context()).await.unwrap();
    assert_eq!((test.enqueued::<Archive>().len(), test.enqueued_to::<Bill>("bills").len()), (2, 1));
}

#[tokio::test]
async fn receipts_in_a_test_are_those_of_a_store_and_nothing_runs() {
    let test = TestContext::new().build();
    let copies = test.context().queue("copies").unwrap();
    let later = || copies.job(bill()).id("bill-ada").delay(Duration::from_secs(60));
    let first = later().enqueue().await.unwrap();
    assert_eq!((first.created, first.state, first.queue.as_str()), (true, JobState::Delayed, "copies"));
    assert!(!later().enqueue().await.unwrap().created);
    let receipts = copies.enqueue_all([bill(), bill()]).await.unwrap();
    assert!(receipts.iter().all(|receipt| receipt.created && receipt.state == JobState::Pending));
    assert_eq!(test.enqueued_to::<Bill>("copies").len(), 3);
    assert!(matches!(first.outcome().await, Err(OutcomeError::TimedOut { .. })));
    let unknown = copies.outcome(&"nobody".parse().unwrap(), Duration::MAX).await;
    assert_eq!(unknown.unwrap(), Outcome::NotKept);
}

#[tokio::test]
async fn a_kind_whose_default_queue_is_not_allowed_is_a_permanent_failure() {
    let test = TestContext::new().build();
    let refused = test.context().enqueue(Lost).await.unwrap_err();
    assert!(matches!(refused, EnqueueError::InvalidQueue(_)) && !refused.is_retryable(), "{refused}");
    assert_eq!(refused.to_failure().class(), retraced::Class::Permanent);
    assert!(refused.to_string().contains("no such name"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_job_goes_to_the_queue_of_its_kind_or_to_that_of_its_handler() {
    let queue = Queue::new("email").unwrap().handler(follow_up).handler(|_: Archive| async {});
    let bills = Queue::new("bills").unwrap().handler(|_: Bill| async {});
    let test = TestRuntime::start(Runtime::builder().queue(queue).queue(bills)).await;
    test.enqueue("email", email("ada")).await;
    test.run_until_idle().await;
    let operator = test.runtime().operator();
    let mut kept = Vec::new();
    for queue in ["email", "bills", "copies"] {
        let stats = operator.stats(&queue.parse().unwrap()).await.unwrap();
        kept.push((stats.completed_kept, stats.pending));
    }
    assert_eq!(
        kept,
        [(2, 0), (1, 0), (0, 1)],
        "the e-mail and its archive, the bill, and a copy in a queue without a worker"
    );
}
