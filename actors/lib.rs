//! The supervision tree of ReTraced: who runs, who restarts whom, who waits for whom. Applications use the crate `retraced`, which re-exports what they
//! need. The API of this crate may change with any release.
//!
//! ARCHITECTURE.md in the repository has a table of the modules, from the lowest layer up, and a drawing of the tree. `tree` is where everything comes together.

mod address;
mod background;
mod clock;
mod context;
mod front_door;
mod inflight;
pub mod limits;
mod messages;
mod observer;
mod options;
mod path;
mod poll_schedule;
mod random;
mod services;
mod store_calls;
mod supervision;
mod tree;
mod workers;

pub use ractor::ActorRef;

pub use front_door::{Enqueue, FrontDoorHandle};
pub use observer::{AttemptEnded, AttemptStarted, Observer};
pub use options::{InvalidOption, QueueOptions, QueueSpec, TreeOptions, host_name, invalid_options};
pub use random::new_instance;
pub use store_calls::{CallError, StoreCalls, StoreStatus};
pub use supervision::exhausted::Exhausted;
pub use supervision::registry::LiveActor;
pub use supervision::restart::{Budget, InvalidPolicy, Reopening, RestartDelay, RestartPolicy, Strategy};
pub use tree::{Ending, NodeState, RunningJob, ShutdownReport, StartError, Tree, TreeNode, TreeSpec};
