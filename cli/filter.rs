//! Which jobs are meant: by their latest failure, by kind, by time.

use clap::Args;
use retraced::Code;
use retraced::codec;
use retraced::job::JobSummary;
use retraced::job::Kind;

use crate::args::{self, Since};

/// Which of the jobs; what is not given lets all pass.
#[derive(Args, Debug, Default)]
pub(crate) struct Filter {
    /// Only jobs whose latest failure or crash has this code.
    #[arg(long, value_parser = args::code())]
    pub(crate) code: Option<Code>,
    /// Only jobs of this kind.
    #[arg(long)]
    pub(crate) kind: Option<Kind>,
    /// Only jobs that ended since then, or, where they have not ended, were enqueued since then: so long ago, as in 30m, or an instant in RFC 3339, as in
    /// 2030-01-31T08:00:00Z; by the clock of this machine.
    #[arg(long, value_name = "WHEN", value_parser = args::since)]
    pub(crate) since: Option<Since>,
}

impl Filter {
    /// Whether all pass.
    pub(crate) fn is_open(&self) -> bool {
        self.code.is_none() && self.kind.is_none() && self.since.is_none()
    }

    pub(crate) fn passes(&self, job: &JobSummary) -> bool {
        let code = self.code.is_none_or(|code| job.last_error.as_ref().is_some_and(|error| error.code == code));
        code && !self.is_too_early(job)
            && self.kind.as_ref().is_none_or(|kind| codec::open(&job.envelope).is_ok_and(|e| e.kind == *kind))
    }

    /// Whether it is from before the time asked for. So are all that follow it where jobs come latest first.
    pub(crate) fn is_too_early(&self, job: &JobSummary) -> bool {
        let at_ms = if job.state.is_final() { job.at_ms } else { job.enqueued_ms };
        self.since.is_some_and(|Since(since_ms)| at_ms.is_none_or(|at_ms| at_ms < since_ms))
    }
}
