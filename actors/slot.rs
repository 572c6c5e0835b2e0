//! Where the present actor of a role is found. References to actors die with them; a slot outlives them all.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, Message};

/// The place of one role.
pub(crate) struct Slot<M: Message>(ArcSwapOption<ActorRef<M>>);

impl<M: Message> Default for Slot<M> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<M: Message> Slot<M> {
    /// The actor takes its place. One that was made before the present one does not: its supervisor has ended since.
    pub(crate) fn fill(&self, actor: &ActorRef<M>) {
        let actor = Arc::new(actor.clone());
        self.0.rcu(|present| match present {
            Some(younger) if younger.get_id().pid() > actor.get_id().pid() => Some(younger.clone()),
            _ => Some(actor.clone()),
        });
    }

    /// The actor there now; dead or alive.
    pub(crate) fn get(&self) -> Option<Arc<ActorRef<M>>> {
        self.0.load_full()
    }

    /// Tells the actor something it would also find out by itself, only later. Nobody there is no error.
    pub(crate) fn tell(&self, message: M) {
        if let Some(actor) = &*self.0.load() {
            let _ = actor.cast(message);
        }
    }
}
