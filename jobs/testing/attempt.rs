//! An attempt without a worker, for tests: gives a handler its arguments, and records what the handler did.

use std::sync::Arc;

use tokio::time::Instant;

use crate::context::{AttemptControl, AttemptInfo, Context, States, Stop};
use crate::handler::FromContext;
use crate::job::{Counters, JobId, Kind, QueueName};
use crate::limits::{TEST_LEASE, TEST_START_MS};
use crate::typed_job::Job;

use super::recorder::Recorder;

/// Describes an attempt and builds it, so that a test can call the handler with its context and other arguments.
///
/// ```
/// use retraced_jobs::context::Stop;
/// use retraced_jobs::failure::{Class, Code, Failure};
/// use retraced_jobs::handler::{Attempt, State, StopRequest};
/// use retraced_jobs::context::Context;
/// use retraced_jobs::testing::{TestAttempt, TestContext};
///
/// struct Limits { rows: u32 }
///
/// async fn import(rows: u32, ctx: Context, limits: State<Limits>, attempt: Attempt, stop: StopRequest) -> Result<(), Failure> {
///     if let Some(why) = stop.reason() {
///         return Err(Failure::new(Code::Interrupted, format!("stopped: {why:?}")));
///     }
///     if rows > limits.rows {
///         return Err(Failure::permanent(Code::InvalidJobData, "too many rows"));
///     }
///     ctx.log(format!("attempt {} of {}", attempt.number, attempt.max));
///     ctx.progress(100, "done");
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let test: TestAttempt = TestContext::new().attempt(3).state(Limits { rows: 10 }).build();
/// import(7, test.context(), test.extract(), test.extract(), test.extract()).await.unwrap();
/// assert_eq!(test.logged(), ["attempt 3 of 5"]);
/// assert_eq!(test.progress(), Some((100, "done".into())));
///
/// let refused = import(11, test.context(), test.extract(), test.extract(), test.extract()).await.unwrap_err();
/// assert_eq!(refused.class(), Class::Permanent);
///
/// test.stop(Stop::Shutdown);
/// let stopped = import(7, test.context(), test.extract(), test.extract(), test.extract()).await.unwrap_err();
/// assert_eq!(stopped.message(), "stopped: Shutdown");
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct TestContext {
    id: String,
    queue: String,
    kind: String,
    attempt: u32,
    max_attempts: u32,
    states: States,
}

impl Default for TestContext {
    fn default() -> Self {
        Self::new()
    }
}

impl TestContext {
    /// The first of 5 attempts of job `test-job` of kind `test` in queue `test`, without shared values.
    pub fn new() -> Self {
        Self {
            id: "test-job".into(),
            queue: "test".into(),
            kind: "test".into(),
            attempt: 1,
            max_attempts: 5,
            states: States::default(),
        }
    }

    /// The job's id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// The job's queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// The job's kind.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// The number that [`Context::attempt`] returns: failures so far + 1. Default 1; 0 counts as 1.
    pub fn attempt(mut self, number: u32) -> Self {
        self.attempt = number.max(1);
        self
    }

    /// The number that [`Context::max_attempts`] returns. Default 5.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Shares a value with the handler, as `.state(…)` of the runtime's builder does.
    ///
    /// # Panics
    /// When there is a value of this type already.
    #[track_caller]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if let Err(duplicate) = self.states.insert(value) {
            panic!("{duplicate}");
        }
        self
    }

    /// Builds the attempt.
    ///
    /// # Panics
    /// When the id, the queue's name or the kind is not allowed.
    #[must_use]
    #[track_caller]
    pub fn build(self) -> TestAttempt {
        let failures = self.attempt - 1;
        let info = AttemptInfo {
            id: JobId::parse(&self.id).unwrap_or_else(|invalid| panic!("{invalid}")),
            queue: QueueName::new(&self.queue).unwrap_or_else(|invalid| panic!("{invalid}")),
            kind: Kind::new(&self.kind).unwrap_or_else(|invalid| panic!("{invalid}")),
            counters: Counters { attempts: self.attempt, failures, ..Counters::default() },
            max_attempts: self.max_attempts,
            enqueued_ms: TEST_START_MS,
            started_ms: TEST_START_MS,
        };
        let now = Instant::now();
        let control = Arc::new(AttemptControl::new_at(now, now + TEST_LEASE));
        let recorder = Recorder::default();
        let ctx = Context::new(info, now, Arc::new(self.states), Arc::new(recorder.clone()), control.clone());
        TestAttempt { ctx, control, recorder }
    }
}

