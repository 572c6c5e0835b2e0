//! The queue actor: puts the jobs of [`Enqueue`] messages into the buffer. It never awaits the store.
//!
//! Bounds: the mailbox belongs to ractor and is unbounded; the jobs taken from it are bounded by the [buffer](super::buffer).

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Enqueue, FrontDoor};

/// The actor.
pub(crate) struct QueueActor;

impl Actor for QueueActor {
    type Msg = Enqueue;
    type State = Arc<FrontDoor>;
    type Arguments = Arc<FrontDoor>;

    async fn pre_start(
        &self,
        myself: ActorRef<Enqueue>,
        door: Arc<FrontDoor>,
    ) -> Result<Arc<FrontDoor>, ActorProcessingErr> {
        door.actor.set(&myself);
        Ok(door)
    }

    async fn handle(
        &self,
        _: ActorRef<Enqueue>,
        message: Enqueue,
        door: &mut Arc<FrontDoor>,
    ) -> Result<(), ActorProcessingErr> {
        door.accept(message);
        Ok(())
    }
}
