//! The log of a worker on stderr: text, or one JSON object per line.

use std::env::VarError;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::error::CliError;
use crate::output::{LogFormat, print_messages_as_log, printable};
use crate::variables::LOG_VARIABLE;

/// What is logged unless the variable is set.
const LOG_DEFAULT: &str = "warn,retraced=info";
/// What the targets of this program's own log lines begin with.
const OWN_PREFIX: &str = "retraced::";
/// The targets of this program's own log lines and spans, besides `retraced` itself.
const TARGETS: [&str; 4] = ["attempts", "attempt", "supervision", "webhook"];

/// Logs to stderr from now on.
pub(super) fn start(format: LogFormat) -> Result<(), CliError> {
    print_messages_as_log(format);
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

/// Why a word of a filter would silence a part of the log by mistake, although the parser accepts it.
fn fault(word: &str) -> Option<String> {
    // Filters by span are left to the parser.
    if word.contains('[') {
        return None;
    }
    let Some((target, level)) = word.split_once('=') else {
        // It would be taken for a target, of which everything is logged, and of all others nothing.
        return word.parse::<LevelFilter>().is_err().then(|| format!("{:?} is no level", printable(word)));
    };
    if level.is_empty() {
        return Some(format!("{:?} has no level", printable(word)));
    }
    let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    if target.is_empty() || !target.chars().all(is_path) || target.replace("::", "").contains(':') {
        return Some(format!("{:?} is no target", printable(target)));
    }
    let own = target.strip_prefix(OWN_PREFIX)?;
    if own == "cli" {
        return Some(format!(
            "{target} cannot be filtered, because the messages of the worker itself are always printed"
        ));
    }
    let is_known = TARGETS.contains(&own.split("::").next().unwrap_or_default());
    (!is_known).then(|| {
        let known = TARGETS.map(|known| format!("{OWN_PREFIX}{known}")).join(", ");
        format!("{:?} is no target of this program, which has retraced, {known}", printable(target))
    })
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
        words.extend(LOG_DEFAULT.split(',').map(str::to_owned));
    }
    if let Some(why) = words.iter().find_map(|word| fault(word)) {
        return Err(wrong(&why));
    }
    // Not `given`: the parser does not trim, and would take a level or target beside a space for another target.
    EnvFilter::builder().parse(words.join(",")).map_err(|error| wrong(&error.to_string()))
}
