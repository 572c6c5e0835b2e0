//! The command line: `retraced`. One file a family of commands; every command takes `--redis` and `--json`.
//!
//! Results go to stdout, as tables or as one JSON object a line; messages go to stderr. The exit status is 0 when done, 1 when it failed, 2 when it was
//! used wrongly, and 128 + n when a second signal n ended it at once.

mod args;
mod bench;
mod dead;
mod demo;
mod enqueue;
mod error;
mod jobs;
mod output;
mod queues;
mod shape;
mod trace;
mod webhook;
mod work;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use retraced_jobs::store::Store;

use self::error::CliError;
use self::output::{Output, note, one_line};
use crate::{Operator, RedisStore};

const AFTER_HELP: &str = "\
Durations are a whole number and a unit: 250ms, 30s, 5m, 1h, 2d.
Exit status: 0 done, 1 failed, 2 used wrongly.

Try it without Redis:  retraced demo";

/// Background jobs on a supervision tree, over Redis: every failure explains itself.
#[derive(Parser)]
#[command(name = "retraced", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The Redis or Valkey server: redis://[user:password@]host[:port][/database], or redis+unix:///path. A password is safer in the environment, where
    /// other users of this machine do not see it.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "RETRACED_REDIS_URL",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    redis: String,
    /// Print results as JSON, one object a line: instants in RFC 3339, durations in whole milliseconds (fields ending in _ms).
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a supervision tree work through a few hundred jobs of which some fail, panic and hang; needs no Redis.
    Demo(demo::Demo),
    /// Work jobs by sending each to a webhook; drains on SIGINT or SIGTERM.
    Work(work::Work),
    /// Enqueue one job, or one a line of a file.
    Enqueue(Box<enqueue::Enqueue>),
    /// Show all queues: depths, oldest job, paused or not.
    Queues(queues::Queues),
    /// Pause, resume or look at one queue.
    #[command(subcommand)]
    Queue(queues::Queue),
    /// List the jobs of a queue that are in one state.
    Jobs(jobs::Jobs),
    /// Show, cancel or retry one job.
    #[command(subcommand)]
    Job(jobs::Job),
    /// Tell the story of one job: what happened, why, and what comes next.
    Trace(trace::Trace),
    /// Look after jobs that were given up: dead letters and poison.
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Measure how fast this machine and this Redis work jobs, beside the least any queue must do.
    #[command(after_help = bench::AFTER_HELP)]
    Bench(bench::Bench),
}

/// What every command is given.
struct Desk {
    redis: String,
    out: Output,
}

impl Desk {
    /// The store, after it was found to be there and fit for jobs.
    async fn store(&self) -> Result<Arc<dyn Store>, CliError> {
        match RedisStore::connect(&self.redis).await {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) if error.is_retryable() => Err(CliError::Failed(format!(
                "Redis cannot be reached: {}; start it, or say where it is with --redis URL or RETRACED_REDIS_URL",
                one_line(&error)
            ))),
            Err(error) => Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&error)))),
        }
    }

    async fn operator(&self) -> Result<Operator, CliError> {
        Ok(Operator::new(self.store().await?))
    }
}

/// Runs the command the process was started with, and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; a pipe that closed is no reason to fail.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            note(format_args!("error: this process cannot start its threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let desk = Desk { redis: global.redis, out: Output::new(global.json) };
    let ended = runtime.block_on(run(command, &desk));
    // A thread that a handler blocks must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(format_args!("error: {error}"));
            error.status()
        }
    }
}

async fn run(command: Command, desk: &Desk) -> Result<(), CliError> {
    match command {
        Command::Demo(demo) => demo.run(desk).await,
        Command::Work(work) => work.run(desk).await,
        Command::Enqueue(enqueue) => enqueue.run(desk).await,
        Command::Queues(queues) => queues.run(desk).await,
        Command::Queue(queue) => queue.run(desk).await,
        Command::Jobs(jobs) => jobs.run(desk).await,
        Command::Job(job) => job.run(desk).await,
        Command::Trace(trace) => trace.run(desk).await,
        Command::Dead(dead) => dead.run(desk).await,
        Command::Bench(bench) => bench.run(desk).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together() {
        super::Cli::command().debug_assert();
    }
}
