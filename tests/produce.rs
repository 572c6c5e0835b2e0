//! Enqueues jobs as an application does, through a runtime, a client and a handler, and waits for their outcomes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use retraced::store::UnfinishedJobs;
use retraced::{
    Client, Code, Context, EnqueueError, Failure, Job, JobDefaults, JobRequest, JobState, MemoryStore, Operator,
    Outcome, OutcomeError, Queue, QueueHandle, QueueName, Retention, Runtime, Store,
};
use serde::{Deserialize, Serialize};

const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Serialize, Deserialize)]
struct Order {
    number: u32,
}
impl Job for Order {
    const KIND: &'static str = "order";
}

#[derive(Serialize, Deserialize)]
struct Invoice {
    number: u32,
}
impl Job for Invoice {
    const KIND: &'static str = "invoice";
}

/// Odd orders fail. An even order enqueues an invoice to a queue that has no worker here; order 2 also enqueues order 4 to its own queue.
async fn order(job: Order, ctx: Context) -> Result<(), Failure> {
    if job.number % 2 == 1 {
        return Err(Failure::permanent(Code::InvalidJobData, "an odd order"));
    }
    let invoice = JobRequest::new(Invoice { number: job.number }).id(format!("invoice-{}", job.number));
    ctx.queue("invoices").unwrap().enqueue(invoice).await.map_err(|error| error.to_failure())?;
    if job.number == 2 {
        let next = JobRequest::new(Order { number: 4 }).id("order-4");
        ctx.enqueue(next).await.map_err(|error| error.to_failure())?;
    }
    Ok(())
}

async fn start(store: Arc<dyn Store>) -> Runtime {
    let queue = Queue::new("orders").unwrap();
    Runtime::builder().shared_store(store).queue(queue.handler(order)).start().await.unwrap()
}

#[tokio::test]
async fn a_handler_enqueues_to_its_own_queue_and_to_any_other() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let runtime = start(store.clone()).await;
    let first = runtime.queue("orders").unwrap().enqueue(Order { number: 2 }).await.unwrap();
    first.outcome_timeout(TIMEOUT).await.unwrap().output::<()>().unwrap();
    let (orders, invoices) = ("orders".parse().unwrap(), "invoices".parse().unwrap());
    let second = runtime.outcome(&orders, &"order-4".parse().unwrap(), TIMEOUT).await.unwrap();
    assert!(second.is_completed(), "{second}");
    let page = runtime.operator().jobs(&invoices, JobState::Pending, None, 10).await.unwrap();
    let mut ids: Vec<_> = page.jobs.iter().map(|job| job.id.to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["invoice-2", "invoice-4"]);
    assert!(runtime.operator().queues().await.unwrap().contains(&invoices), "an operator sees the new queue");
    runtime.shutdown().await.unwrap();
}

#[derive(Serialize, Deserialize)]
struct Refund;
impl Job for Refund {
    const KIND: &'static str = "refund";

    fn defaults() -> JobDefaults {
        JobDefaults::new().queue("refunds")
    }
}

#[tokio::test]
async fn a_runtime_enqueues_to_the_default_queue_of_the_kind_or_to_its_only_queue() {
    let queue = |name| Queue::new(name).unwrap().handler(order).handler(|_: Refund| async {});
    let start = |queues: Vec<Queue>| {
        let builder = Runtime::builder().store(MemoryStore::new());
        queues.into_iter().fold(builder, |builder, queue| builder.queue(queue)).start()
    };
    let one = start(vec![queue("orders")]).await.unwrap();
    let job = one.enqueue(JobRequest::new(Order { number: 6 }).id("order-6")).await.unwrap();
    assert_eq!((job.queue.as_str(), job.id.to_string().as_str()), ("orders", "order-6"));
    let elsewhere = one.enqueue(Refund).await.unwrap();
    assert_eq!(elsewhere.queue.as_str(), "refunds", "the default queue need not be one of the runtime's");
    let sealed = retraced::seal_job(&Order { number: 6 }, &Default::default()).unwrap();
    let refused = one.enqueue(sealed).await.unwrap_err();
    assert!(matches!(&refused, EnqueueError::NoQueue { .. }), "a sealed job does not say its queue: {refused}");
    let two = start(vec![queue("orders"), queue("refunds")]).await.unwrap();
    assert_eq!(two.enqueue(Refund).await.unwrap().queue.as_str(), "refunds");
    let unclear = two.enqueue(Order { number: 6 }).await.unwrap_err();
    assert!(matches!(&unclear, EnqueueError::NoQueue { known } if known.len() == 2), "{unclear}");
    assert!(!unclear.is_retryable() && unclear.to_string().ends_with("this runtime has orders, refunds"), "{unclear}");
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_client_enqueues_to_the_default_queue_of_the_kind_and_knows_no_other() {
    let client = Client::new(MemoryStore::new());
    assert_eq!(client.enqueue(Refund).await.unwrap().queue.as_str(), "refunds");
    let refused = client.enqueue(Order { number: 2 }).await.unwrap_err();
    assert!(refused.to_string().ends_with("name a queue with .queue(…)"), "{refused}");
}

#[tokio::test]
async fn a_client_in_another_process_learns_how_a_job_ended_and_why() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let client = Client::shared(store.clone());
    let orders = client.queue("orders").unwrap();
    let odd = orders.job(Order { number: 1 }).id("order-1").enqueue().await.unwrap();
    let early = odd.outcome_timeout(Duration::from_millis(50)).await;
    assert!(matches!(early, Err(OutcomeError::TimedOut { state: Some(JobState::Pending), .. })), "{early:?}");
    let runtime = start(store).await;
    let outcome = client.outcome(&odd.queue, &odd.id, TIMEOUT).await.unwrap();
    let Outcome::Poisoned { error: Some(error) } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((error.code, error.message.as_str()), (Code::InvalidJobData, "an odd order"));
    assert_eq!(
        outcome.output::<u32>().unwrap_err().to_string(),
        "there is no output: the job is poisoned: INVALID_JOB_DATA: an odd order"
    );
    runtime.shutdown().await.unwrap();
}

