//! The messages to supervisors.

use ractor::ActorCell;
use tokio::sync::oneshot;

use super::exhausted::Exhausted;

/// Numbers the restarts a supervisor has decided on, from 1.
pub(crate) type RestartId = u64;

/// To a supervisor.
pub(crate) enum SupervisorMessage {
    /// A child has started, or could not.
    StartEnded { child: usize, generation: u32, result: Result<ActorCell, String> },
    /// The children of this restart have stopped and its delay is over: start them.
    Restart(RestartId),
    /// Asks for a reply: `Ok` once all children run, or the reason why they do not.
    WhenReady(oneshot::Sender<Result<(), String>>),
    /// Stop the children in reverse order, then end.
    Shutdown,
    /// All children are stopped: end, with this error if any.
    ChildrenStopped(Option<Exhausted>),
    /// A child requests that the supervisor give up, for this reason.
    Escalate { child: String, reason: String },
}
