//! Who runs, who restarts whom, who waits for whom? The supervision tree of ReTraced, and nothing else. Applications use the crate [`retraced`], which
//! re-exports what they need; this crate's API may change with any release.
//!
//! [`retraced`]: https://docs.rs/retraced

mod event;
mod executor;
mod fetcher;
mod front_door;
mod health;
mod house;
mod inflight;
mod lease_keeper;
mod ledger;
mod options;
mod pool;
mod queue;
mod restart;
mod retry_scheduler;
mod roster;
mod settler;
mod shutdown;
mod slot;
mod store_link;
mod supervisor;
mod tree;
mod watchdog;

pub use event::{EVENTS_BROADCAST_MAX, EVENTS_UNKEPT_MAX};
pub use front_door::{FRONT_DOOR_BYTES_MAX, FRONT_DOOR_JOBS_MAX, Receipt, Refusal, receipt};
pub use options::{
    CONCURRENCY_MAX, InvalidOption, LEASE_MAX, LEASE_MIN, QueueOptions, QueueSpec, TreeOptions,
};
pub use queue::{ENQUEUE_PATIENCE, Enqueue, EnqueueError, QueueHandle};
pub use restart::{Budget, ChildKind, End, InvalidPolicy, Reopening, RestartDelay, RestartPolicy, Strategy};
pub use roster::Resident;
pub use shutdown::Drained;
pub use supervisor::Exhausted;
pub use tree::{Ending, StartError, Tree, TreeSpec};
