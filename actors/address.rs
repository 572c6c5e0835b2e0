//! How to reach an actor across its restarts. An actor reference is useless once its actor has ended; an address then leads to the next one.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, Message};

/// The address of one place in the tree, such as the settler of a queue: a reference to the actor that is there now.
pub(crate) struct Address<M: Message>(ArcSwapOption<ActorRef<M>>);

impl<M: Message> Default for Address<M> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<M: Message> Address<M> {
    /// Makes `actor` the current one, unless a newer actor is set already. Then `actor` belongs to a supervisor that has ended.
    pub(crate) fn set(&self, actor: &ActorRef<M>) {
        let actor = Arc::new(actor.clone());
        self.0.rcu(|current| match current {
            Some(newer) if newer.get_id().pid() > actor.get_id().pid() => Some(newer.clone()),
            _ => Some(actor.clone()),
        });
    }

    /// The current actor, which may have ended.
    pub(crate) fn get(&self) -> Option<Arc<ActorRef<M>>> {
        self.0.load_full()
    }

    /// Sends a message to the current actor. If it has ended, or there is none, the message is lost: send only what the next actor finds out by itself.
    pub(crate) fn send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            let _ = actor.cast(message);
        }
    }
}
