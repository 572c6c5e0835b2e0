//! Why a handler is asked to stop.

/// Why a handler is asked to stop. [`Context::stop_requested`](super::Context::stop_requested) waits for any of these, and the first one stays.
///
/// ```
/// use retraced_jobs::context::{Context, Stop};
/// use retraced_jobs::failure::{Code, Failure};
/// async fn copy(ctx: &Context) -> Result<(), Failure> {
///     tokio::select! {
///         () = tokio::time::sleep(std::time::Duration::from_secs(60)) => Ok(()),
///         () = ctx.stop_requested() => match ctx.why_stopped() {
///             // Another worker may copy by now: leave everything as it is.
///             Some(Stop::LeaseLost) => Ok(()),
///             why => Err(Failure::new(Code::Interrupted, format!("stopped by {why:?}"))),
///         },
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stop {
    /// The worker shuts down: if the handler now returns an error, no failure is counted, and the job goes back to the front of its queue; a snooze keeps its delay.
    ///
    /// Also the reason when the handler's executor was killed or its queue's workers were closed. Then the job has already been released: an async handler is
    /// dropped, and what a blocking one returns is ignored.
    Shutdown,
    /// An operator or a client cancelled the job. If the handler now returns `Ok`, the job is `completed`; otherwise it is `cancelled`.
    Cancelled,
    /// The timeout of the attempt passed. If a blocking handler now returns an error, the attempt fails with `TIMEOUT`; an async handler is dropped at its next await.
    ///
    /// A blocking handler also gets this reason, although no timeout passed, when a layer around it no longer awaits it. The attempt then ends with what the layer
    /// returned, or with the handler's panic.
    TimedOut,
    /// The store refused to renew the lease: another worker may run the job by now, and the result of this handler will have no effect.
    LeaseLost,
}
