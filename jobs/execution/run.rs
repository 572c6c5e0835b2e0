//! The step that runs the handler: within its layers, under its timeout, with its panics caught.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::end::{End, Ran};
use super::layer::{Enabled, Layers};
use super::panic::{Caught, Watched, watched};
use super::thread::{Blocking, on_thread, on_thread_within};
use crate::context::{Context, LeaseWatch, Stop};
use crate::handler::{Handler, HandlerFuture, RawJob};

pub(super) async fn run(
    handler: &Handler,
    layers: &Layers,
    raw: RawJob,
    ctx: Context,
    lease: &LeaseWatch,
    limit: Duration,
) -> Ran {
    lease.begin(limit);
    let layers = match enabled(layers, &ctx, lease) {
        Ok(layers) => layers,
        Err(caught) => return Ran::Panicked(caught),
    };
    match (handler, layers) {
        (Handler::Async(call), None) => poll(|| call(raw, ctx), lease, limit).await,
        (Handler::Async(call), Some(layers)) => {
            let call = Arc::clone(call);
            poll(|| layers.call(ctx, move |ctx| call(raw, ctx)), lease, limit).await
        }
        (Handler::Blocking(call), None) => on_thread(Blocking { call, raw, lease }, ctx, limit).await,
        (Handler::Blocking(call), Some(layers)) => {
            on_thread_within(Blocking { call, raw, lease }, layers, ctx, limit).await
        }
    }
}

/// The layers of this attempt. Without any, nothing is paid for the catch.
fn enabled(layers: &Layers, ctx: &Context, lease: &LeaseWatch) -> Result<Option<Enabled>, Caught> {
    if layers.is_empty() {
        return Ok(None);
    }
    watched(lease, || layers.enabled(ctx))
}

/// Polls a handler here; at its timeout it is asked to stop and dropped.
async fn poll(begin: impl FnOnce() -> HandlerFuture, lease: &LeaseWatch, limit: Duration) -> Ran {
    let mut end = End::new(lease);
    let ran = match watched(lease, begin) {
        Err(caught) => Ran::Panicked(caught),
        Ok(future) => {
            let mut handler = Watched::new(future, lease);
            match timeout(limit, &mut handler).await {
                Ok(ended) => ended.into(),
                Err(_) => {
                    lease.stop(Stop::TimedOut);
                    Ran::TimedOut(handler.discard().err())
                }
            }
        }
    };
    end.reached = true;
    ran
}