/// An attempt without a worker: its context, and what the handler did with it.
///
/// Jobs that the handler enqueues are recorded and never run. Each enqueue returns a receipt. Waiting for the outcome of such a job ends at once with
/// [`OutcomeError::TimedOut`](crate::enqueue::OutcomeError::TimedOut).
///
/// ```
/// use retraced_jobs::context::Context;
/// use retraced_jobs::failure::Failure;
/// use retraced_jobs::typed_job::Job;
/// use retraced_jobs::testing::TestContext;
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct SendInvoice { order: u32 }
/// impl Job for SendInvoice { const KIND: &'static str = "invoice.send"; }
///
/// async fn close_order(order: u32, ctx: Context) -> Result<(), Failure> {
///     ctx.enqueue(SendInvoice { order }).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let test = TestContext::new().queue("orders").build();
/// close_order(42, test.context()).await.unwrap();
/// assert_eq!(test.enqueued::<SendInvoice>(), [SendInvoice { order: 42 }]);
/// assert_eq!(test.enqueued_to::<SendInvoice>("orders").len(), 1);
/// # }
/// ```
#[derive(Debug)]
pub struct TestAttempt {
    ctx: Context,
    control: Arc<AttemptControl>,
    recorder: Recorder,
}

impl TestAttempt {
    /// The handler's context.
    #[must_use]
    pub fn context(&self) -> Context {
        self.ctx.clone()
    }

    /// Another argument of the handler: `State<T>`, `Attempt`, an extractor of your own.
    ///
    /// # Panics
    /// When the extractor fails, as `State<T>` does without a value of that type. The message is the failure's.
    #[must_use]
    #[track_caller]
    pub fn extract<E: FromContext>(&self) -> E {
        E::from_context(&self.ctx).unwrap_or_else(|failure| panic!("{}", failure.message()))
    }

    /// The lines that the handler logged so far.
    #[must_use]
    pub fn logged(&self) -> Vec<String> {
        self.ctx.with_notes(|notes| notes.lines.iter().map(|line| line.text.clone()).collect())
    }

    /// The last progress the handler reported: percent and note.
    #[must_use]
    pub fn progress(&self) -> Option<(u8, String)> {
        self.ctx.latest_progress().map(|progress| (progress.percent, progress.note))
    }

    /// The jobs of this kind that the handler has enqueued so far, to any queue, in order. A job that was enqueued again under the same id is listed once.
    ///
    /// # Panics
    /// When the data of such a job is not a `J`.
    #[must_use]
    #[track_caller]
    pub fn enqueued<J: Job>(&self) -> Vec<J> {
        self.recorder.of_kind(|_| true)
    }

    /// [`enqueued`](Self::enqueued), for one queue only.
    ///
    /// # Panics
    /// When the data of such a job is not a `J`.
    #[must_use]
    #[track_caller]
    pub fn enqueued_to<J: Job>(&self, queue: &str) -> Vec<J> {
        self.recorder.of_kind(|name| name.as_str() == queue)
    }

    /// Asks the handler to stop. The first reason stays.
    pub fn stop(&self, why: Stop) {
        match why {
            Stop::LeaseLost => self.control.lose(),
            why => self.control.stop(why),
        }
    }
}
