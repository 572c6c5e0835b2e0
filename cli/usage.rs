//! What a usage error says besides the words of the argument parser: the usage of the command, and tips that lead further.

use std::ffi::OsString;

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use retraced::JobState;

use crate::limits::REFUSED_VALUE_CHARS_MAX;
use crate::output::short;

/// Corrects the usage and the tips of an error that these arguments have caused.
pub(crate) fn correct(error: &mut clap::Error, command: &Command, arguments: &[OsString]) {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let named = named(command, &words);
    if error.get(ContextKind::Usage).is_some() {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(named.clone().render_usage()));
    }
    if let Some(value) = text(error, ContextKind::InvalidValue) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(short(&value, REFUSED_VALUE_CHARS_MAX)));
    }
    match (error.kind(), text(error, ContextKind::InvalidArg), text(error, ContextKind::InvalidValue)) {
        (ErrorKind::UnknownArgument, Some(argument), _) => {
            if let Some(option) = option_before(&named, &words, &argument) {
                tip(error, &format!("to give --{option} a value, write '--{option}={argument}'"));
            } else if argument.starts_with("--") {
                // The parser says how to pass it as a value, but hardly any value begins like this.
                error.remove(ContextKind::Suggested);
            }
        }
        (ErrorKind::InvalidValue, _, Some(value)) if value.parse::<JobState>().is_ok() => {
            // A state of other jobs that is spelt like this one would lead to harm.
            error.remove(ContextKind::SuggestedValue);
            tip(error, "jobs in this state have ended; `retraced dead discard` deletes dead and poisoned ones");
        }
        _ => {}
    }
}

/// The command that these words name. In an error, the parser would show every option that has a value, also one from the environment or a default, as if it were required.
fn named(command: &Command, words: &[&str]) -> Command {
    let mut named = command.clone();
    named.build();
    for word in words {
        if let Some(found) = named.find_subcommand(word).cloned() {
            named = found;
        }
    }
    named
}

/// The option that stands before this argument, if it takes its value only after `=`.
fn option_before(command: &Command, words: &[&str], argument: &str) -> Option<String> {
    let at = words.iter().position(|word| *word == argument)?;
    let long = words.get(at.checked_sub(1)?)?.strip_prefix("--")?;
    let option = command.get_arguments().find(|option| option.get_long() == Some(long))?;
    option.is_require_equals_set().then(|| long.to_owned())
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

fn tip(error: &mut clap::Error, text: &str) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(text.to_owned())]));
}
