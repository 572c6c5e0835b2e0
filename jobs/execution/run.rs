//! Runs a handler within its layers and its timeout, and catches its panics.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::ended::{AttemptGuard, HandlerEnd};
use super::layer::Layers;
use super::panic::{Watched, watched};
use super::thread::{Blocking, on_thread, on_thread_within};
use crate::context::{AttemptControl, Context, Stop};
use crate::handler::{Handler, HandlerFuture, RawJob};

pub(super) async fn run(
    handler: &Handler,
    layers: &Layers,
    raw: RawJob,
    ctx: Context,
    control: &AttemptControl,
    limit: Duration,
) -> HandlerEnd {
    control.started_with_timeout(limit);
    match handler {
        Handler::Async(call) => {
            let begin = || match layers.enabled(&ctx) {
                None => call(raw, ctx),
                Some(layers) => {
                    let call = Arc::clone(call);
                    layers.call(ctx, move |ctx| call(raw, ctx))
                }
            };
            poll(begin, control, limit).await
        }
        Handler::Blocking(call) => {
            let blocking = Blocking { call, raw, control };
            match watched(control, || layers.enabled(&ctx)) {
                Err(caught) => HandlerEnd::Panicked(caught),
                Ok(None) => on_thread(blocking, ctx, limit).await,
                Ok(Some(layers)) => on_thread_within(blocking, layers, ctx, limit).await,
            }
        }
    }
}

/// Polls an async handler. At its timeout the handler is asked to stop, and then dropped.
async fn poll(begin: impl FnOnce() -> HandlerFuture, control: &AttemptControl, limit: Duration) -> HandlerEnd {
    let mut guard = AttemptGuard::new(control);
    let end = match watched(control, begin) {
        Err(caught) => HandlerEnd::Panicked(caught),
        Ok(future) => {
            let mut handler = Watched::new(future, control);
            match timeout(limit, &mut handler).await {
                Ok(ended) => ended.into(),
                Err(_) => {
                    control.stop(Stop::TimedOut);
                    HandlerEnd::TimedOut(handler.discard().err())
                }
            }
        }
    };
    guard.ended = true;
    end
}
