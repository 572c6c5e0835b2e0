//! The registry: the live actors of a tree by their paths, how often an actor was started at each path, and which children are closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ractor::{ActorCell, ActorStatus};

/// One actor of the tree.
///
/// ```
/// use retraced_actors::LiveActor;
/// /// The paths that were restarted.
/// fn restarted(actors: &[LiveActor]) -> Vec<&str> {
///     actors.iter().filter(|actor| actor.generation > 0).map(|actor| actor.path.as_str()).collect()
/// }
/// assert!(restarted(&[]).is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct LiveActor {
    /// The path of the actor, such as `email/executor-3`: its queue and its name, without the supervisors between. A child of the root has only a name.
    pub path: String,
    /// How often an actor was started at this path before.
    pub generation: u32,
}

/// The registry of one tree. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    actors: Arc<Mutex<BTreeMap<String, (u32, ActorCell)>>>,
    /// Starts so far per path. The number outlives the supervisor of the child.
    starts: Arc<Mutex<BTreeMap<String, u32>>>,
    closings: Arc<Mutex<BTreeMap<String, Closings>>>,
}

/// How long a child was open before this closing, compared with the longest delay before a reopening.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OpenFor {
    /// No longer than that delay: this closing continues the series.
    Short,
    /// Longer than that delay: this closing is the first of a new series.
    Long,
}

/// How often a child was closed in the present series, and whether it is closed now. This outlives the supervisor of the child.
#[derive(Debug, Clone, Copy, Default)]
struct Closings {
    in_series: u32,
    closed: bool,
}

impl Registry {
    /// Counts a start at this path. Returns its generation: how many starts there were before.
    pub(crate) fn next_generation(&self, path: &str) -> u32 {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let next = starts.entry(path.to_owned()).or_default();
        *next += 1;
        *next - 1
    }

    /// The generation of the latest start at this path; 0 before the first.
    pub(crate) fn generation(&self, path: &str) -> u32 {
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.get(path).map_or(0, |starts| starts.saturating_sub(1))
    }

    /// Counts a closing of the child at this path, and marks it as closed. Returns how many closings its series has.
    pub(crate) fn count_closing(&self, path: &str, open_for: OpenFor) -> u32 {
        let mut closings = self.closings.lock().unwrap_or_else(PoisonError::into_inner);
        let child = closings.entry(path.to_owned()).or_default();
        child.in_series = match open_for {
            OpenFor::Long => 1,
            OpenFor::Short => child.in_series + 1,
        };
        child.closed = true;
        child.in_series
    }

    /// Removes the mark that the child at this path is closed. Returns whether there was one.
    pub(crate) fn take_closed(&self, path: &str) -> bool {
        let mut closings = self.closings.lock().unwrap_or_else(PoisonError::into_inner);
        closings.get_mut(path).is_some_and(|child| std::mem::take(&mut child.closed))
    }

    pub(crate) fn add(&self, path: &str, generation: u32, actor: ActorCell) {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (generation, actor));
    }

    /// Removes an actor, unless another one has been added at its path already.
    pub(crate) fn remove(&self, path: &str, actor: &ActorCell) {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        if actors.get(path).is_some_and(|(_, current)| current.get_id() == actor.get_id()) {
            actors.remove(path);
        }
    }

    /// The live actors. An actor that ended together with its supervisor is removed here, because nobody else removes it.
    pub(crate) fn all(&self) -> Vec<LiveActor> {
        let mut actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.retain(|_, (_, actor)| actor.get_status() != ActorStatus::Stopped);
        actors.iter().map(|(path, (generation, _))| LiveActor { path: path.clone(), generation: *generation }).collect()
    }

    /// The actor that was added last at this path and not removed. It may have ended.
    pub(crate) fn find(&self, path: &str) -> Option<ActorCell> {
        let actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.get(path).map(|(_, actor)| actor.clone())
    }
}
