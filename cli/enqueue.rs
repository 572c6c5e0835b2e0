//! `retraced enqueue`: one job from the command line, or one job per line of a file.
//!
//! A file is read twice: first every line is checked, then all are enqueued, so that an invalid line means that nothing was stored. Input that cannot be read twice
//! (`-`, a pipe) is enqueued in batches as it arrives; the first invalid line ends the command, and the message says up to which line jobs are stored.

mod lines;
mod requested_job;

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use retraced::job::{NewJob, RunAt};
use retraced::retry::{RetryOverrides, Strategy};
use retraced::store::BATCH_MAX;
use retraced::view::EnqueuedRow;
use retraced::{Client, JobId, Kind, Operator, QueueHandle, QueueName, Receipt};

use self::lines::Lines;
use self::requested_job::RequestedJob;
use crate::args;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::{BATCH_BYTES_MAX, BATCH_TIMEOUT, LINE_BYTES_MAX};
use crate::live_workers::{WithWorkers, note_in_text, workers_of};
use crate::output::{Progress, job_count, millis, note, printable};

/// `retraced enqueue`
#[derive(Args)]
pub(crate) struct Enqueue {
    /// The queue. Its name has 1 to 128 of the characters A-Z a-z 0-9 . _ -
    queue: QueueName,
    /// The kind of job, by which workers choose the handler. The same characters are allowed as in the name of a queue.
    #[arg(long)]
    kind: Option<Kind>,
    /// The job's data, as JSON.
    #[arg(long, value_name = "JSON", value_parser = args::payload)]
    payload: Option<Bytes>,
    /// Take the job's data, one JSON value, from a file or from standard input (-).
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    payload_file: Option<PathBuf>,
    /// A job id of your own: 1 to 128 of the characters A-Z a-z 0-9 . _ - and :. While the queue keeps a job with this id, enqueueing the id again changes nothing. Default: a new
    /// UUID.
    #[arg(long)]
    id: Option<JobId>,
    /// Delay before the job is due. Default: none.
    #[arg(long, value_name = "DURATION", value_parser = args::delay, conflicts_with = "at")]
    delay: Option<Duration>,
    /// The instant at which the job is due, in RFC 3339, as in 2030-01-31T08:00:00Z. If it has passed, the job is due at once.
    #[arg(long, value_name = "INSTANT", value_parser = args::instant)]
    at: Option<u64>,
    /// Take jobs from a file, or from standard input (-): one JSON object per line, {"kind", "payload", "id"?, "delay_ms"?, "at"?, "max_attempts"?, "retry"?:
    /// {"strategy", "base_ms", "factor", "max_ms", "jitter", "immediate_tries"}}. A file is enqueued only if every line is valid; standard
    /// input or a pipe is enqueued as it arrives, up to the first invalid line.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["kind", "payload", "payload_file", "id", "delay", "at", "max_attempts", "strategy", "base_delay", "factor", "max_delay", "jitter", "immediate_tries"]
    )]
    from: Option<PathBuf>,
    #[command(flatten)]
    retry: RetryFlags,
}

/// Retry options of one job; those that are not given come from its queue.
#[derive(Args)]
#[command(next_help_heading = "Retry options, in place of those of the queue")]
struct RetryFlags {
    /// Maximum attempts, the first included: 1 to 1000. A queue's default is 5.
    #[arg(long, value_name = "N", value_parser = args::whole::<u32>)]
    max_attempts: Option<u32>,
    /// How the delay grows: fixed, linear, exponential, or three-tier (some retries without a delay, then exponential). A queue's default is exponential.
    #[arg(long)]
    strategy: Option<Strategy>,
    /// Delay before the first retry that has one, up to 30d. A queue's default is 5s.
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    base_delay: Option<Duration>,
    /// Growth factor of exponential delays: 1 to 100. A queue's default is 2.
    #[arg(long, value_name = "N", value_parser = args::whole::<u32>)]
    factor: Option<u32>,
    /// Longest delay, up to 30d; it also caps a delay that a failure asks for, such as Retry-After of a webhook. A queue's default is 5m.
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    max_delay: Option<Duration>,
    /// Random variation of each delay, in percent: 0 to 100. A queue's default is 20.
    #[arg(long, value_name = "PERCENT", value_parser = args::whole::<u8>)]
    jitter: Option<u8>,
    /// How many attempts of the three-tier strategy begin without a delay, the first included: 1 to 1000. A queue's default is 3.
    #[arg(long, value_name = "N", value_parser = args::whole::<u32>)]
    immediate_tries: Option<u32>,
}

