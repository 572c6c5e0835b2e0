//! Tests of handlers and of what they enqueue, without Redis and without waiting. Only with the feature `testing`.
//!
//! ```toml
//! [dev-dependencies]
//! retraced = { path = "…", features = ["testing"] } # the path of the dependency itself
//! tokio = { version = "1", features = ["macros", "rt", "test-util"] }
//! ```
//!
//! There are two ways. [`TestContext`] builds the arguments of a handler, and the test calls the handler as a plain function. [`TestRuntime`] runs the whole supervision
//! tree on a store in memory; in tokio's paused time [`run_until_idle`](TestRuntime::run_until_idle) jumps over every delay, so that a day of retries takes milliseconds.
//!
//! ```
//! use std::time::Duration;
//! use retraced::testing::TestRuntime;
//! use retraced::{Attempt, Code, Failure, Job, Queue, Retry, Runtime};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct SendEmail { to: String }
//! # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
//! async fn send(job: SendEmail, attempt: Attempt) -> Result<(), Failure> {
//!     match (job.to.as_str(), attempt.number) {
//!         ("nobody", _) => Err(Failure::permanent(Code::InvalidJobData, "no such user")),
//!         (_, 1..3) => Err(Failure::temporary(Code::NetworkError, "connection reset")),
//!         _ => Ok(()),
//!     }
//! }
//!
//! # fn main() { tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(retries()) }
//! // #[tokio::test(start_paused = true)]
//! async fn retries() {
//!     let retry = Retry::fixed().base(Duration::from_secs(60 * 60)).max_delay(Retry::DELAY_MAX);
//!     let test = TestRuntime::start(Runtime::builder().queue(Queue::new("email").unwrap().handler(send).retry(retry))).await;
//!     let ada = test.enqueue("email", SendEmail { to: "ada".into() }).await;
//!     let nobody = test.enqueue("email", SendEmail { to: "nobody".into() }).await;
//!
//!     test.run_until_idle().await; // two retries, about an hour apart, at once
//!
//!     test.assert_completed(&ada).await;
//!     test.assert_poisoned(&nobody, Code::InvalidJobData).await;
//!     assert_eq!(test.job(&ada).await.counters.failures, 2);
//!     assert_eq!(test.enqueued::<SendEmail>().await.len(), 2);
//! }
//! ```

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::clock::TokioClock;
use retraced_jobs::codec;
use retraced_jobs::enqueue::IntoNewJob;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{JobSummary, JobView, QueueStats};
use retraced_jobs::testing::TEST_START_MS;
use retraced_jobs::typed_job::Job;
use tokio::runtime::Handle;

pub use retraced_jobs::testing::{TestAttempt, TestContext};

use crate::builder::RuntimeBuilder;
use crate::client::Client;
use crate::limits::{IDLE_POLLS_MAX, IDLE_STEP_MAX, IDLE_STEP_MIN, TEST_PAGE_JOBS_MAX};
use crate::runtime::Runtime;

/// A [`Runtime`] on a [`MemoryStore`] that uses tokio's clock. Start it in paused time, as in `#[tokio::test(start_paused = true)]`.
///
/// Its methods panic where a test would `unwrap`.
#[derive(Debug)]
pub struct TestRuntime {
    runtime: Runtime,
    store: MemoryStore,
}

impl TestRuntime {
    /// Starts a runtime with these queues, on a new store. A store that was given to the builder is replaced.
    ///
    /// # Panics
    /// With the [`BuildError`](crate::BuildError) when the builder is refused. When called outside of a tokio runtime.
    pub async fn start(builder: RuntimeBuilder) -> Self {
        let clock = Arc::new(TokioClock::starting_at(TEST_START_MS));
        let store = MemoryStore::with_clock(clock.clone());
        let builder = builder.store(store.clone()).clock(clock).tree_runtime(Handle::current());
        match builder.start().await {
            Ok(runtime) => Self { runtime, store },
            Err(refused) => panic!("the runtime did not start: {refused}"),
        }
    }

