//! The global options and the commands of the command line.

use std::path::PathBuf;

use clap::{Args, ColorChoice, CommandFactory, Parser, Subcommand};
use retraced::store::KeyPrefix;

use crate::context::CommandContext;
use crate::error::CliError;
use crate::settings::Settings;
use crate::tls::TlsArgs;
use crate::{bench, completions, config, dead, demo, enqueue, jobs, queues, trace, work, workers};

const AFTER_HELP: &str = "\
Durations are a whole number and a unit: 250ms, 30s, 5m, 1h, 2d.
Settings come from flags, then the environment, then retraced.toml (see `retraced config --help`).
Exit status: 0 success, 1 failure, 2 usage error.

Try it without Redis:  retraced demo";

/// Background jobs on a supervision tree, over Redis: every failure explains itself.
#[derive(Parser)]
#[command(name = "retraced", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The Redis or Valkey server: redis://[user:password@]host[:port][/database], rediss:// for TLS, or redis+unix:///path. A password is safer in the
    /// environment, where other users of this machine do not see it.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "RETRACED_REDIS_URL",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    pub(crate) redis: String,
    /// What the names of all keys and channels on the server begin with: letters, digits, '.', '_' and '-'. Workers, producers and commands with different
    /// prefixes do not see each other's queues.
    #[arg(
        long,
        global = true,
        value_name = "PREFIX",
        env = "RETRACED_PREFIX",
        hide_env_values = true,
        default_value_t = KeyPrefix::default()
    )]
    pub(crate) prefix: KeyPrefix,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// Use a server that may drop jobs when its memory is full, because its maxmemory-policy evicts keys. Without this flag such a server is refused.
    #[arg(long, global = true, env = "RETRACED_ALLOW_EVICTION", hide_env_values = true)]
    pub(crate) allow_eviction: bool,
    /// Print results as JSON, one object per line: instants in RFC 3339, durations in whole milliseconds (fields ending in _ms).
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour. auto: on a terminal, unless NO_COLOR is set. The log of `work` is always coloured as with auto.
    #[arg(long, global = true, value_name = "WHEN", env = "RETRACED_COLOR", hide_env_values = true, default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
    /// Settings file. Default: retraced.toml in the working directory, if it exists.
    #[arg(long, global = true, value_name = "FILE", env = "RETRACED_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Watch a supervision tree run 300 jobs, some of which fail, panic or hang, while actors are killed. Needs no Redis, and takes less than 20 s.
    Demo(demo::Demo),
    /// Run a worker that sends each job to a webhook. On SIGINT, SIGTERM, SIGHUP or SIGQUIT it finishes its jobs and ends; on SIGUSR1 it prints what runs.
    Work(work::Work),
    /// Enqueue one job, or one job per line of a file.
    #[command(
        override_usage = "retraced enqueue [OPTIONS] <QUEUE> <--kind <KIND> <--payload <JSON>|--payload-file <FILE>>|--from <FILE>>"
    )]
    Enqueue(Box<enqueue::Enqueue>),
    /// Show all queues: how many jobs are in each state, how long ago the first pending job was enqueued, how many jobs ever completed, and whether, by whom and since when the queue is paused.
    /// PROCESSING are the jobs that workers hold, also those that wait for an executor. A column TRIMMED appears when retention removed dead or poisoned jobs.
    Queues(queues::Queues),
    /// Show which workers run: their host and process, build, queues and kinds, how many jobs each runs, and when each was last seen.
    Workers(workers::Workers),
    /// Pause, resume, audit or delete one queue, or show its statistics.
    #[command(subcommand)]
    Queue(queues::Queue),
    /// List the jobs of a queue that are in one state.
    Jobs(jobs::Jobs),
    /// Show or retry one job, or cancel jobs.
    #[command(subcommand)]
    Job(jobs::Job),
    /// Show the history of one job: what happened, why, and what comes next.
    Trace(trace::Trace),
    /// List, show, redrive or discard dead and poisoned jobs.
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Measure how fast this machine and this Redis process jobs; with --floor also how fast a bare loop does the least work any queue with leases must do.
    #[command(after_help = bench::AFTER_HELP)]
    Bench(bench::Bench),
    /// Show all settings, and where each comes from.
    #[command(after_help = config::AFTER_HELP)]
    Config(config::Config),
    /// Print a script that completes this command line in a shell.
    #[command(after_help = completions::AFTER_HELP)]
    Completions(completions::Completions),
}

impl Command {
    pub(crate) async fn run(self, context: &CommandContext, settings: &Settings) -> Result<(), CliError> {
        if !matches!(self, Command::Work(_)) {
            settings.note_unknown_variables();
        }
        match self {
            Command::Demo(demo) => demo.run(context).await,
            Command::Work(work) => work.run(context, settings).await,
            Command::Enqueue(enqueue) => enqueue.run(context).await,
            Command::Queues(queues) => queues.run(context).await,
            Command::Workers(workers) => workers.run(context).await,
            Command::Queue(queue) => queue.run(context).await,
            Command::Jobs(jobs) => jobs.run(context).await,
            Command::Job(job) => job.run(context).await,
            Command::Trace(trace) => trace.run(context).await,
            Command::Dead(dead) => dead.run(context).await,
            Command::Bench(bench) => bench.run(context).await,
            Command::Config(config) => config.run(context, settings),
            Command::Completions(completions) => completions.run(context, Cli::command()),
        }
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
