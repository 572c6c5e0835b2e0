//! The pipeline itself, and the settlements that are made without a handler's word.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::panic::Caught;
use super::run::{Ran, run};
use super::{AttemptOutcome, HandlerPanic, Rules};
use crate::codec::{self, Envelope};
use crate::context::{About, Context, LeaseWatch, Notes, Stop};
use crate::failure::{Class, Code, Failure};
use crate::handler::{Handlers, RawJob, States};
use crate::job::{Incarnation, QueueName};
use crate::retry::{Outcome, Retry, decide};
use crate::store::{ClaimedJob, Settlement, Verdict};
use crate::trace::{AttemptLog, Ended, ExecutorId, Released};

/// Runs the attempts of one queue.
#[derive(Debug)]
pub struct Runner {
    queue: QueueName,
    handlers: Arc<Handlers>,
    states: Arc<States>,
    rules: Rules,
    incarnation: Incarnation,
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

impl Runner {
    /// A runner of these handlers under these rules.
    #[must_use]
    pub fn new(
        queue: QueueName,
        handlers: Arc<Handlers>,
        states: Arc<States>,
        rules: Rules,
        incarnation: Incarnation,
    ) -> Self {
        Self { queue, handlers, states, rules, incarnation }
    }

    /// Runs one attempt to its end. Never panics; dropping it drops the handler at its present await.
    pub async fn attempt(&self, input: AttemptInput) -> AttemptOutcome {
        let AttemptInput { job, executor, started_ms, lease, jitter } = input;
        let begun = Instant::now();
        let by = |ran| By { executor, started_ms, ran };
        let envelope = match self.decode(&job) {
            Ok(envelope) => envelope,
            Err(failure) => {
                return self.failed(&job, by(Duration::ZERO), &self.rules.retry, jitter, failure, Notes::default());
            }
        };
        let Some(handler) = self.handlers.find(&envelope.kind) else {
            return self.unknown_kind(&job, by(Duration::ZERO), &envelope);
        };
        let (retry, limit) = self.options_of(&envelope);
        let about = About {
            id: job.id.clone(),
            queue: self.queue.clone(),
            kind: envelope.kind.clone(),
            counters: job.counters,
            max_attempts: retry.attempts_max(),
            enqueued_ms: job.enqueued_ms,
            started_ms,
        };
        let ctx = Context::new(about, self.states.clone(), lease.clone());
        let raw =
            RawJob { queue: self.queue.clone(), id: job.id.clone(), kind: envelope.kind, payload: envelope.payload };
        let ended = run(handler, raw, ctx.clone(), &lease, limit).await;
        let by = by(begun.elapsed());
        let notes = ctx.take_notes();
        match ended {
            Ran::Returned(Ok(())) => self.completed(&job, by),
            Ran::Returned(Err(failure)) => self.returned(&job, by, &retry, jitter, failure, notes, lease.stopped()),
            Ran::TimedOut => {
                let failure =
                    Failure::temporary(Code::Timeout, format!("the handler ran longer than its timeout of {limit:?}"));
                self.failed(&job, by, &retry, jitter, failure, notes)
            }
            Ran::Panicked(caught) => self.panicked(&job, by, &retry, jitter, caught, notes).await,
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
        let retry = self.decode(job).map_or(self.rules.retry, |envelope| self.options_of(&envelope).0);
        let text = format!(
            "the handler ignored its timeout and still runs after {ran:.0?}; this attempt and the next may overlap"
        );
        let failure = Failure::temporary(Code::Timeout, text);
        self.failed(job, By { executor, started_ms, ran }, &retry, jitter, failure, Notes::default()).settlement
    }

    fn decode(&self, job: &ClaimedJob) -> Result<Envelope, Failure> {
        let envelope = codec::open(&job.envelope).map_err(|error| Failure::permanent(Code::DecodeFailed, error))?;
        let (size, most) = (envelope.payload.len(), self.rules.payload_bytes_max);
        if size > most {
            let text = format!("the payload has {size} bytes, this worker takes at most {most}");
            return Err(Failure::permanent(Code::DecodeFailed, text));
        }
        Ok(envelope)
    }

    /// The job's own numbers in place of the queue's. Numbers out of bounds, which no producer of ours seals, give way to the queue's.
    fn options_of(&self, envelope: &Envelope) -> (Retry, Duration) {
        let retry = self.rules.retry.overridden_by(&envelope.retry).validate().unwrap_or(self.rules.retry);
        let limit = envelope.timeout_ms.filter(|ms| *ms > 0).map_or(self.rules.timeout, Duration::from_millis);
        (retry, limit)
    }

    fn completed(&self, job: &ClaimedJob, by: By) -> AttemptOutcome {
        let keep = self.rules.keep_completed;
        let record = if keep { self.record(by, Ended::Completed, Notes::default()) } else { Bytes::new() };
        outcome(settlement(job, Verdict::Complete { keep }, record), by, None)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of the pipeline, all of them its inputs")]
    fn returned(
        &self,
        job: &ClaimedJob,
        by: By,
        retry: &Retry,
        jitter: i16,
        failure: Failure,
        notes: Notes,
        stopped: Option<Stop>,
    ) -> AttemptOutcome {
        match (failure.snoozed_for(), stopped) {
            (_, Some(Stop::Cancelled)) => self.cancelled(job, by, &failure, notes),
            (_, Some(Stop::Shutdown)) => self.released(job, by, Released::Interrupted, Duration::ZERO, notes),
            (Some(delay), _) => self.released(job, by, Released::Snoozed, delay, notes),
            (None, _) => self.failed(job, by, retry, jitter, failure, notes),
        }
    }

    fn cancelled(&self, job: &ClaimedJob, by: By, failure: &Failure, notes: Notes) -> AttemptOutcome {
        let ended = Ended::Failed {
            code: Code::Cancelled,
            message: failure.message().to_owned(),
            chain: failure.chain().to_vec(),
            place: None,
            backtrace: None,
            decision: None,
        };
        let record = self.record(by, ended, notes);
        outcome(settlement(job, Verdict::Cancel, record), by, Some((Code::Cancelled, Class::Unknown)))
    }

    fn released(&self, job: &ClaimedJob, by: By, reason: Released, delay: Duration, notes: Notes) -> AttemptOutcome {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let record = self.record(by, Ended::Released { reason, delay_ms }, notes);
        let verdict = if delay_ms == 0 { Verdict::ReleaseNow } else { Verdict::ReleaseAfter { delay } };
        outcome(settlement(job, verdict, record), by, None)
    }

    fn unknown_kind(&self, job: &ClaimedJob, by: By, envelope: &Envelope) -> AttemptOutcome {
        let mut ended = if job.counters.releases >= self.rules.unknown_kind_releases_max {
            let text = format!("no worker of queue \"{}\" knows kind \"{}\"", self.queue, envelope.kind);
            let failure = Failure::new(Code::UnknownKind, text);
            let failed = Ended::Failed {
                code: failure.code(),
                message: failure.message().to_owned(),
                chain: Vec::new(),
                place: None,
                backtrace: None,
                decision: None,
            };
            outcome(
                settlement(job, Verdict::Abandon, self.record(by, failed, Notes::default())),
                by,
                Some((failure.code(), failure.class())),
            )
        } else {
            self.released(job, by, Released::UnknownKind, self.rules.unknown_kind_delay, Notes::default())
        };
        ended.unknown_kind = Some(envelope.kind.to_string());
        ended
    }

    fn failed(
        &self,
        job: &ClaimedJob,
        by: By,
        retry: &Retry,
        jitter: i16,
        failure: Failure,
        notes: Notes,
    ) -> AttemptOutcome {
        self.decided(job, by, retry, jitter, &failure, None, None, notes)
    }

    async fn panicked(
        &self,
        job: &ClaimedJob,
        by: By,
        retry: &Retry,
        jitter: i16,
        mut caught: Caught,
        notes: Notes,
    ) -> AttemptOutcome {
        let backtrace = caught.render().await;
        let failure = Failure::temporary(Code::Panic, caught.message.clone());
        let mut outcome = self.decided(job, by, retry, jitter, &failure, caught.place.clone(), backtrace, notes);
        outcome.panic = Some(HandlerPanic {
            queue: self.queue.clone(),
            job: job.id.clone(),
            attempt: job.counters.attempt(),
            message: caught.message,
            place: caught.place,
        });
        outcome
    }

    #[expect(clippy::too_many_arguments, reason = "one step of the pipeline, all of them its inputs")]
    fn decided(
        &self,
        job: &ClaimedJob,
        by: By,
        retry: &Retry,
        jitter: i16,
        failure: &Failure,
        place: Option<String>,
        backtrace: Option<String>,
        notes: Notes,
    ) -> AttemptOutcome {
        let n = job.counters.attempt();
        let decision = decide(retry, n, failure.class(), failure.asked_delay(), jitter);
        let verdict = match decision.outcome {
            Outcome::Retry => Verdict::Retry { delay: Duration::from_millis(decision.delay_ms) },
            Outcome::Dead => Verdict::Bury,
            Outcome::Poisoned => Verdict::Poison,
        };
        let ended = Ended::Failed {
            code: failure.code(),
            message: failure.message().to_owned(),
            chain: failure.chain().to_vec(),
            place,
            backtrace,
            decision: Some(Box::new(decision)),
        };
        let record = self.record(by, ended, notes);
        outcome(settlement(job, verdict, record), by, Some((failure.code(), failure.class())))
    }

    fn record(&self, by: By, ended: Ended, notes: Notes) -> Bytes {
        codec::encode_attempt(&AttemptLog {
            incarnation: self.incarnation,
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

fn outcome(settlement: Settlement, by: By, failure: Option<(Code, Class)>) -> AttemptOutcome {
    AttemptOutcome { settlement, panic: None, unknown_kind: None, failure, ran: by.ran }
}
