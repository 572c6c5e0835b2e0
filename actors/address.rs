//! Where the present actor of a role is reached. A reference dies with its actor; an address outlives all actors of the role.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, Message};

/// The address of one role.
pub(crate) struct Address<M: Message>(ArcSwapOption<ActorRef<M>>);

impl<M: Message> Default for Address<M> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<M: Message> Address<M> {
    /// Makes an actor the present one, unless a younger one is there: then the supervisor of this one has ended.
    pub(crate) fn set(&self, actor: &ActorRef<M>) {
        let actor = Arc::new(actor.clone());
        self.0.rcu(|present| match present {
            Some(younger) if younger.get_id().pid() > actor.get_id().pid() => Some(younger.clone()),
            _ => Some(actor.clone()),
        });
    }

    /// The present actor, dead or alive.
    pub(crate) fn get(&self) -> Option<Arc<ActorRef<M>>> {
        self.0.load_full()
    }

    /// Sends something the actor would also find out by itself, only later. It is no error if no actor is there.
    pub(crate) fn send(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            let _ = actor.cast(message);
        }
    }
}