/// A kind whose jobs may be large.
#[derive(Serialize, Deserialize)]
struct Scan {
    pixels: String,
}
impl Job for Scan {
    const KIND: &'static str = "scan";

    fn defaults() -> JobDefaults {
        JobDefaults::new().payload_bytes_max(3 << 20)
    }
}

/// A kind with the library's limit of 1 MiB.
#[derive(Serialize, Deserialize)]
struct Thumbnail {
    pixels: String,
}
impl Job for Thumbnail {
    const KIND: &'static str = "thumbnail";
}

#[tokio::test]
async fn a_job_of_2_mib_is_enqueued_and_runs_if_its_kind_allows_it() {
    let queue = Queue::new("images").unwrap();
    let queue = queue.handler(async |job: Scan| Ok::<_, Failure>(job.pixels.len())).handler(async |_: Thumbnail| {});
    let runtime = Runtime::builder().store(MemoryStore::new()).queue(queue).start().await.unwrap();
    let images = runtime.queue("images").unwrap();
    let pixels = "x".repeat(2 << 20);
    let scan = images.enqueue(Scan { pixels: pixels.clone() }).await.unwrap();
    assert_eq!(scan.outcome_timeout(TIMEOUT).await.unwrap().output::<usize>().unwrap(), 2 << 20);
    let refused = images.enqueue(Thumbnail { pixels }).await.unwrap_err();
    assert!(matches!(refused, EnqueueError::Payload(_)), "{refused:?}");
    assert!(refused.to_string().contains("payload_bytes_max allows 1048576"), "{refused}");
    runtime.shutdown().await.unwrap();
}

/// Goal: operators see a queue that has jobs, also after it was deleted, for which no other process announces it again.
#[tokio::test(start_paused = true)]
async fn a_queue_that_was_deleted_under_its_client_is_listed_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (orders, operator) = (Client::shared(store.clone()).queue("orders").unwrap(), Operator::shared(store));
    let name: QueueName = "orders".parse().unwrap();
    orders.enqueue(Order { number: 1 }).await.unwrap();
    assert_eq!(operator.queues().await.unwrap(), std::slice::from_ref(&name));
    operator.delete_queue(&name, UnfinishedJobs::Delete).await.unwrap();
    assert_eq!(operator.queues().await.unwrap(), []);
    tokio::time::sleep(Duration::from_secs(60)).await;
    orders.enqueue(Order { number: 2 }).await.unwrap();
    assert_eq!(operator.queues().await.unwrap(), [name]);
}

#[tokio::test]
async fn a_waiter_gets_the_outcome_of_a_job_that_is_not_kept() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let orders = Client::shared(store.clone()).queue("orders").unwrap();
    let job = orders.enqueue(Order { number: 4 }).await.unwrap();
    let waiting = tokio::spawn({
        let job = job.clone();
        async move { job.outcome_timeout(TIMEOUT).await }
    });
    // This wait takes 50 ms. By its end the task above has registered its wait.
    let early = job.outcome_timeout(Duration::from_millis(50)).await;
    assert!(matches!(early, Err(OutcomeError::TimedOut { .. })), "{early:?}");
    let mut retention = Retention::default();
    retention.completed = None;
    let queue = Queue::new("orders").unwrap().retention(retention);
    let runtime = Runtime::builder().shared_store(store).queue(queue.handler(order)).start().await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), Outcome::Completed { output: None });
    assert_eq!(
        job.outcome().await.unwrap(),
        Outcome::Completed { output: None },
        "a client that asks again soon gets the outcome"
    );
    let unawaited = orders.enqueue(Order { number: 6 }).await.unwrap();
    // By polls: to wait for its outcome would register the wait.
    let is_gone = async {
        while runtime.operator().job(&unawaited.queue, &unawaited.id).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, is_gone).await.unwrap();
    assert_eq!(
        unawaited.outcome().await.unwrap(),
        Outcome::NotKept,
        "a client that asks for the first time after the end is too late"
    );
    runtime.shutdown().await.unwrap();
}