    /// The runtime itself, for what has no shortcut here.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A producer on the same store, to pass to the code under test. It can also enqueue to queues that this runtime does not have.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.store.clone())
    }

    /// Enqueues a job to one of the runtime's queues: a typed job, or a [`JobRequest`](crate::JobRequest) with an id, a delay or a policy of its own.
    ///
    /// # Panics
    /// When the runtime has no such queue, or the job is not accepted.
    pub async fn enqueue(&self, queue: &str, job: impl IntoNewJob) -> JobId {
        let queue = self.runtime.queue(queue).unwrap_or_else(|unknown| panic!("{unknown}"));
        queue.enqueue(job).await.unwrap_or_else(|refused| panic!("the job was not enqueued: {refused}")).id.clone()
    }

    /// Runs until no job of the runtime's queues is pending, delayed or processing. When only delayed jobs are left, the clock jumps to the first due time.
    ///
    /// # Panics
    /// When it has to jump and tokio's time is not paused. When jobs are left after 5,000 polls, with a jump or up to 1 s between two polls: for example in a paused
    /// queue, or with a handler that always snoozes. The message names the queues.
    pub async fn run_until_idle(&self) {
        let mut step = IDLE_STEP_MIN;
        for _ in 0..IDLE_POLLS_MAX {
            match self.remaining().await {
                Remaining::Nothing => return,
                Remaining::Delayed(first_due) => {
                    tokio::time::advance(first_due).await;
                    step = IDLE_STEP_MIN;
                }
                Remaining::Active => {
                    tokio::time::sleep(step).await;
                    step = (step * 2).min(IDLE_STEP_MAX);
                }
            }
        }
        panic!("jobs that do not end: {}", self.describe_remaining().await.join("; "));
    }

    /// A job of one of the runtime's queues, with its history.
    ///
    /// # Panics
    /// When none of these queues keeps such a job.
    pub async fn job(&self, id: &JobId) -> JobView {
        match self.runtime.trace(id).await {
            Ok(trace) => trace.view().clone(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Asserts that a job has completed.
    ///
    /// # Panics
    /// With the job's whole trace when it has not, and when none of the runtime's queues keeps it.
    pub async fn assert_completed(&self, id: &JobId) {
        self.assert_ended(id, JobState::Completed, None).await;
    }

    /// Asserts that a job is in the dead letter queue, and that its last error has this code.
    ///
    /// # Panics
    /// With the job's whole trace when it is not, and when none of the runtime's queues keeps it.
    pub async fn assert_dead(&self, id: &JobId, code: Code) {
        self.assert_ended(id, JobState::Dead, Some(code)).await;
    }

    /// Asserts that a job is poisoned, and that its last error has this code.
    ///
    /// # Panics
    /// With the job's whole trace when it is not, and when none of the runtime's queues keeps it.
    pub async fn assert_poisoned(&self, id: &JobId, code: Code) {
        self.assert_ended(id, JobState::Poisoned, Some(code)).await;
    }

    /// Asserts that a job is cancelled.
    ///
    /// # Panics
    /// With the job's whole trace when it is not, and when none of the runtime's queues keeps it.
    pub async fn assert_cancelled(&self, id: &JobId) {
        self.assert_ended(id, JobState::Cancelled, None).await;
    }

    /// All jobs of a kind that are kept, in every state and every queue of the store, in the order they were enqueued.
    ///
    /// # Panics
    /// When the envelope of any job cannot be read, or a payload of this kind is not a `J`.
    pub async fn enqueued<J: Job>(&self) -> Vec<J> {
        let mut found = Vec::new();
        for queue in self.queues().await {
            for state in JobState::ALL {
                for job in self.jobs(&queue, state).await {
                    if let Some(decoded) = decoded::<J>(&job) {
                        let view = self
                            .runtime
                            .operator()
                            .job(&queue, &job.id)
                            .await
                            .unwrap_or_else(|error| panic!("{error}"));
                        found.push(((job.enqueued_ms, view.and_then(|view| view.sequence)), decoded));
                    }
                }
            }
        }
        found.sort_by_key(|(order, _)| *order);
        found.into_iter().map(|(_, job)| job).collect()
    }

    /// Ends the runtime. Not needed at the end of a test. Further calls return at once.
    ///
    /// # Panics
    /// When the runtime had ended before because of an error.
    pub async fn shutdown(&self) {
        if let Err(error) = self.runtime.shutdown().await {
            panic!("{error}");
        }
    }

    async fn assert_ended(&self, id: &JobId, state: JobState, code: Option<Code>) {
        let trace = self.runtime.trace(id).await.unwrap_or_else(|error| panic!("{error}"));
        let view = trace.view();
        let last = view.last_error().map(|error| error.code);
        let as_expected = view.state == state && code.is_none_or(|code| last == Some(code));
        let code = code.map_or(String::new(), |code| format!(" with {code}"));
        assert!(as_expected, "job {id} is not {state}{code}:\n{trace}");
    }

    /// Which jobs of the runtime's queues have not ended.
    async fn remaining(&self) -> Remaining {
        let (mut delayed, mut first_due) = (0, Duration::MAX);
        for queue in self.runtime.queue_names() {
            let stats = self.stats(&queue).await;
            let overdue_ms = stats.delayed_overdue_ms.unwrap_or(0);
            if stats.pending + stats.processing > 0 || (stats.delayed > 0 && overdue_ms >= 0) {
                return Remaining::Active;
            }
            delayed += stats.delayed;
            if stats.delayed > 0 {
                first_due = first_due.min(Duration::from_millis(overdue_ms.unsigned_abs()));
            }
        }
        match (self.runtime.running(), delayed) {
            (0, 0) => Remaining::Nothing,
            (0, _) => Remaining::Delayed(first_due),
            _ => Remaining::Active,
        }
    }

    /// The queues with jobs that have not ended, with their numbers, for the panic message of `run_until_idle`.
    async fn describe_remaining(&self) -> Vec<String> {
        let mut queues = Vec::new();
        for queue in self.runtime.queue_names() {
            let stats = self.stats(&queue).await;
            let (pending, delayed, processing) = (stats.pending, stats.delayed, stats.processing);
            if pending + delayed + processing > 0 {
                queues.push(format!("{queue} has {pending} pending, {delayed} delayed, {processing} processing"));
            }
        }
        queues
    }

    async fn stats(&self, queue: &QueueName) -> QueueStats {
        self.runtime.operator().stats(queue).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn queues(&self) -> Vec<QueueName> {
        self.runtime.operator().queues().await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn jobs(&self, queue: &QueueName, state: JobState) -> Vec<JobSummary> {
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let page = self.runtime.operator().jobs(queue, state, from, TEST_PAGE_JOBS_MAX).await;
            let page = page.unwrap_or_else(|error| panic!("{error}"));
            all.extend(page.jobs);
            from = page.next;
            if from.is_none() {
                return all;
            }
        }
    }
}

/// Which jobs have not ended.
enum Remaining {
    Nothing,
    /// Only delayed jobs; the first is due after this long.
    Delayed(Duration),
    /// Jobs that run, can run or are overdue.
    Active,
}

/// The payload as a `J`, if the job is of that kind.
fn decoded<J: Job>(job: &JobSummary) -> Option<J> {
    let envelope = codec::open(&job.envelope).unwrap_or_else(|error| panic!("job {}: {error}", job.id));
    (envelope.kind.as_str() == J::KIND)
        .then(|| codec::from_payload(&envelope.payload).unwrap_or_else(|error| panic!("job {}: {error}", job.id)))
}
