//! Runs attempts from grant to outcome, and makes the settlements of jobs whose handler gave no result.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::ended::HandlerEnd;
use super::panic::CaughtPanic;
use super::rules::{JobRules, KindRules};
use super::run::run;
use super::{AttemptOutcome, HandlerPanic, Layers, Rules};
use crate::codec::{self, CodecError, ENVELOPE_OVERHEAD_MAX, Envelope};
use crate::context::{AttemptControl, AttemptInfo, Context, Notes, States, Stop};
use crate::enqueue::{NoProducers, Producers};
use crate::failure::{Class, Code, Failure, Resource, bounded};
use crate::handler::{HandlerEntry, Handlers, Output, RawJob};
use crate::job::{CurrentInstance, QueueName};
use crate::limits::{
    OUT_OF_RESOURCES_DELAY, UNDECODABLE_DELAY, UNDECODABLE_RELEASES_MAX, UNKNOWN_KIND_DELAY, UNKNOWN_KIND_RELEASES_MAX,
};
use crate::retry::{Decision, OnUndecodable, Retry, RetryOutcome, decide};
use crate::store::{ClaimedJob, Settlement, Verdict};
use crate::trace::{AttemptLog, Ended, ExecutorId, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LogLine, Released};
use crate::typed_job::JobDefaults;
use crate::units::millis;

/// Runs the attempts of one queue.
pub struct Runner {
    queue: QueueName,
    handlers: Arc<Handlers>,
    states: Arc<States>,
    producers: Arc<dyn Producers>,
    rules: Rules,
    /// The largest payload that any of the handlers is given, in bytes.
    payload_bytes_max: usize,
    layers: Layers,
    instance: CurrentInstance,
}

/// The input of an attempt: the grant, the executor, clock readings, and a random number for a retry.
#[derive(Debug)]
pub struct AttemptInput {
    /// The job as it was granted.
    pub job: ClaimedJob,
    /// The executor that runs it.
    pub executor: ExecutorId,
    /// When the attempt starts, on this process's monotonic clock.
    pub started: Instant,
    /// The same instant on the store's clock, in ms since the Unix epoch.
    pub started_ms: u64,
    /// How long the lease lasts and whether the handler must stop, shared with the lease keeper and the watchdog.
    pub control: Arc<AttemptControl>,
    /// A random number from −1000 to 1000 for a retry: its jitter, in thousandths of the largest one that the policy allows.
    pub jitter: i16,
}

/// The executor that ran an attempt, since when, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct RanBy {
    /// The executor.
    pub executor: ExecutorId,
    /// When the attempt started, on the store's clock, in ms since the Unix epoch.
    pub started_ms: u64,
    /// How long it has run.
    pub ran: Duration,
}

/// An attempt that is over, and what is needed to decide what becomes of its job. Its handler may never have run.
struct FinishedAttempt<'a> {
    job: &'a ClaimedJob,
    ran_by: RanBy,
    retry: Retry,
    jitter: i16,
    notes: Notes,
}

/// The envelope of a job, with what this worker has for its kind.
struct OpenedJob<'a> {
    envelope: Envelope,
    handler: Option<&'a HandlerEntry>,
    rules: KindRules,
}

/// Why a job cannot be given to a handler of this worker.
enum Unreadable {
    /// A newer version sealed the envelope.
    NewerVersion(CodecError),
    /// The envelope or its payload is larger than this worker allows.
    TooLarge(CodecError),
    /// No version can read the envelope.
    Damaged(CodecError),
}

