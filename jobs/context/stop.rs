//! Why a handler is asked to stop.

/// Why a handler is asked to stop.
///
/// ```
/// use retraced_jobs::context::{Context, Stop};
/// use retraced_jobs::failure::{Code, Failure};
/// async fn copy(ctx: &Context) -> Result<(), Failure> {
///     tokio::select! {
///         () = tokio::time::sleep(std::time::Duration::from_secs(60)) => Ok(()),
///         () = ctx.cancelled() => match ctx.why_stopped() {
///             // Another worker may copy by now: leave everything as it is.
///             Some(Stop::LeaseLost) => Ok(()),
///             why => Err(Failure::new(Code::Interrupted, format!("stopped by {why:?}"))),
///         },
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The worker shuts down, or the actor that runs the handler was restarted. If the handler now returns an error, no failure is counted, and the job goes
    /// back to the front of its queue.
    Shutdown,
    /// An operator or a client cancelled the job. If the handler now returns an error, the job is `cancelled`; if it returns `Ok`, the job is `completed`.
    Cancelled,
    /// The timeout of the attempt passed, or a layer around the handler no longer awaits it. An error returned now is a failed attempt.
    TimedOut,
    /// The lease is lost: another worker may run the job by now, and the result of this handler will not count.
    LeaseLost,
}
