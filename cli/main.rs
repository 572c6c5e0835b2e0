//! The command line: `retraced`. One file per family of commands; every command takes `--redis`, `--prefix` and `--json`.
//!
//! Results go to stdout, as tables or as one JSON object per line; messages go to stderr. The exit status is 0 on success, 1 on failure, 2 on a
//! usage error; `work` ends with 128 + the number of the signal, if another signal stops it at once. A closed pipe is not a failure.

mod advice;
mod args;
mod bench;
mod bulk;
mod by;
mod commands;
mod completions;
mod config;
mod context;
mod dead;
mod demo;
mod enqueue;
mod error;
mod filter;
mod jobs;
mod limits;
mod listing;
mod live_workers;
mod masking;
mod output;
mod paused;
mod queues;
mod settings;
mod similar;
mod start;
mod tls;
mod trace;
mod usage;
mod variables;
mod webhook;
mod work;
mod workers;

fn main() -> std::process::ExitCode {
    start::run()
}
