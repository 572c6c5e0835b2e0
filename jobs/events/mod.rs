//! What a worker reports while it runs, as data: supervision events, and the damage that a scan finds. Much of it is about actors, but nothing here depends on them.

mod event;
mod finding;
mod trim_reason;

pub use event::{DropReason, EventKind, SupervisionEvent};
pub use finding::{Finding, FindingKind};
pub use trim_reason::TrimReason;

pub use crate::limits::FINDING_EXAMPLES_MAX;
