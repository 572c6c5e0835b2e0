//! `retraced trace`: the history of one job.

use clap::Args;
use retraced::JobState;

use crate::context::CommandContext;
use crate::error::CliError;
use crate::jobs::OneJob;
use crate::live_workers::{WithWorkers, note_in_text, workers_of};
use crate::output::note;

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
        let view = self.job.view(&operator).await?;
        let trace = retraced::Trace::from(view);
        let state = trace.view().state;
        let waits = !state.is_final();
        let workers = workers_of(&operator, &self.job.queue).await;
        context.out.result(&WithWorkers::new(&trace, workers), || {
            context.out.flowed(&if self.backtrace { format!("{trace:#}") } else { trace.to_string() })
        })?;
        if matches!(state, JobState::Dead | JobState::Poisoned) && !context.out.is_json() {
            let job = self.job.arguments();
            note(format_args!(
                "to run it again: `retraced dead redrive {job}`; to delete it: `retraced dead discard {job}`"
            ));
        }
        if waits {
            note_in_text(&context.out, &self.job.queue, workers);
            context.note_if_paused(&operator, &self.job.queue).await?;
        }
        Ok(())
    }
}
