//! The log of a worker on stderr: text, or one JSON object per line.

use std::env::VarError;
use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::error::CliError;
use crate::output::{print_messages_as_json, printable};
use crate::variables::LOG_VARIABLE;

/// What is logged unless the variable is set.
const LOG_DEFAULT: &str = "warn,retraced=info";

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Logs to stderr from now on.
pub(super) fn start(format: LogFormat) -> Result<(), CliError> {
    if format == LogFormat::Json {
        print_messages_as_json();
    }
    let log =
        tracing_subscriber::fmt().with_env_filter(filter()?).with_writer(std::io::stderr).log_internal_errors(false);
    // Both fail if a subscriber is installed already, which then stays.
    let _ = match format {
        LogFormat::Text => {
            let is_terminal = std::io::stderr().is_terminal();
            log.with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none()).try_init()
        }
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).try_init(),
    };
    Ok(())
}

fn filter() -> Result<EnvFilter, CliError> {
    let given = match std::env::var(LOG_VARIABLE) {
        Ok(given) if !given.trim().is_empty() => given,
        Ok(_) | Err(VarError::NotPresent) => LOG_DEFAULT.to_owned(),
        Err(VarError::NotUnicode(_)) => return Err(CliError::Usage(format!("{LOG_VARIABLE} is not UTF-8"))),
    };
    let wrong = |why: &str| {
        CliError::Usage(format!(
            "{LOG_VARIABLE} is {:?}, which is no log filter ({why}); write a level (error, warn, info, debug, trace, off), or several of TARGET=LEVEL, as in {LOG_DEFAULT}",
            printable(&given)
        ))
    };
    let words: Vec<&str> = given.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    // A word that is no level would be taken for a target, of which everything is logged, and of all others nothing.
    let is_no_level = |word: &&&str| !word.contains(['=', '[']) && word.parse::<LevelFilter>().is_err();
    if let Some(word) = words.iter().find(is_no_level) {
        return Err(wrong(&format!("{:?} is no level", printable(word))));
    }
    // Not `given`: the parser does not trim the words, and would take a level beside a space for a target.
    EnvFilter::builder().parse(words.join(",")).map_err(|error| wrong(&error.to_string()))
}
