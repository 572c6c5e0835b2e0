//! Options that select jobs by the code of their latest failure, by kind or by time.

use clap::Args;
use retraced::find::JobFilter;
use retraced::{Code, Kind};

use crate::args::{self, When};
use crate::error::CliError;

/// Conditions that select jobs. Without options all jobs match.
#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only jobs whose latest failure or crash has this code.
    #[arg(long, ignore_case = true, value_parser = args::code())]
    code: Option<Code>,
    /// Only jobs of this kind.
    #[arg(long)]
    kind: Option<Kind>,
    /// Only jobs that ended at this time or later; a job that has not ended must have been enqueued at this time or later. Give a duration before now, as in 30m,
    /// or an instant in RFC 3339, as in 2030-01-31T08:00:00Z. A duration is subtracted from the time of this machine's clock.
    #[arg(long, value_name = "WHEN", value_parser = args::when)]
    since: Option<When>,
    /// Only jobs that ended at this time or earlier; a job that has not ended must have been enqueued at this time or earlier. Given as for --since.
    #[arg(long, value_name = "WHEN", value_parser = args::when)]
    until: Option<When>,
}

impl Filter {
    /// Adds these conditions to a filter that selects only by state.
    pub(crate) fn of(&self, states: JobFilter) -> JobFilter {
        let mut filter = states;
        if let Some(code) = self.code {
            filter = filter.code(code);
        }
        if let Some(kind) = &self.kind {
            filter = filter.kind(kind.clone());
        }
        if let Some(When(since_ms)) = self.since {
            filter = filter.since_ms(since_ms);
        }
        if let Some(When(until_ms)) = self.until {
            filter = filter.until_ms(until_ms);
        }
        filter
    }

    /// Refuses options that no job can match.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        match (self.since, self.until) {
            (Some(When(since_ms)), Some(When(until_ms))) if since_ms > until_ms => {
                Err(CliError::Usage("--since is later than --until, so no job can match".into()))
            }
            _ => Ok(()),
        }
    }

    /// Whether no option was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.code.is_none() && self.kind.is_none() && self.since.is_none() && self.until.is_none()
    }
}
