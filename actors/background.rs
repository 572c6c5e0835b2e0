//! Background tasks: work that an actor starts so that its mailbox stays open meanwhile. The result arrives as a message.
//!
//! The actor's state holds the handle, so the task is aborted when the actor ends. A panic of the task ends the actor, which would otherwise wait for the
//! result for ever.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::{ActorRef, Message};
use tokio_util::task::AbortOnDropHandle;

/// A background task under way. Dropping it aborts it.
pub(crate) type BackgroundTask = AbortOnDropHandle<()>;

/// Starts a background task; its result is sent to `actor`.
pub(crate) fn start<M: Message>(actor: &ActorRef<M>, work: impl Future<Output = M> + Send + 'static) -> BackgroundTask {
    let actor = actor.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(message) => drop(actor.cast(message)),
            // The supervisor counts a stop with a reason as a crash.
            Err(panic) => actor.stop(Some(format!("its background task panicked: {}", text_of(panic.as_ref())))),
        }
    }))
}

/// Sends a message to `actor` after a delay.
pub(crate) fn timer<M: Message>(actor: &ActorRef<M>, delay: Duration, message: M) -> BackgroundTask {
    start(actor, async move {
        tokio::time::sleep(delay).await;
        message
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
