//! Supervision: how actors are started, restarted and stopped, and how that is reported.

pub(crate) mod event;
pub(crate) mod exhausted;
pub(crate) mod messages;
pub(crate) mod registry;
pub(crate) mod restart;
pub(crate) mod spec;
pub(crate) mod supervisor;
