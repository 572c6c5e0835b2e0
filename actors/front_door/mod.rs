//! The front door of a queue: takes jobs in and sends them to the store. Its buffer stays open when the workers, or the whole queue, close because they crash too
//! often, so producers that use a handle are not affected.
//!
//! ```text
//! FrontDoorHandle::enqueue ──────────────► buffer ──► flush (a call to the store)
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
