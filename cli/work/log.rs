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

/// A word of a filter without the spaces around its target and its level.
fn trimmed(word: &str) -> String {
    match word.split_once('=') {
        Some((target, level)) if !word.contains('[') => format!("{}={}", target.trim(), level.trim()),
        _ => word.trim().to_owned(),
    }
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
    let mut words: Vec<String> = given.split(',').map(trimmed).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        words.push(LOG_DEFAULT.to_owned());
    }
    // A word that is no level would be taken for a target, of which everything is logged, and of all others nothing.
    let is_no_level = |word: &&String| !word.contains(['=', '[']) && word.parse::<LevelFilter>().is_err();
    if let Some(word) = words.iter().find(is_no_level) {
        return Err(wrong(&format!("{:?} is no level", printable(word))));
    }
    // Not `given`: the parser does not trim, and would take a level or target beside a space for another target.
    EnvFilter::builder().parse(words.join(",")).map_err(|error| wrong(&error.to_string()))
}
