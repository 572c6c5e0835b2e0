//! The front door of a queue: takes jobs in and sends them to the store. Its buffer takes jobs also while a supervisor of the queue has stopped its actors
//! after too many crashes, so producers that use a handle are not affected.
//!
//! ```text
//! FrontDoorHandle::enqueue ──────────────► buffer ──► flush (calls to the store, one per batch)
//! Enqueue message ──► queue actor ──────┘
//! ```

mod buffer;
mod enqueue;
mod handle;
mod queue;

pub(crate) use buffer::FrontDoor;
pub use enqueue::Enqueue;
pub use handle::FrontDoorHandle;
pub(crate) use queue::QueueActor;
