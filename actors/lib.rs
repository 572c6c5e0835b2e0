//! Who runs, who restarts whom, who waits for whom? The supervision tree of ReTraced, and nothing else. Applications use the crate [`retraced`], which
//! re-exports what they need; this crate's API may change with any release.
//!
//! [`retraced`]: https://docs.rs/retraced

mod agenda;
mod errand;
mod event;
mod executor;
mod fetcher;
mod front_door;
mod health;
mod house;
mod inflight;
mod lease_keeper;
mod ledger;
mod node;
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
mod suspects;
mod tree;
mod watchdog;

pub use front_door::{Receipt, Refusal, receipt};
pub use node::{NodeState, RunningJob, TreeNode};
pub use options::{InvalidOption, QueueOptions, QueueSpec, TreeOptions, invalid_options};
pub use queue::{Enqueue, EnqueueError, QueueHandle};
pub use restart::{Budget, ChildKind, End, InvalidPolicy, Reopening, RestartDelay, RestartPolicy, Strategy};
pub use roster::LiveActor;
pub use shutdown::Drained;
pub use supervisor::Exhausted;
pub use tree::{Ending, StartError, Tree, TreeSpec};

/// Every bound of the tree, by name.
pub mod bounds {
    pub use crate::event::{EVENTS_BROADCAST_MAX, EVENTS_UNKEPT_MAX};
    pub use crate::executor::STRETCH_MAX;
    pub use crate::fetcher::{CLAIM_CYCLES_MAX, POLL_MAX, POLL_MIN};
    pub use crate::front_door::{
        FLUSH_BYTES_MAX, FLUSHES_MAX, FRONT_DOOR_BYTES_MAX, FRONT_DOOR_JOBS_MAX, REFUSALS_TOLD_EVERY,
    };
    pub use crate::health::{CALL_TIMEOUT, OUTAGE_WAIT_MAX, REFUSED_TOLD_EVERY, REFUSED_WAIT};
    pub use crate::house::REPLAY_SLOTS_MAX;
    pub use crate::inflight::{
        CLAIM_BYTES_MAX, LOST_CLAIMS_MAX, PREFETCH_HANDLER_MAX, PREFETCH_HORIZON, PREFETCH_JOBS_MAX, UNSTARTED_MAX,
    };
    pub use crate::lease_keeper::RENEWALS_PER_LEASE;
    pub use crate::ledger::{EVENTS_A_WRITE_MAX, HEARTBEAT_EVERY, WRITE_EVERY};
    pub use crate::options::{BUILD_BYTES_MAX, CONCURRENCY_MAX, LEASE_MAX, LEASE_MIN};
    pub use crate::pool::EXECUTOR_START_TIMEOUT;
    pub use crate::queue::ENQUEUE_TIMEOUT;
    pub use crate::retry_scheduler::{LOOK_MAX, LOOK_QUIET_MAX, PROMOTE_MAX};
    pub use crate::settler::{CYCLE_BATCH_MIN, SETTLE_CYCLES_MAX};
    pub use crate::shutdown::{LEAVE_MAX, SETTLE_WAIT};
    pub use crate::store_link::{PROBE_DELAY_MAX, PROBE_DELAY_MIN};
    pub use crate::supervisor::KILL_WAIT;
    pub use crate::suspects::{SUSPECT_SPREAD, TRIAL_PUT_OFF};
    pub use crate::tree::{QUEUE_TIMEOUT, START_TIMEOUT, STOP_TIMEOUT};
    pub use crate::watchdog::{
        AUDIT_EVERY, LOSSES_MAX, REPAIR_MAX, SLICE_MAX, SLICES_MAX, STUCK_AFTER, TRIM_QUIET_EVERY, WATCH_MAX,
        WATCH_MIN, ZOMBIE_AFTER,
    };
}
