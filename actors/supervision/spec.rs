//! What a supervisor is made of: its policy and its children.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::ActorCell;

use super::event::Events;
use super::exhausted::Exhausted;
use super::registry::Registry;
use super::restart::{Reopening, RestartPolicy};

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// Asked to stop after its current message, killed at the deadline.
    Graceful(Duration),
    /// A supervisor: asked to stop its children in reverse order, killed at the deadline.
    ChildrenFirst(Duration),
}

/// Starts a child, given its supervisor.
pub(crate) type StartChild = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, String>> + Send + Sync>;

/// How a supervisor starts, stops and restarts one child. A child should live as long as its supervisor: whatever its end, it is restarted.
#[derive(Clone)]
pub(crate) struct ChildSpec {
    pub(crate) path: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) start_timeout: Duration,
    /// Only for a child that is a supervisor: if it gives up it is closed for a while, and the restart budget of its parent is not used.
    pub(crate) closing: Option<Closing>,
    pub(crate) start: StartChild,
}

/// How a child that is a supervisor is closed for a while when it has given up or cannot be restarted.
#[derive(Clone)]
pub(crate) struct Closing {
    /// When the child is reopened.
    pub(crate) reopening: Reopening,
    /// Called when the child closes.
    pub(crate) on_close: Arc<dyn Fn() + Send + Sync>,
}

/// How a supervisor is started.
#[derive(Clone)]
pub(crate) struct SupervisorSpec {
    pub(crate) path: String,
    pub(crate) policy: RestartPolicy,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) events: Events,
    pub(crate) registry: Registry,
    /// Seed for the jitter of restart delays.
    pub(crate) seed: u64,
    /// Where the root, which has no supervisor to report to, leaves the reason why it gave up.
    pub(crate) gave_up: Option<Arc<OnceLock<Exhausted>>>,
}
