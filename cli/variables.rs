//! Environment variables that look like settings, although nothing reads them.

use clap::Command;

use crate::limits::VARIABLE_SIMILARITY_MIN;
use crate::output::{note, printable};

/// The filter of a worker's log. It is no setting, so no argument names it.
pub(crate) const LOG_VARIABLE: &str = "RETRACED_LOG";
/// What the names of all variables of this program begin with.
const PREFIX: &str = "RETRACED_";

/// Says which variables of the environment begin with `RETRACED_` and are read by no command. That is no error: another program may read them. Empty ones count as not set.
pub(crate) fn note_unknown(command: &Command) {
    let known = known(command);
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let set = set.map(|(name, _)| name.to_string_lossy().into_owned());
    for (name, nearest) in unknown(set, &known) {
        let meant = nearest.map(|nearest| format!("; {nearest} may be meant")).unwrap_or_default();
        note(format_args!(
            "the environment variable {} is not read: there is no such setting{meant}",
            printable(&name)
        ));
    }
}

/// The variables that this command line reads.
fn known(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    let of_commands = command.get_subcommands().flat_map(known);
    own.chain(of_commands).chain([LOG_VARIABLE.to_owned()]).collect()
}

/// Those of the names that are not known, in alphabetical order, each with the known name that it resembles.
fn unknown(names: impl Iterator<Item = String>, known: &[String]) -> Vec<(String, Option<&str>)> {
    let mut names: Vec<_> = names.filter(|name| name.starts_with(PREFIX) && !known.contains(name)).collect();
    names.sort_unstable();
    let similarity = |name: &str, known: &str| {
        // Without the common prefix, which would make any two names similar.
        let [name, known] = [name, known].map(|name| name.strip_prefix(PREFIX).unwrap_or(name));
        strsim::normalized_damerau_levenshtein(name, known)
    };
    let nearest = |name: &str| {
        let similar = known.iter().map(|known| (similarity(name, known), known.as_str()));
        let most = similar.max_by(|one, other| one.0.total_cmp(&other.0));
        most.filter(|(similarity, _)| *similarity >= VARIABLE_SIMILARITY_MIN).map(|(_, known)| known)
    };
    names.into_iter().map(|name| (nearest(&name), name)).map(|(nearest, name)| (name, nearest)).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::commands::Cli;

    #[test]
    fn a_misspelt_variable_is_found_and_one_of_another_program_is_not() {
        let known = known(&Cli::command());
        let set =
            ["RETRACED_LEESE", "RETRACED_LEASE", "RETRACED_LOG", "LEASE", "RETRACED_DASHBOARD", "RETRACED_REDISURL"];
        let found = unknown(set.into_iter().map(str::to_owned), &known);
        let expected = [
            ("RETRACED_DASHBOARD".to_owned(), None),
            ("RETRACED_LEESE".to_owned(), Some("RETRACED_LEASE")),
            ("RETRACED_REDISURL".to_owned(), Some("RETRACED_REDIS_URL")),
        ];
        assert_eq!(found, expected);
    }
}
