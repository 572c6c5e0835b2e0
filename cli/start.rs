//! Runs the command the process was started with: from the arguments to the exit status.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};

use crate::commands::Cli;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::HELP_COLUMNS_MIN;
use crate::output::{self, Output, choose_colour, note, print_error};
use crate::settings::{self, Settings, SettingsError};
use crate::usage;

pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    choose_colour(settings::colour_choice(&arguments));
    let command = readable(Cli::command());
    let settings = match Settings::read(&command, &arguments) {
        Ok(settings) => settings,
        Err(SettingsError::Arguments(error)) => return explain(*error, &command, &arguments),
        Err(SettingsError::File(why)) => return fail(&CliError::Usage(why)),
    };
    let Cli { global, command: asked } = match Cli::from_arg_matches(settings.matches()) {
        Ok(cli) => cli,
        Err(error) => return explain(error, &command, &arguments),
    };
    choose_colour(global.color);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CliError::Failed(format!("this process cannot start its threads: {error}"))),
    };
    let redis_from_environment = settings.matches().value_source("redis") == Some(ValueSource::EnvVariable);
    let out = Output::new(global.json);
    let context = CommandContext {
        redis: global.redis,
        redis_from_environment,
        prefix: global.prefix,
        tls: global.tls,
        allow_eviction: global.allow_eviction,
        out,
    };
    let ended = runtime.block_on(asked.run(&context, &settings));
    // A thread that a handler blocks must not keep the process alive.
    runtime.shutdown_background();
    ended.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// In a narrow terminal the help puts each description below its option instead of beside it.
fn readable(command: clap::Command) -> clap::Command {
    match output::width() {
        Some(width) if width < HELP_COLUMNS_MIN => command.term_width(0).next_line_help(true),
        _ => command,
    }
}

fn fail(error: &CliError) -> ExitCode {
    print_error(error);
    error.status()
}

/// Prints what the argument parser has to say: help, the version, or an error.
fn explain(mut error: clap::Error, command: &clap::Command, arguments: &[OsString]) -> ExitCode {
    let variable = settings::variable_behind(&error, command);
    usage::correct(&mut error, command, arguments);
    match error.print() {
        Err(unwritten) if unwritten.kind() != ErrorKind::BrokenPipe => {
            return fail(&CliError::Failed(format!("the output cannot be written: {unwritten}")));
        }
        _ => {}
    }
    if let Some(variable) = variable {
        note(format_args!("The value comes from the environment variable {variable}."));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
