//! `retraced queue pause` and `retraced queue resume`.

use clap::Args;
use retraced::QueueName;
use retraced::view::{QueueRow, Timestamp};
use serde::Serialize;

use crate::by::By;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::paused::paused;

/// `retraced queue pause`
#[derive(Args)]
pub(crate) struct Pause {
    /// The queue.
    queue: QueueName,
    /// Pause a queue that does not exist yet, so that none of its jobs runs before it is resumed.
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    by: By,
}

/// `retraced queue resume`
#[derive(Args)]
pub(crate) struct Resume {
    /// The queue.
    queue: QueueName,
}

/// What `queue pause` and `queue resume` print.
#[derive(Serialize)]
struct PauseResult {
    queue: QueueName,
    paused: bool,
    /// Whether the queue was in the other state before.
    changed: bool,
    /// Who paused it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_by: Option<String>,
    /// When it was paused first.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_since: Option<Timestamp>,
}

impl Pause {
    pub(super) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let queue = self.queue;
        let operator = match self.create {
            true => context.operator().await?,
            false => context.operator_of_with_advice(&queue, "; --create pauses a queue before its first job").await?,
        };
        // Created first: if that is refused, nothing has changed.
        if self.create {
            operator.create_queue(&queue).await?;
        }
        let was_paused = operator.named(self.by.name()).pause(&queue).await?;
        // Read for who paused it first, and when. The queue is paused, whether this read succeeds or not.
        let stats = if was_paused { operator.stats(&queue).await.ok() } else { None };
        let row = stats.map(|stats| QueueRow::new(&queue, &stats));
        let (paused_by, paused_since) =
            row.as_ref().map_or((None, None), |row| (row.paused_by.clone(), row.paused_since));
        let result = PauseResult { queue, paused: true, changed: !was_paused, paused_by, paused_since };
        let how = row.as_ref().and_then(paused).unwrap_or_else(|| "paused".to_owned());
        let already = if was_paused { "already " } else { "" };
        context.out.result(&result, || format!("queue {} is {already}{how}", result.queue))?;
        Ok(())
    }
}

impl Resume {
    pub(super) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let was_paused = context.operator_of(&self.queue).await?.resume(&self.queue).await?;
        let (queue, already) = (self.queue, if was_paused { "" } else { " already" });
        let result = PauseResult { queue, paused: false, changed: was_paused, paused_by: None, paused_since: None };
        context.out.result(&result, || format!("queue {} is running{already}", result.queue))?;
        Ok(())
    }
}