impl RetryFlags {
    fn overrides(&self) -> RetryOverrides {
        let mut own = RetryOverrides::default();
        own.strategy = self.strategy;
        own.max_attempts = self.max_attempts;
        own.base_ms = self.base_delay.map(millis);
        own.factor = self.factor;
        own.max_ms = self.max_delay.map(millis);
        own.jitter = self.jitter;
        own.immediate_tries = self.immediate_tries;
        own
    }
}

impl Enqueue {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let payload = match &self.payload_file {
            Some(file) => Some(read_payload(file)?),
            None => self.payload,
        };
        match (&self.from, self.kind, payload) {
            (Some(from), ..) => enqueue_lines(context, &self.queue, from).await,
            (None, Some(kind), Some(payload)) => {
                let run_at = match (self.delay, self.at) {
                    (Some(delay), _) => RunAt::After(delay),
                    (None, Some(at)) => RunAt::At(at),
                    (None, None) => RunAt::Now,
                };
                let requested = RequestedJob { kind, payload, id: self.id, run_at, retry: self.retry.overrides() };
                let job = requested.seal().map_err(CliError::Usage)?;
                let mut enqueuer = Enqueuer::open(context, &self.queue).await?;
                enqueuer.send(&[job], &[], 0).await.map_err(|error| match enqueuer.stored {
                    0 => error,
                    _ => CliError::Failed(format!("{error}; the job was enqueued anyway")),
                })?;
                note_in_text(&context.out, &self.queue, enqueuer.workers);
                Ok(())
            }
            (None, ..) => Err(CliError::Usage(
                "a job needs --kind and either --payload or --payload-file; --from takes jobs from a file instead"
                    .into(),
            )),
        }
    }
}

