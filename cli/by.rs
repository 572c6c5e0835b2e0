//! `--by`: who acts.

use clap::Args;
use retraced::job::OperatorName;
use retraced::supervision::host_name;

/// Under which name a command acts.
#[derive(Args)]
pub(crate) struct By {
    /// Who is recorded as having done this; `retraced trace` of a job and `retraced queues` show it. Of a long name the first 64 bytes are kept. Default: user and host.
    #[arg(long, value_name = "NAME", env = "RETRACED_BY", hide_env_values = true)]
    by: Option<String>,
}

impl By {
    pub(crate) fn name(&self) -> OperatorName {
        let given = self.by.as_deref().filter(|name| !name.trim().is_empty());
        given.map_or_else(user_and_host, OperatorName::new)
    }
}

/// As in `ada@laptop`. If the environment names no user, as in many containers, the number of the user stands in its place: `uid-1000@host`.
fn user_and_host() -> OperatorName {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME"));
    let user = user.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    OperatorName::new(format!("{user}@{}", host_name()))
}
