//! An errand: work an actor sends out, so that its mailbox stays open meanwhile. It comes back as a message.
//!
//! It ends with its actor, and its panic is its actor's: an errand that never came back would leave an actor waiting for ever.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use ractor::{ActorRef, Message};
use tokio_util::task::AbortOnDropHandle;

/// An errand under way; dropping it calls it off.
pub(crate) type Errand = AbortOnDropHandle<()>;

/// Sends out an errand; `actor` is told what it gives.
pub(crate) fn send_out<M: Message>(actor: &ActorRef<M>, work: impl Future<Output = M> + Send + 'static) -> Errand {
    let actor = actor.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(message) => drop(actor.cast(message)),
            // A stop with a reason is a crash to its supervisor.
            Err(panic) => actor.stop(Some(format!("its errand panicked: {}", text_of(panic.as_ref())))),
        }
    }))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}