async fn stores_a_bulk_in_order(queue: &QueueHandle) {
    let jobs = (0..450).map(|number| JobRequest::new(Order { number: number * 2 }).id(format!("bulk-{number}")));
    let receipts = queue.enqueue_all(jobs).await.unwrap();
    assert!(
        receipts
            .iter()
            .enumerate()
            .all(|(n, receipt)| receipt.created && receipt.id.to_string() == format!("bulk-{n}"))
    );
    assert_eq!(receipts.len(), 450);
    let typed = queue.enqueue_all([Order { number: 6 }, Order { number: 8 }]).await.unwrap();
    assert_eq!(typed.len(), 2);
    let sealed = retraced::seal_job(&Order { number: 10 }, &Default::default()).unwrap();
    let twice = queue.enqueue_all([sealed.clone(), sealed]).await.unwrap();
    assert_eq!((twice[0].created, twice[1].created), (true, false));
    assert!(queue.enqueue_all(Vec::<Order>::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_bulk_has_one_receipt_per_job_in_order_through_a_client_and_through_a_runtime() {
    let client = Client::new(MemoryStore::new());
    stores_a_bulk_in_order(&client.queue("orders").unwrap()).await;
    let runtime = start(Arc::new(MemoryStore::new())).await;
    stores_a_bulk_in_order(&runtime.queue("orders").unwrap().enqueue_timeout(TIMEOUT)).await;
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_enqueue_may_wait_for_ever() {
    let (client, runtime) = (Client::new(MemoryStore::new()), start(Arc::new(MemoryStore::new())).await);
    for queue in [client.queue("orders").unwrap(), runtime.queue("orders").unwrap()] {
        let queue = queue.enqueue_timeout(Duration::MAX);
        // More than are sent at once, so that some wait in the buffer.
        let enqueues = (0..5).map(|number| queue.enqueue(Order { number: 2 * number }));
        let jobs = tokio::time::timeout(TIMEOUT, futures_util::future::try_join_all(enqueues)).await.unwrap().unwrap();
        assert!(jobs.iter().all(|job| job.created));
    }
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_bulk_with_a_job_that_cannot_be_sealed_stores_none() {
    let client = Client::new(MemoryStore::new());
    let orders = client.queue("orders").unwrap();
    let jobs = ["order-1", "order 2"].map(|id| JobRequest::new(Order { number: 2 }).id(id));
    let refused = orders.enqueue_all(jobs).await.unwrap_err();
    assert!(matches!(refused.error, EnqueueError::InvalidId(_)), "{refused}");
    assert!(refused.stored.is_empty() && refused.remaining.is_empty());
    let outcome = orders.outcome(&"order-1".parse().unwrap(), TIMEOUT).await.unwrap();
    assert_eq!(outcome, Outcome::NotKept);
}

#[tokio::test]
async fn a_second_shutdown_waits_for_the_first_and_later_jobs_are_refused() {
    let runtime = start(Arc::new(MemoryStore::new())).await;
    let (one, two) = tokio::join!(runtime.shutdown(), runtime.shutdown());
    assert_eq!(one.unwrap(), two.unwrap());
    runtime.wait().await.unwrap();
    let late = runtime.queue("orders").unwrap().enqueue(Order { number: 2 }).await;
    assert!(matches!(&late, Err(EnqueueError::ShuttingDown { queue }) if queue.as_str() == "orders"), "{late:?}");
    assert!(!late.unwrap_err().is_retryable());
    let failed = runtime.queue("orders").unwrap().enqueue_all([Order { number: 2 }]).await.unwrap_err();
    assert_eq!((failed.stored.len(), failed.remaining.len()), (0, 1));
}

#[tokio::test]
async fn a_runtime_dropped_without_a_shutdown_leaves_no_enqueue_beyond_its_timeout() {
    const SHORT: Duration = Duration::from_millis(500);
    let runtime = start(Arc::new(MemoryStore::new())).await;
    let queue = runtime.queue("orders").unwrap();
    drop(runtime);
    let begun = Instant::now();
    let late =
        tokio::time::timeout(TIMEOUT, queue.job(Order { number: 2 }).enqueue_timeout(SHORT).enqueue()).await.unwrap();
    // The threads of the runtime end in the background: the job is refused, or it entered the buffer just before the end.
    let ended = |error: &EnqueueError| {
        matches!(error, EnqueueError::ShuttingDown { .. } | EnqueueError::OutcomeUnknown { timeout: SHORT, .. })
    };
    assert!(late.as_ref().is_err_and(ended), "{late:?}");
    assert!(begun.elapsed() <= SHORT * 3, "took {:?}", begun.elapsed());
}
