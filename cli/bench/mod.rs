//! `retraced bench`: how fast this machine and this Redis process jobs. With `--floor` also how fast a bare loop, the *floor*, does the least work that any queue with
//! leases must do.
//!
//! ReTraced and the floor are the two *sides*. A measurement on one side is a *step*, and runs in processes of its own. The two sides take turns.

mod cost;
mod figures;
mod floor;
mod job;
mod job_queue;
mod measurement;
mod product;
mod recorder;
mod relay;
mod report;
mod rounds;
mod selection;
mod server;
mod side;
mod step;
mod workers;

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use retraced::QueueName;
use retraced::limits::CONCURRENCY_MAX;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use self::measurement::Measurement;
use self::product::Completed;
use self::report::{Report, Row, markdown};
use self::rounds::Rounds;
use self::selection::Selection;
use self::server::Server;
use self::step::Step;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::{BENCH_JOBS_BOUNDS, BENCH_ROUNDS_BOUNDS, BENCH_WORKERS_BOUNDS, ROUND_TRIP_MS_BOUNDS};
use crate::output::{Output, note};

pub(super) const AFTER_HELP: &str = "\
What is measured, with jobs of 200 bytes and every guarantee on:
  enqueue_one         one call at a time, by a client without a worker
  enqueue_inflight10  10 calls at a time; enqueue_inflight100 the same with 100
  enqueue_bulk100     100 jobs per call; redis_memory: bytes per waiting job
  drain               jobs per second of a worker with 1, 10 and 100 executors, without the first twentieth of the jobs; drain_rss_peak: the most memory the worker's process used
  latency             an idle worker, 50 jobs per second: from the call of enqueue to the handler's first line
  delayed_lateness    from the due time of a delayed job to the handler's first line
  retry               jobs that fail twice, are retried at once, and then succeed: retry_total is the time from the first enqueue to the last success, retry_attempts the attempts per second
  idle                a worker of 100 queues without a job, for 10 s: idle_worker_cpu in percent of a core, idle_redis_calls per second; no floor
Enqueue, drain and retry also have these metrics per job: _worker_cpu and _redis_cpu (processor seconds per 100,000 jobs; for enqueue the worker is the producer), \
_redis_calls (commands, including those inside scripts) and _redis_reads (reads from sockets: about one per round trip).

With --workers N, N processes drain one queue together, each with the given executors. Jobs per second, processor time and memory are their sums; drain_share_min is \
the share of the process that did the least, divided by an even share (1: all did the same). With --round-trip-ms N, a process that is not measured delays every byte to and from \
Redis by N/2 ms. It does not limit bytes per second, as a network would.

The floor (--floor) is a bare loop that does only what is strictly needed: a list, a hash and a set of leases; one script that settles and claims, up to 64 jobs per \
batch, called by four tasks at a time; no tokens, no counters, no history, no supervision, no handlers. RATIO is ReTraced's figure divided by the \
floor's: for jobs/s, attempts/s and the share, more is better; for everything else, less. The two take turns, so that a machine that slows down slows both. \
Compare ratios, not figures of different runs. SPREAD is the distance between ReTraced's lowest and highest round, in percent of its median; smaller differences \
mean nothing.

Nothing else should run on the machine. A whole run takes about a minute per round, and up to twice that with --floor.

  retraced bench --floor --redis redis://127.0.0.1:6379/9      database 9
  retraced bench --only drain --concurrency 100 --rounds 3
  retraced bench --only drain --concurrency 100 --workers 4 --round-trip-ms 1
  retraced bench --only latency --only retry_total --json > figures.jsonl";

/// `retraced bench`
#[derive(Args)]
pub(super) struct Bench {
    /// Also measure a bare loop that does only what is strictly needed, and show the ratio.
    #[arg(long)]
    floor: bool,
    /// Measure only this metric, or all metrics that begin with it, as in drain or drain_redis_cpu; may be repeated.
    #[arg(long, value_name = "METRIC")]
    only: Vec<String>,
    /// Jobs of each measurement, 100 to 10000000. Default: 200000 for drain and bulk, 20000 to 100000 for the others. Latency uses at most
    /// 500 jobs, because it takes 20 ms per job; lateness at most 1000, because their due times are spread over 3 s.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(BENCH_JOBS_BOUNDS))]
    jobs: Option<u64>,
    /// How many times everything is measured, 1 to 100; the table shows medians.
    #[arg(long, value_name = "N", default_value = "5", value_parser = RangedU64ValueParser::<u64>::new().range(BENCH_ROUNDS_BOUNDS))]
    rounds: u64,
    /// Executors of the worker that drains, 1 to 10000; several values, separated by commas, are measured one after the other.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values = ["1", "10", "100"],
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=CONCURRENCY_MAX as u64))]
    concurrency: Vec<u64>,
    /// Worker processes that drain one queue together, 1 to 16.
    #[arg(long, value_name = "N", default_value = "1", value_parser = RangedU64ValueParser::<usize>::new().range(BENCH_WORKERS_BOUNDS))]
    workers: usize,
    /// Add this much to the round trip between the measured processes and Redis, 0 to 1000 ms.
    #[arg(long, value_name = "N", default_value = "0", value_parser = RangedU64ValueParser::<u64>::new().range(ROUND_TRIP_MS_BOUNDS))]
    round_trip_ms: u64,
    /// Keep completed jobs as a queue does by default (for 24 hours, and at most 10000). Without this flag none is kept.
    #[arg(long)]
    retention: bool,
    /// Print a Markdown table. Not together with --json, which prints each figure of each round, one object per line, as soon as it is measured.
    #[arg(long)]
    markdown: bool,
    /// Measure even if the database holds keys. They are not touched. What the benchmark created is removed, except the supervision events of its workers.
    #[arg(long)]
    allow_nonempty: bool,
    /// The step this process measures; set only for processes that the benchmark starts.
    #[arg(long, hide = true, value_name = "JSON", value_parser = parse_step)]
    step: Option<Step>,
}

