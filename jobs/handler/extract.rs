//! The arguments that a handler takes after its job: up to eight extractors, in any order.

use std::any::{TypeId, type_name};
use std::fmt;

use super::State;
use crate::context::{Context, Stop};
use crate::failure::{Code, Failure};
use crate::job::JobId;

/// A handler's argument that is made from its [`Context`].
///
/// This library's extractors are [`Context`] itself, [`State<T>`], [`JobId`], [`Attempt`] and [`StopRequest`]. An application can implement the trait for types of
/// its own, for example to read a tenant from the job's id in one place instead of in every handler.
///
/// ```
/// use retraced_jobs::context::Context;
/// use retraced_jobs::failure::{Code, Failure};
/// use retraced_jobs::handler::{FromContext, Needs};
/// use retraced_jobs::typed_job::Job;
/// # struct Tenants;
/// # impl Tenants { fn named(&self, _: &str) -> Option<u32> { Some(7) } }
/// # #[derive(serde::Serialize, serde::Deserialize)] struct SendInvoice;
/// # impl Job for SendInvoice { const KIND: &'static str = "invoice.send"; }
/// /// The tenant before the first `:` of the job's id.
/// struct Tenant(u32);
///
/// impl FromContext for Tenant {
///     fn from_context(ctx: &Context) -> Result<Self, Failure> {
///         let id = ctx.id().to_string();
///         let name = id.split(':').next().unwrap_or_default();
///         let known = ctx.try_state::<Tenants>().and_then(|tenants| tenants.named(name));
///         known.map(Tenant).ok_or_else(|| Failure::permanent(Code::InvalidJobData, format!("no tenant {name}")))
///     }
///
///     fn needs(needs: &mut Needs) {
///         needs.state::<Tenants>(); // found missing when the runtime starts
///     }
/// }
///
/// async fn send_invoice(job: SendInvoice, tenant: Tenant) -> Result<(), Failure> { Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an argument that a handler can take",
    label = "this is not an extractor",
    note = "the first argument is the job; those after it are `Context`, `State<T>`, `JobId`, `Attempt`, `StopRequest` or a type that implements `FromContext`"
)]
pub trait FromContext: Sized + Send + 'static {
    /// The argument. Called before the handler, on its thread; it must not block.
    ///
    /// # Errors
    /// The attempt fails with this failure, and the handler is not called.
    fn from_context(ctx: &Context) -> Result<Self, Failure>;

    /// Names the shared values that the extractor uses. If one was not given to the builder, the runtime does not start. Default: none.
    fn needs(needs: &mut Needs) {
        let _ = needs;
    }
}

/// The shared values that extractors need from the builder.
#[derive(Debug, Clone, Default)]
pub struct Needs(pub(super) Vec<(TypeId, &'static str)>);

impl Needs {
    /// Requires a shared value of this type. The application gives it to the builder with `.state(…)`.
    pub fn state<T: Send + Sync + 'static>(&mut self) {
        self.0.push((TypeId::of::<T>(), type_name::<T>()));
    }
}

impl FromContext for Context {
    fn from_context(ctx: &Context) -> Result<Self, Failure> {
        Ok(ctx.clone())
    }
}

impl<T: Send + Sync + 'static> FromContext for State<T> {
    fn from_context(ctx: &Context) -> Result<Self, Failure> {
        // A runtime does not start without the value. Attempts that are run without a runtime, as in tests (`execution::Runner`), fail here.
        let missing = || Failure::new(Code::JobExecutionFailed, format!("no state of type {}", type_name::<T>()));
        ctx.try_state().map(State).ok_or_else(missing)
    }

    fn needs(needs: &mut Needs) {
        needs.state::<T>();
    }
}

impl FromContext for JobId {
    fn from_context(ctx: &Context) -> Result<Self, Failure> {
        Ok(ctx.id().clone())
    }
}

/// A handler's argument: failures so far + 1, and how many attempts may fail. This is not the number of the attempt in traces and logs, which counts every grant.
///
/// ```
/// use retraced_jobs::failure::{Code, Failure};
/// use retraced_jobs::handler::Attempt;
/// use retraced_jobs::typed_job::Job;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge;
/// # impl Job for Charge { const KIND: &'static str = "card.charge"; }
/// async fn charge(_: Charge, attempt: Attempt) -> Result<(), Failure> {
///     if attempt.is_last() {
///         println!("attempt {} of {}: somebody should look at this card", attempt.number, attempt.max);
///     }
///     Err(Failure::temporary(Code::ServiceUnavailable, "the bank is closed"))
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Attempt {
    /// [`Context::attempt`]: failures so far + 1. Crashes and releases are not counted.
    pub number: u32,
    /// [`Context::max_attempts`]: when `number` has reached it, a failed attempt is not retried.
    pub max: u32,
}

impl Attempt {
    /// Whether this is the last attempt: if it fails, the job is not retried.
    #[must_use]
    pub fn is_last(self) -> bool {
        self.number >= self.max
    }
}

impl FromContext for Attempt {
    fn from_context(ctx: &Context) -> Result<Self, Failure> {
        Ok(Self { number: ctx.attempt(), max: ctx.max_attempts() })
    }
}

/// A handler's argument that says whether the handler is asked to stop, and for which [reason](Stop).
///
/// ```
/// use retraced_jobs::failure::{Code, Failure};
/// use retraced_jobs::handler::StopRequest;
/// use retraced_jobs::typed_job::Job;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Import;
/// # impl Job for Import { const KIND: &'static str = "rows.import"; }
/// # async fn import_all() {}
/// async fn import(_: Import, stop: StopRequest) -> Result<(), Failure> {
///     tokio::select! {
///         () = import_all() => Ok(()),
///         why = stop.wait() => Err(Failure::new(Code::Interrupted, format!("stopped: {why:?}"))),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct StopRequest(Context);

impl StopRequest {
    /// Waits until the handler is asked to stop, and returns why. Made for `tokio::select!`.
    pub async fn wait(&self) -> Stop {
        self.0.stop_requested().await;
        // The reason is set before the wait ends, so it is always there.
        self.0.why_stopped().unwrap_or(Stop::Shutdown)
    }

    /// Why the handler is asked to stop; `None` while it may continue. Made for a loop that checks it once per step.
    #[must_use]
    pub fn reason(&self) -> Option<Stop> {
        self.0.why_stopped()
    }
}

impl FromContext for StopRequest {
    fn from_context(ctx: &Context) -> Result<Self, Failure> {
        Ok(Self(ctx.clone()))
    }
}

impl fmt::Debug for StopRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopRequest").field(&self.reason()).finish()
    }
}
