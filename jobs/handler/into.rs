//! Turns a user's function into a handler that the worker can call.

use std::any::TypeId;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as PollContext, Poll, ready};

use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;

use super::{FromContext, IntoOutput, Needs, Output, RawJob};
use crate::codec;
use crate::context::Context;
use crate::failure::Failure;
use crate::typed_job::{Job, JobDefaults};

/// A running handler, boxed. It ends with an output or a failure.
pub type HandlerFuture = BoxFuture<'static, Result<Output, Failure>>;

type Call = Arc<dyn Fn(RawJob, Context) -> HandlerFuture + Send + Sync>;
pub(crate) type BlockingCall = Arc<dyn Fn(RawJob, Context) -> Result<Output, Failure> + Send + Sync>;

/// A user's function behind one type, whatever its job and its extractors are.
#[derive(Clone)]
pub enum Handler {
    /// Polled on the tokio runtime of the executors.
    Async(Call),
    /// Called by `spawn_blocking` on the tokio runtime of the executors.
    Blocking(BlockingCall),
}

/// A handler with its kind, the defaults of the kind, and the types of the shared values that the handler needs.
pub struct Registered {
    pub(super) kind: &'static str,
    pub(super) defaults: JobDefaults,
    pub(super) handler: Handler,
    pub(super) needs: Vec<(TypeId, &'static str)>,
}

/// `async fn(J, E1, …) -> R`: a job, up to eight extractors, and a result. Implemented for functions and closures; `M` is inferred.
///
/// ```
/// use retraced_jobs::failure::Failure;
/// use retraced_jobs::handler::{Attempt, Handlers, State};
/// use retraced_jobs::typed_job::Job;
/// # struct Mailer;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
///
/// async fn send(job: SendEmail, mailer: State<Mailer>, attempt: Attempt) -> Result<(), Failure> { Ok(()) }
/// Handlers::default().add(send).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "this is not a handler of a job",
    label = "expected `async fn(J, E1, …) -> R`",
    note = "J, the job, implements `Job`; each E is an extractor: `Context`, `State<T>`, `JobId`, `Attempt`, `StopRequest` or a type that implements `FromContext`; at most eight",
    note = "R is `()` or `Result<T, E>`, where T is `Serialize` and E is `IntoFailure`: `Failure`, `anyhow::Error`, `Box<dyn Error + Send + Sync>`, or a type of yours that implements it",
    note = "its future must be `Send`; a closure names its return type, as in `Ok::<(), Failure>(())`"
)]
pub trait IntoHandler<M> {
    /// The handler.
    fn into_handler(self) -> Registered;
}

/// `fn(J, E1, …) -> R`: as [`IntoHandler`], for functions that block their thread. Implemented for functions and closures; `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "this is not a blocking handler of a job",
    label = "expected `fn(J, E1, …) -> R`, not `async`",
    note = "J, the job, implements `Job`; each E is an extractor: `Context`, `State<T>`, `JobId`, `Attempt`, `StopRequest` or a type that implements `FromContext`; at most eight",
    note = "R is `()` or `Result<T, E>`, where T is `Serialize` and E is `IntoFailure`"
)]
pub trait IntoBlockingHandler<M> {
    /// The handler.
    fn into_blocking_handler(self) -> Registered;
}

/// `async fn(RawJob, E1, …) -> R`: as [`IntoHandler`], for the catch-all handler, which runs jobs of every kind without a handler of its own. Implemented for
/// functions and closures; `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "this is not a catch-all handler",
    label = "expected `async fn(RawJob, E1, …) -> R`",
    note = "each E is an extractor: `Context`, `State<T>`, `JobId`, `Attempt`, `StopRequest` or a type that implements `FromContext`; at most eight",
    note = "R is `()` or `Result<T, E>`, where T is `Serialize` and E is `IntoFailure`"
)]
pub trait IntoRawHandler<M> {
    /// The handler.
    fn into_raw_handler(self) -> Registered;
}

fn decode<J: Job>(raw: &RawJob) -> Result<J, Failure> {
    codec::from_payload(&raw.payload).map_err(Failure::undecodable)
}

fn refuse(failure: Failure) -> HandlerFuture {
    Box::pin(std::future::ready(Err(failure)))
}

