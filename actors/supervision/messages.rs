//! The messages of supervisors.

use ractor::ActorCell;
use tokio::sync::oneshot;

use super::exhausted::Exhausted;

/// The number of a restart that was decided on, counted from the first one.
pub(crate) type RestartId = u64;

/// To a supervisor.
pub(crate) enum SupervisorMessage {
    /// A child has started, or could not.
    Started { child: usize, generation: u32, result: Result<ActorCell, String> },
    /// The children of a restart are stopped and its delay is over.
    Restart(RestartId),
    /// Replied to once all children run, or with the reason why they do not.
    WhenReady(oneshot::Sender<Result<(), String>>),
    /// Stop the children in reverse order, then end.
    Shutdown,
    /// All children are stopped: end, with this error if any.
    ChildrenStopped(Option<Exhausted>),
    /// End with an error that was found elsewhere.
    GiveUp { child: String, reason: String },
}
