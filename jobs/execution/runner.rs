//! The pipeline itself, and the settlements that are made without a handler's result.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::ended::Ran;
use super::panic::Caught;
use super::rules::KindRules;
use super::run::run;
use super::{AttemptOutcome, HandlerPanic, Layers, Rules};
use crate::codec::{self, CodecError, ENVELOPE_OVERHEAD_MAX, Envelope};
use crate::context::{About, Context, LeaseWatch, Notes, Stop};
use crate::enqueue::{NoProducers, Producers};
use crate::failure::{Class, Code, Failure, bounded};
use crate::handler::{Handlers, JobDefaults, Output, RawJob, States};
use crate::job::{InstanceId, QueueName};
use crate::retry::{Decision, InvalidRetry, Outcome, Retry, decide};
use crate::store::{ClaimedJob, Settlement, Verdict};
use crate::trace::{AttemptLog, Ended, ExecutorId, LOG_LINE_BYTES_MAX, Released};

/// Runs the attempts of one queue.
pub struct Runner {
    queue: QueueName,
    handlers: Arc<Handlers>,
    states: Arc<States>,
    producers: Arc<dyn Producers>,
    rules: Rules,
    layers: Layers,
    instance: InstanceId,
}

/// What an attempt needs from outside: the grant, who runs it, and the randomness of its retry.
#[derive(Debug)]
pub struct AttemptInput {
    /// The grant.
    pub job: ClaimedJob,
    /// Who runs it.
    pub executor: ExecutorId,
    /// The store's clock, in ms since the Unix epoch.
    pub started_ms: u64,
    /// The lease, shared with the lease keeper.
    pub lease: Arc<LeaseWatch>,
    /// A draw from −1000 to 1000 for the retry's jitter.
    pub jitter: i16,
}

/// Who ran an attempt, since when, and for how long.
#[derive(Clone, Copy)]
struct By {
    executor: ExecutorId,
    started_ms: u64,
    ran: Duration,
}

/// An attempt that is over, before it is settled what becomes of its job.
struct Over<'a> {
    job: &'a ClaimedJob,
    by: By,
    retry: Retry,
    jitter: i16,
    notes: Notes,
}

/// The rules one job is run by.
struct JobRules {
    retry: Retry,
    timeout: Duration,
    keep_completed: bool,
    /// Why its own retry numbers were not used.
    refused: Option<InvalidRetry>,
}

