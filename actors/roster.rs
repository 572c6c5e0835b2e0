//! Who lives in the tree now: every actor by its path. For the tree view, and for those who want to see what happens when one is killed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ractor::{ActorCell, ActorStatus};

/// One actor of the tree.
///
/// ```
/// use retraced_actors::LiveActor;
/// /// Those that were started again.
/// fn restarted(residents: &[LiveActor]) -> Vec<&str> {
///     residents.iter().filter(|resident| resident.generation > 0).map(|resident| resident.path.as_str()).collect()
/// }
/// assert!(restarted(&[]).is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct LiveActor {
    /// Its path, as `email/executor-3`.
    pub path: String,
    /// How often its place was started before.
    pub generation: u32,
    /// The actor.
    pub actor: ActorCell,
}

/// All of them. Cheap to clone; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster {
    residents: Arc<Mutex<BTreeMap<String, (u32, ActorCell)>>>,
    /// Starts so far of every place, whoever its supervisor was.
    starts: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Roster {
    /// The generation of whoever is started at this path next: how often that was done before.
    pub(crate) fn next_generation(&self, path: &str) -> u32 {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let next = starts.entry(path.to_owned()).or_default();
        *next += 1;
        *next - 1
    }

    /// The generation of whoever was started at this path last; 0 before the first.
    pub(crate) fn generation(&self, path: &str) -> u32 {
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.get(path).map_or(0, |starts| starts.saturating_sub(1))
    }

    pub(crate) fn enter(&self, path: &str, generation: u32, actor: ActorCell) {
        self.residents.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (generation, actor));
    }

    /// Removes the actor, unless its place is taken by another already.
    pub(crate) fn leave(&self, path: &str, actor: &ActorCell) {
        let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        if residents.get(path).is_some_and(|(_, present)| present.get_id() == actor.get_id()) {
            residents.remove(path);
        }
    }

    /// Those who live. An actor that ended with its supervisor has nobody left to take it out of the book, so that is done here.
    pub(crate) fn all(&self) -> Vec<LiveActor> {
        let mut residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        residents.retain(|_, (_, actor)| actor.get_status() != ActorStatus::Stopped);
        residents
            .iter()
            .map(|(path, (generation, actor))| LiveActor {
                path: path.clone(),
                generation: *generation,
                actor: actor.clone(),
            })
            .collect()
    }

    pub(crate) fn find(&self, path: &str) -> Option<ActorCell> {
        let residents = self.residents.lock().unwrap_or_else(PoisonError::into_inner);
        residents.get(path).map(|(_, actor)| actor.clone())
    }
}
