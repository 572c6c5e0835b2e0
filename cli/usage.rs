//! Corrects what the argument parser says in usage errors: the usage, the tips, and how much of a value is repeated.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use retraced::JobState;

use crate::limits::REFUSED_VALUE_CHARS_MAX;
use crate::output::short;
use crate::similar::most_similar;

/// Corrects the usage and the tips of an error that these arguments have caused.
pub(crate) fn correct(error: &mut clap::Error, command: &Command, arguments: &[OsString]) {
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let named = named(command, &words);
    // The parser would show every option that has a value, also one from the environment or a default, as if it were required.
    if error.get(ContextKind::Usage).is_some() {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(named.clone().render_usage()));
    }
    if let Some(value) = text(error, ContextKind::InvalidValue) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(short(&value, REFUSED_VALUE_CHARS_MAX)));
    }
    match (error.kind(), text(error, ContextKind::InvalidArg), text(error, ContextKind::InvalidValue)) {
        (ErrorKind::UnknownArgument, Some(argument), _) => {
            if text(error, ContextKind::SuggestedArg).is_some_and(|meant| !is_similar(&argument, &meant)) {
                error.remove(ContextKind::SuggestedArg);
            }
            correct_tips(error, &named, &words, &argument);
        }
        (ErrorKind::InvalidValue, Some(option), Some(value))
            if option.starts_with("--state")
                && value.to_ascii_lowercase().parse::<JobState>().is_ok_and(JobState::is_final) =>
        {
            // The parser suggests the state that is spelt most like it, whose jobs nobody wanted to touch.
            error.remove(ContextKind::SuggestedValue);
            tip(error, "jobs in this state have ended; `retraced dead discard` deletes dead and poisoned ones");
        }
        _ => {}
    }
}

/// The command that these words name.
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

/// Corrects the tips about an argument that no option or position takes.
fn correct_tips(error: &mut clap::Error, command: &Command, words: &[&str], argument: &str) {
    // Of `--id=a` the parser names only `--id`, and of `-abc` only `-a`.
    let is_short = argument.starts_with('-') && !argument.starts_with("--");
    let is_it = |word: &&str| *word == argument || word.split_once('=').is_some_and(|(option, _)| option == argument);
    let begins_with_it = |word: &&str| is_short && word.starts_with(argument) && !word.starts_with("--");
    let at = words.iter().position(is_it).or_else(|| words.iter().position(begins_with_it));
    let word = at.map_or(argument, |at| words[at]);
    if word.starts_with("--") {
        // The parser says how to pass it as a value, but hardly any value begins like this.
        return keep_tips(error, |tip| !tip.starts_with("to pass "));
    }
    let before = at.and_then(|at| words.get(at.checked_sub(1)?)?.strip_prefix("--"));
    let option = command.get_arguments().find(|option| before.is_some() && option.get_long() == before);
    let option = option.filter(|option| option.get_action().takes_values());
    let shown = short(word, REFUSED_VALUE_CHARS_MAX);
    match (option.and_then(Arg::get_long), word.starts_with('-')) {
        (Some(long), is_like_option) if option.is_some_and(|o| o.is_require_equals_set() != is_like_option) => {
            tip(error, &format!("to give --{long} this value, write '--{long}={shown}'"));
        }
        // Without a tip of the parser the command has no position for it.
        _ if word != argument && error.get(ContextKind::Suggested).is_some() => {
            tip(error, &format!("to pass '{shown}' as a value, write '-- {shown}'"));
        }
        _ => {}
    }
}

fn is_similar(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|option| option.trim_start_matches('-'));
    most_similar(one, std::iter::once(other)).is_some()
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

fn keep_tips(error: &mut clap::Error, kept: impl Fn(&str) -> bool) {
    if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
        tips.retain(|tip| kept(&tip.to_string()));
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
}