/// Where a panic happened; both are `None` for an attempt that did not panic.
#[derive(Default)]
struct PanicDetails {
    location: Option<String>,
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
        instance: impl Into<CurrentInstance>,
    ) -> Self {
        let no_defaults = JobDefaults::new();
        let defaults = handlers.defaults().chain([&no_defaults]);
        let payload_bytes_max = defaults.map(|kind| rules.of_kind(kind).payload_bytes_max).max().unwrap_or(0);
        let (producers, layers) = (Arc::new(NoProducers), Layers::default());
        Self { queue, handlers, states, producers, rules, payload_bytes_max, layers, instance: instance.into() }
    }

    /// Lets handlers enqueue jobs through their contexts. Without producers, an enqueue fails with
    /// [`EnqueueError::NoProducer`](crate::enqueue::EnqueueError::NoProducer).
    #[must_use]
    pub fn with_producers(mut self, producers: Arc<dyn Producers>) -> Self {
        self.producers = producers;
        self
    }

    /// Runs every attempt within these layers. Default: none.
    #[must_use]
    pub fn layers(mut self, layers: Layers) -> Self {
        self.layers = layers;
        self
    }

    /// The handlers that this runner calls.
    #[must_use]
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// Runs one attempt to its end. A panic of the handler is caught.
    ///
    /// # Cancel safety
    /// Dropping the future drops an async handler at its current await. Tasks that the handler spawned, and a blocking handler's thread, are asked to stop.
    /// Nothing is settled.
    pub async fn attempt(&self, input: AttemptInput) -> AttemptOutcome {
        let AttemptInput { job, executor, started, started_ms, control, jitter } = input;
        let ran_by = |ran| RanBy { executor, started_ms, ran };
        let finish = |ran, retry, notes| FinishedAttempt { job: &job, ran_by: ran_by(ran), retry, jitter, notes };
        let not_run = || finish(Duration::ZERO, self.rules.retry.unwrap_or_default(), Notes::default());
        let OpenedJob { envelope, handler, rules } = match self.open(&job) {
            Ok(opened) => opened,
            Err(Unreadable::NewerVersion(error)) => {
                return self.not_runnable_here(not_run(), Code::DecodeFailed, error.to_string(), error.to_string());
            }
            Err(Unreadable::TooLarge(error)) => return self.undecodable(not_run(), &Failure::undecodable(error)),
            Err(Unreadable::Damaged(error)) => {
                return self.failed(not_run(), &Failure::permanent(Code::DecodeFailed, error), PanicDetails::default());
            }
        };
        let Some(found) = handler else {
            let text = format!("this worker has no handler for kind \"{}\" in queue \"{}\"", envelope.kind, self.queue);
            return self.not_runnable_here(not_run(), Code::UnknownKind, envelope.kind.to_string(), text);
        };
        let JobRules { retry, timeout, keep_completed, refused } = rules.of_job(&envelope);
        let info = AttemptInfo {
            id: job.id.clone(),
            queue: self.queue.clone(),
            kind: envelope.kind.clone(),
            counters: job.counters,
            max_attempts: retry.attempts_max(),
            enqueued_ms: job.enqueued_ms,
            started_ms,
        };
        let ctx = Context::new(info, started, self.states.clone(), self.producers.clone(), control.clone());
        if let Some(refused) = refused {
            ctx.log(format!(
                "the job's own retry settings were refused, those of its kind and queue are used: {refused}"
            ));
        }
        let raw = RawJob::new(self.queue.clone(), job.id.clone(), envelope.kind, envelope.payload);
        let end = run(&found.handler, &self.layers, raw, ctx.clone(), &control, timeout).await;
        let finished = finish(started.elapsed(), retry, ctx.take_notes());
        match end {
            HandlerEnd::Returned(Ok(output)) => self.completed(&finished, keep_completed, output),
            HandlerEnd::Returned(Err(failure)) => {
                self.unsuccessful(finished, &failure, control.stop_reason(), None).await
            }
            HandlerEnd::Panicked(caught) => {
                let failure = Failure::temporary(Code::Panic, caught.message.clone());
                self.unsuccessful(finished, &failure, control.stop_reason(), Some(caught)).await
            }
            HandlerEnd::TimedOut(caught) => {
                let failure = Failure::temporary(Code::Timeout, timeout_message(timeout, caught.as_ref()));
                self.unsuccessful(finished, &failure, control.stop_reason(), caught).await
            }
            HandlerEnd::NotRun(reason) => self.released(finished, reason, Duration::ZERO),
        }
    }

    /// The settlement of a job that this worker gives back to the front of its queue: at a shutdown, after its executor ended, when the queue's workers are closed, or to
    /// keep the order of the queue. `ran_by` is `None` if the handler was not started.
    #[must_use]
    pub fn interrupted(&self, job: &ClaimedJob, ran_by: Option<RanBy>) -> Settlement {
        let record = ran_by.map(|ran_by| {
            let released = Ended::Released { reason: Released::Interrupted, delay_ms: 0 };
            self.record(ran_by, released, Notes::default())
        });
        settlement(job, Verdict::ReleaseNow, record.unwrap_or_default())
    }

    /// The settlement of a job that waited too long for an executor, or whose lease expired meanwhile: it is released to the front of its queue.
    #[must_use]
    pub fn unstarted(&self, job: &ClaimedJob) -> Settlement {
        settlement(job, Verdict::ReleaseNow, Bytes::new())
    }

    /// The settlement of a job that a quarantine kept from starting for too long: it is delayed, and that counts as nothing.
    #[must_use]
    pub fn postponed(&self, job: &ClaimedJob, delay: Duration) -> Settlement {
        settlement(job, Verdict::Postpone { delay }, Bytes::new())
    }

    /// The settlement of an attempt whose handler still runs although its timeout has passed. `jitter` is as in [`AttemptInput`].
    #[must_use]
    pub fn timed_out(&self, job: &ClaimedJob, ran_by: RanBy, jitter: i16) -> Settlement {
        let retry = match self.open(job) {
            Ok(OpenedJob { envelope, rules, .. }) => rules.of_job(&envelope).retry,
            Err(_) => self.rules.retry.unwrap_or_default(),
        };
        let text = format!(
            "the handler ignored its timeout and still runs after {:.0?}; this attempt and the next may overlap",
            ran_by.ran
        );
        let failure = Failure::temporary(Code::Timeout, text);
        let finished = FinishedAttempt { job, ran_by, retry, jitter, notes: Notes::default() };
        self.failed(finished, &failure, PanicDetails::default()).settlement
    }

    fn open(&self, job: &ClaimedJob) -> Result<OpenedJob<'_>, Unreadable> {
        let refuse = |what: &str, size: usize, most: usize| {
            let text = format!("the {what} has {size} bytes, this worker takes payloads of at most {most}");
            Unreadable::TooLarge(CodecError::new(text))
        };
        if job.envelope.len() > self.payload_bytes_max.saturating_add(ENVELOPE_OVERHEAD_MAX) {
            return Err(refuse("envelope", job.envelope.len(), self.payload_bytes_max));
        }
        let envelope = codec::open(&job.envelope).map_err(|error| match error.is_newer_version() {
            true => Unreadable::NewerVersion(error),
            false => Unreadable::Damaged(error),
        })?;
        let handler = self.handlers.find(&envelope.kind);
        let rules = handler
            .map_or_else(|| self.rules.of_kind(&JobDefaults::new()), |found| self.rules.of_kind(&found.defaults));
        if envelope.payload.len() > rules.payload_bytes_max {
            return Err(refuse("payload", envelope.payload.len(), rules.payload_bytes_max));
        }
        Ok(OpenedJob { envelope, handler, rules })
    }

    fn completed(&self, finished: &FinishedAttempt<'_>, keep: bool, output: Output) -> AttemptOutcome {
        // Without log lines and progress the record of a job that completes stays small.
        let record = match keep {
            true => self.record(finished.ran_by, Ended::Completed { output: output.into_bytes() }, Notes::default()),
            false => Bytes::new(),
        };
        attempt_outcome(finished.job, finished.ran_by, Verdict::Complete { keep }, record, None)
    }

    /// The outcome after an error, a panic, a timeout or a snooze. It depends on whether the handler was asked to stop, and why. If the job was cancelled, it ends as
    /// `cancelled`. Once a shutdown has asked the handler to stop, only a panic counts as a failure.
    async fn unsuccessful(
        &self,
        finished: FinishedAttempt<'_>,
        failure: &Failure,
        stop_reason: Option<Stop>,
        caught: Option<CaughtPanic>,
    ) -> AttemptOutcome {
        let (mut details, mut panic) = (PanicDetails::default(), None);
        if let Some(mut caught) = caught {
            details = PanicDetails { backtrace: caught.render().await, location: caught.location.clone() };
            let caught = HandlerPanic {
                queue: self.queue.clone(),
                job: finished.job.id.clone(),
                attempt: finished.job.token.attempt,
                message: caught.message,
                location: caught.location,
            };
            caught.print_without_subscriber();
            panic = Some(caught);
        }
        let outcome = match (stop_reason, failure.snoozed_for()) {
            (Some(Stop::Cancelled), _) => self.cancelled(finished, failure, details),
            (_, Some(delay)) => self.released(finished, Released::Snoozed, delay),
            (Some(Stop::Shutdown), None) if panic.is_none() => {
                self.released(finished, Released::Interrupted, Duration::ZERO)
            }
            _ if failure.is_undecodable() => self.undecodable(finished, failure),
            _ if panic.is_none() && failure.exhausted().is_some() => self.out_of_resources(finished, failure),
            _ => self.failed(finished, failure, details),
        };
        AttemptOutcome { panic, ..outcome }
    }

    fn cancelled(&self, finished: FinishedAttempt<'_>, failure: &Failure, details: PanicDetails) -> AttemptOutcome {
        let ended = failed_end(Code::Cancelled, failure, details, None);
        let record = self.record(finished.ran_by, ended, finished.notes);
        // The code of a cancellation has class unknown; here it decides nothing, because the verdict is `Cancel`.
        attempt_outcome(finished.job, finished.ran_by, Verdict::Cancel, record, Some((Code::Cancelled, Class::Unknown)))
    }

    fn released(&self, finished: FinishedAttempt<'_>, reason: Released, delay: Duration) -> AttemptOutcome {
        let delay_ms = millis(delay);
        let record = self.record(finished.ran_by, Ended::Released { reason, delay_ms }, finished.notes);
        let verdict = match reason {
            Released::Interrupted | Released::Unstarted => Verdict::ReleaseNow,
            // With a delay of zero these jobs go to the back of their queue. At its front a job that snoozes again and again would keep the others from running.
            Released::UnknownKind | Released::Undecodable | Released::OutOfResources | Released::Snoozed => {
                Verdict::ReleaseAfter { delay }
            }
        };
        attempt_outcome(finished.job, finished.ran_by, verdict, record, None)
    }

    /// The outcome for a job that this worker cannot run but a newer one may: released with a delay, and rejected after too many releases. `unknown` is what the
    /// worker reports: the kind, or why the envelope cannot be read. `text` is the message of the failure if the job is rejected.
    fn not_runnable_here(
        &self,
        finished: FinishedAttempt<'_>,
        code: Code,
        unknown: String,
        text: String,
    ) -> AttemptOutcome {
        let ended = if finished.job.counters.releases >= UNKNOWN_KIND_RELEASES_MAX {
            let failure = Failure::new(code, text);
            let record =
                self.record(finished.ran_by, failed_end(code, &failure, PanicDetails::default(), None), finished.notes);
            attempt_outcome(finished.job, finished.ran_by, Verdict::Reject, record, Some((code, failure.class())))
        } else {
            self.released(finished, Released::UnknownKind, UNKNOWN_KIND_DELAY)
        };
        AttemptOutcome { unknown_kind: Some(unknown), ..ended }
    }

    /// The outcome for a job whose payload this worker cannot decode: released with a delay, because a worker of another version may decode it; poisoned after too
    /// many releases, or at once where the queue says so ([`OnUndecodable`]).
    fn undecodable(&self, finished: FinishedAttempt<'_>, failure: &Failure) -> AttemptOutcome {
        let put_off = self.rules.on_undecodable == OnUndecodable::PutOff;
        if !put_off || finished.job.counters.releases >= UNDECODABLE_RELEASES_MAX {
            return self.failed(finished, failure, PanicDetails::default());
        }
        let outcome = self.released(with_log_line(finished, failure), Released::Undecodable, UNDECODABLE_DELAY);
        AttemptOutcome { undecodable: Some(bounded(failure.message(), LOG_LINE_BYTES_MAX)), ..outcome }
    }

    /// The outcome of an attempt for which this process lacked a resource: released, or failed if the job was released too often, for whatever reason.
    fn out_of_resources(&self, finished: FinishedAttempt<'_>, failure: &Failure) -> AttemptOutcome {
        let releases_max = failure.exhausted().map_or(0, Resource::releases_max);
        if finished.job.counters.releases >= releases_max {
            return self.failed(finished, failure, PanicDetails::default());
        }
        let message = Some(bounded(failure.message(), LOG_LINE_BYTES_MAX));
        let outcome = self.released(with_log_line(finished, failure), Released::OutOfResources, OUT_OF_RESOURCES_DELAY);
        AttemptOutcome { message, lacked: failure.exhausted(), ..outcome }
    }

    fn failed(&self, finished: FinishedAttempt<'_>, failure: &Failure, details: PanicDetails) -> AttemptOutcome {
        let n = finished.job.counters.attempt();
        let class = self.rules.on_unknown.treats(failure.class());
        let decision = Decision {
            class_unknown: failure.class() == Class::Unknown && class == Class::Temporary,
            ..decide(&finished.retry, n, class, failure.asked_delay(), finished.jitter)
        };
        let verdict = match decision.outcome {
            RetryOutcome::Retry => Verdict::Retry { delay: Duration::from_millis(decision.delay_ms) },
            RetryOutcome::Dead => Verdict::DeadLetter,
            RetryOutcome::Poisoned => Verdict::Poison,
        };
        let ended = failed_end(failure.code(), failure, details, Some(Box::new(decision)));
        let record = self.record(finished.ran_by, ended, finished.notes);
        let message = Some(bounded(failure.message(), LOG_LINE_BYTES_MAX));
        let reported = Some((failure.code(), failure.class()));
        AttemptOutcome { message, ..attempt_outcome(finished.job, finished.ran_by, verdict, record, reported) }
    }

    fn record(&self, ran_by: RanBy, ended: Ended, notes: Notes) -> Bytes {
        codec::encode_attempt(&AttemptLog {
            instance: self.instance.get(),
            executor: ran_by.executor,
            started_ms: ran_by.started_ms,
            ran_ms: millis(ran_by.ran),
            ended,
            lines: notes.lines,
            lines_dropped: notes.lines_dropped,
            progress: notes.progress,
        })
    }
}

