//! One `tracing` span around every attempt.

use tracing::Instrument;

use super::{Layer, Next};
use crate::context::Context;
use crate::failure::Failure;
use crate::handler::Output;

/// A layer that runs every attempt in a `tracing` span at level `INFO`: name `attempt`, target `retraced::attempt`, with the fields `queue`, `kind`, `job` and
/// `attempt` (the number of the grant, as in traces). What the handler logs through `tracing` can then be found by its job.
///
/// Every runtime of the facade has it as the outermost layer. It is left out while no `tracing` subscriber wants the span.
///
/// ```
/// use retraced_jobs::execution::{AttemptSpan, Layers};
/// let mut layers = Layers::default();
/// layers.push(AttemptSpan);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AttemptSpan;

impl Layer for AttemptSpan {
    async fn call(&self, ctx: Context, next: Next) -> Result<Output, Failure> {
        let span = tracing::info_span!(
            target: "retraced::attempt",
            "attempt",
            queue = %ctx.queue_name(),
            kind = %ctx.kind(),
            job = %ctx.id(),
            attempt = ctx.counters().attempts,
        );
        next.run().instrument(span).await
    }

    fn enabled(&self, _: &Context) -> bool {
        tracing::span_enabled!(target: "retraced::attempt", tracing::Level::INFO)
    }
}
