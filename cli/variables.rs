//! Environment variables that look like settings, although nothing reads them.

use clap::Command;

use crate::output::{printable, warn};
use crate::similar::most_similar;

/// The filter of a worker's log. It is no setting, so no argument names it.
pub(crate) const LOG_VARIABLE: &str = "RETRACED_LOG";
/// What the names of all variables of this program begin with.
const PREFIX: &str = "RETRACED_";
/// How the name of one of the variables ends that Kubernetes sets for each service; what stands before it begins the names of the others.
const SERVICE_SUFFIX: &str = "_SERVICE_HOST";

/// Says which variables of the environment begin with `RETRACED_` and are read by no command. That is no error: another program may read them. Empty ones count as not set, and those that
/// Kubernetes sets in each pod for a service named `retraced-…` are not mentioned.
pub(crate) fn note_unknown(command: &Command) {
    let known = known(command);
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    let set: Vec<String> = set.map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    for (name, nearest) in unknown(set, &known) {
        let meant = nearest.map(|nearest| format!("; {nearest} may be meant")).unwrap_or_default();
        warn(format_args!(
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
fn unknown(names: Vec<String>, known: &[String]) -> Vec<(String, Option<String>)> {
    let services: Vec<String> =
        names.iter().filter_map(|name| Some(format!("{}_", name.strip_suffix(SERVICE_SUFFIX)?))).collect();
    let is_of_service = |name: &String| services.iter().any(|service| name.starts_with(service));
    let is_unknown = |name: &String| name.starts_with(PREFIX) && !known.contains(name) && !is_of_service(name);
    let mut names: Vec<_> = names.into_iter().filter(is_unknown).collect();
    names.sort_unstable();
    // Without the common prefix, which would make any two names similar.
    let nearest = |name: &str| {
        let known = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
        most_similar(name.strip_prefix(PREFIX)?, known).map(|meant| format!("{PREFIX}{meant}"))
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
        let found = unknown(set.map(str::to_owned).into(), &known);
        let expected = [
            ("RETRACED_DASHBOARD".to_owned(), None),
            ("RETRACED_LEESE".to_owned(), Some("RETRACED_LEASE".to_owned())),
            ("RETRACED_REDISURL".to_owned(), Some("RETRACED_REDIS_URL".to_owned())),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_not_taken_for_settings() {
        let known = known(&Cli::command());
        let set = [
            "RETRACED_REDIS_SERVICE_HOST",
            "RETRACED_REDIS_SERVICE_PORT",
            "RETRACED_REDIS_PORT",
            "RETRACED_REDIS_PORT_6379_TCP_ADDR",
            "RETRACED_REDDIS_URL",
        ];
        let found: Vec<_> = unknown(set.map(str::to_owned).into(), &known).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["RETRACED_REDDIS_URL"]);
    }
}
