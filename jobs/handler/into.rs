//! From a user's function to a handler the worker can call.

use std::any::{TypeId, type_name};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Job, RawJob, State, States};
use crate::codec;
use crate::context::Context;
use crate::failure::{Code, Failure};

/// What running a handler gives.
pub type HandlerFuture = BoxFuture<'static, Result<(), Failure>>;

type Call = Arc<dyn Fn(RawJob, Context) -> HandlerFuture + Send + Sync>;
type BlockingCall = Arc<dyn Fn(RawJob, Context) -> Result<(), Failure> + Send + Sync>;

/// A function that runs jobs of one kind, its types erased.
#[derive(Clone)]
pub enum Handler {
    /// Polled on the runtime the executors run on.
    Async(Call),
    /// Called on that runtime's threads for blocking work.
    Blocking(BlockingCall),
}

/// A handler, with what it is for and what it needs.
pub struct Registered {
    pub(super) kind: &'static str,
    pub(super) handler: Handler,
    pub(super) needs: Vec<(TypeId, &'static str)>,
}

/// `async fn(J, Context, State<A>, State<B>) -> Result<(), Failure>`, the states being optional. Implemented for functions; `M` tells the forms apart.
pub trait IntoHandler<M> {
    /// The handler.
    fn into_handler(self) -> Registered;
}

/// `fn(J, Context, State<A>, State<B>) -> Result<(), Failure>`, the states being optional. Implemented for functions; `M` tells the forms apart.
pub trait IntoBlockingHandler<M> {
    /// The handler.
    fn into_blocking_handler(self) -> Registered;
}

/// `async fn(RawJob, Context, State<A>, State<B>) -> Result<(), Failure>`, the states being optional. Implemented for functions; `M` tells the forms apart.
pub trait IntoRawHandler<M> {
    /// The handler.
    fn into_raw_handler(self) -> Registered;
}

fn decode<J: Job>(raw: &RawJob) -> Result<J, Failure> {
    codec::from_payload(&raw.payload).map_err(|error| Failure::permanent(Code::DecodeFailed, error))
}

fn take<T: Send + Sync + 'static>(states: &States) -> Result<State<T>, Failure> {
    // Found missing at the start of the runtime; a failure rather than a panic for whoever builds a worker by other means.
    let missing = || Failure::new(Code::JobExecutionFailed, format!("no state of type {}", type_name::<T>()));
    states.get().map(State).ok_or_else(missing)
}

macro_rules! into_handler {
    ($($state:ident),*) => {
        impl<F, Fut, J, $($state),*> IntoHandler<(J, Fut, $($state,)*)> for F
        where
            F: Fn(J, Context, $(State<$state>),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<(), Failure>> + Send + 'static,
            J: Job,
            $($state: Send + Sync + 'static,)*
        {
            fn into_handler(self) -> Registered {
                let handler = Handler::Async(Arc::new(move |raw, ctx| {
                    let job = match decode::<J>(&raw) {
                        Ok(job) => job,
                        Err(failure) => return Box::pin(std::future::ready(Err(failure))),
                    };
                    $(
                        #[allow(non_snake_case)]
                        let $state = match take::<$state>(ctx.states()) {
                            Ok(state) => state,
                            Err(failure) => return Box::pin(std::future::ready(Err(failure))),
                        };
                    )*
                    Box::pin(self(job, ctx, $($state),*))
                }));
                Registered { kind: J::KIND, handler, needs: vec![$((TypeId::of::<$state>(), type_name::<$state>())),*] }
            }
        }

        impl<F, J, $($state),*> IntoBlockingHandler<(J, $($state,)*)> for F
        where
            F: Fn(J, Context, $(State<$state>),*) -> Result<(), Failure> + Send + Sync + 'static,
            J: Job,
            $($state: Send + Sync + 'static,)*
        {
            fn into_blocking_handler(self) -> Registered {
                let handler = Handler::Blocking(Arc::new(move |raw, ctx| {
                    let job = decode::<J>(&raw)?;
                    $(
                        #[allow(non_snake_case)]
                        let $state = take::<$state>(ctx.states())?;
                    )*
                    self(job, ctx, $($state),*)
                }));
                Registered { kind: J::KIND, handler, needs: vec![$((TypeId::of::<$state>(), type_name::<$state>())),*] }
            }
        }

        impl<F, Fut, $($state),*> IntoRawHandler<(Fut, $($state,)*)> for F
        where
            F: Fn(RawJob, Context, $(State<$state>),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<(), Failure>> + Send + 'static,
            $($state: Send + Sync + 'static,)*
        {
            fn into_raw_handler(self) -> Registered {
                let handler = Handler::Async(Arc::new(move |raw, ctx| {
                    $(
                        #[allow(non_snake_case)]
                        let $state = match take::<$state>(ctx.states()) {
                            Ok(state) => state,
                            Err(failure) => return Box::pin(std::future::ready(Err(failure))),
                        };
                    )*
                    Box::pin(self(raw, ctx, $($state),*))
                }));
                Registered { kind: "", handler, needs: vec![$((TypeId::of::<$state>(), type_name::<$state>())),*] }
            }
        }
    };
}

into_handler!();
into_handler!(A);
into_handler!(A, B);