/// What is known of a panic beside its message.
#[derive(Default)]
struct Scene {
    place: Option<String>,
    backtrace: Option<String>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("queue", &self.queue).field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Runner {
    /// A runner of these handlers under these rules.
    #[must_use]
    pub fn new(
        queue: QueueName,
        handlers: Arc<Handlers>,
        states: Arc<States>,
        rules: Rules,
        instance: InstanceId,
    ) -> Self {
        Self { queue, handlers, states, producers: Arc::new(NoProducers), rules, layers: Layers::default(), instance }
    }

    /// Lets handlers enqueue jobs through their contexts. Without it they are refused with [`EnqueueError::NoProducer`](crate::enqueue::EnqueueError::NoProducer).
    #[must_use]
    pub fn with_producers(mut self, producers: Arc<dyn Producers>) -> Self {
        self.producers = producers;
        self
    }

    /// With these layers around every attempt. Default: none.
    #[must_use]
    pub fn layers(mut self, layers: Layers) -> Self {
        self.layers = layers;
        self
    }

    /// The handlers it runs.
    #[must_use]
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// Runs one attempt to its end. Never panics.
    ///
    /// # Cancel safety
    /// Dropping it drops the handler at its present await, and asks what it left running to stop; nothing is settled.
    pub async fn attempt(&self, input: AttemptInput) -> AttemptOutcome {
        let AttemptInput { job, executor, started_ms, lease, jitter } = input;
        let begun = Instant::now();
        let over = |ran, retry, notes| Over { job: &job, by: By { executor, started_ms, ran }, retry, jitter, notes };
        let unstarted = || over(Duration::ZERO, self.rules.retry, Notes::default());
        let envelope = match self.decode(&job) {
            Ok(envelope) => envelope,
            Err(error) if error.is_newer() => {
                return self.not_for_us(unstarted(), Code::DecodeFailed, error.to_string(), error.to_string());
            }
            Err(error) => {
                return self.failed(unstarted(), &Failure::permanent(Code::DecodeFailed, error), Scene::default());
            }
        };
        let Some(found) = self.handlers.find(&envelope.kind) else {
            let text = format!("no worker of queue \"{}\" knows kind \"{}\"", self.queue, envelope.kind);
            return self.not_for_us(unstarted(), Code::UnknownKind, envelope.kind.to_string(), text);
        };
        let JobRules { retry, timeout: limit, keep_completed, refused } = self.rules_of(&envelope, &found.defaults);
        let about = About {
            id: job.id.clone(),
            queue: self.queue.clone(),
            kind: envelope.kind.clone(),
            counters: job.counters,
            max_attempts: retry.attempts_max(),
            enqueued_ms: job.enqueued_ms,
            started_ms,
        };
        let ctx = Context::new(about, begun, self.states.clone(), self.producers.clone(), lease.clone());
        if let Some(refused) = refused {
            ctx.log(format!("the job's own retry numbers were refused, its queue's are used: {refused}"));
        }
        let raw =
            RawJob { queue: self.queue.clone(), id: job.id.clone(), kind: envelope.kind, payload: envelope.payload };
        let ended = run(&found.handler, &self.layers, raw, ctx.clone(), &lease, limit).await;
        let over = over(begun.elapsed(), retry, ctx.take_notes());
        match ended {
            Ran::Returned(Ok(output)) => self.completed(&over, keep_completed, output),
            Ran::Returned(Err(failure)) => self.unsuccessful(over, &failure, lease.stopped(), None).await,
            Ran::Panicked(caught) => {
                let failure = Failure::temporary(Code::Panic, caught.message.clone());
                self.unsuccessful(over, &failure, lease.stopped(), Some(caught)).await
            }
            Ran::TimedOut(caught) => {
                let mut text = format!("the handler ran longer than its timeout of {limit:?}");
                if let Some(caught) = &caught {
                    text = format!("{text}, and panicked while it was dropped: {}", caught.message);
                }
                let failure = Failure::temporary(Code::Timeout, text);
                self.unsuccessful(over, &failure, lease.stopped(), caught).await
            }
            Ran::NotRun(reason) => self.released(over, reason, Duration::ZERO),
        }
    }

    /// The settlement of a job that is taken from its executor, or from the waiting ones, by a shutdown or restart.
    #[must_use]
    pub fn interrupted(&self, job: &ClaimedJob, by: Option<(ExecutorId, u64, Duration)>) -> Settlement {
        let record = by.map(|(executor, started_ms, ran)| {
            let released = Ended::Released { reason: Released::Interrupted, delay_ms: 0 };
            self.record(By { executor, started_ms, ran }, released, Notes::default())
        });
        settlement(job, Verdict::ReleaseNow, record.unwrap_or_default())
    }

    /// The settlement of a job that waited too long for an executor.
    #[must_use]
    pub fn unstarted(&self, job: &ClaimedJob) -> Settlement {
        settlement(job, Verdict::ReleaseNow, Bytes::new())
    }

    /// The settlement of a job that is released with a delay, without a charge.
    #[must_use]
    pub fn put_off(&self, job: &ClaimedJob, delay: Duration) -> Settlement {
        settlement(job, Verdict::ReleaseAfter { delay }, Bytes::new())
    }

    /// The settlement of an attempt whose handler ignores its timeout.
    #[must_use]
    pub fn timed_out(
        &self,
        job: &ClaimedJob,
        executor: ExecutorId,
        started_ms: u64,
        ran: Duration,
        jitter: i16,
    ) -> Settlement {
        let retry = self.decode(job).map_or(self.rules.retry, |envelope| {
            let none = JobDefaults::new();
            let kind = self.handlers.find(&envelope.kind).map_or(&none, |found| &found.defaults);
            self.rules_of(&envelope, kind).retry
        });
        let text = format!(
            "the handler ignored its timeout and still runs after {ran:.0?}; this attempt and the next may overlap"
        );
        let failure = Failure::temporary(Code::Timeout, text);
        let by = By { executor, started_ms, ran };
        self.failed(Over { job, by, retry, jitter, notes: Notes::default() }, &failure, Scene::default()).settlement
    }

    fn decode(&self, job: &ClaimedJob) -> Result<Envelope, CodecError> {
        let most = self.rules.payload_bytes_max;
        let refuse = |what: &str, size: usize| {
            CodecError::new(format!("the {what} has {size} bytes, this worker takes payloads of at most {most}"))
        };
        if job.envelope.len() > most.saturating_add(ENVELOPE_OVERHEAD_MAX) {
            return Err(refuse("envelope", job.envelope.len()));
        }
        let envelope = codec::open(&job.envelope)?;
        if envelope.payload.len() > most {
            return Err(refuse("payload", envelope.payload.len()));
        }
        Ok(envelope)
    }

    /// The kind's defaults, overridden by what the queue sets, overridden by what the job asks for. Retry numbers out of bounds, which no producer of ours
    /// seals, are all ignored.
    fn rules_of(&self, envelope: &Envelope, kind: &JobDefaults) -> JobRules {
        let KindRules { retry, timeout, keep_completed } = self.rules.of_kind(kind);
        let timeout = envelope.timeout_ms.filter(|ms| *ms > 0).map_or(timeout, Duration::from_millis);
        let (retry, refused) = match retry.overridden_by(&envelope.retry).validate() {
            Ok(own) => (own, None),
            Err(refused) => (retry, Some(refused)),
        };
        JobRules { retry, timeout, keep_completed, refused }
    }

    fn completed(&self, over: &Over<'_>, keep: bool, output: Output) -> AttemptOutcome {
        let output = output.into_bytes();
        // The log of a job that completes is not kept: its record stays small.
        let record = match keep {
            true => self.record(over.by, Ended::Completed { output: output.clone() }, Notes::default()),
            false => Bytes::new(),
        };
        AttemptOutcome { output, ..outcome(over.job, over.by, Verdict::Complete { keep }, record, None) }
    }

    /// What an error, a panic or a timeout means depends on whether the handler was asked to stop. A wish to cancel counts before everything; a panic counts
    /// as one even during a shutdown.
    async fn unsuccessful(
        &self,
        over: Over<'_>,
        failure: &Failure,
        stopped: Option<Stop>,
        caught: Option<Caught>,
    ) -> AttemptOutcome {
        let (mut scene, mut panic) = (Scene::default(), None);
        if let Some(mut caught) = caught {
            scene = Scene { backtrace: caught.render().await, place: caught.place.clone() };
            let caught = HandlerPanic {
                queue: self.queue.clone(),
                job: over.job.id.clone(),
                attempt: over.job.token.attempt,
                message: caught.message,
                place: caught.place,
            };
            caught.print_unless_traced();
            panic = Some(caught);
        }
        let outcome = match (stopped, failure.snoozed_for()) {
            (Some(Stop::Cancelled), _) => self.cancelled(over, failure, scene),
            (_, Some(delay)) => self.released(over, Released::Snoozed, delay),
            (Some(Stop::Shutdown), None) if panic.is_none() => {
                self.released(over, Released::Interrupted, Duration::ZERO)
            }
            _ => self.failed(over, failure, scene),
        };
        AttemptOutcome { panic, ..outcome }
    }

    fn cancelled(&self, over: Over<'_>, failure: &Failure, scene: Scene) -> AttemptOutcome {
        let ended = failed(Code::Cancelled, failure, scene, None);
        let record = self.record(over.by, ended, over.notes);
        outcome(over.job, over.by, Verdict::Cancel, record, Some((Code::Cancelled, Class::Unknown)))
    }

    fn released(&self, over: Over<'_>, reason: Released, delay: Duration) -> AttemptOutcome {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let record = self.record(over.by, Ended::Released { reason, delay_ms }, over.notes);
        let verdict = match reason {
            Released::Interrupted | Released::Unstarted => Verdict::ReleaseNow,
            // Even without a delay they go behind the others, or one job could keep the queue to itself.
            Released::UnknownKind | Released::Snoozed => Verdict::ReleaseAfter { delay },
        };
        outcome(over.job, over.by, verdict, record, None)
    }

    /// A newer worker may know what to do with this job: it is released with a delay, up to a cap.
    fn not_for_us(&self, over: Over<'_>, code: Code, shown: String, text: String) -> AttemptOutcome {
        let ended = if over.job.counters.releases >= self.rules.unknown_kind_releases_max {
            let failure = Failure::new(code, text);
            let record = self.record(over.by, failed(code, &failure, Scene::default(), None), over.notes);
            outcome(over.job, over.by, Verdict::Abandon, record, Some((code, failure.class())))
        } else {
            self.released(over, Released::UnknownKind, self.rules.unknown_kind_delay)
        };
        AttemptOutcome { unknown_kind: Some(shown), ..ended }
    }

    fn failed(&self, over: Over<'_>, failure: &Failure, scene: Scene) -> AttemptOutcome {
        let n = over.job.counters.attempt();
        let class = self.rules.on_unknown.treats(failure.class());
        let decision = Decision {
            class_unknown: failure.class() == Class::Unknown && class == Class::Temporary,
            ..decide(&over.retry, n, class, failure.asked_delay(), over.jitter)
        };
        let verdict = match decision.outcome {
            Outcome::Retry => Verdict::Retry { delay: Duration::from_millis(decision.delay_ms) },
            Outcome::Dead => Verdict::Bury,
            Outcome::Poisoned => Verdict::Poison,
        };
        let ended = failed(failure.code(), failure, scene, Some(Box::new(decision)));
        let record = self.record(over.by, ended, over.notes);
        let why = Some(bounded(failure.message(), LOG_LINE_BYTES_MAX));
        let reported = Some((failure.code(), failure.class()));
        AttemptOutcome { why, ..outcome(over.job, over.by, verdict, record, reported) }
    }

    fn record(&self, by: By, ended: Ended, notes: Notes) -> Bytes {
        codec::encode_attempt(&AttemptLog {
            instance: self.instance,
            executor: by.executor,
            started_ms: by.started_ms,
            ran_ms: u64::try_from(by.ran.as_millis()).unwrap_or(u64::MAX),
            ended,
            lines: notes.lines,
            lines_dropped: notes.dropped,
            progress: notes.progress,
        })
    }
}

fn settlement(job: &ClaimedJob, verdict: Verdict, record: Bytes) -> Settlement {
    Settlement { id: job.id.clone(), token: job.token, verdict, record }
}

fn outcome(
    job: &ClaimedJob,
    by: By,
    verdict: Verdict,
    record: Bytes,
    failure: Option<(Code, Class)>,
) -> AttemptOutcome {
    let settlement = settlement(job, verdict, record);
    AttemptOutcome { settlement, panic: None, unknown_kind: None, failure, why: None, output: None, ran: by.ran }
}

fn failed(code: Code, failure: &Failure, scene: Scene, decision: Option<Box<Decision>>) -> Ended {
    let (message, chain) = (failure.message().to_owned(), failure.chain().to_vec());
    Ended::Failed { code, message, chain, place: scene.place, backtrace: scene.backtrace, decision }
}
