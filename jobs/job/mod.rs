//! The job itself: its names, states, counters and lease, and a new job as it is enqueued.

mod counters;
mod current_instance;
mod id;
mod lease;
mod name;
mod new;
mod state;

pub use counters::Counters;
pub use current_instance::CurrentInstance;
pub use id::{InstanceId, JobId};
pub use lease::{Lease, Nonce, Token};
pub use name::{InvalidName, Kind, QueueName};
pub use new::{NewJob, RunAt};
pub use state::{IllegalTransition, JobState, Transition, UnknownState};

pub use crate::limits::NAME_LENGTH_MAX;
