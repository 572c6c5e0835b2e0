//! What is left of removed jobs.

use std::collections::VecDeque;

use crate::job::JobId;
use crate::limits::TOMBSTONES_MAX;
use crate::store::Tombstone;

/// The latest tombstones, the earliest removal first.
#[derive(Default)]
pub(super) struct Tombstones(VecDeque<Tombstone>);

impl Tombstones {
    pub(super) fn keep(&mut self, tombstone: Tombstone) {
        self.0.push_back(tombstone);
        if self.0.len() > TOMBSTONES_MAX {
            self.0.pop_front();
        }
    }

    /// What the last removal of a job of this id left.
    pub(super) fn latest(&self, id: &JobId) -> Option<&Tombstone> {
        self.0.iter().rev().find(|tombstone| tombstone.id == *id)
    }
}