/// A job's data from a file, or from standard input (`-`).
fn read_payload(from: &Path) -> Result<Bytes, CliError> {
    let name = source_name(from);
    let broken = |why: String| CliError::Failed(format!("{name}: {}", printable(&why)));
    let unread = |error: std::io::Error| CliError::Failed(format!("{name} cannot be read: {error}"));
    let source: Box<dyn Read> = match from == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(from).map_err(unread)?),
    };
    let mut bytes = Vec::new();
    source.take(LINE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() > LINE_BYTES_MAX {
        return Err(broken(format!("it has more than {LINE_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| broken(format!("it is not UTF-8: {error}")))?;
    args::payload(text).map_err(broken)
}

fn source_name(from: &Path) -> String {
    if from == Path::new("-") { "standard input".into() } else { printable(&from.display().to_string()) }
}

async fn enqueue_lines(context: &CommandContext, queue: &QueueName, from: &Path) -> Result<(), CliError> {
    let name = source_name(from);
    let unread = |error: std::io::Error| CliError::Failed(format!("{name} cannot be read: {error}"));
    let mut total = None;
    let source: Box<dyn Read> = if from == Path::new("-") {
        if std::io::stdin().is_terminal() {
            note("reading jobs from this terminal, one JSON object per line; Ctrl-D ends");
        }
        Box::new(std::io::stdin())
    } else {
        let file = File::open(from).map_err(unread)?;
        if file.metadata().map_err(unread)?.is_file() {
            let checked = check(context, Lines::new(Box::new(file), name.clone()));
            total = Some(checked.map_err(|e| CliError::Failed(format!("{e}; nothing was enqueued")))?);
            Box::new(File::open(from).map_err(unread)?)
        } else {
            Box::new(file)
        }
    };
    let mut lines = Lines::new(source, name);
    let mut enqueuer = Enqueuer::open(context, queue).await?;
    let progress = Progress::new(&context.out, "enqueueing", total);
    let ended = enqueuer.send_all(&mut lines, &progress).await;
    drop(progress);
    let Enqueuer { stored, created, workers, .. } = enqueuer;
    match ended {
        Ok(()) if stored == 0 => note(format_args!("nothing to enqueue: there is no job in {}", lines.name)),
        Ok(()) => {
            let existing = match stored - created {
                0 => String::new(),
                1 => "; 1 existed already and is unchanged".into(),
                n => format!("; {n} existed already and are unchanged"),
            };
            note(format_args!("{} enqueued to {queue}{existing}", job_count(created)));
            note_in_text(&context.out, queue, workers);
        }
        Err(error) => {
            return Err(CliError::Failed(format!("{error}; stored before that: {}", enqueuer.stored_so_far())));
        }
    }
    Ok(())
}

/// Reads all lines and counts the jobs. The error names the first invalid line.
fn check(context: &CommandContext, mut lines: Lines) -> Result<u64, String> {
    let progress = Progress::new(&context.out, "checking", None);
    let mut count = 0;
    while lines.next()?.is_some() {
        count += 1;
        progress.advance(1);
    }
    Ok(count)
}

/// Enqueues jobs, prints their receipts, and counts.
struct Enqueuer<'a> {
    context: &'a CommandContext,
    queue: &'a QueueName,
    client: QueueHandle,
    /// Jobs the store holds now, whether new or there before.
    stored: u64,
    /// How many of these are new.
    created: u64,
    /// All jobs up to this line are stored.
    last_line: u64,
    /// Live workers that process the queue, if the store says so.
    workers: Option<usize>,
}

impl<'a> Enqueuer<'a> {
    async fn open(context: &'a CommandContext, queue: &'a QueueName) -> Result<Self, CliError> {
        let store = context.store().await?;
        let operator = Operator::shared(store.clone());
        context.note_before_enqueue(&operator, queue).await;
        let workers = workers_of(&operator, queue).await;
        let client = Client::shared(store);
        let client = client.queue(queue.as_str()).map_err(|e| CliError::Usage(e.to_string()))?;
        Ok(Self { context, queue, client, stored: 0, created: 0, last_line: 0, workers })
    }

    /// Stores a batch of jobs that were read up to `last_line` (0: not from a file); `numbers` are the lines of the jobs. The error is about the first job that was not
    /// stored.
    async fn send(&mut self, jobs: &[NewJob], numbers: &[u64], last_line: u64) -> Result<(), CliError> {
        let sent = self.client.enqueue_timeout(BATCH_TIMEOUT).enqueue_all(jobs.iter().cloned()).await;
        let (receipts, failed) = sent.map_or_else(|e| (e.stored, Some(e.error)), |receipts| (receipts, None));
        // Counted before they are printed, because a full disk does not change what was stored.
        self.stored += receipts.len() as u64;
        self.created += receipts.iter().filter(|receipt| receipt.created).count() as u64;
        match (&failed, receipts.len().checked_sub(1).and_then(|last| numbers.get(last))) {
            (None, _) => self.last_line = last_line,
            (Some(_), Some(stored)) => self.last_line = *stored,
            (Some(_), None) => {}
        }
        self.print(receipts, last_line)?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn print(&self, receipts: Vec<Receipt>, last_line: u64) -> Result<(), CliError> {
        // On a terminal the total is enough; a program gets one line for each job.
        if self.context.out.is_text_on_terminal() && last_line > 0 {
            return Ok(());
        }
        for receipt in receipts {
            let row = EnqueuedRow::new(self.queue, receipt);
            self.context.out.result(&WithWorkers::new(&row, self.workers), || {
                let what = if row.created { "" } else { ", existed already and is unchanged" };
                format!("{}  {}{what}", row.id, row.state)
            })?;
        }
        Ok(())
    }

    async fn send_all(&mut self, lines: &mut Lines, progress: &Progress) -> Result<(), CliError> {
        let (mut batch, mut numbers) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        loop {
            // Jobs that were read are stored even if the next line is invalid, so that the message can say up to which line all jobs are stored.
            let line = lines.next();
            let ended = !matches!(line, Ok(Some(_)));
            if let Ok(Some(job)) = &line {
                bytes += job.envelope.len();
                batch.push(job.clone());
                numbers.push(lines.number);
            }
            if ended || batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES_MAX || lines.must_wait() {
                let last_line = lines.number.saturating_sub(u64::from(line.is_err()));
                self.send(&batch, &numbers, last_line).await?;
                progress.advance(batch.len() as u64);
                batch.clear();
                numbers.clear();
                bytes = 0;
            }
            match line {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(CliError::Failed(error)),
            }
        }
    }

    fn stored_so_far(&self) -> String {
        match (self.created, self.stored - self.created) {
            (0, 0) => "nothing".into(),
            (created, 0) => format!("{}, up to line {}", job_count(created), self.last_line),
            (created, existing) => {
                format!("{}, up to line {}; {existing} existed already", job_count(created), self.last_line)
            }
        }
    }
}