pin_project! {
    /// A handler's future, with its result turned into an output. The handler's future is not dropped by its last poll but together with this value, so that a
    /// destructor that panics does not change what the handler returned.
    struct Running<F, M> {
        #[pin]
        handler: F,
        result: PhantomData<fn() -> M>,
    }
}

impl<F, M> Running<F, M> {
    fn new(handler: F) -> Self {
        Self { handler, result: PhantomData }
    }
}

impl<F, M> Future for Running<F, M>
where
    F: Future,
    F::Output: IntoOutput<M>,
{
    type Output = Result<Output, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<Self::Output> {
        let returned = ready!(self.project().handler.poll(cx));
        Poll::Ready(returned.into_output())
    }
}

macro_rules! needs_of {
    ($($extractor:ident),*) => {{
        #[allow(unused_mut, reason = "a handler may take none")]
        let mut needs = Needs::default();
        $($extractor::needs(&mut needs);)*
        needs.0
    }};
}
macro_rules! into_handler {
    ($($extractor:ident),*) => {
        #[allow(non_snake_case, unused_variables, reason = "the extractors' types name the variables; a handler may take none")]
        impl<F, Fut, J, M, $($extractor),*> IntoHandler<(J, Fut, M, $($extractor,)*)> for F
        where
            F: Fn(J, $($extractor),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoOutput<M>,
            M: 'static,
            J: Job,
            $($extractor: FromContext,)*
        {
            fn into_handler(self) -> Registered {
                let handler = Handler::Async(Arc::new(move |raw, ctx| {
                    let job = match decode::<J>(&raw) {
                        Ok(job) => job,
                        Err(failure) => return refuse(failure),
                    };
                    $(
                        let $extractor = match $extractor::from_context(&ctx) {
                            Ok(extracted) => extracted,
                            Err(failure) => return refuse(failure),
                        };
                    )*
                    Box::pin(Running::new(self(job, $($extractor),*)))
                }));
                Registered { kind: J::KIND, defaults: J::defaults(), handler, needs: needs_of!($($extractor),*) }
            }
        }

        #[allow(non_snake_case, unused_variables, reason = "the extractors' types name the variables; a handler may take none")]
        impl<F, R, J, M, $($extractor),*> IntoBlockingHandler<(J, R, M, $($extractor,)*)> for F
        where
            F: Fn(J, $($extractor),*) -> R + Send + Sync + 'static,
            R: IntoOutput<M>,
            J: Job,
            $($extractor: FromContext,)*
        {
            fn into_blocking_handler(self) -> Registered {
                let handler = Handler::Blocking(Arc::new(move |raw, ctx| {
                    let job = decode::<J>(&raw)?;
                    $(let $extractor = $extractor::from_context(&ctx)?;)*
                    self(job, $($extractor),*).into_output()
                }));
                Registered { kind: J::KIND, defaults: J::defaults(), handler, needs: needs_of!($($extractor),*) }
            }
        }

        #[allow(non_snake_case, unused_variables, reason = "the extractors' types name the variables; a handler may take none")]
        impl<F, Fut, M, $($extractor),*> IntoRawHandler<(Fut, M, $($extractor,)*)> for F
        where
            F: Fn(RawJob, $($extractor),*) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoOutput<M>,
            M: 'static,
            $($extractor: FromContext,)*
        {
            fn into_raw_handler(self) -> Registered {
                let handler = Handler::Async(Arc::new(move |raw, ctx| {
                    $(
                        let $extractor = match $extractor::from_context(&ctx) {
                            Ok(extracted) => extracted,
                            Err(failure) => return refuse(failure),
                        };
                    )*
                    Box::pin(Running::new(self(raw, $($extractor),*)))
                }));
                // A catch-all handler has no kind: `Handlers::add_any` does not read this field.
                Registered { kind: "", defaults: JobDefaults::new(), handler, needs: needs_of!($($extractor),*) }
            }
        }
    };
}

into_handler!();
into_handler!(A);
into_handler!(A, B);
into_handler!(A, B, C);
into_handler!(A, B, C, D);
into_handler!(A, B, C, D, E);
into_handler!(A, B, C, D, E, G);
into_handler!(A, B, C, D, E, G, H);
into_handler!(A, B, C, D, E, G, H, I);
