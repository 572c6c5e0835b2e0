//! The command line: `retraced`. One file a family of commands; every command takes `--redis` and `--json`.
//!
//! Results go to stdout, as tables or as one JSON object a line; messages go to stderr. The exit status is 0 when done, 1 when it failed, 2 when it was
//! used wrongly, and 128 + n when a second signal n ended it at once. A pipe whose reader has gone is no failure.

mod args;
mod bench;
mod completions;
mod config;
mod dead;
mod demo;
mod enqueue;
mod error;
mod filter;
mod jobs;
mod output;
mod pages;
mod queues;
mod settings;
mod shape;
mod trace;
mod webhook;
mod work;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use retraced_jobs::store::redis::RedisOptions;
use retraced_jobs::store::{Store, StoreError};

use self::error::CliError;
use self::output::{Output, choose_colour, complain, note, one_line};
use self::settings::{Settings, Unfit};
use crate::{Operator, RedisStore};

const AFTER_HELP: &str = "\
Durations are a whole number and a unit: 250ms, 30s, 5m, 1h, 2d.
Settings come from flags, then the environment, then retraced.toml (see `retraced config --help`).
Exit status: 0 done, 1 failed, 2 used wrongly.

Try it without Redis:  retraced demo";

/// Width of a terminal below which help is laid out in one column.
const HELP_COLUMNS_MIN: usize = 60;

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
    /// Whether to write in colour. auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", env = "RETRACED_COLOR", hide_env_values = true, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    /// A file of settings. Default: retraced.toml in this folder, if there is one.
    #[arg(long, global = true, value_name = "FILE", env = "RETRACED_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Watch a supervision tree work through 300 jobs of which some fail, panic and hang, while actors are killed; needs no Redis, and ends within 20 s.
    Demo(demo::Demo),
    /// Work jobs by sending each to a webhook; drains on SIGINT or SIGTERM.
    Work(work::Work),
    /// Enqueue one job, or one a line of a file.
    #[command(
        override_usage = "retraced enqueue [OPTIONS] --queue <QUEUE> <--kind <KIND> --payload <JSON>|--from <FILE>>"
    )]
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
    /// Show all settings, and where each comes from.
    #[command(after_help = config::AFTER_HELP)]
    Config(config::Config),
    /// Print a script that completes this command line in a shell.
    #[command(after_help = completions::AFTER_HELP)]
    Completions(completions::Completions),
}

/// What every command is given.
struct Admin {
    redis: String,
    out: Output,
}

impl Admin {
    /// The store, after it was found to be there and fit for jobs.
    async fn store(&self) -> Result<Arc<dyn Store>, CliError> {
        let store = match RedisStore::open(&self.redis, RedisOptions::default()) {
            Ok(store) => store,
            Err(StoreError::Refused { reason, .. }) => return Err(CliError::Usage(reason)),
            Err(error) => return Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&error)))),
        };
        match store.probe().await {
            Ok(_) => Ok(Arc::new(store)),
            Err(StoreError::Unavailable { cause, .. }) => Err(CliError::Failed(format!(
                "Redis cannot be reached: {}; start it, or say where it is with --redis URL or RETRACED_REDIS_URL",
                one_line(&cause)
            ))),
            Err(StoreError::Refused { reason, .. }) => {
                Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&reason))))
            }
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
    let arguments: Vec<OsString> = std::env::args_os().collect();
    choose_colour(settings::asked_colour(&arguments));
    let command = readable(Cli::command());
    let settings = match Settings::read(&command, &arguments) {
        Ok(settings) => settings,
        Err(Unfit::Arguments(error)) => return explain(&error, &command),
        Err(Unfit::File(why)) => return fail(&CliError::Usage(why)),
    };
    let Cli { global, command: asked } = match Cli::from_arg_matches(settings.matches()) {
        Ok(cli) => cli,
        Err(error) => return explain(&error, &command),
    };
    choose_colour(global.color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CliError::Failed(format!("this process cannot start its threads: {error}"))),
    };
    let admin = Admin { redis: global.redis, out: Output::new(global.json) };
    let ended = runtime.block_on(run(asked, &admin, &settings));
    // A thread that a handler blocks must not keep the process.
    runtime.shutdown_background();
    ended.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// Help in two columns needs some room; in a narrow terminal everything stands below what it explains.
fn readable(command: clap::Command) -> clap::Command {
    match output::room() {
        Some(room) if room < HELP_COLUMNS_MIN => command.term_width(0).next_line_help(true),
        _ => command,
    }
}

fn fail(error: &CliError) -> ExitCode {
    complain(error);
    error.status()
}

/// Prints what the parser of arguments has to say: help, the version, or what is wrong.
fn explain(error: &clap::Error, command: &clap::Command) -> ExitCode {
    match error.print() {
        Err(unwritten) if unwritten.kind() != ErrorKind::BrokenPipe => {
            return fail(&CliError::Failed(format!("the output cannot be written: {unwritten}")));
        }
        _ => {}
    }
    if let Some(variable) = settings::variable_behind(error, command) {
        note(format_args!("The value is that of the environment variable {variable}."));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

async fn run(command: Command, admin: &Admin, settings: &Settings) -> Result<(), CliError> {
    match command {
        Command::Demo(demo) => demo.run(admin).await,
        Command::Work(work) => work.run(admin).await,
        Command::Enqueue(enqueue) => enqueue.run(admin).await,
        Command::Queues(queues) => queues.run(admin).await,
        Command::Queue(queue) => queue.run(admin).await,
        Command::Jobs(jobs) => jobs.run(admin).await,
        Command::Job(job) => job.run(admin).await,
        Command::Trace(trace) => trace.run(admin).await,
        Command::Dead(dead) => dead.run(admin).await,
        Command::Bench(bench) => bench.run(admin).await,
        Command::Config(config) => config.run(admin, settings),
        Command::Completions(completions) => completions.run(admin),
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
