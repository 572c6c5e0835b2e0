//! `retraced trace`: the history of one job.

use clap::Args;

use crate::context::CommandContext;
use crate::error::CliError;
use crate::jobs::OneJob;

/// `retraced trace`
#[derive(Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    job: OneJob,
    /// Print the backtraces of panics as well.
    #[arg(long)]
    backtrace: bool,
}

impl Trace {
    pub(crate) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let operator = context.operator_of(&self.job.queue).await?;
        let view = self.job.find(&operator).await?;
        let trace = retraced::Trace::from(view);
        let waits = !trace.view().state.is_final();
        context.out.result(&trace, || {
            context.out.wrapped(&if self.backtrace { format!("{trace:#}") } else { trace.to_string() })
        })?;
        if waits {
            context.note_if_paused(&operator, &self.job.queue).await?;
        }
        Ok(())
    }
}
