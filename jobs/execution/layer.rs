//! Layers: code around every attempt, in the manner of `tower`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::context::Context;
use crate::failure::Failure;
use crate::handler::{HandlerFuture, Output};

/// Code that runs around attempts, before and after the handler. The trait is implemented for `async fn(Context, Next) -> Result<Output, Failure>`, so most layers
/// are functions. Implement it for a type of your own if the layer has settings.
///
/// Layers are added to a queue or to the whole runtime with `.layer(…)`; the first that was added is the outermost, and those of the runtime are outside
/// those of its queues. The timeout covers layers and handler together. When an async handler panics, its layers are dropped without seeing a result.
///
/// Around a blocking handler the layers run on the executor's thread, and the handler on a thread of its own. When the handler panics or times out, the layers
/// see a failure in place of its result, and the attempt ends as the handler did, whatever they return. When a layer drops `next.run()`, the handler is asked to
/// stop ([`Stop::TimedOut`](crate::context::Stop::TimedOut)); once its thread has ended, the attempt ends with what the layer returned, or with the handler's panic.
///
/// ```
/// use retraced_jobs::context::Context;
/// use retraced_jobs::execution::Next;
/// use retraced_jobs::failure::Failure;
/// use retraced_jobs::handler::Output;
/// async fn timed(ctx: Context, next: Next) -> Result<Output, Failure> {
///     let begun = std::time::Instant::now();
///     let result = next.run().await;
///     println!("{} ran {:?}, ok: {}", ctx.kind(), begun.elapsed(), result.is_ok());
///     result
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "this is not a layer",
    label = "expected `async fn(Context, Next) -> Result<Output, Failure>`",
    note = "`next.run().await` runs the handler; implement `Layer` for a type that has settings"
)]
pub trait Layer: Send + Sync + 'static {
    /// Runs the attempt: the layer's work before the handler, `next.run().await`, and its work after. Without `next.run()` the handler is not called.
    ///
    /// # Errors
    /// What the handler failed with, or the layer's own failure in its place.
    fn call(&self, ctx: Context, next: Next) -> impl Future<Output = Result<Output, Failure>> + Send;

    /// Whether the layer takes part in this attempt. Called once per attempt, before any layer runs; a layer that returns `false` is left out. Default: `true`.
    fn enabled(&self, ctx: &Context) -> bool {
        let _ = ctx;
        true
    }
}

impl<F, Fut> Layer for F
where
    F: Fn(Context, Next) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Output, Failure>> + Send,
{
    fn call(&self, ctx: Context, next: Next) -> impl Future<Output = Result<Output, Failure>> + Send {
        self(ctx, next)
    }
}

/// [`Layer`] as a trait that can be a `dyn`.
trait AnyLayer: Send + Sync {
    fn call_boxed(self: Arc<Self>, ctx: Context, next: Next) -> HandlerFuture;
    fn is_enabled(&self, ctx: &Context) -> bool;
}

impl<L: Layer> AnyLayer for L {
    fn call_boxed(self: Arc<Self>, ctx: Context, next: Next) -> HandlerFuture {
        Box::pin(async move { self.call(ctx, next).await })
    }

    fn is_enabled(&self, ctx: &Context) -> bool {
        self.enabled(ctx)
    }
}

/// Layers in their order, the outermost first. Cheap to clone once built.
#[derive(Clone, Default)]
pub struct Layers(Vec<Arc<dyn AnyLayer>>);

impl Layers {
    /// Adds a layer as the innermost one.
    pub fn push(&mut self, layer: impl Layer) {
        self.0.push(Arc::new(layer));
    }

    /// These layers, with the others inside them.
    #[must_use]
    pub fn around(mut self, inner: &Layers) -> Self {
        self.0.extend(inner.0.iter().cloned());
        self
    }

    /// The layers that take part in this attempt; `None` when there are none. Calls [`Layer::enabled`], which may panic.
    pub(super) fn enabled(&self, ctx: &Context) -> Option<Enabled> {
        let enabled: VecDeque<_> = self.0.iter().filter(|layer| layer.is_enabled(ctx)).cloned().collect();
        (!enabled.is_empty()).then_some(Enabled(enabled))
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layers({})", self.0.len())
    }
}

type Innermost = Box<dyn FnOnce(Context) -> HandlerFuture + Send>;

/// The layers of one attempt; at least one.
pub(super) struct Enabled(VecDeque<Arc<dyn AnyLayer>>);

impl Enabled {
    /// Calls `handler` within the layers.
    pub(super) fn call(
        self,
        ctx: Context,
        handler: impl FnOnce(Context) -> HandlerFuture + Send + 'static,
    ) -> HandlerFuture {
        Next { layers: self, ctx, handler: Box::new(handler) }.run()
    }
}

/// The rest of an attempt: the layers further in, and the handler.
#[must_use = "without .run() the handler is not called"]
pub struct Next {
    layers: Enabled,
    ctx: Context,
    handler: Innermost,
}

impl Next {
    /// Runs the rest of the attempt to its end.
    #[must_use = "nothing runs until this is awaited"]
    pub fn run(mut self) -> HandlerFuture {
        let ctx = self.ctx.clone();
        match self.layers.0.pop_front() {
            Some(layer) => layer.call_boxed(ctx, self),
            None => (self.handler)(ctx),
        }
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("layers", &self.layers.0.len()).finish_non_exhaustive()
    }
}