fn parse_step(text: &str) -> Result<Step, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Refuses a server over TLS, which neither the bare loop nor the relay can speak.
fn refuse_tls(url: &str) -> Result<(), CliError> {
    match url.starts_with("rediss:") || url.starts_with("valkeys:") {
        true => Err(CliError::Usage(
            "bench measures no server over TLS: its bare loop and its relay speak plain TCP".into(),
        )),
        false => Ok(()),
    }
}

/// Waits for SIGINT or SIGTERM.
async fn stop_signal() -> Result<(), CliError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

impl Bench {
    pub(super) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        if let Some(step) = &self.step {
            return step.run(&context.redis, &context.out).await;
        }
        if self.markdown && context.out.is_json() {
            return Err(CliError::Usage("--markdown and --json cannot be given together".into()));
        }
        let drains: Vec<usize> = self.concurrency.iter().filter_map(|n| usize::try_from(*n).ok()).collect();
        let all = Measurement::all(&drains, self.workers);
        let selection = Selection::of(self.only.clone(), &all).map_err(CliError::Usage)?;
        let measurements: Vec<Measurement> = all.into_iter().filter(|m| selection.has_any_of(*m)).collect();

        refuse_tls(&context.redis)?;
        // Reports problems with the server with the same messages as every other command.
        context.store().await?;
        let mut server = Server::open(&context.redis).await?;
        let keys = server.keys().await?;
        if keys > 0 && !self.allow_nonempty {
            return Err(CliError::Failed(format!(
                "this database is not empty, it holds {keys} keys: measuring would slow its users and distort the figures; use another database \
                 (--redis redis://HOST:PORT/DATABASE), or give --allow-nonempty"
            )));
        }
        if cfg!(debug_assertions) {
            note("this build is not optimised, so its figures mean little; build with --release");
        }
        let queue = QueueName::new(format!("bench-{}", &Uuid::new_v4().simple().to_string()[..8]))
            .map_err(|error| CliError::Failed(error.to_string()))?;
        let mut rounds = Rounds {
            context,
            rounds: self.rounds,
            floor: self.floor,
            jobs: self.jobs,
            round_trip: Duration::from_millis(self.round_trip_ms),
            completed: if self.retention { Completed::Kept } else { Completed::Removed },
            server,
            queue,
            measurements,
            selection,
            report: Report::default(),
        };
        let measured = tokio::select! {
            measured = rounds.run() => measured,
            asked = stop_signal() => asked.and(Err(CliError::Failed("stopped before everything was measured".into()))),
        };
        // Also after an error or a signal.
        let cleanup = async {
            let mut server = Server::open(&context.redis).await?;
            server.remove_queue(&rounds.queue).await?;
            server.remove_shared(&rounds.queue, &context.prefix, keys == 0).await
        };
        let cleaned = cleanup.await;
        measured.and(cleaned)?;
        self.print(&context.out, &mut rounds.server, &rounds.report).await
    }

    async fn print(&self, out: &Output, server: &mut Server, report: &Report) -> Result<(), CliError> {
        if out.is_json() {
            return Ok(());
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (version, os, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
        let kept = if self.retention { "completed jobs kept" } else { "completed jobs not kept" };
        let workers = if self.workers > 1 { format!(" · {} workers drain", self.workers) } else { String::new() };
        let away =
            if self.round_trip_ms > 0 { format!(" · Redis {} ms away", self.round_trip_ms) } else { String::new() };
        let server = server.name().await?;
        let rows = report.rows();
        out.print_text(&format!(
            "ReTraced {version} · {server} · {cores} cores, {os} {arch} · {kept}{workers}{away} · median of rounds: {}\n",
            self.rounds
        ))?;
        if self.markdown {
            return Ok(out.print_text(&format!("\n{}", markdown(&rows, self.floor)))?);
        }
        Ok(out.results(&rows, &Row::headings(self.floor), |row| row.cells(self.floor))?)
    }
}
