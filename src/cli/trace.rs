//! `retraced trace`: the story of one job.

use clap::Args;

use super::Admin;
use super::error::CliError;
use super::jobs::OneJob;
use super::shape::JobShape;

/// `retraced trace`
#[derive(Args)]
pub(super) struct Trace {
    #[command(flatten)]
    job: OneJob,
    /// Print backtraces of panics too.
    #[arg(long)]
    backtrace: bool,
}

impl Trace {
    pub(super) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let operator = admin.operator().await?;
        let view = self.job.find(&operator).await?;
        let shape = JobShape::of(&view);
        let trace = crate::Trace::from(view);
        admin.out.result(&shape, || if self.backtrace { format!("{trace:#}") } else { trace.to_string() })?;
        Ok(())
    }
}
