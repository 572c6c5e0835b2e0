//! The trace: the history of one job with explanations, made from what the store keeps.

mod acts;
mod explain;
mod removed;
mod step;
mod steps;

use std::fmt;

use retraced_jobs::codec;
use retraced_jobs::job::{JobId, QueueName};
use retraced_jobs::store::{JobView, TOMBSTONES_MAX, Tombstone};
use serde::{Serialize, Serializer};

pub use self::step::{TraceEvent, TraceStep};

use crate::operator::{Operator, OperatorError};
use crate::view::{AttemptDetail, JobDetail, duration_text, printable, with_noun};

/// Width of an instant in columns. Steps without an instant, and details of a step, are indented by as much.
const INSTANT_COLUMNS: usize = 24;

/// What happened to one job, in order, with the reason for each retry. `Display` prints it for people, `{:#}` with the backtraces of panics. As data it is a list of
/// [`steps`](Self::steps). Serialized it has the fields of [`JobDetail`], and `steps`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
/// # let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send));
/// # let runtime = builder.start().await?;
/// let receipt = runtime.enqueue(SendEmail { to: "ada@example.com".into() }).await?;
/// let trace: retraced::Trace = runtime.trace(&receipt.id).await?;
/// assert!(trace.to_string().contains("· email.send · queue email ·"), "{trace}");
/// assert_eq!(trace.view().counters.failures, 0);
///
/// use retraced::{TraceEvent, TraceStep};
/// let steps: Vec<TraceStep> = trace.steps();
/// assert_eq!(steps[0].event, TraceEvent::Enqueued);
/// assert_eq!(serde_json::to_value(&trace)?["steps"][0]["event"], "enqueued");
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Trace {
    view: JobView,
}

/// Why a job cannot be traced.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
/// # let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send));
/// # let runtime = builder.start().await?;
/// use retraced::{JobId, TraceError};
/// let Err(TraceError::NotFound { id }) = runtime.trace(&JobId::parse("nobody")?).await else { panic!() };
/// assert_eq!(id.to_string(), "nobody");
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// No job of this id is kept, and nothing is known of one. Perhaps it was never enqueued, or it completed or was cancelled and is no longer kept, or it was removed with its
    /// queue, or at least 1,000 dead, poisoned or discarded jobs were removed from its queue after it.
    NotFound {
        /// The id.
        id: JobId,
    },
    /// No job of this id is kept: retention removed it while it was dead or poisoned, or an operator discarded it.
    Removed(Tombstone),
    /// The store refused or did not answer.
    Operator(OperatorError),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::NotFound { id } => write!(
                f,
                "no job {id} is kept; perhaps it was never enqueued, or it completed or was cancelled and is no longer kept, or it was removed with its queue, or at least {TOMBSTONES_MAX} dead, poisoned or discarded jobs were removed from its queue after it"
            ),
            TraceError::Removed(left) => removed::write(f, left),
            TraceError::Operator(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TraceError::NotFound { .. } | TraceError::Removed(_) => None,
            TraceError::Operator(error) => error.source(),
        }
    }
}

impl TraceError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, TraceError::Operator(error) if error.is_retryable())
    }
}

impl Operator {
    /// The history of a job, with explanations.
    ///
    /// # Errors
    /// [`TraceError`] when no such job is kept in this queue, or the store refuses or does not answer.
    pub async fn trace(&self, queue: &QueueName, id: &JobId) -> Result<Trace, TraceError> {
        match self.job(queue, id).await.map_err(TraceError::Operator)? {
            Some(view) => Ok(Trace::new(view)),
            None => Err(match self.tombstone(queue, id).await.map_err(TraceError::Operator)? {
                Some(left) => TraceError::Removed(left),
                None => TraceError::NotFound { id: id.clone() },
            }),
        }
    }
}

impl Trace {
    pub(crate) fn new(view: JobView) -> Self {
        Self { view }
    }

    /// Everything the store knows about the job.
    #[must_use]
    pub fn view(&self) -> &JobView {
        &self.view
    }

    /// What happened, in order. The last step is the job's present state.
    #[must_use]
    pub fn steps(&self) -> Vec<TraceStep> {
        steps::of(&self.view)
    }
}

impl From<JobView> for Trace {
    fn from(view: JobView) -> Self {
        Self::new(view)
    }
}

impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields {
            #[serde(flatten)]
            job: JobDetail,
            steps: Vec<TraceStep>,
        }
        Fields { job: JobDetail::from(&self.view), steps: self.steps() }.serialize(serializer)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = &self.view;
        let kind = match codec::open(&view.envelope) {
            Ok(envelope) => envelope.kind.to_string(),
            Err(error) => format!("unreadable ({error})"),
        };
        writeln!(f, "job {} · {} · queue {} · {}", view.id, printable(&kind), view.queue, view.state)?;
        let c = view.counters;
        writeln!(
            f,
            "  attempts {} · failures {} · crashes {} · releases {}",
            c.attempts, c.failures, c.crashes, c.releases
        )?;
        let attempts = AttemptDetail::all_of(view);
        for step in self.steps() {
            let attempt = attempts.iter().find(|attempt| step.attempt == Some(attempt.attempt));
            write_step(f, &step, attempt)?;
        }
        Ok(())
    }
}

fn write_step(f: &mut fmt::Formatter<'_>, step: &TraceStep, attempt: Option<&AttemptDetail>) -> fmt::Result {
    let text = printable(&step.text);
    match (step.event, step.at) {
        (TraceEvent::Now, _) => writeln!(f, "now: {text}")?,
        (_, Some(at)) => writeln!(f, "{at}  {text}")?,
        (_, None) => writeln!(f, "{:INSTANT_COLUMNS$}  {text}", "")?,
    }
    let Some(attempt) = attempt else { return Ok(()) };
    write_failure(f, step, attempt)?;
    if let Some(progress) = &attempt.progress {
        write_detail(f, &format!("it reached {progress}"))?;
    }
    if let Some(explanation) = &step.explanation {
        write_detail(f, explanation)?;
    }
    for line in &attempt.log {
        write_detail(f, &format!("+{} {}", duration_text(line.after_ms), line.text))?;
    }
    if let Some(dropped) = attempt.log_dropped {
        let verb = if dropped == 1 { "was" } else { "were" };
        write_detail(f, &format!("… {} {verb} not kept", with_noun(dropped, "more log line")))?;
    }
    Ok(())
}

fn write_failure(f: &mut fmt::Formatter<'_>, step: &TraceStep, attempt: &AttemptDetail) -> fmt::Result {
    if !matches!(step.event, TraceEvent::Failed | TraceEvent::Panicked | TraceEvent::AttemptCancelled) {
        return Ok(());
    }
    write_detail(f, attempt.message.as_deref().unwrap_or_default())?;
    if let Some(location) = &attempt.location {
        write_detail(f, &format!("at {location}"))?;
    }
    for cause in &attempt.chain {
        write_detail(f, &format!("caused by: {cause}"))?;
    }
    let backtrace = attempt.backtrace.iter().filter(|_| f.alternate()).flat_map(|backtrace| backtrace.lines());
    for line in backtrace.collect::<Vec<_>>() {
        write_detail(f, &format!("| {line}"))?;
    }
    Ok(())
}

fn write_detail(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    writeln!(f, "{:INSTANT_COLUMNS$}    {}", "", printable(text))
}
