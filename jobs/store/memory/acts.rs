//! What operators did to a job.

use std::collections::VecDeque;

use crate::limits::ACTS_MAX;
use crate::trace::Act;

/// The latest acts, oldest first, and how many were dropped before them.
#[derive(Debug, Default)]
pub(super) struct Acts {
    kept: VecDeque<Act>,
    pub(super) dropped: u32,
}

impl Acts {
    pub(super) fn note(&mut self, act: Act) {
        self.kept.push_back(act);
        if self.kept.len() > ACTS_MAX {
            self.kept.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    pub(super) fn read(&self) -> Vec<Act> {
        self.kept.iter().cloned().collect()
    }
}
