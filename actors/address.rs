//! How to reach the actor that currently has a role. An actor reference is useless once its actor has ended; an address stays valid across restarts.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, Message};

/// The address of one role: a reference to its current actor.
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

    /// Sends a message that may be lost: without it the actor would find out by itself, only later. If there is no actor the message is dropped.
    pub(crate) fn send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            let _ = actor.cast(message);
        }
    }
}
