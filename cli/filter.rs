//! Options that say which jobs are meant: by their latest failure, by kind, by time.

use clap::Args;
use retraced::job::Kind;
use retraced::{Code, JobFilter};

use crate::args::{self, Since};

/// Which jobs; an option that is not given lets all pass.
#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only jobs whose latest failure or crash has this code.
    #[arg(long, value_parser = args::code())]
    code: Option<Code>,
    /// Only jobs of this kind.
    #[arg(long)]
    kind: Option<Kind>,
    /// Only jobs that ended since then or, if they have not ended, were enqueued since then: a duration before now, as in 30m, or an instant in RFC 3339, as in
    /// 2030-01-31T08:00:00Z. Durations are measured by this machine's clock.
    #[arg(long, value_name = "WHEN", value_parser = args::since)]
    since: Option<Since>,
}

impl Filter {
    /// These conditions, added to the filter's states.
    pub(crate) fn of(&self, states: JobFilter) -> JobFilter {
        let mut filter = states;
        if let Some(code) = self.code {
            filter = filter.code(code);
        }
        if let Some(kind) = &self.kind {
            filter = filter.kind(kind.clone());
        }
        if let Some(Since(since_ms)) = self.since {
            filter = filter.since_ms(since_ms);
        }
        filter
    }

    /// Whether no option was given.
    pub(crate) fn is_open(&self) -> bool {
        self.code.is_none() && self.kind.is_none() && self.since.is_none()
    }
}