/// The attempt with the failure's text as its last log line: a release has no place for an error.
fn with_log_line<'a>(mut finished: FinishedAttempt<'a>, failure: &Failure) -> FinishedAttempt<'a> {
    let text = bounded(failure.message(), LOG_LINE_BYTES_MAX);
    if finished.notes.lines.len() < LOG_LINES_MAX {
        finished.notes.lines.push(LogLine::new(millis(finished.ran_by.ran), text));
    }
    finished
}

fn timeout_message(timeout: Duration, caught: Option<&CaughtPanic>) -> String {
    let message = format!("the handler ran longer than its timeout of {timeout:?}");
    match caught {
        Some(caught) => format!("{message}, and panicked while it was dropped: {}", caught.message),
        None => message,
    }
}

fn settlement(job: &ClaimedJob, verdict: Verdict, record: Bytes) -> Settlement {
    Settlement { id: job.id.clone(), token: job.token, verdict, record }
}

fn attempt_outcome(
    job: &ClaimedJob,
    ran_by: RanBy,
    verdict: Verdict,
    record: Bytes,
    failure: Option<(Code, Class)>,
) -> AttemptOutcome {
    let settlement = settlement(job, verdict, record);
    let (unknown_kind, undecodable, lacked) = (None, None, None);
    AttemptOutcome {
        settlement,
        panic: None,
        unknown_kind,
        undecodable,
        lacked,
        failure,
        message: None,
        ran: ran_by.ran,
    }
}

fn failed_end(code: Code, failure: &Failure, details: PanicDetails, decision: Option<Box<Decision>>) -> Ended {
    let (message, chain) = (failure.message().to_owned(), failure.chain().to_vec());
    Ended::Failed { code, message, chain, location: details.location, backtrace: details.backtrace, decision }
}
